"""The splits of a data set in any format: found in a folder, read as a table for checks or as an index to train on."""

from collections.abc import Sequence
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

__all__ = ["Split", "explicit_split", "find_splits", "load_index", "read_table"]


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


def read_table(split: Split) -> AnnotationTable:
    """The annotations of a split as columns, whatever is wrong with them.

    Raises:
        DatasetError: no such folder of pictures, or annotations that cannot be read at all.
    """
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
    return index_of_table(table, class_names, use_up=split.format != ROWS)  # tables of rows are kept
