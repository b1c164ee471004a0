"""The trainers' fixtures: what command lines share is tested on theirs."""

from tests.trainers.conftest import (  # noqa: F401
    call_module,
    cifar,
    finished_run,
    parse,
    snapshot,
    start_module,
    tiny,
    trainer_flags,
)
