"""The rows of a CSV file of boxes."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from hf_detr.data.csv_columns import EXAMPLES, CsvColumns, describe, find_columns, more_columns
from hf_detr.data.folders import SPLIT_WORDS, read_text
from hf_detr.errors import DatasetError

_DELIMITERS = ",;\t|"


class CsvRow(NamedTuple):
    """One row.

    Attributes:
        line: counted from 1.
        file: the picture, with slashes.
        label: the class; empty for a picture without objects.
        box: four numbers as they are written; None for a picture without objects.
        is_crowd: a region that training leaves out.
        size_hw: height and width of the picture in pixels; 0, 0 where the row does not say.
        area: of the object in pixels²; NaN where the row does not say.
        more: texts of the columns `CsvContent.more`.
    """

    line: int
    file: str
    label: str
    box: tuple[float, float, float, float] | None
    is_crowd: bool
    size_hw: tuple[int, int]
    area: float = math.nan
    more: tuple[str, ...] = ()


class BadRow(NamedTuple):
    """A row that cannot be used: its line, what it holds, and why."""

    line: int
    text: str
    reason: str


@dataclass(frozen=True)
class CsvContent:
    """A file.

    Attributes:
        columns: where things are.
        description: of the columns, for a person.
        rows: of all splits.
        parts: the split of each row as the file calls it; empty where it does not say.
        more: names of the columns that mean nothing to us.
        bad_rows: that cannot be used.
    """

    columns: CsvColumns
    description: str
    rows: Sequence[CsvRow]
    parts: Sequence[str]
    more: Sequence[str]
    bad_rows: Sequence[BadRow]


def read_csv(path: Path) -> CsvContent:
    """Read a file, separated by commas, semicolons, tabs or bars.

    Raises:
        DatasetError: not text in UTF-8, empty, columns that cannot be told apart, or no CSV at all.
    """
    text = read_text(path)
    first_line = text.lstrip().partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first_line.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    rows: list[CsvRow] = []
    parts: list[str] = []
    bad: list[BadRow] = []
    columns = None
    try:
        for fields in reader:
            if not any(fields):
                continue
            values = [field.strip() for field in fields]
            if columns is None:
                columns = _columns(path, values)
                description, more = describe(columns, values), more_columns(columns, values)
                if columns.has_header:
                    continue
            try:
                row = _row(reader.line_num, values, columns, decimal_comma=delimiter == ";")
                others = tuple(values[at] if at < len(values) else "" for at in more.values())
                rows.append(row._replace(more=others))
                parts.append("" if columns.split is None else values[columns.split])
            except ValueError as error:
                bad.append(BadRow(reader.line_num, delimiter.join(fields), str(error)))
    except csv.Error as error:
        raise DatasetError(f"{path}: not CSV: {error} at line {reader.line_num}.") from error
    if columns is None:
        raise DatasetError(f"{path}: the file is empty. Its first row names the columns:\n{EXAMPLES}")
    unknown = sorted({part for part in parts if part and part.lower() not in SPLIT_WORDS})
    if unknown:
        raise DatasetError(
            f"{path}: the column that says the split has {unknown[0]!r}; it may have {', '.join(SPLIT_WORDS)}."
        )
    if any(parts):  # rows of no split would be in none of them
        lost = [row for row, part in zip(rows, parts, strict=True) if not part]
        bad += [BadRow(row.line, row.file, "it does not say its split") for row in lost]
        rows = [row for row, part in zip(rows, parts, strict=True) if part]
        parts = list(filter(None, parts))
    return CsvContent(columns, description, rows, parts, list(more), sorted(bad))


def _columns(path: Path, first_row: Sequence[str]) -> CsvColumns:
    try:
        return find_columns(first_row)
    except ValueError as error:
        raise DatasetError(
            f"{path}: {error}. Rename columns so that they are like one of these:\n{EXAMPLES}"
        ) from error


def _row(line: int, values: Sequence[str], columns: CsvColumns, *, decimal_comma: bool) -> CsvRow:
    needed = (columns.file, columns.label, *columns.box, columns.crowd, columns.area, columns.split)
    if len(values) <= max(position for position in needed if position is not None):
        raise ValueError(f"it has {len(values)} columns")
    file, label = values[columns.file].replace("\\", "/"), values[columns.label]
    if not file:
        raise ValueError("it names no picture")
    texts = [values[position] for position in columns.box]
    size_hw = (0, 0) if columns.size_hw is None else tuple(_side(values, position) for position in columns.size_hw)
    if 0 in size_hw:
        size_hw = (0, 0)
    if not any(texts):
        return CsvRow(line, file, "", None, False, size_hw)
    try:
        box = tuple(float(text.replace(",", ".") if decimal_comma else text) for text in texts)
    except ValueError:
        raise ValueError("the box is not four numbers") from None
    if not all(map(math.isfinite, box)):
        raise ValueError("the box has NaN or infinity")
    if not label:
        raise ValueError("it has a box and no class")
    is_crowd = columns.crowd is not None and values[columns.crowd].lower() not in ("", "0", "0.0", "false", "no")
    return CsvRow(line, file, label, box, is_crowd, size_hw, _area(values, columns))


def _area(values: Sequence[str], columns: CsvColumns) -> float:
    text = "" if columns.area is None else values[columns.area]
    if not text:
        return math.nan
    area = float(text)
    if not 0 <= area < math.inf:
        raise ValueError(f"the area is {text}")
    return area


def _side(values: Sequence[str], position: int) -> int:
    """A height or width, 0 where it is none."""
    text = values[position].removesuffix(".0") if position < len(values) else ""
    return int(text) if text.isdecimal() and len(text) < 10 else 0
