"""Which processes train together, read from lists and from TF_CONFIG."""

import json

import pytest
import tensorflow as tf

from tfrobust.core import cluster
from tfrobust.core.cluster import Cluster

ADDRESSES = ("10.0.0.1:2222", "[::1]:2223", "pod-2.svc:65535")


def test_a_worker_and_its_place():
    """The first is the chief; sentences call workers by index and address."""
    workers = [Cluster(ADDRESSES, index) for index in range(3)]
    assert [each.is_chief for each in workers] == [True, False, False]
    assert [each.address for each in workers] == list(ADDRESSES)
    assert workers[0].name(2) == "worker 2 (pod-2.svc:65535)"


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("10.0.0.1:2222", "10.0.0.1", 2222),
        ("[fe80::1%eth0]:1", "fe80::1%eth0", 1),
        ("train-0.train:65535", "train-0.train", 65535),
    ],
)
def test_host_and_port(address, host, port):
    """Names, IPv4, and IPv6 in brackets, as in URLs."""
    assert cluster.split(address) == (host, port)


@pytest.mark.parametrize(
    "address", ["", "host", "host:", ":1", "host:0", "host:65536", "a b:1", "::1:2222"]
)
def test_what_is_no_address(address):
    """With the address that is none."""
    with pytest.raises(ValueError, match="is no HOST:PORT") as caught:
        Cluster((address,), 0)
    assert str(caught.value).startswith(repr(address))


@pytest.mark.parametrize("index", [-1, 3, 4])
def test_an_index_that_no_worker_has(index):
    """Counted from 0."""
    with pytest.raises(ValueError, match=f"there is no worker {index} among 3"):
        Cluster(ADDRESSES, index)


def test_an_address_that_is_there_twice():
    """Two workers could not both listen there."""
    with pytest.raises(ValueError, match=r"b:1 is there twice"):
        Cluster(("a:1", "b:1", "b:1"), 0)


@pytest.mark.parametrize("index", range(3))
def test_tensorflow_reads_what_is_written(monkeypatch, index):
    """TensorFlow's own resolver finds the same workers and the same place."""
    written = Cluster(ADDRESSES, index)
    monkeypatch.setenv(cluster.VARIABLE, written.as_tf_config())
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    assert resolver.cluster_spec().as_dict() == {"worker": list(ADDRESSES)}
    assert (resolver.task_type, resolver.task_id) == ("worker", index)
    assert cluster.from_environment() == written


def of(config, monkeypatch):
    """The cluster of a `TF_CONFIG`."""
    text = config if isinstance(config, str) else json.dumps(config)
    monkeypatch.setenv(cluster.VARIABLE, text)
    return cluster.from_environment()


def test_a_chief_comes_before_the_workers(monkeypatch):
    """As TensorFlow counts them."""
    both = {"chief": ["a:1"], "worker": ["b:1", "c:1"]}
    task = {"type": "worker", "index": 1}
    found = of({"cluster": both, "task": task}, monkeypatch)
    assert found == Cluster(("a:1", "b:1", "c:1"), 2)
    task = {"type": "chief", "index": 0}
    assert of({"cluster": both, "task": task}, monkeypatch).is_chief


@pytest.mark.parametrize(
    "config", ["", {}, {"cluster": {}}, {"task": {"type": "worker", "index": 0}}]
)
def test_no_cluster(monkeypatch, config):
    """Nothing said of others means that there are none."""
    assert of(config, monkeypatch) is None


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ("worker 1", "is no JSON object: "),
        ("[1]", "is no JSON object"),
        ({"cluster": ["a:1"]}, "no JSON object"),
        ({"cluster": {"worker": ["a:1"]}, "task": 1}, "no JSON object"),
        ({"cluster": {"worker": "a:1"}}, "no list of HOST:PORT"),
        ({"cluster": {"worker": [1]}}, "no list of HOST:PORT"),
        ({"cluster": {"ps": ["a:1"], "worker": ["b:1"]}}, "of the kind 'ps'"),
        ({"cluster": {"worker": ["a:1"]}, "task": {"type": "chief"}}, "makes this a"),
        ({"cluster": {"worker": ["a:1"]}, "task": {"index": 1}}, "no worker 1 among 1"),
        ({"cluster": {"worker": ["a:1"]}, "task": {"index": "x"}}, "no cluster"),
        ({"cluster": {"worker": ["a:1"]}, "task": {"index": None}}, "no cluster"),
        ({"cluster": {"worker": ["a"]}}, "'a' is no HOST:PORT"),
    ],
)
def test_what_describes_no_cluster(monkeypatch, config, sentence):
    """In words that follow the variable's name."""
    with pytest.raises(ValueError) as caught:
        of(config, monkeypatch)
    assert sentence in str(caught.value)
