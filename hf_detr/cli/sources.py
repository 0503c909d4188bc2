"""What commands are pointed at: pictures, videos, folders and patterns of them, addresses, streams and webcams."""

import glob
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, count
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from hf_detr.errors import DatasetError

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".mts", ".m2ts", ".wmv", ".flv", ".3gp", ".ogv"}
)
# Streams come in such files too; a folder with them is more likely to hold TypeScript.
_ONLY_IF_NAMED = frozenset({".ts", ".m3u8", ".mpd", ".h264", ".mjpeg"})
_WEBCAM = re.compile(r"webcam(?::(\d+))?")
_OTHER_VIDEO_TYPES = ("application/vnd.apple.mpegurl", "application/x-mpegurl", "application/dash+xml", "multipart/")


class Sources(NamedTuple):
    """Pictures, files or URLs, and videos: files, URLs, or numbers of webcams."""

    pictures: list[Path | str]
    videos: list[Path | str | int]


def find_sources(sources: Iterable[str], leave_out: Path | None = None) -> Sources:
    """Pictures and videos named directly, below folders or by patterns; each once, folders in order of names.

    Args:
        sources: files, folders, patterns, URLs, and ``webcam`` or ``webcam:1``.
        leave_out: a folder whose content is not looked at, such as that of the results.

    Raises:
        DatasetError: a source does not exist or holds no pictures and videos, or a web address does not answer.
    """
    pictures: dict[Path | str, None] = {}
    videos: dict[Path | str | int, None] = {}
    for source in sources:
        webcam = _WEBCAM.fullmatch(source)
        if webcam and not Path(source).exists():
            videos[int(webcam[1] or 0)] = None
        elif "://" in source:
            (pictures if _is_picture_url(source) else videos)[source] = None
        else:
            paths = _files(source, leave_out, "no pictures or videos there")
            videos.update(dict.fromkeys(path for path in paths if _is_video(path)))
            pictures.update(dict.fromkeys(path for path in paths if not _is_video(path)))
    return Sources(list(pictures), list(videos))


def find_pictures(sources: Iterable[str], leave_out: Path | None = None) -> list[Path]:
    """Picture files alone, as `find_sources` finds them.

    Raises:
        DatasetError: a source does not exist or holds no pictures.
    """
    found: dict[Path, None] = {}
    for source in sources:
        pictures = [path for path in _files(source, leave_out, "no pictures there") if not _is_video(path)]
        if not pictures:
            raise DatasetError(f"{source}: no pictures there.")
        found.update(dict.fromkeys(pictures))
    return list(found)


def _files(source: str, leave_out: Path | None, nothing: str) -> list[Path]:
    results = leave_out.absolute() if leave_out is not None else None
    paths = [path for path in _files_of(source) if results not in path.absolute().parents]
    if not paths:
        raise DatasetError(f"{source}: {nothing}.")
    return paths


def _files_of(source: str) -> Iterator[Path]:
    from hf_detr.data.folders import PICTURE_SUFFIXES

    path, wanted = Path(source), PICTURE_SUFFIXES | VIDEO_SUFFIXES
    if path.is_dir():
        yield from sorted(p for p in path.rglob("*") if p.suffix.lower() in wanted and p.is_file())
    elif path.exists():
        yield path
    elif glob.has_magic(source):
        for match in sorted(glob.glob(source, recursive=True)):
            yield from _files_of(match)
    else:
        raise DatasetError(f"{source}: no such file or folder.")


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES | _ONLY_IF_NAMED


def _is_picture_url(url: str) -> bool:
    """Told by its ending, or else by what the server says it is; streams of other protocols are videos."""
    from hf_detr.data.folders import PICTURE_SUFFIXES
    from hf_detr.inference.fetch import content_type, is_web_address

    path = Path(urlsplit(url).path)
    if not is_web_address(url) or _is_video(path):
        return False
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return True
    return not content_type(url).startswith(("video/", *_OTHER_VIDEO_TYPES))


def output_names(sources: Sequence[Path | str | int]) -> dict[Path | str | int, Path]:
    """How what is written about each source is called, without an ending: by its own name, no two alike.

    Sources of equal name keep as many of their folders as tell them apart.
    """
    names: dict[Path | str | int, Path] = {}
    taken: set[str] = set()
    for source in sources:
        parts = _parts(source)
        with_folders = (Path(*parts[-depth:]) for depth in range(1, len(parts) + 1))
        with_number = (Path(f"{parts[-1]}-{number}") for number in count(2))
        # compared in lower case: some file systems do
        name = next(name for name in chain(with_folders, with_number) if str(name).lower() not in taken)
        taken.add(str(name).lower())
        names[source] = name
    return names


def _parts(source: Path | str | int) -> list[str]:
    """Folders and name of a source, without its ending."""
    if isinstance(source, int):
        return [f"webcam-{source}"]
    if isinstance(source, Path):
        return [part for part in source.with_suffix("").parts if part not in ("..", source.anchor)]
    address = urlsplit(source)
    parts = [part for part in address.path.split("/") if part not in ("", "..")]
    return [address.hostname or address.scheme, *parts[:-1], *(Path(part).stem for part in parts[-1:])]
