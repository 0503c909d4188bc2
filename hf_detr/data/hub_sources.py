"""Hugging Face data sets, on the Hub or in a folder: recognised, opened, and their splits named."""

import hashlib
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies

from hf_detr.data.folders import SPLIT_WORDS
from hf_detr.data.formats import FILE_SUFFIXES
from hf_detr.data.hub_info import INFO_FILE, HubInfo, find_on_hub, read_info
from hf_detr.errors import DatasetError

if TYPE_CHECKING:
    from datasets import Dataset

    from hf_detr.data.hub_rows import RowSource
    from hf_detr.data.hub_tables import RowSplit

ROWS = "rows"  # the format of a split that is rows of a Hugging Face data set

_HUB_NAME = re.compile(r"[\w\-]+(?:\.[\w\-]+)*/[\w\-]+(?:\.[\w\-]+)*")
_METADATA_FILES = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
_SAVED_DICT, _SAVED_SPLIT = "dataset_dict.json", "state.json"


@dataclass(frozen=True)
class HubOptions:
    """What there is to say of a Hugging Face data set beside its name.

    Attributes:
        config: which of its configurations; None for the only one.
        revision: branch, tag or commit on the Hub.
        train_split, valid_split: its splits to train and to evaluate on, parts of them included, such as
            ``"train[:90%]"``; None to go by their names.
        box_format: one of ``box_formats.BOX_FORMATS``; None to find it out.
        streaming: read the pictures of the training split from where they are, without a copy on this disk.
        shuffle_window: with streaming, pictures that each loader process draws from at a time.
    """

    config: str | None = None
    revision: str | None = None
    train_split: str | None = None
    valid_split: str | None = None
    box_format: str | None = None
    streaming: bool = False
    shuffle_window: int = 1000


def is_hub_data(data: str | Path) -> bool:
    """Whether this is a folder as `datasets` reads it, or, where there is no such folder, may be a name on the Hub."""
    folder = Path(data)
    if folder.is_dir():
        return _is_saved(folder) or any(_marks_of(folder))
    if folder.exists() or folder.suffix.lower() in FILE_SUFFIXES:  # my_data/data.yaml is a file, there or not
        return False
    return _HUB_NAME.fullmatch(str(data)) is not None


def _is_saved(folder: Path) -> bool:
    return (folder / _SAVED_DICT).is_file() or (folder / _SAVED_SPLIT).is_file()


def _marks_of(folder: Path) -> Iterator[Path]:
    """Files that only a Hugging Face data set has, in the folder, one level below, or in ``data/`` of a copied one."""
    patterns = [f"{below}{name}" for name in (*_METADATA_FILES, "*.parquet") for below in ("", "*/", "data/*/")]
    return (path for pattern in patterns for path in folder.glob(pattern))


def refuse_hub_options(data: str | Path, options: HubOptions) -> None:
    """Nothing that is asked for is ignored.

    Raises:
        DatasetError: options for a data set that is none of Hugging Face's.
    """
    names = {"config": "data_config", "revision": "data_revision"}
    fields = ("config", "revision", "train_split", "valid_split", "box_format")
    given = [f"--{names.get(name, name)}" for name in fields if getattr(options, name) is not None]
    if given:
        raise DatasetError(
            f"{data} is no Hugging Face data set, and only for those {'is' if len(given) == 1 else 'are'} "
            f"{', '.join(given)}."
        )


def find_hub_splits(data: str | Path, options: HubOptions) -> "dict[str, RowSplit]":
    """The splits of a Hugging Face data set, keyed ``"train"``, ``"valid"`` and ``"test"``, as far as they are there.

    Raises:
        DatasetError: no such data set or no access to it, no split with a usual name, or no such split.
    """
    from hf_detr.data.hub_rows import ArrowRows
    from hf_detr.data.hub_tables import RowTables

    if options.streaming:
        rows = _open_stream(str(data), options)
    else:
        parts = _load(str(data), options)
        specs = name_splits(list(parts), options, source=str(data))
        rows = {name: ArrowRows(_part(parts, spec, source=str(data))) for name, spec in specs.items()}
    return RowTables(str(data), rows, box_format=options.box_format, info=_info(str(data), options)).splits()


