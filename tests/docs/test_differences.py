"""The tables of docs/differences.md are what the program prints."""

import re

import pytest

from benchmarks import differences
from tests.docs.pages import ROOT


def rows_of(text: str) -> set[tuple[str, ...]]:
    """The cells of every table row."""
    return {tuple(line.strip("| ").split(" | ")) for line in text.splitlines() if line.startswith("| ")}


def numbers_apart(row: tuple[str, ...]) -> tuple[str, list[float]]:
    """The row with its numbers left out, and the numbers."""
    text, pattern = " | ".join(row), r"\d+(?:\.\d+)?(?:e[+-]\d+)?"
    return re.sub(pattern, "#", text), [float(number) for number in re.findall(pattern, text)]


def test_the_page_has_the_programs_figures(capsys):
    assert differences.main(["--models", "D-FINE n", "RT-DETRv2 r18", "DEIMv2 atto"]) == 0
    printed = rows_of(capsys.readouterr().out)
    on_page = [numbers_apart(row) for row in rows_of((ROOT / "docs" / "differences.md").read_text(encoding="utf-8"))]
    assert len(printed) == 2 + 1 + 2 * 3 + 5  # three headers, two rows of each model, five outputs of D-FINE
    for row in printed:
        text, numbers = numbers_apart(row)
        # Another CPU rounds otherwise.
        assert any(text == other and numbers == pytest.approx(figures, rel=0.05) for other, figures in on_page), row


def test_stock_classes_predict_the_same_where_we_use_them_and_not_where_we_do_not():
    by_name = {subject.name: subject for subject in differences.SUBJECTS}
    for name, expected in (("D-FINE n", 0), ("DEIMv2 atto", 100)):
        ours = differences.build_ours(by_name[name])
        assert differences.detection_differences(ours, differences.build_stock(ours))[2] == expected
