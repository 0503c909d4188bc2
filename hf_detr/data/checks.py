"""The doctor for data sets: everything that is wrong, at once, before a model is built or downloaded."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hf_detr.data.annotation_checks import annotation_findings
from hf_detr.data.file_checks import file_findings, file_sizes, unmentioned_findings
from hf_detr.data.findings import Finding
from hf_detr.data.record_checks import structural_findings
from hf_detr.data.report import DatasetReport, make_report
from hf_detr.data.splits import find_splits, read_splits, read_table
from hf_detr.data.table import AnnotationTable, Split


def check_dataset(
    data: str | Path | Mapping[str, Split],
    *,
    source: str | None = None,
    read_images: bool = True,
    num_queries: int | None = 300,
    image_size_hw: tuple[int, int] | None = None,
    progress: bool = False,
) -> DatasetReport:
    """Check a data set: annotations, files, and every picture.

    Args:
        data: a folder in one of the usual layouts, or splits by name.
        source: what the report calls the data; by default the folder or the annotation files.
        read_images: decode every picture; False leaves that out, as training does before it starts.
        num_queries: objects that the model can find in one picture; None leaves this check out.
        image_size_hw: height and width that pictures are resized to, to find objects that vanish; None leaves it out.
        progress: show a progress bar while pictures are read.

    Raises:
        DatasetError: nothing to check: no folder, no annotations in it, or annotations that cannot be read.
    """
    splits = data if isinstance(data, Mapping) else find_splits(data)
    if source is None:
        source = ", ".join(str(split.annotations_path) for split in splits.values()) if splits is data else str(data)
    tables = [read_table(split) for split in read_splits(splits).values()]
    sizes = [file_sizes(table) for table in tables]
    findings = _fast_findings(tables, sizes, num_queries, image_size_hw)
    findings += unmentioned_findings(tables)
    if read_images:
        from hf_detr.data.picture_checks import picture_findings  # loads torch, which the fast checks do without

        findings += picture_findings(tables, [np.flatnonzero(size > 0) for size in sizes], progress=progress)
    return make_report(source, findings, tables)


def check_fast(
    splits: Mapping[str, Split],
    *,
    num_queries: int | None = None,
    image_size_hw: tuple[int, int] | None = None,
) -> list[Finding]:
    """The checks that take seconds and run before training: annotations and whether files are there; no decoding.

    Training refuses to start on findings with the severity ``"error"``, see `errors_of`.

    Raises:
        DatasetError: annotations that are missing or cannot be read at all.
    """
    tables = [read_table(split) for split in read_splits(splits).values()]
    return _fast_findings(tables, [file_sizes(table) for table in tables], num_queries, image_size_hw)


def _fast_findings(
    tables: Sequence[AnnotationTable],
    sizes: Sequence[np.ndarray],
    num_queries: int | None,
    image_size_hw: tuple[int, int] | None,
) -> list[Finding]:
    findings = []
    for table, size in zip(tables, sizes, strict=True):
        findings += structural_findings(table)
        findings += annotation_findings(table, num_queries=num_queries, image_size_hw=image_size_hw)
        findings += file_findings(table, size)
    return findings + _agreement_findings(tables) + _missing_split_findings(tables)


def _agreement_findings(tables: Sequence[AnnotationTable]) -> list[Finding]:
    """Whether all splits have the categories of the first one, which is the training split if there is one."""
    findings = []
    for table in tables[1:]:
        findings += _compare_categories(tables[0], table)
    return findings


def _compare_categories(first: AnnotationTable, other: AnnotationTable) -> list[Finding]:
    id_of = dict(zip(first.category_names, first.category_ids, strict=True))
    other_id_of = dict(zip(other.category_names, other.category_ids, strict=True))
    objects = dict(zip(other.category_names, other.objects_per_category.tolist(), strict=True))
    one, two = first.split.name, other.split.name
    unlearnt = [name for name in other_id_of if name not in id_of and objects[name]]
    differences = [f"{name!r} only in {one}" for name in id_of if name not in other_id_of]
    differences += [f"{name!r} only in {two}" for name in other_id_of if name not in id_of and not objects[name]]
    differences += [
        f"{name!r} has id {id_of[name]!r} in {one} and {value!r} in {two}"
        for name, value in other_id_of.items()
        if name in id_of and id_of[name] != value
    ]
    files, splits = f"{first.split.annotations_path}, {other.split.annotations_path}", f"{one}, {two}"
    findings = []
    if unlearnt:
        findings.append(
            Finding(
                "category.not_in_train",
                "error",
                f"{two} has objects of classes that {one} does not list.",
                files,
                splits,
                len(unlearnt),
                tuple({"value": f"{name!r}, {objects[name]:,} objects"} for name in unlearnt),
                "The model never learns them. Give both files the same names (upper and lower case differ).",
            )
        )
    if differences:
        findings.append(
            Finding(
                "category.splits_differ",
                "warning",
                f"{one} and {two} do not list the same categories.",
                files,
                splits,
                len(differences),
                tuple({"value": difference} for difference in differences),
                "We match them by name. Other tools match by id and would learn one class and score another.",
            )
        )
    return findings


def _missing_split_findings(tables: Sequence[AnnotationTable]) -> list[Finding]:
    """A training split without one to validate on."""
    names = [table.split.name for table in tables]
    if "train" not in names or "valid" in names:
        return []
    advice = "Set some pictures aside for validation: without them no AP is measured and no best checkpoint chosen."
    path = str(tables[names.index("train")].split.annotations_path)
    return [Finding("split.no_valid", "info", "There is no validation split.", path, "train", 1, (), advice)]
