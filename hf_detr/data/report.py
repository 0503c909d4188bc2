"""The doctor's report: figures of a data set and what was found, for a person and for a machine."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hf_detr.data.findings import Finding, Severity, by_severity, counted, errors_of, render_findings
from hf_detr.data.table import AnnotationTable, shown_id

# Areas in pixels² at which COCO's AP calls an object medium and large (https://cocodataset.org/#detection-eval).
_MEDIUM, _LARGE = 32**2, 96**2
_QUANTILES = {"min": 0.0, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95, "max": 1.0}
_MOST_CLASSES = 40


@dataclass(frozen=True)
class DatasetReport:
    """What `check_dataset` found.

    Attributes:
        source: the folder or files that were checked.
        findings: errors first.
        statistics: figures of each split by name, plain values, see `split_statistics`.
    """

    source: str
    findings: tuple[Finding, ...]
    statistics: dict[str, dict[str, Any]]

    @property
    def exit_code(self) -> int:
        """1 if there are errors, else 0."""
        return int(bool(errors_of(self.findings)))

    @property
    def strict_exit_code(self) -> int:
        """1 if there are errors or warnings, else 0."""
        return int(any(finding.severity != "info" for finding in self.findings))

    def count(self, severity: Severity) -> int:
        """How many kinds of trouble of this severity there are."""
        return sum(finding.severity == severity for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with every place of every finding."""
        return {
            "source": self.source,
            "errors": self.count("error"),
            "warnings": self.count("warning"),
            "infos": self.count("info"),
            "findings": [finding.to_dict() for finding in self.findings],
            "statistics": self.statistics,
        }

    def render(self, *, width: int = 100, max_examples: int = 3) -> str:
        """The report as text of at most `width` columns."""
        findings = render_findings(self.findings, width=width, max_examples=max_examples)
        parts = [self.source, _split_table(self.statistics), _class_table(self.statistics), findings, self._verdict()]
        return "\n\n".join(part for part in parts if part)

    def _verdict(self) -> str:
        errors, warnings, infos = (self.count(severity) for severity in ("error", "warning", "info"))
        found = f"{counted(errors, 'error')}, {counted(warnings, 'warning')}, {counted(infos, 'note')}."
        if errors:
            return f"{found} Correct the errors first: training refuses most of them."
        return f"{found} " + ("Ready to train, but read the warnings." if warnings else "Ready to train.")


def make_report(source: str, findings: Sequence[Finding], tables: Sequence[AnnotationTable]) -> DatasetReport:
    """Put findings and figures together."""
    statistics = {table.split.name: split_statistics(table) for table in tables}
    return DatasetReport(source, tuple(by_severity(findings)), statistics)


def split_statistics(table: AnnotationTable) -> dict[str, Any]:
    """Figures of one split as plain values. Objects are annotations that are not crowds; areas are in pixels²."""
    objects = table.objects_per_image
    areas = table.areas[~table.is_crowd & (table.image_of >= 0) & (table.areas > 0)]
    sizes = Counter(tuple(size) for size in table.sizes_hw.tolist())
    height, width = np.median(table.sizes_hw, axis=0) if len(table.sizes_hw) else (0, 0)
    small, large = int((areas < _MEDIUM).sum()), int((areas >= _LARGE).sum())
    return {
        "images": len(table.file_names),
        "images_without_objects": int((objects == 0).sum()),
        "objects": int(objects.sum()),
        "crowds": int(table.is_crowd.sum()),
        "classes": [
            {"id": shown_id(value), "name": name, "objects": int(number)}
            for value, name, number in zip(
                table.category_ids, table.category_names, table.objects_per_category, strict=True
            )
        ],
        "box_sizes": {"small": small, "medium": len(areas) - small - large, "large": large},
        "objects_per_image": {
            name: float(np.quantile(objects, at, method="nearest")) if len(objects) else 0.0
            for name, at in _QUANTILES.items()
        },
        "median_size": {"height": int(height), "width": int(width)},
        "image_sizes": [
            {"height": size_hw[0], "width": size_hw[1], "images": number} for size_hw, number in sizes.most_common(5)
        ],
        "different_image_sizes": len(sizes),
    }


def _columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows as aligned columns: the first to the left, the rest to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _split_table(statistics: dict[str, dict[str, Any]]) -> str:
    def share(part: int, whole: int) -> str:
        return f"{part:,} ({part / whole:.0%})" if whole else f"{part:,}"

    def per_image(split: dict[str, Any]) -> str:
        spread = split["objects_per_image"]
        return f"{spread['min']:.0f} / {spread['median']:.0f} / {spread['p95']:.0f} / {spread['max']:.0f}"

    splits = statistics.values()
    rows = [
        ["", *statistics],
        ["images", *(f"{split['images']:,}" for split in splits)],
        ["  without objects", *(f"{split['images_without_objects']:,}" for split in splits)],
        ["objects", *(f"{split['objects']:,}" for split in splits)],
        ["  crowds besides", *(f"{split['crowds']:,}" for split in splits)],
        *(
            [
                f"  {name} ({where})",
                *(share(split["box_sizes"][name], sum(split["box_sizes"].values())) for split in splits),
            ]
            for name, where in (("small", "< 32² px"), ("medium", "32² to 96²"), ("large", ">= 96² px"))
        ),
        ["objects per image (min / median / 95% / max)", *map(per_image, splits)],
        [
            "image size (median width x height)",
            *("{width} x {height}".format(**split["median_size"]) for split in splits),
        ],
        ["  different sizes", *(f"{split['different_image_sizes']:,}" for split in splits)],
    ]
    return _columns(rows)


def _class_table(statistics: dict[str, dict[str, Any]]) -> str:
    """Objects of each class in each split, the most frequent in the first split on top; the middle is left out."""
    totals = {split: Counter() for split in statistics}
    for split, figures in statistics.items():
        for row in figures["classes"]:
            totals[split][row["name"]] += row["objects"]
    names = list(dict.fromkeys(name for counts in totals.values() for name in counts))
    first = next(iter(totals.values()))
    names.sort(key=lambda name: -first[name])
    rows = [["class", *(cell for split in totals for cell in (split, "share"))]]
    hidden = len(names) - _MOST_CLASSES
    for position, name in enumerate(names):
        if hidden > 0 and _MOST_CLASSES * 3 // 4 <= position < _MOST_CLASSES * 3 // 4 + hidden:
            if position == _MOST_CLASSES * 3 // 4:
                rows.append([f"… {hidden:,} more (all with --json)", *[""] * (len(rows[0]) - 1)])
            continue
        row = [name if len(name) <= 40 else name[:39] + "…"]
        for counts in totals.values():
            row += [f"{counts[name]:,}", f"{counts[name] / max(counts.total(), 1):.1%}"]
        rows.append(row)
    return _columns(rows)
