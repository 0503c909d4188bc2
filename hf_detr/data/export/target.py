"""The folder that a conversion writes: free, or from an earlier conversion and of nothing else."""

import json
from collections.abc import Iterable
from pathlib import Path

from hf_detr.data.findings import shortlist
from hf_detr.errors import DatasetError

MANIFEST = ".hf_detr_convert.json"  # hidden: neither trainers nor `datasets` look into it


def require_free(target: Path, *, overwrite: bool, sources: Iterable[Path]) -> None:
    """Refuse a target that holds something.

    Args:
        target: the folder to be written.
        overwrite: whether what an earlier conversion wrote there may go.
        sources: folders and files that are going to be read.

    Raises:
        DatasetError: it is a file, or not empty and not to be overwritten; it holds, or is, a source; or it has files
            that no conversion wrote.
    """
    if target.exists() and not target.is_dir():
        raise DatasetError(f"{target} is a file; name a folder to write to.")
    if not target.exists() or not any(target.iterdir()):
        return
    if not overwrite:
        raise DatasetError(
            f"{target} is not empty. Name another folder, or replace an earlier conversion with --overwrite."
        )
    for source in sources:
        if source.resolve().is_relative_to(target.resolve()):
            raise DatasetError(f"{target} holds the data to be read ({source}); name another folder to write to.")
    written = _manifest_of(target)
    foreign = sorted(_files_in(target) - written)
    if foreign:
        raise DatasetError(
            f"{target} has files that `hf-detr data convert` did not write, and --overwrite leaves those alone: "
            f"{shortlist(foreign, 5)}. Move or delete them, or name another folder."
        )


def write_manifest(folder: Path) -> None:
    """Write down which files there are, so that a later conversion may replace them."""
    content = {"written_by": "hf-detr data convert", "files": sorted(_files_in(folder))}
    (folder / MANIFEST).write_text(json.dumps(content, indent=0, ensure_ascii=False), encoding="utf-8")


def _manifest_of(target: Path) -> set[str]:
    try:
        return {*json.loads((target / MANIFEST).read_text(encoding="utf-8"))["files"], MANIFEST}
    except (OSError, ValueError, KeyError, TypeError):
        return set()  # then every file there is somebody else's


def _files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_symlink() or path.is_file()}
