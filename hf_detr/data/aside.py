"""Folders that appear when they are complete: written aside, then renamed."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_aside(folder: Path) -> Iterator[Path]:
    """An empty folder to write into. It becomes `folder` at the end, in the place of what was there before.

    Where the block is left with an error or Ctrl-C, `folder` stays as it was, and nothing half-made is left.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as workplace:
        unfinished, replaced = Path(workplace) / folder.name, Path(workplace) / "replaced"
        unfinished.mkdir()
        yield unfinished
        if folder.exists():
            folder.rename(replaced)
        try:
            unfinished.rename(folder)
        except BaseException:
            if replaced.exists():
                replaced.rename(folder)
            raise