def _info(data: str, options: HubOptions) -> HubInfo:
    if Path(data).is_dir():
        return read_info(Path(data) / INFO_FILE)
    from datasets import config

    with _without_attempts_in_vain():
        path = find_on_hub(data, options.revision, only_copies=config.HF_HUB_OFFLINE)
    return HubInfo() if path is None else read_info(path)


def name_splits(found: list[str], options: HubOptions, *, source: str) -> dict[str, str]:
    """Our names of splits, and what each is called in the data.

    >>> name_splits(["train", "validation"], HubOptions(), source="me/cats")
    {'train': 'train', 'valid': 'validation'}
    >>> name_splits(["train"], HubOptions(train_split="train[:80%]", valid_split="train[80%:]"), source="me/cats")
    {'train': 'train[:80%]', 'valid': 'train[80%:]'}

    Raises:
        DatasetError: not one usual name among them, or two names for one split.
    """
    named: dict[str, str] = {}
    for name in found:
        usual = SPLIT_WORDS.get(name.lower())
        if usual is not None and usual in named and getattr(options, f"{usual}_split", None) is None:
            raise DatasetError(
                f"{source}: both {named[usual]!r} and {name!r} could be the split {usual!r}. Name one with "
                f"--{usual}_split."
            )
        if usual is not None:
            named[usual] = name
    given = {"train": options.train_split, "valid": options.valid_split}
    named |= {name: spec for name, spec in given.items() if spec is not None}
    if not named:
        raise DatasetError(
            f"{source}: none of its splits has a usual name (train, validation, test): {', '.join(found)}. Say which "
            "is which with --train_split and --valid_split."
        )
    return {name: named[name] for name in ("train", "valid", "test") if name in named}


def _part(parts: "Mapping[str, Dataset]", spec: str, *, source: str) -> "Dataset":
    """A split, or the part of it that is asked for."""
    if spec in parts:
        return parts[spec]
    from datasets import ReadInstruction, concatenate_datasets

    sizes = {name: len(part) for name, part in parts.items()}
    try:
        ranges = ReadInstruction.from_spec(spec).to_absolute(sizes)
    except (ValueError, AssertionError) as error:
        raise DatasetError(
            f"{source}: there is no split {spec!r}. It has: {', '.join(parts)}; parts of them are written like "
            f"'train[:90%]'. ({error})"
        ) from error
    chosen = [parts[part.splitname].select(range(part.from_, part.to)) for part in ranges]
    return chosen[0] if len(chosen) == 1 else concatenate_datasets(chosen)


def _load(data: str, options: HubOptions) -> "Mapping[str, Dataset]":
    from datasets import DatasetDict, load_dataset, load_from_disk

    folder = Path(data)
    with _failures_explained(data):
        if folder.is_dir() and _is_saved(folder):
            loaded = load_from_disk(data)
        elif folder.is_dir():
            loaded = load_dataset(data, options.config, cache_dir=_cache_of_folder(folder))
        else:
            with _without_attempts_in_vain():
                loaded = load_dataset(data, options.config, revision=options.revision)
    return loaded if isinstance(loaded, DatasetDict) else {"train": loaded}


