"""The same work on many files, in threads, with a progress bar."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")

_THREADS = 16  # a file system in the network answers many questions at a time, each slowly
_CHUNK = 64  # handing over a single file would cost about as much as reading it
BAR_AFTER_SECONDS = 2.0


def for_each_file(work: Callable[[Item], Result], items: Sequence[Item], *, title: str) -> list[Result]:
    """``work`` of every item, in order. The bar shows in a terminal, where it takes longer than a moment.

    Args:
        work: called in threads.
        items: files, or whatever stands for them.
        title: of the progress bar, e.g. ``"reading labels"``.
    """
    chunks = [items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK)]
    pool = ThreadPoolExecutor(_THREADS)
    try:
        results = _flattened(pool.map(lambda chunk: [work(item) for item in chunk], chunks))
        return list(tqdm(results, title, len(items), unit=" files", delay=BAR_AFTER_SECONDS, disable=None))
    finally:
        pool.shutdown(cancel_futures=True)


def _flattened(chunks: Iterator[list[Result]]) -> Iterator[Result]:
    for chunk in chunks:
        yield from chunk
