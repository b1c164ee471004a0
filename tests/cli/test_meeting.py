"""Workers who meet: all there once each and alike, or a sentence for every one."""

import concurrent.futures
import socket
import threading
import time

import pytest

from tests.addresses import free_addresses
from tfrobust.cli.meeting import meet
from tfrobust.cli.program import UsageError, WorkerLost
from tfrobust.core.cluster import Cluster

CLAIMS = {"--seed": "0", "--width": "16"}
SECONDS = 60.0


def meet_all(addresses, workers, seconds=SECONDS):
    """What becomes of each of `(index, claims, check)`: links, or an exception.

    All of them are on this machine; `own` is an address of a worker on another.
    """

    def one(index, claims=CLAIMS, check=None, own=None):
        try:
            known = [*addresses]
            known[index] = own or known[index]
            cluster = Cluster(tuple(known), index)
            return meet(cluster, claims, seconds=seconds, check=check)
        except (UsageError, WorkerLost) as error:
            return error

    with concurrent.futures.ThreadPoolExecutor(len(workers)) as pool:
        return list(pool.map(lambda worker: one(*worker), workers))


def sentences(outcomes):
    """The sentences of workers all of whom were refused."""
    assert all(isinstance(each, UsageError) for each in outcomes), outcomes
    return [str(each) for each in outcomes]


@pytest.mark.parametrize("count", [2, 3, 5])
def test_all_meet_and_can_talk(count):
    """Each has a connection to worker 0, who has one to each, and knows whose it is."""
    links = meet_all(free_addresses(count), [(index,) for index in range(count)])
    assert set(links[0]) == set(range(1, count))
    for index in range(1, count):
        assert set(links[index]) == {0}
        links[index][0].send(says=index)
        assert links[0][index].receive(SECONDS) == {"says": index}
        links[0][index].send(answers=index)
        assert links[index][0].receive(SECONDS) == {"answers": index}


def test_the_addresses_are_free_afterwards():
    """TensorFlow listens there next, while the connections stand."""
    addresses = free_addresses(2)
    links = meet_all(addresses, [(0,), (1,)])
    for address in addresses:
        port = int(address.rpartition(":")[2])
        with socket.create_server(("127.0.0.1", port)):
            pass
    links[1][0].send(still=True)
    assert links[0][1].receive(SECONDS) == {"still": True}


def test_strangers_are_shown_out():
    """A health check, and one who says nothing, delay the meeting and no more."""
    addresses = free_addresses(2)
    port = int(addresses[0].rpartition(":")[2])
    strangers = []

    def disturb():
        for text in (b"GET /healthz HTTP/1.1\r\n\r\n", b'{"index": 1}\n', b""):
            while True:
                try:
                    strangers.append(socket.create_connection(("127.0.0.1", port)))
                    break
                except OSError:
                    time.sleep(0.01)
            strangers[-1].sendall(text)

    def late():
        disturbing.join()

    disturbing = threading.Thread(target=disturb)
    disturbing.start()
    links = meet_all(addresses, [(0,), (1, CLAIMS, late)])
    assert set(links[0]) == {1} and set(links[1]) == {0}
    for each in strangers:
        each.close()


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({**CLAIMS, "--seed": "1"}, "--seed is 0 on worker 0 and 1 on worker 1"),
        ({"--seed": "0"}, "--width is 16 on worker 0 and not given on worker 1"),
        ({**CLAIMS, "--lr": "1"}, "--lr is not given on worker 0 and 1 on worker 1"),
    ],
)
def test_workers_that_are_not_alike(other, words):
    """Every worker says what differs, also one that had come and was alike."""
    found = sentences(meet_all(free_addresses(3), [(0,), (1, other), (2,)]))
    assert len(set(found)) == 1
    assert found[0].startswith(f"All workers must be alike: {words} (127.0.0.1:")


def refuse():
    """A check that fails."""
    raise UsageError("--workdir=runs/a already holds files.")


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_a_check_that_fails_on_one_worker(failing):
    """All stop by its sentence, within seconds, though they would wait for minutes."""
    before = time.monotonic()
    workers = [
        (index, CLAIMS, refuse if index == failing else None) for index in (0, 1, 2)
    ]
    found = sentences(meet_all(free_addresses(3), workers))
    assert set(found) == {"--workdir=runs/a already holds files."}
    assert time.monotonic() - before < 30


def test_an_address_in_use():
    """All workers say whose, though only one can know."""
    addresses = free_addresses(3)
    port = int(addresses[2].rpartition(":")[2])
    with socket.create_server(("", port)):
        found = sentences(meet_all(addresses, [(0,), (1,), (2,)]))
    assert len(set(found)) == 1
    assert f"The address of worker 2 ({addresses[2]}) is in use" in found[0]


def test_the_address_of_worker_0_in_use_by_another_program():
    """It is not taken for worker 0, which says what is wrong."""
    addresses = free_addresses(2)
    with socket.create_server(("", int(addresses[0].rpartition(":")[2]))):
        found = sentences(meet_all(addresses, [(0,)], seconds=1.0))
    assert f"The address of worker 0 ({addresses[0]}) is in use" in found[0]


def test_two_workers_of_one_index():
    """On two machines, while a third is waited for: all stop at once."""
    *addresses, other = free_addresses(4)
    workers = [(0,), (1,), (1, CLAIMS, None, other)]
    found = sentences(meet_all(addresses, workers, seconds=2.0))
    assert set(found) == {"Two workers have the index 1 (--worker_index)."}


def test_a_second_worker_0_stops_the_first():
    """It cannot listen, so it goes to who does."""
    addresses = free_addresses(2)
    found = sentences(meet_all(addresses, [(0,), (0,)], seconds=2.0))
    assert any("Two workers have the index 0" in each for each in found)
    assert any("is in use" in each for each in found)


def test_a_worker_that_never_comes():
    """Who waited says whom for."""
    addresses = free_addresses(3)
    found = sentences(meet_all(addresses, [(0,), (1,)], seconds=1.0))
    for each in found:
        assert each.startswith(f"worker 2 ({addresses[2]}) did not come to worker 0")


def test_worker_0_never_comes():
    """The others say that they could not reach it."""
    found = sentences(meet_all(free_addresses(2), [(1,)], seconds=0.5))
    assert "could not be reached within 0.5 seconds" in found[0]


def test_worker_0_dies_while_others_wait():
    """Not their fault: they may be started again."""
    addresses = free_addresses(2)
    server = socket.create_server(("127.0.0.1", int(addresses[0].rpartition(":")[2])))

    def die():
        connection, _ = server.accept()
        connection.close()
        server.close()

    threading.Thread(target=die, daemon=True).start()
    (outcome,) = meet_all(addresses, [(1,)])
    assert isinstance(outcome, WorkerLost)
    assert "ended before all workers had met" in str(outcome)


def test_an_address_of_another_machine():
    """A worker listens on its port whatever its name means to it."""
    (address,) = free_addresses(1)
    port = address.rpartition(":")[2]
    assert meet(Cluster((f"name.behind.nat:{port}",), 0), {}, seconds=1.0) == {}
