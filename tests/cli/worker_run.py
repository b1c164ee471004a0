"""One worker of a cluster that does nothing but be there, as a process.

Usage: `python -m tests.cli.worker_run ADDRESSES INDEX DEED`, the addresses with commas
between. DEED is what it does once all have met: `leave`, `refuse` (a `UsageError`),
`crash` (another error), `exit` (as by Ctrl-C), `claim:VALUE` and then wait, or `wait`,
for a worker that another one ends.
"""

import sys
import time

from tfrobust.cli import program, workers
from tfrobust.core.cluster import Cluster

FOREVER = 300


def act(deed):
    """What the worker does beside the others."""
    print("together", flush=True)
    sys.stdin.readline()  # Until all have said so.
    kind, _, value = deed.partition(":")
    if kind == "refuse":
        raise program.UsageError("--data_dir=/none has no cifar10.")
    if kind == "crash":
        raise ZeroDivisionError
    if kind == "exit":
        raise KeyboardInterrupt
    if kind == "claim":
        workers.claim("the digest of the images", value)
    if kind != "leave":
        time.sleep(FOREVER)


def main(arguments):
    """A worker, from its start to its end, as the programs have it."""
    addresses, index, deed = arguments
    with workers.together(
        Cluster(tuple(addresses.split(",")), int(index)), {}, seconds=60
    ):
        act(deed)
    print("done")


if __name__ == "__main__":
    ARGUMENTS, sys.argv[1:] = sys.argv[1:], []
    program.run(lambda: main(ARGUMENTS), lambda: __doc__)
