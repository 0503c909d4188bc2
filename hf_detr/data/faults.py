"""What goes wrong between disk and trainer, by name: a killed loader process, full shared memory, a stalled disk."""

import logging
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hf_detr.data.dataset import DetectionDataset
from hf_detr.errors import HfDetrError, TrainingError

logger = logging.getLogger(__name__)

REPORT_AFTER_SECONDS = 60.0  # at one picture; decoding and augmenting one takes milliseconds

_CONTINUE = "Checkpoints saved before are untouched: mend it and go on with --resume."
_KILLED = re.compile(r"DataLoader worker \(pid\(?s?\)?:? ?\(?([\d, ]+)\)\)? (?:is killed by signal: ([^.]*)|exited)")
_TIMED_OUT = re.compile(r"DataLoader timed out after ([\d.]+) seconds")
_SHARED_MEMORY = re.compile(r"shared memory\(shm\)|/torch_\d+_|workers are out of shared memory|Bus error")
_OPEN_FILES = re.compile(r"Too many open files|received \d+ items of ancdata")


@contextmanager
def explained_faults(dataset: Any, report_after: float = REPORT_AFTER_SECONDS) -> Iterator[None]:
    """Around what reads a data set through loader processes: their faults become errors that help.

    Meanwhile a thread looks what each process is at, and a picture that takes longer than ``report_after`` seconds is
    named in the log. Other errors pass, and so do data sets that are none of ours.

    Raises:
        TrainingError: a process was killed or says nothing for too long, or shared memory or open files ran out. It
            names the picture.
        HfDetrError: what a process raised itself, without the traceback that it comes with.
    """
    stop = threading.Event()
    watch = threading.Thread(target=_watch, args=(dataset, stop, report_after), name="watch readers", daemon=True)
    if isinstance(dataset, DetectionDataset):
        watch.start()
    try:
        yield
    except (HfDetrError, RuntimeError, OSError, EOFError) as error:
        cause = (_death_of_a_process() or error) if isinstance(error, OSError | EOFError) else error
        explained = explain_fault(cause, dataset)
        if explained is None:
            raise
        if _KILLED.search(str(cause)) and threading.current_thread() is threading.main_thread():
            # torch's handler raises again for each of the other processes that ends now, wherever we are by then.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        raise explained from error
    finally:
        stop.set()


def explain_fault(error: Exception, dataset: Any) -> HfDetrError | None:
    """The error in words that help; None for one that has nothing to do with reading pictures."""
    text = f"{error} {error.__cause__ or ''}"  # torch may say that a process ended, and in the cause how
    if isinstance(error, HfDetrError):
        own = _own_message(error)
        return None if own is None else type(error)(own)
    if _OPEN_FILES.search(text):
        return TrainingError(
            "Too many open files: loader processes hand over each batch as files in memory. Raise the limit with "
            f"`ulimit -n 65536`, or use fewer --dataloader_num_workers. {_CONTINUE}"
        )
    killed = max(_KILLED.finditer(text), key=lambda match: match[2] is not None, default=None)
    if _SHARED_MEMORY.search(text) and (killed is None or "Bus error" in text):
        return TrainingError(
            "Shared memory is full: loader processes hand over their batches in /dev/shm, and `df -h /dev/shm` says "
            "how large it is. Give a container more (docker run --shm-size 16g), use fewer --dataloader_num_workers "
            f"or a smaller batch; --dataloader_num_workers 0 needs none. {_CONTINUE}"
        )
    if killed:
        processes = [int(process) for process in killed[1].split(",")]
        how = killed[2].strip() if killed[2] else "without a word"
        return TrainingError(
            f"Loader process {killed[1]} was killed ({how}) {_whereabouts(dataset, processes)}. Mostly the memory of "
            "the machine or container ran out, and `dmesg` says so: use fewer --dataloader_num_workers, a smaller "
            f"batch, or --decode_side for large pictures. {_CONTINUE}"
        )
    timed_out = _TIMED_OUT.search(text)
    if timed_out:
        return TrainingError(
            f"No batch came from the loader processes for {float(timed_out[1]):.0f} seconds. They are "
            f"{_whereabouts(dataset)}. Does the disk, or the network file system, still answer? --loader_timeout sets "
            f"how long to wait, 0 for ever. {_CONTINUE}"
        )
    return None


def _death_of_a_process(seconds: float = 1.0) -> RuntimeError | None:
    """What torch says of a loader process that just died, None if none did.

    A batch that it had announced can no longer be fetched, and that error may be faster than the signal of its death.
    """
    try:
        time.sleep(seconds)
    except RuntimeError as error:
        return error
    return None


def _own_message(error: HfDetrError) -> str | None:
    """The message of an error from a loader process, which arrives with a traceback around it; None for any other."""
    if "Original Traceback (most recent call last)" not in str(error):
        return None
    starts = list(re.finditer(rf"^[\w.]*\b{type(error).__name__}: ", str(error), flags=re.MULTILINE))
    return str(error)[starts[-1].end() :].strip() if starts else None


def _whereabouts(dataset: Any, processes: list[int] | None = None) -> str:
    """At which pictures these processes are, or all of them."""
    readings = dataset.readers.all() if isinstance(dataset, DetectionDataset) else []
    named = [
        f"{dataset.index.image_path(reading.image)} ({reading.seconds:.0f} s)"
        for reading in readings
        if processes is None or reading.process in processes
    ]
    return f"at {', '.join(named[:4])}" if named else "between two pictures"


def _watch(dataset: DetectionDataset, stop: threading.Event, report_after: float) -> None:
    next_report: dict[tuple[int, int], float] = {}
    while not stop.wait(report_after / 4):
        for process, image, seconds in dataset.readers.all():
            if seconds >= next_report.get((process, image), report_after):
                next_report[process, image] = 2 * seconds
                logger.warning(
                    "Process %d has been at %s for %.0f s: does its disk, or network file system, still answer?",
                    process,
                    dataset.index.image_path(image),
                    seconds,
                )
