"""Which picture each loader process is at: what lets a message name the file when one of them dies or hangs."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch.utils.data import get_worker_info

_SLOTS = 256  # loader processes of one data set; more would overwrite each other's notes


class Reading(NamedTuple):
    """A process is at picture ``image`` since ``seconds``."""

    process: int
    image: int
    seconds: float


class Readers:
    """A slip of shared memory on which each loader process notes the picture it is at."""

    def __init__(self):
        # One row for each process: its id, the picture or -1 between samples, and since when.
        self._notes = torch.full((_SLOTS, 3), -1.0, dtype=torch.float64).share_memory_()

    def at(self, image: int) -> None:
        """This process reads picture ``image`` now."""
        worker = get_worker_info()
        note = self._notes[(worker.id if worker else 0) % _SLOTS].numpy()
        note[:] = os.getpid(), image, time.time()

    @contextmanager
    def busy(self) -> Iterator[None]:
        """What happens within concerns the last picture of `at`; afterwards this process waits for work."""
        yield  # after an error the note stays: it is what the message is about
        worker = get_worker_info()
        self._notes[(worker.id if worker else 0) % _SLOTS, 1] = -1

    def all(self) -> list[Reading]:
        """Where the processes are that are not waiting for work."""
        now = time.time()
        rows = self._notes.tolist()
        return [Reading(int(process), int(image), now - since) for process, image, since in rows if image >= 0]
