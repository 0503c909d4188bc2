"""The doctor's report: its figures, how it looks, and the fast checks before training."""

from pathlib import Path

import numpy as np
import pytest

from hf_detr.data.checks import check_dataset, check_fast
from hf_detr.data.findings import counted, errors_of
from hf_detr.data.splits import Split, find_splits, load_index
from hf_detr.errors import DatasetError
from tests.data.checks.troubles import first, spoilt
from tests.synthetic import annotation_file, edit_json, images_folder, make_coco


def test_statistics_count_what_is_there(tmp_path: Path) -> None:
    make_coco(tmp_path, images=6, empty_images=2, crowds=1)
    report = check_dataset(tmp_path, read_images=False)
    index = load_index(Split("train", images_folder(tmp_path), annotation_file(tmp_path)))
    train = report.statistics["train"]
    assert train["images"] == 6
    assert train["images_without_objects"] == 2
    assert train["crowds"] == 1
    assert train["objects"] == int((~index.is_crowd).sum())
    counts = np.bincount(index.class_ids[~index.is_crowd], minlength=3)
    assert [row["objects"] for row in train["classes"]] == counts.tolist()
    assert sum(train["box_sizes"].values()) == train["objects"]
    assert train["box_sizes"]["small"] == int((index.areas[~index.is_crowd] < 32**2).sum())
    assert train["median_size"] == {"height": 96, "width": 128}
    assert train["image_sizes"] == [{"height": 96, "width": 128, "images": 6}]
    assert train["objects_per_image"]["max"] == index.objects_per_image.max()
    assert train["objects_per_image"]["min"] == 0


def test_report_fits_the_terminal_and_names_classes_and_sizes(data: Path) -> None:
    with edit_json(annotation_file(data)) as content:
        first(content, category_id=77)
        content["images"][0]["file_name"] = "a_very_long_name_" * 12 + ".jpg"
    text = check_dataset(data).render(width=100)
    for words in ("class", "red", "share", "small (< 32² px)", "objects per image", "128 x 96"):
        assert words in text
    table, _, findings = text.partition("ERROR")
    assert all(len(line) <= 100 for line in table.splitlines())
    long_lines = [line for line in findings.splitlines() if len(line) > 100]
    assert all(line.startswith("    in ") or str(data) in line for line in long_lines)  # a path is never broken


def test_tables_of_many_classes_leave_out_the_middle(tmp_path: Path) -> None:
    make_coco(tmp_path)
    with edit_json(annotation_file(tmp_path)) as content:
        content["categories"] += [{"id": 10 + k, "name": f"class {k}"} for k in range(97)]
    text = check_dataset(tmp_path, read_images=False).render()
    assert "… 60 more (all with --json)" in text
    assert text.index("class 26 ") < text.index("… 60 more") < text.index("class 87 ")


def test_unreadable_annotations_of_all_splits_are_reported_together(data: Path) -> None:
    annotation_file(data).write_text("{")
    annotation_file(data, "valid").write_text("[]")
    with pytest.raises(DatasetError, match=r"train[^\n]*not JSON[\s\S]*valid[^\n]*a JSON list"):
        check_dataset(data)


def test_fast_checks_are_the_same_findings_without_opening_pictures(data: Path) -> None:
    spoilt(images_folder(data) / "0002.jpg", b"not a picture")
    with edit_json(annotation_file(data)) as content:
        first(content, category_id=77)
    findings = check_fast(find_splits(data))
    assert [finding.check for finding in findings] == ["annotation.unknown_category"]
    assert errors_of(findings) == findings


def test_counted_words() -> None:
    assert [counted(n, noun) for n, noun in ((1, "box"), (2, "box"), (3, "category"), (1500, "image"))] == [
        "1 box",
        "2 boxes",
        "3 categories",
        "1,500 images",
    ]
