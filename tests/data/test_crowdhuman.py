"""CrowdHuman: bodies are objects, what is to be ignored is a crowd, and a broken line is named."""

import json
from pathlib import Path

import pytest
from PIL import Image

from hf_detr.data.checks import check_dataset
from hf_detr.data.splits import explicit_split, find_splits, load_index
from hf_detr.errors import DatasetError

PERSON = {
    "tag": "person",
    "fbox": [-10, 20, 30, 40],
    "vbox": [0, 20, 20, 40],
    "hbox": [1, 2, 3, 4],
    "extra": {"occ": 1},
}
IGNORED = PERSON | {"extra": {"ignore": 1}}
GROUP = {"tag": "mask", "fbox": [50, 50, 20, 20], "extra": {"ignore": 1}}


@pytest.fixture
def crowdhuman(tmp_path: Path) -> Path:
    for folder in ("Images", "CrowdHuman_train01"):
        (tmp_path / folder).mkdir()
    for number, split in enumerate(("train", "val")):
        name = f"27{number},c9db000d5146c15"
        Image.new("RGB", (128, 96), (200 * number, 0, 0)).save(tmp_path / "Images" / f"{name}.jpg")
        lines = [{"ID": name, "gtboxes": [PERSON, IGNORED, GROUP]}]
        (tmp_path / f"annotation_{split}.odgt").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def test_bodies_are_objects_and_the_rest_are_crowds(crowdhuman: Path) -> None:
    splits = find_splits(crowdhuman)
    assert list(splits) == ["train", "valid"]
    index = load_index(splits["valid"])
    assert index.boxes_xywh.tolist() == [[-10, 20, 30, 40], [-10, 20, 30, 40], [50, 50, 20, 20]]
    assert index.is_crowd.tolist() == [False, True, True]
    assert (index.class_names, index.file_names[0]) == (("person",), "271,c9db000d5146c15.jpg")
    assert len(load_index(explicit_split("train", crowdhuman / "Images", splits["train"].annotations_path))) == 1
    report = check_dataset(crowdhuman)
    assert {finding.check for finding in report.findings} == {"image.no_size"}


def test_pictures_in_the_folders_of_the_archives(crowdhuman: Path) -> None:
    (picture,) = (crowdhuman / "Images").glob("270*")
    (crowdhuman / "Images" / "CrowdHuman_train01").mkdir()
    picture.rename(crowdhuman / "Images" / "CrowdHuman_train01" / picture.name)
    index = load_index(find_splits(crowdhuman / "annotation_train.odgt")["train"])
    assert index.image_path(0).is_file()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON"),
        ("[]", "it has no ID"),
        ('{"ID": "a", "gtboxes": 3}', "gtboxes is no list"),
        ('{"ID": "a", "gtboxes": [{"tag": "person", "vbox": [1, 2, 3, 4]}]}', "object 1 has no fbox of four"),
        (
            '{"ID": "a", "gtboxes": [{"tag": "person", "fbox": [1, 2, 3, "4"]}]}',
            "object 1 has no fbox of four",
        ),
    ],
)
def test_a_line_that_cannot_be_read_is_named(crowdhuman: Path, line: str, reason: str) -> None:
    with (crowdhuman / "annotation_train.odgt").open("a") as file:
        file.write(f"\n{line}\n")
    with pytest.raises(DatasetError, match=rf"label\.malformed[\s\S]*line 3: {reason}"):
        load_index(find_splits(crowdhuman)["train"])


def test_no_folder_of_pictures(crowdhuman: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    path = (crowdhuman / "annotation_val.odgt").rename(tmp_path / "elsewhere" / "annotation_val.odgt")
    with pytest.raises(DatasetError, match=r"annotation_val\.odgt: no folder with its pictures, such as .*/Images"):
        find_splits(path)