def _cache_of_folder(folder: Path) -> str:
    """Where what is read from a folder is kept: another place whenever its files change.

    `datasets` 5.2 knows a folder whose card lists configurations by its name alone, and would go on showing what it
    read from one of that name before.
    """
    from datasets.config import HF_DATASETS_CACHE

    content = hashlib.sha256(str(folder.absolute()).encode())
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        status = file.stat()
        content.update(f"{file.relative_to(folder)}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return str(Path(HF_DATASETS_CACHE) / "hf_detr_folders" / content.hexdigest()[:24])


def _open_stream(data: str, options: HubOptions) -> "dict[str, RowSource]":
    """The training split where it is; the validation split, which is read many times, copied to this disk.

    Raises:
        DatasetError: no Parquet files, parts of splits, or no training split.
    """
    from datasets import load_dataset, load_dataset_builder

    from hf_detr.data.hub_rows import ArrowRows
    from hf_detr.data.parquet_rows import ParquetRows

    is_folder = Path(data).is_dir()
    if is_folder and _is_saved(Path(data)):
        raise DatasetError(f"{data}: its Arrow files are on this disk, and are read bit by bit without --streaming.")
    with _failures_explained(data), nullcontext() if is_folder else _without_attempts_in_vain():
        builder = load_dataset_builder(data, options.config, revision=None if is_folder else options.revision)
    files = {str(name): list(map(str, paths)) for name, paths in (builder.config.data_files or {}).items()}
    if not files or not all(path.endswith(".parquet") for paths in files.values() for path in paths):
        raise DatasetError(
            f"{data}: only Parquet files can be streamed. "
            + (
                "Train without --streaming: what is in a folder needs no copy."
                if is_folder
                else "The Hub has a Parquet copy of most data sets: add --data_revision refs/convert/parquet."
            )
        )
    specs = name_splits(list(files), options, source=data)
    parts = [spec for name, spec in specs.items() if name != "test" and spec not in files]
    if parts or "train" not in specs:
        raise DatasetError(
            f"{data}: with --streaming, --train_split and --valid_split take whole splits, and there must be one to "
            f"train on. It has: {', '.join(files)}" + (f"; not: {', '.join(parts)}." if parts else ".")
        )
    rows: dict[str, RowSource] = {
        "train": ParquetRows(files[specs["train"]], features=builder.info.features, window=options.shuffle_window)
    }
    if "valid" in specs:
        with _failures_explained(data):
            copied = load_dataset("parquet", data_files={"valid": files[specs["valid"]]}, split="valid")
        rows["valid"] = ArrowRows(copied)
    return rows


@contextmanager
def _without_attempts_in_vain() -> Iterator[None]:
    """Where the Hub's name is not known here, `datasets` would ask for it six times in 23 seconds (5.2).

    What it has a copy of is read all the same.
    """
    from datasets import config

    host = urlsplit(config.HF_ENDPOINT).hostname
    if config.HF_HUB_OFFLINE or getproxies() or _is_known(host):
        yield
        return
    config.HF_HUB_OFFLINE = True
    try:
        yield
    except ConnectionError as error:
        raise ConnectionError(f"there is no network, or no {host} in it") from error
    finally:
        config.HF_HUB_OFFLINE = False


def _is_known(host: str) -> bool:
    try:
        return bool(socket.getaddrinfo(host, None))
    except OSError:
        return False


@contextmanager
def _failures_explained(data: str) -> Iterator[None]:
    """What goes wrong in `datasets` inside of the `with` block becomes an error that says what to do."""
    from datasets.exceptions import DatasetsError

    try:
        yield
    except (DatasetsError, OSError, ValueError) as error:
        raise DatasetError(explain_failure(data, error)) from error


def explain_failure(data: str, error: Exception) -> str:
    """What `datasets` says, on one line, and what to do about it."""
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    if Path(data).is_dir():
        return (
            f"{data}: `datasets` cannot read this folder: {said}\n"
            "It takes folders that `save_to_disk` wrote, Parquet files, and pictures with a metadata.jsonl or "
            "metadata.csv."
        )
    return (
        f"{data}: cannot be read from the Hugging Face Hub: {said}\n"
        f"- Spelling: the name is USER/NAME, as in the address of its page. A folder {Path(data).absolute()} is not "
        "there either.\n"
        "- Private, or with conditions to accept: accept them on its page, then `hf auth login` (or set HF_TOKEN).\n"
        "- Several configurations: choose one with --data_config.\n"
        f"- No network here: `hf download --repo-type dataset {data} --local-dir FOLDER` elsewhere; then give FOLDER."
    )
