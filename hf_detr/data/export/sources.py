"""The data sets that a conversion reads, as one."""

from collections.abc import Mapping, Sequence

from hf_detr.data.export.gather import concatenate, rename_pictures, unite_classes
from hf_detr.data.export.sourced import SourcedIndex, sourced_index
from hf_detr.data.findings import render_findings
from hf_detr.data.hub_sources import ROWS
from hf_detr.data.record_checks import structural_findings
from hf_detr.data.splits import Split, read_table
from hf_detr.errors import DatasetError

Splits = dict[str, SourcedIndex]

SPLIT_NAMES = ("train", "valid", "test")
NEW_CATEGORY_IDS = "Category ids are new, 1 to K in the order of the classes."


def read_sources(sources: Sequence[Mapping[str, Split]], notes: list[str]) -> Splits:
    """All sources as one, splits of one name put together, all with the same classes.

    Args:
        sources: the splits of each data set.
        notes: gets a sentence for everything that is changed or left out.

    Raises:
        DatasetError: annotations that cannot be used.
    """
    indices, shared_names = [], set()
    for split in (split for source in sources for split in source.values()):
        table = read_table(split)
        findings = structural_findings(table)
        if findings:
            raise DatasetError(f"{split.annotations_path} cannot be used:\n\n{render_findings(findings)}")
        names = table.category_names
        shared_names |= {name for name in names if names.count(name) > 1}
        index = sourced_index(table)
        if split.format == ROWS:  # there pictures go by their row, for messages
            index = rename_pictures(index, table.pictures.file_names())
        indices.append(index)
    if shared_names:
        notes.append(f"Categories of the same name became one class: {', '.join(map(repr, sorted(shared_names)))}.")
    united = unite_classes(indices)
    if any(set(_ids(index).items()) - set(_ids(one).items()) for index, one in zip(indices, united, strict=True)):
        notes.append(NEW_CATEGORY_IDS)
    indices = united
    names = dict.fromkeys([*SPLIT_NAMES, *(index.name for index in indices)])
    parts = {name: [index for index in indices if index.name == name] for name in names}
    return {name: concatenate(part, name) if len(part) > 1 else part[0] for name, part in parts.items() if part}


def _ids(index: SourcedIndex) -> dict[str, int | str]:
    """The category id of each name: the first where several have it."""
    return dict(zip(reversed(index.class_names), reversed(index.category_ids), strict=True))
