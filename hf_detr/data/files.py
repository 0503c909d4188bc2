"""Reading files from disks that fail for a moment: network file systems above all."""

import errno
import logging
import time
from collections.abc import Callable
from pathlib import Path

from hf_detr.errors import DatasetError

logger = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = (1, 4, 16)

# Not about the file but about the way to it: worth another try.
_PASSING = {
    getattr(errno, name)
    for name in (
        "EIO ESTALE ETIMEDOUT EAGAIN EINTR EBUSY EREMOTEIO ENOTCONN ECONNRESET ECONNABORTED ECONNREFUSED "
        "EHOSTDOWN EHOSTUNREACH ENETDOWN ENETUNREACH ENETRESET"
    ).split()
    if hasattr(errno, name)
}
_TOO_MANY_OPEN_FILES = {errno.EMFILE, errno.ENFILE}


class StorageError(DatasetError):
    """What holds a file does not answer, although asked several times. Says nothing about the file."""


def read_file(path: str | Path, read: Callable[[Path], bytes] = Path.read_bytes) -> bytes:
    """The content of a file; where a disk or a network fails, another try after 1, 4 and 16 seconds.

    Args:
        path: the file.
        read: what reads it.

    Raises:
        OSError: an error that another try does not mend, such as a file that is not there.
        StorageError: the last try failed as well, or no more files can be opened.
    """
    path, waits = Path(path), list(RETRY_AFTER_SECONDS)
    while True:
        try:
            return read(path)
        except OSError as error:
            if error.errno in _TOO_MANY_OPEN_FILES:
                raise StorageError(
                    f"{path}: cannot be opened: {error.strerror}. Raise the limit (`ulimit -n 65536`), or use fewer "
                    "--dataloader_num_workers."
                ) from error
            if error.errno not in _PASSING:
                raise
            if not waits:
                raise StorageError(
                    f"{path}: cannot be read: {error.strerror}, {len(RETRY_AFTER_SECONDS) + 1} tries within "
                    f"{sum(RETRY_AFTER_SECONDS)} seconds. Does the disk, or the network file system, still answer?"
                ) from error
            logger.warning("%s: %s; another try in %d s", path, error.strerror, waits[0])
        time.sleep(waits.pop(0))
