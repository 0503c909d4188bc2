"""The splits of a data set in any format: found in a folder, read as a table for checks or as an index to train on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path

from hf_detr.data.findings import render_findings
from hf_detr.data.formats import explicit_split, find_file_splits, read_file_table
from hf_detr.data.hub_sources import ROWS, HubOptions, find_hub_splits, is_hub_data, refuse_hub_options
from hf_detr.data.index import DetectionIndex
from hf_detr.data.index_cache import cached_index
from hf_detr.data.record_checks import structural_findings
from hf_detr.data.table import AnnotationTable, Split
from hf_detr.data.table_index import index_of_table
from hf_detr.errors import DatasetError

__all__ = ["ReadSplit", "Split", "explicit_split", "find_splits", "load_index", "read_splits", "read_table"]


def find_splits(data: str | Path, hub: HubOptions | None = None) -> dict[str, Split]:
    """The splits of a data set, keyed ``"train"``, ``"valid"`` and ``"test"``, as far as they are there.

    Args:
        data: a folder, a file that describes a data set such as ``data.yaml``, or the name of a data set on the
            Hugging Face Hub.
        hub: how to read it, if it is a Hugging Face data set.

    Raises:
        DatasetError: no such folder, no format recognised in it (says what was looked for and what is there) or
            several, two places for one split, annotations without pictures, no such data set on the Hub, or options
            for the Hub with another.
    """
    hub = hub or HubOptions()
    if is_hub_data(data):
        return find_hub_splits(data, hub)
    refuse_hub_options(data, hub)
    return find_file_splits(Path(data))


@dataclass(frozen=True, eq=False)
class ReadSplit(Split):
    """A split whose annotations have been read: to be checked, and then made an index without reading them again.

    Attributes:
        kept: the table; empty once it has been made an index, and afterwards the split is like any other.
    """

    kept: list[AnnotationTable] = field(default_factory=list)


def read_splits(splits: Mapping[str, Split]) -> dict[str, Split]:
    """The splits with their annotations read.

    Raises:
        DatasetError: as `read_table`, about all splits together.
    """
    found: dict[str, Split] = {}
    troubles = []
    for name, split in splits.items():
        try:
            table = read_table(split)
        except DatasetError as error:
            troubles.append(str(error))
            continue
        known = {one.name: getattr(split, one.name) for one in fields(Split)}
        # Rows keep their tables themselves.
        found[name] = split if split.format == ROWS else ReadSplit(**known, kept=[table])
    if troubles:
        raise DatasetError("\n".join(troubles))
    return found


def read_table(split: Split) -> AnnotationTable:
    """The annotations of a split as columns, whatever is wrong with them.

    Raises:
        DatasetError: no such folder of pictures, or annotations that cannot be read at all.
    """
    if isinstance(split, ReadSplit) and split.kept:
        return split.kept[0]
    if split.format == ROWS:
        return split.tables.table(split)
    return read_file_table(split)


def load_index(split: Split, class_names: Sequence[str] | None = None) -> DetectionIndex:
    """The annotations of a split as arrays, from large files mapped, see `hf_detr.data.index_cache`.

    Whether the pictures exist is not looked at.

    Args:
        split: where it is kept.
        class_names: classes to use, in this order, in place of the data's own order: those of the training split, or
            of a model. Categories without objects may be missing from it. A class that the data does not list gets an
            id that no category of the data has.

    Raises:
        DatasetError: as `read_table`, errors that leave no way to use it (all of them are listed), or objects of
            classes that are not in `class_names`.
    """
    return cached_index(split, class_names, partial(_read_index, split, class_names))


def _read_index(split: Split, class_names: Sequence[str] | None) -> DetectionIndex:
    table = read_table(split)
    findings = structural_findings(table)
    if findings:
        raise DatasetError(f"{split.annotations_path} cannot be used:\n\n{render_findings(findings)}")
    if isinstance(split, ReadSplit):
        split.kept.clear()
    return index_of_table(table, class_names, use_up=split.format != ROWS)  # tables of rows are kept
