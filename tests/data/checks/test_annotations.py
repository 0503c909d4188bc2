"""The doctor on annotations: every trouble gives its finding, with severity and place; a good data set gives none."""

from pathlib import Path

import pytest

from hf_detr.data.checks import check_dataset
from hf_detr.data.findings import render_finding
from hf_detr.data.splits import Split, load_index
from hf_detr.errors import DatasetError
from tests.data.checks.reading import found
from tests.data.checks.troubles import IMPOSSIBLE, NAN, TROUBLES, as_corners, first, text_image_ids
from tests.synthetic import annotation_file, edit_json, images_folder, make_coco


def test_a_good_data_set_has_no_findings(data: Path) -> None:
    report = check_dataset(data, image_size_hw=(64, 64))
    assert report.findings == ()
    assert report.exit_code == report.strict_exit_code == 0
    assert "0 errors, 0 warnings, 0 notes. Ready to train." in report.render()


@pytest.mark.parametrize("trouble", TROUBLES)
def test_trouble_in_annotations_is_found(data: Path, trouble: str) -> None:
    spoil, check, severity, example = TROUBLES[trouble]
    with edit_json(annotation_file(data)) as content:
        spoil(content)
    report = check_dataset(data, read_images=False, image_size_hw=(64, 64))
    finding = found(report, check)
    assert finding.severity == severity
    assert finding.split == "train"
    assert finding.file == str(annotation_file(data))
    assert finding.advice
    if example:
        assert finding.examples[0].items() >= example.items()
    assert report.exit_code == (severity == "error")
    assert report.strict_exit_code == (severity != "info") or report.exit_code
    assert check in report.render()


@pytest.mark.parametrize("trouble", IMPOSSIBLE)
def test_loading_refuses_with_the_same_words(data: Path, trouble: str) -> None:
    spoil, check, _, _ = TROUBLES[trouble]
    with edit_json(annotation_file(data)) as content:
        spoil(content)
    finding = found(check_dataset(data, read_images=False), check)
    with pytest.raises(DatasetError) as caught:
        load_index(Split("train", images_folder(data), annotation_file(data)))
    assert render_finding(finding) in str(caught.value)


def test_every_place_is_kept_and_a_few_are_shown(data: Path) -> None:
    with edit_json(annotation_file(data)) as content:
        for row in content["annotations"]:
            row["category_id"] = 77
    finding = found(check_dataset(data, read_images=False), "annotation.unknown_category")
    assert finding.count == len(finding.examples) > 10
    text = render_finding(finding, max_examples=3)
    assert text.count("annotation ") - text.count("annotation.") < 8
    assert f"… and {finding.count - 3:,} more" in text


def test_ids_that_differ_in_type_are_explained(data: Path) -> None:
    with edit_json(annotation_file(data)) as content:
        text_image_ids(content)
    advice = found(check_dataset(data, read_images=False), "annotation.unknown_image").advice
    assert "Ids compare exactly: '1' here is not 1 there." in advice


def test_boxes_mistaken_for_another_format_are_not_reported_one_by_one(data: Path) -> None:
    with edit_json(annotation_file(data)) as content:
        as_corners(content)
    report = check_dataset(data, read_images=False)
    assert [finding.check for finding in report.findings if finding.check.startswith("box.")] == ["box.corners"]


def test_rounding_at_the_border_is_no_finding(data: Path) -> None:
    with edit_json(annotation_file(data)) as content:
        first(content, bbox=[-0.5, 0, 129, 96.9])
    assert check_dataset(data, read_images=False).findings == ()


def test_more_objects_than_queries(data: Path) -> None:
    report = check_dataset(data, read_images=False, num_queries=2)
    finding = next(f for f in report.findings if f.check == "image.more_objects_than_queries")
    assert finding.severity == "warning"
    assert finding.examples[0]["value"] == "3 objects"
    assert "--num_queries 3" in finding.advice
    assert check_dataset(data, read_images=False, num_queries=None).findings == ()


def test_pictures_of_another_shape_than_the_input(tmp_path: Path) -> None:
    wide = make_coco(tmp_path, images=8, size_hw=(90, 160))
    report = check_dataset(wide, read_images=False, image_size_hw=(640, 640))
    assert [(f.check, f.severity, f.split) for f in report.findings] == [
        ("split.other_shape", "info", "train"),
        ("split.other_shape", "info", "valid"),
    ]
    assert report.findings[0].advice.startswith("--image_size 480 864 keeps it")
    assert check_dataset(wide, read_images=False, image_size_hw=(480, 864)).findings == ()


def test_all_troubles_are_reported_in_one_run(data: Path) -> None:
    with edit_json(annotation_file(data)) as content:
        first(content, category_id=77)
        content["annotations"][1]["bbox"] = [1, 2, NAN, 4]
        content["annotations"][2]["bbox"] = [5, 6, 0, 7]
    (images_folder(data) / "0003.jpg").unlink()
    report = check_dataset(data)
    checks = [finding.check for finding in report.findings]
    assert checks == ["annotation.unknown_category", "box.not_finite", "file.missing", "box.degenerate"]
