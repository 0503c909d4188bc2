"""Decoded pictures kept in memory: read and decoded once, shared by all loader processes of a machine, for all epochs.

The pictures lie in one anonymous file in memory, mapped by whoever reads them. It has no name, so that nothing is left
behind when the last process ends, however it ends; and it is not part of /dev/shm, whose size containers limit.
"""

import logging
import mmap
import os
import tempfile
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.reduction import DupFd
from pathlib import Path

import numpy as np
from tqdm import tqdm

from hf_detr.data.images import (
    StoredPicture,
    UnreadableImageError,
    decode_stored,
    read_header,
    reduce_size_hw,
    reduction,
)
from hf_detr.data.index import DetectionIndex
from hf_detr.errors import DatasetError

logger = logging.getLogger(__name__)

SHARE_OF_FREE_MEMORY = 0.8  # the rest is for the processes that train and load

# One row for each picture: where its pixels begin, their height and width, its orientation (0: not in memory), and
# the height and width of its file.
_COLUMNS = 6


class PictureCache:
    """Pictures of a split in memory, as `decode_stored` gives them. Made by `cache_pictures`.

    It can be handed to processes of the same machine, forked or spawned; they share the one copy. A process that is
    neither opens it by its `address`.
    """

    def __init__(self, descriptor: int, images: int):
        self._descriptor, self._images = descriptor, images
        self._memory = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
        self._table = np.frombuffer(self._memory, np.int64, images * _COLUMNS).reshape(images, _COLUMNS)
        weakref.finalize(self, os.close, descriptor)

    def __len__(self) -> int:
        """Pictures in memory."""
        return int((self._table[:, 3] > 0).sum())

    def __getstate__(self) -> dict:
        return {"descriptor": DupFd(self._descriptor), "images": self._images}

    def __setstate__(self, state: dict) -> None:
        self.__init__(state["descriptor"].detach(), state["images"])

    @property
    def megabytes(self) -> float:
        """How much memory it takes."""
        return len(self._memory) / 1e6

    @property
    def address(self) -> tuple[int, int, int]:
        """What `open_cache` needs, as long as this process lives."""
        return os.getpid(), self._descriptor, self._images

    def read(self, image: int) -> StoredPicture | None:
        """Picture number ``image``; None for one that could not be read when the cache was filled."""
        begin, height, width, orientation, *size_hw = self._table[image].tolist()
        if not orientation:
            return None
        pixels = np.frombuffer(self._memory, np.uint8, height * width * 3, begin).reshape(height, width, 3)
        # A copy, as decoding makes one: whoever gets it may change it.
        return StoredPicture(pixels.copy(), orientation, (size_hw[0], size_hw[1]))


def open_cache(address: tuple[int, int, int]) -> PictureCache:
    """The cache of another process of this machine and user, such as the first one of a distributed run."""
    process, descriptor, images = address
    return PictureCache(os.open(f"/proc/{process}/fd/{descriptor}", os.O_RDONLY), images)


def cache_pictures(index: DetectionIndex, *, least_side: int | None = None) -> PictureCache:
    """Decode all pictures of an index into memory, by as many threads as there are cores.

    Pictures that cannot be read are left out, counted in the log, and named when they are asked for.

    Args:
        index: the split.
        least_side: keep them reduced as far as the shorter side has this many pixels, see `decode_stored`.

    Raises:
        DatasetError: they take more than 80 % of the free memory.
        StorageError: the disk does not answer.
    """
    require_memory(index, estimate_bytes(index, least_side), available_bytes())
    table = np.zeros((len(index), _COLUMNS), dtype=np.int64)
    descriptor, end, lock = _anonymous_file(), table.nbytes, threading.Lock()

    def keep(image: int) -> None:
        nonlocal end
        try:
            stored = decode_stored(index.picture(image), least_side)
        except UnreadableImageError:
            return
        with lock:
            begin, end = end, end + stored.pixels.nbytes
        _write(descriptor, stored.pixels.data.cast("B"), begin)
        table[image] = (begin, *stored.pixels.shape[:2], stored.orientation, *stored.size_hw)

    try:
        with _threads() as pool:
            list(tqdm(pool.map(keep, range(len(index))), "Reading pictures into memory", len(index), unit=" pictures"))
        _write(descriptor, table.data.cast("B"), 0)
    except BaseException:
        os.close(descriptor)
        raise
    cache = PictureCache(descriptor, len(index))
    missing = f"; {len(index) - len(cache)} could not be read" if len(cache) < len(index) else ""
    logger.info("%s: %d pictures in memory, %.0f MB%s", index.name, len(cache), cache.megabytes, missing)
    return cache


def estimate_bytes(index: DetectionIndex, least_side: int | None = None) -> int:
    """What the decoded pictures take, by the annotated sizes, or where there are none by the headers of the files."""
    sizes_hw = index.sizes_hw.astype(np.int64)
    unknown = np.flatnonzero((sizes_hw <= 0).any(axis=1))

    def measure(image: int) -> tuple[int, int]:
        try:
            return read_header(index.picture(image))[0]
        except UnreadableImageError:
            return 0, 0

    if len(unknown):
        with _threads() as pool:
            measured = pool.map(measure, unknown.tolist())
            sizes_hw[unknown] = list(tqdm(measured, "Measuring pictures", len(unknown), unit=" pictures"))
    if least_side is not None:
        sizes_hw = np.array([reduce_size_hw(size, reduction(size, least_side)) for size in sizes_hw.tolist()])
    return int(sizes_hw.reshape(-1, 2).prod(axis=1).sum()) * 3


def require_memory(index: DetectionIndex, needed: int, available: int) -> None:
    """Refuse a cache that does not fit, before anything is read.

    Raises:
        DatasetError: ``needed`` bytes are more than 80 % of those ``available``.
    """
    if needed > SHARE_OF_FREE_MEMORY * available:
        raise DatasetError(
            f"{index.annotations_path}: the {len(index):,} pictures take {needed / 1e9:.1f} GB in memory; "
            f"{available / 1e9:.1f} GB are free, of which a fifth is left to the training itself. Keep large pictures "
            "at a reduced size with --decode_side (such as 1.5 times image_size), or train without --cache_images ram."
        )


def available_bytes(root: Path = Path("/")) -> int:
    """Memory that can be had without swapping, by the kernel and by the limits of the container.

    Args:
        root: where ``proc`` and ``sys`` are.
    """
    try:
        rows = dict(line.split(":") for line in (root / "proc/meminfo").read_text().splitlines())
        free = int(rows["MemAvailable"].split()[0]) * 1024
    except OSError:  # not Linux: half of what is built in
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    for limit, used in (
        ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory.current"),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        try:
            most, now = (root / limit).read_text().strip(), int((root / used).read_text())
        except OSError:
            continue
        if most != "max":
            free = min(free, max(int(most) - now, 0))
    return free


def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count())


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("hf_detr pictures")
    with tempfile.TemporaryFile() as file:  # outside of Linux: a file that is deleted already
        return os.dup(file.fileno())


def _write(descriptor: int, content: memoryview, begin: int) -> None:
    while len(content):
        written = os.pwrite(descriptor, content, begin)
        content, begin = content[written:], begin + written
