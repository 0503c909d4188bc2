"""The doctor on splits: whether they agree."""

import shutil
from pathlib import Path

from hf_detr.data.checks import check_dataset
from tests.data.checks.reading import found
from tests.synthetic import annotation_file, edit_json


def test_splits_with_other_category_ids(data: Path) -> None:
    with edit_json(annotation_file(data, "valid")) as content:
        for row in content["categories"] + content["annotations"]:
            key = "category_id" if "category_id" in row else "id"
            row[key] += 10
    finding = found(check_dataset(data, read_images=False), "category.splits_differ")
    assert finding.severity == "warning"
    assert finding.split == "train, valid"
    assert finding.examples[0] == {"value": "'red' has id 1 in train and 11 in valid"}


def test_objects_of_a_class_that_training_lacks(data: Path) -> None:
    with edit_json(annotation_file(data, "valid")) as content:
        content["categories"][0]["name"] = "Red"
    report = check_dataset(data, read_images=False)
    finding = found(report, "category.not_in_train")
    assert finding.severity == "error"
    assert finding.examples[0]["value"].startswith("'Red', ")
    assert found(report, "category.splits_differ").examples == ({"value": "'red' only in train"},)


def test_a_test_split_without_objects_is_a_warning(data: Path) -> None:
    with edit_json(annotation_file(data, "valid")) as content:
        content["annotations"] = []
    report = check_dataset(data, read_images=False)
    assert found(report, "split.no_objects").severity == "warning"
    assert report.exit_code == 0
    assert report.strict_exit_code == 1


def test_no_validation_split(data: Path) -> None:
    shutil.rmtree(data / "valid")
    assert found(check_dataset(data, read_images=False), "split.no_valid").severity == "info"
