"""Reading ahead of the model, in threads: decoding releases Python's lock."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
_END = object()


def load_ahead(sources: Iterable, load: Callable, ahead: int) -> Iterator[Future]:
    """Call ``load`` on each source in several threads, at most ``ahead`` before they are asked for; order is kept."""
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        pending: deque[Future] = deque()
        try:
            for source in sources:
                pending.append(pool.submit(load, source))
                if len(pending) > ahead:
                    yield pending.popleft()
            while pending:
                yield pending.popleft()
        finally:
            for future in pending:
                future.cancel()


def iterate_ahead(items: Iterable[T], ahead: int) -> Iterator[T]:
    """Run an iterator in a thread of its own, at most ``ahead`` items before they are asked for."""
    iterator = iter(items)
    with ThreadPoolExecutor(max_workers=1) as pool:
        pending = deque(pool.submit(next, iterator, _END) for _ in range(ahead))
        try:
            while (item := pending.popleft().result()) is not _END:
                pending.append(pool.submit(next, iterator, _END))
                yield item
        finally:
            for future in pending:
                future.cancel()
