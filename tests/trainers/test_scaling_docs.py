"""docs/scaling: what a cluster would be given, read by the trainer's own flags."""

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from trainers.train import machines

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "scaling"
# Stands in for a program: prints its arguments, NUL between them, to the file `called`.
STAND_IN = """#!/bin/sh
printf '%s\\0' "$@" >> "$CALLED"
{then}
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """`stand_in(program, then)`: puts it on the PATH, and returns how it was called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def make(program, then=""):
        called = tmp_path / program
        path = folder / program
        text = STAND_IN.replace("$CALLED", str(called)).replace("{then}", then)
        path.write_text(text)
        path.chmod(0o755)

        def calls():
            return called.read_text().split("\0")[:-1] if called.exists() else []

        return calls

    return make


@pytest.fixture
def cluster_of(parse):
    """The cluster that a command line of `tfrobust train` makes, and its settings."""

    def of(words):
        assert words[0] == "train"
        config = parse(*words[1:])
        return machines.cluster_of(config), config

    return of


def kubernetes():
    """Service and Job."""
    service, job = json.loads((FOLDER / "kubernetes.json").read_text())["items"]
    assert (service["kind"], job["kind"]) == ("Service", "Job")
    return service, job


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("index", [0, 1])
def test_each_pod_is_a_worker(stand_in, cluster_of, tmp_path, index, begun):
    """By the name that the Service gives it; it goes on if there is a run."""
    _, job = kubernetes()
    (container,) = job["spec"]["template"]["spec"]["containers"]
    calls = stand_in("tfrobust")
    runs = tmp_path / "runs" / "lcnn"
    if begun:
        runs.mkdir(parents=True)
        (runs / "run.flags").touch()
    (script,) = container["args"]
    script = script.replace("/runs/", f"{runs.parent}/")
    environment = {**os.environ, "JOB_COMPLETION_INDEX": str(index)}
    subprocess.run([*container["command"], script], env=environment, check=True)
    cluster, config = cluster_of(calls())
    assert cluster.index == index and config.resume is begun
    assert len(cluster.addresses) == job["spec"]["completions"]


def test_names_and_ports_of_the_job_fit_each_other():
    """`JOB-INDEX.SERVICE:PORT`, as an indexed Job with a headless Service has them."""
    service, job = kubernetes()
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (port,) = (each["port"] for each in service["spec"]["ports"])
    assert container["ports"] == [{"containerPort": port}]
    assert pod["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["clusterIP"] == "None"
    # Names must resolve before a pod is ready, or the workers could not meet.
    assert service["spec"]["publishNotReadyAddresses"] is True
    # Kubernetes gives this label to the pods of a Job.
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"]
    names = [
        f"{job['metadata']['name']}-{index}.{pod['subdomain']}:{port}"
        for index in range(spec["completions"])
    ]
    assert f"--workers={','.join(names)} " in container["args"][0]
    volumes = {each["name"] for each in pod["volumes"]}
    assert volumes == {each["name"] for each in container["volumeMounts"]}


def test_what_cannot_be_done_is_not_tried_again():
    """Exit code 2 fails the Job; a lost worker's does not."""
    _, job = kubernetes()
    fail, _ = job["spec"]["podFailurePolicy"]["rules"]
    assert fail["action"] == "FailJob" and fail["onExitCodes"]["values"] == [2]
    # Kubernetes allows the policy for pods that it does not restart itself.
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("index", [0, 2])
def test_each_slurm_task_is_a_worker(stand_in, cluster_of, tmp_path, index, begun):
    """On the nodes that SLURM names, in its order."""
    calls = stand_in("tfrobust")
    asked = stand_in("scontrol", "printf 'node1\\nnode2\\nnode7\\n'")
    stand_in("srun", 'shift; exec "$@"')
    run = tmp_path / "a run"
    if begun:
        run.mkdir()
        (run / "run.flags").touch()
    environment = {
        **os.environ,
        "RUN": str(run),
        "SLURM_JOB_NODELIST": "node[1-2,7]",
        "SLURM_PROCID": str(index),
    }
    subprocess.run(["bash", FOLDER / "slurm.sh"], env=environment, check=True)
    assert asked() == ["show", "hostnames", "node[1-2,7]"]
    cluster, config = cluster_of(calls())
    assert cluster.addresses == ("node1:2222", "node2:2222", "node7:2222")
    assert cluster.index == index
    assert config.workdir == str(run) and config.resume is begun


def test_slurm_ends_the_job_with_its_first_worker(stand_in, tmp_path):
    """Else the nodes of a run that has failed would be kept."""
    stand_in("scontrol", "echo node1")
    calls = stand_in("srun")
    environment = {**os.environ, "RUN": str(tmp_path), "SLURM_JOB_NODELIST": "node1"}
    subprocess.run(["bash", FOLDER / "slurm.sh"], env=environment, check=True)
    assert calls()[0] == "--kill-on-bad-exit=1"


def test_the_command_for_a_tpu(stand_in, cluster_of):
    """What `gcloud` would run there are flags of the trainer."""
    calls = stand_in("gcloud")
    environment = {**os.environ, "NAME": "my-tpu", "ZONE": "us-central1-a"}
    subprocess.run(["bash", FOLDER / "tpu.sh"], env=environment, check=True)
    *_, name, zone, command = calls()
    assert (name, zone) == ("my-tpu", "--zone=us-central1-a")
    words = shlex.split(command.removeprefix("--command="))
    cluster, config = cluster_of(words[1:])
    assert cluster is None
    assert (config.distribute, config.tpu) == ("tpu", "local")
