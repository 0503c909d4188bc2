"""The doctor on files: missing, damaged, of another size, the same twice."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from hf_detr.data.checks import check_dataset, check_fast
from hf_detr.data.findings import errors_of
from hf_detr.data.splits import Split
from tests.data.checks.reading import found
from tests.data.checks.troubles import spoilt
from tests.synthetic import annotation_file, edit_json, images_folder


def test_missing_empty_and_unmentioned_files(data: Path) -> None:
    pictures = images_folder(data)
    (pictures / "0001.jpg").unlink()
    (pictures / "0002.jpg").rename(pictures / "0002.JPG")
    (pictures / "0003.jpg").write_bytes(b"")
    report = check_dataset(data, read_images=False)
    assert [(example["file"], example["value"]) for example in found(report, "file.missing").examples] == [
        ("0001.jpg", "not there"),
        ("0002.jpg", "not there, but 0002.JPG is"),
    ]
    assert found(report, "file.empty").examples == ({"image_id": 4, "file": "0003.jpg"},)
    unmentioned = found(report, "file.unmentioned")
    assert unmentioned.severity == "info"
    assert unmentioned.examples == ({"file": "0002.JPG"},)


def test_a_wrong_folder_is_recognised_as_such(data: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    split = Split("train", tmp_path / "elsewhere", annotation_file(data))
    (finding,) = errors_of(check_fast({"train": split}))
    assert finding.check == "file.missing"
    assert "not the folder that the file names start from" in finding.advice


def test_file_names_that_no_file_can_have(data: Path) -> None:
    with edit_json(annotation_file(data)) as content:
        content["images"][0]["file_name"] = "a\0b.jpg"
        content["images"][1]["file_name"] = "a" * 5000
        content["images"][2]["file_name"] = "../train"
    assert found(check_dataset(data), "file.missing").count == 3


def test_unreadable_pictures_are_named_with_the_reason(data: Path) -> None:
    pictures = images_folder(data)
    spoilt(pictures / "0002.jpg", lambda content: content[: len(content) // 2])
    spoilt(pictures / "0005.jpg", b"not a picture")
    report = check_dataset(data)
    finding = found(report, "file.unreadable")
    assert finding.severity == "error"
    assert [example["file"] for example in finding.examples] == ["0002.jpg", "0005.jpg"]
    assert "truncated" in finding.examples[0]["value"]
    assert "not a picture" in finding.examples[1]["value"]
    assert report.exit_code == 1


def test_sizes_that_disagree_with_the_file(data: Path) -> None:
    path = images_folder(data) / "0004.jpg"
    with Image.open(path) as image:
        image.resize((64, 48)).save(path)
    finding = found(check_dataset(data), "file.size_differs")
    assert finding.severity == "error"
    assert finding.examples == ({"image_id": 5, "file": "0004.jpg", "value": "annotated 128 x 96, file 64 x 48"},)


def with_orientation(path: Path, orientation: int) -> None:
    with Image.open(path) as image:
        exif = Image.Exif()
        exif[0x0112] = orientation
        image.save(path, exif=exif)


@pytest.mark.parametrize("annotated_hw", [(96, 128), (128, 96)], ids=["as stored", "upright"])
def test_turned_pictures_agree_with_either_size(data: Path, annotated_hw: tuple[int, int]) -> None:
    with_orientation(images_folder(data) / "0004.jpg", 6)
    with edit_json(annotation_file(data)) as content:
        content["images"][4]["height"], content["images"][4]["width"] = annotated_hw
        content["annotations"] = [row for row in content["annotations"] if row["image_id"] != 5]
        content["annotations"].append({"id": 99, "image_id": 5, "category_id": 1, "bbox": [5, 5, 60, 60]})
    report = check_dataset(data)
    finding = found(report, "file.exif_orientation")
    assert finding.severity == "info"
    assert finding.examples[0]["value"] == "orientation 6"
    assert report.strict_exit_code == 0


def test_odd_modes_are_mentioned(data: Path) -> None:
    pictures = images_folder(data)
    with Image.open(pictures / "0001.jpg") as image:
        image.convert("CMYK").save(pictures / "0001.jpg")
    with Image.open(pictures / "0002.jpg") as image:
        image.convert("L").save(pictures / "0002.jpg")
    finding = found(check_dataset(data), "file.mode")
    assert finding.severity == "info"
    assert finding.examples == ({"image_id": 2, "file": "0001.jpg", "value": "CMYK"},)


def test_the_same_picture_in_two_splits(data: Path) -> None:
    shutil.copy(images_folder(data) / "0001.jpg", images_folder(data, "valid") / "0002.jpg")
    report = check_dataset(data)
    finding = found(report, "split.same_picture")
    assert finding.severity == "error"
    assert finding.split == "train, valid"
    assert finding.examples == ({"file": "0001.jpg in train", "value": "also 0002.jpg in valid"},)


def test_the_same_pixels_in_another_format_and_split(data: Path) -> None:
    with Image.open(images_folder(data) / "0001.jpg") as image:
        image.save(images_folder(data, "valid") / "copy.png")
    with edit_json(annotation_file(data, "valid")) as content:
        content["images"][2]["file_name"] = "copy.png"
    assert found(check_dataset(data), "split.same_picture").examples[0]["value"] == "also copy.png in valid"


def test_the_same_picture_twice_in_a_split(data: Path) -> None:
    shutil.copy(images_folder(data) / "0001.jpg", images_folder(data) / "0006.jpg")
    finding = found(check_dataset(data), "file.same_picture")
    assert finding.severity == "warning"
    assert finding.examples == ({"image_id": 7, "file": "0006.jpg", "value": "same as 0001.jpg"},)
