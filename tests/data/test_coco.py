"""COCO data sets: layouts, ids of every kind, and errors that say what was looked for and what is there."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_detr.data.checks import check_dataset
from hf_detr.data.coco import load_coco
from hf_detr.data.coco_file import read_coco_json, without_outlines
from hf_detr.data.index import DetectionIndex
from hf_detr.data.splits import Split, explicit_split, find_splits, load_index
from hf_detr.data.table_index import class_order
from hf_detr.errors import DatasetError
from tests.formats import make_yolo
from tests.synthetic import CATEGORY_IDS, LAYOUTS, annotation_file, edit_json, images_folder, make_coco


def load_split(folder: Path, split: str = "train", **options) -> DetectionIndex:
    return load_index(find_splits(folder)[split], **options)


# --- layouts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_are_recognised(tmp_path: Path, layout: str) -> None:
    make_coco(tmp_path, images=2, layout=layout, splits=("train", "valid", "test"))
    splits = find_splits(tmp_path)
    assert list(splits) == ["train", "valid", "test"]
    for name, split in splits.items():
        assert split.name == name
        assert split.images_dir == images_folder(tmp_path, name, layout)
        assert split.annotations_path == annotation_file(tmp_path, name, layout)


@pytest.mark.parametrize(
    ("annotations", "pictures"),
    [
        ("annotations/instances_train2017.json", "images/train2017"),
        ("annotations/instances_train2017.json", "images/train"),
        ("annotations/instances_train.json", "images"),
        ("annotations/train.json", "train"),
        ("train.json", "train"),
        ("train/annotations.json", "train/images"),
        ("train/_annotations.coco.json", "train/images"),
        ("instances_training.json", "."),
    ],
)
def test_other_places_are_found_by_the_first_picture(tmp_path: Path, annotations: str, pictures: str) -> None:
    make_coco(tmp_path / "made", images=2, splits=("train",))
    (tmp_path / "set" / pictures).mkdir(parents=True)
    (tmp_path / "set" / annotations).parent.mkdir(parents=True, exist_ok=True)
    for path in images_folder(tmp_path / "made").glob("*.jpg"):
        path.rename(tmp_path / "set" / pictures / path.name)
    annotation_file(tmp_path / "made").rename(tmp_path / "set" / annotations)
    split = find_splits(tmp_path / "set")["train"]
    assert split.images_dir.resolve() == (tmp_path / "set" / pictures).resolve()


def test_file_names_that_start_from_the_data_folder(tmp_path: Path) -> None:
    make_coco(tmp_path, images=2, splits=("train",), layout="images")
    with edit_json(annotation_file(tmp_path, layout="images")) as content:
        for row in content["images"]:
            row["file_name"] = f"images/train/{row['file_name']}"
    assert find_splits(tmp_path)["train"].images_dir == tmp_path
    assert load_split(tmp_path).image_path(1).is_file()


@pytest.mark.parametrize("word", ["val", "valid", "validation", "val2017"])
def test_names_of_the_validation_split(tmp_path: Path, word: str) -> None:
    make_coco(tmp_path, images=2, splits=("train",))
    (tmp_path / "train").rename(tmp_path / word)
    assert list(find_splits(tmp_path)) == ["valid"]


def test_no_such_folder_names_what_is_beside_it(tmp_path: Path) -> None:
    make_coco(tmp_path / "digits", images=1)
    with pytest.raises(DatasetError, match=r"digts: no such folder.*holds: digits/"):
        find_splits(tmp_path / "digts")
    with pytest.raises(DatasetError, match="does not exist either"):
        find_splits(tmp_path / "nowhere" / "digits")


def test_empty_folder_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"the folder is empty[\s\S]*instances_train2017\.json"):
        find_splits(tmp_path)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_annotation_file_in_place_of_the_folder(tmp_path: Path, layout: str) -> None:
    make_coco(tmp_path, images=2, layout=layout)
    splits = find_splits(tmp_path)
    assert find_splits(annotation_file(tmp_path, "valid", layout)) == {"valid": splits["valid"]}
    other = tmp_path / "my labels.json"
    annotation_file(tmp_path, "train", layout).rename(other)
    images_folder(tmp_path, "train", layout).rename(tmp_path / "my labels")
    assert find_splits(other)["train"].images_dir == tmp_path / "my labels"


def test_files_that_describe_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text("{}")
    with pytest.raises(DatasetError, match=r"train\.json: no folder with its pictures[\s\S]*--annotations"):
        find_splits(tmp_path / "train.json")
    (tmp_path / "data.zip").write_text("")
    with pytest.raises(DatasetError, match=r"a data set is a folder, or a file ending in \.json, \.yaml.*neither"):
        find_splits(tmp_path / "data.zip")
    with pytest.raises(DatasetError, match=r"valid\.json: no such file\..*holds: data\.zip, train\.json"):
        find_splits(tmp_path / "valid.json")


def test_unknown_layout_says_what_was_looked_for_and_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text("{}")
    (tmp_path / "photos").mkdir()
    with pytest.raises(DatasetError, match=r"holds: labels\.json, photos/[\s\S]*Looked for:[\s\S]*--images FOLDER"):
        find_splits(tmp_path)


def test_a_folder_of_two_formats_is_ambiguous(tmp_path: Path) -> None:
    make_yolo(make_coco(tmp_path / "both", images=2), tmp_path / "both")
    with pytest.raises(DatasetError, match=r"may be COCO or YOLO:\n.*_annotations\.coco\.json[\s\S]*data\.yaml\nName"):
        find_splits(tmp_path / "both")
    assert find_splits(tmp_path / "both" / "data.yaml")["train"].format == "yolo"


def test_objects365_names_pictures_by_folders_that_its_archives_do_not_have(tmp_path: Path) -> None:
    make_coco(tmp_path, images=3, splits=("train",))
    pictures = images_folder(tmp_path)
    (pictures / "patch0").mkdir()
    (pictures / "patch16").mkdir()
    (pictures / "0000.jpg").rename(pictures / "patch0" / "0000.jpg")
    (pictures / "0001.jpg").rename(pictures / "patch16" / "0001.jpg")
    (pictures / "0002.jpg").rename(pictures / "patch0" / "0002.jpg")
    with edit_json(annotation_file(tmp_path)) as content:
        for row, prefix in zip(content["images"], ("v1/patch0", "v2/patch16", "v1/patch0"), strict=True):
            row["file_name"] = f"images/{prefix}/{row['file_name']}"
    path = annotation_file(tmp_path).rename(tmp_path / "zhiyuan_objv2_train.json")
    index = load_split(tmp_path)
    names = [index.file_names[image] for image in range(3)]
    assert names == ["patch0/0000.jpg", "patch16/0001.jpg", "patch0/0002.jpg"]
    assert all(index.image_path(image).is_file() for image in range(3))
    assert explicit_split("train", pictures, path).format == "objects365"
    assert load_coco(pictures, path)[1]["readable"]
    assert check_dataset(tmp_path).exit_code == 0


def test_the_folder_of_one_split_points_to_the_folder_above(tmp_path: Path) -> None:
    make_coco(tmp_path / "digits", images=1)
    with pytest.raises(DatasetError, match=r"one split of a data set: give the folder above it, .*digits\."):
        find_splits(tmp_path / "digits" / "train")


def test_two_annotation_files_for_a_split_are_ambiguous(tmp_path: Path) -> None:
    make_coco(tmp_path, images=1, splits=("train",))
    make_coco(tmp_path, images=1, splits=("train",), layout="coco2017")
    with pytest.raises(DatasetError, match=r"2 annotation files for the split 'train'[\s\S]*_annotations\.coco"):
        find_splits(tmp_path)


def test_annotations_without_pictures_name_the_folders_looked_for(tmp_path: Path) -> None:
    make_coco(tmp_path, images=1, splits=("train",), layout="coco2017")
    images_folder(tmp_path, layout="coco2017").rename(tmp_path / "elsewhere")
    with pytest.raises(DatasetError, match=r"no folder with its pictures[\s\S]*images/train2017[\s\S]*--images"):
        find_splits(tmp_path)


# --- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the annotation file is empty"),
        ('{"images": [', r"not JSON, or cut short: .* at line 1, column 13"),
        ("[1, 2]", "a JSON list, not a COCO annotation file"),
        ("7", "not a COCO annotation file: it holds only 7"),
        ('{"images": [], "labels": 3}', r"no 'annotations' and no 'categories'\. It has: images, labels"),
        ('{"images": {}, "annotations": [], "categories": []}', "'images' is a dict, and COCO has a list there"),
        (r'{"images": [{"file_name": "a\ud83db.jpg"}]}', r"not Unicode: half a character \(\\ud83d\) at byte 28"),
        ("[" * 100_000, "nested too deeply|not JSON"),
    ],
)
def test_files_that_are_not_coco(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "train.json"
    path.write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_coco_json(path)


def test_files_that_cannot_be_opened_or_decoded(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot read this annotation file: No such file"):
        read_coco_json(tmp_path / "missing.json")
    with pytest.raises(DatasetError, match="cannot read this annotation file: Is a directory"):
        read_coco_json(tmp_path)
    (tmp_path / "latin.json").write_bytes(b'{"images": ["\xe4"]}')
    with pytest.raises(DatasetError, match=r"not text in UTF-8: .* at byte 13"):
        read_coco_json(tmp_path / "latin.json")


def test_nan_and_byte_order_mark_are_read(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    path.write_bytes(b'\xef\xbb\xbf{"images": [NaN, 12345678901234567890123], "annotations": [], "categories": []}')
    images = read_coco_json(path)["images"]
    assert np.isnan(images[0])
    assert images[1] == pytest.approx(1.2345678901234567890123e22)


def test_outlines_are_left_out_only_where_they_are_a_key(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    name = 'a "segmentation": [[1, 2]] in a name'
    row = {"segmentation": [[1.5, 2, 3e4], [-1]], "bbox": [1, 2, 3, 4]}
    path.write_text(json.dumps({"images": [], "annotations": [row], "categories": [{"name": name}]}))
    content = json.loads(without_outlines(path.read_bytes()))
    assert content["annotations"] == [{"segmentation": [0], "bbox": [1, 2, 3, 4]}]
    assert content["categories"][0]["name"] == name
    assert read_coco_json(path)["annotations"] == [row]


# --- the index -------------------------------------------------------------------------------------------------------


def by_hand(path: Path) -> dict:
    """``{image id: [(category name, box, area, crowd), ...]}``, the plain way."""
    content = json.loads(path.read_text())
    names = {row["id"]: row["name"] for row in content["categories"]}
    objects = {row["id"]: [] for row in content["images"]}
    for row in content["annotations"]:
        box = row["bbox"]
        area = row.get("area", box[2] * box[3])
        objects[row["image_id"]].append((names[row["category_id"]], box, area, bool(row.get("iscrowd", 0))))
    return objects


def by_index(index: DetectionIndex) -> dict:
    """The same from the index."""
    return {
        index.image_id(image): [
            (
                index.class_names[index.class_ids[row]],
                index.boxes_xywh[row].tolist(),
                float(index.areas[row]),
                bool(index.is_crowd[row]),
            )
            for row in range(index.first[image], index.first[image + 1])
        ]
        for image in range(len(index))
    }


@pytest.mark.parametrize("category_ids", CATEGORY_IDS)
@pytest.mark.parametrize(
    "trouble",
    [
        {},
        {"image_ids": "text", "shuffle_annotations": True},
        {"image_ids": "unsorted", "empty_images": 3, "crowds": 2, "shuffle_annotations": True},
        {"with_area": False, "with_iscrowd": False},
    ],
    ids=["plain", "text ids", "unsorted with crowds", "only boxes"],
)
def test_index_holds_what_the_file_says(tmp_path: Path, category_ids: str, trouble: dict) -> None:
    make_coco(tmp_path, splits=("train",), category_ids=category_ids, **trouble)
    index = load_split(tmp_path)
    assert by_index(index) == by_hand(annotation_file(tmp_path))
    assert index.class_ids.dtype == np.int32
    assert index.boxes_xywh.dtype == np.float64
    assert index.sizes_hw.tolist() == [[96, 128]] * 8
    assert sorted(index.category_ids) == sorted(CATEGORY_IDS[category_ids])
    content = json.loads(annotation_file(tmp_path).read_text())
    name_of = {row["id"]: row["name"] for row in content["categories"]}
    assert tuple(name_of[category_id] for category_id in index.category_ids) == index.class_names
    assert index.image_path(3).is_file()


def test_class_ids_go_by_number_or_by_place_in_the_file(tmp_path: Path) -> None:
    make_coco(tmp_path / "numbers", images=1, category_ids="unsorted")
    make_coco(tmp_path / "text", images=1, category_ids="text")
    assert load_split(tmp_path / "numbers").id2label == {0: "green", 1: "blue", 2: "red"}
    assert load_split(tmp_path / "text").id2label == {0: "red", 1: "green", 2: "blue"}


@given(st.lists(st.integers(-(2**40), 2**40), unique=True) | st.lists(st.text(), unique=True))
def test_class_order_is_a_bijection(category_ids: list) -> None:
    order = class_order(category_ids)
    assert sorted(order) == list(range(len(category_ids)))
    if all(isinstance(value, int) for value in category_ids):
        assert [category_ids[position] for position in order] == sorted(category_ids)


def test_whole_numbers_written_as_floats_are_ids(tmp_path: Path) -> None:
    make_coco(tmp_path, splits=("train",))
    expected = by_index(load_split(tmp_path))
    with edit_json(annotation_file(tmp_path)) as content:
        for row in content["annotations"]:
            row["image_id"], row["category_id"] = float(row["image_id"]), float(row["category_id"])
        for row in content["images"] + content["categories"]:
            row["id"] = float(row["id"])
    index = load_split(tmp_path)
    assert by_index(index) == expected
    assert index.category_ids == (1, 2, 3)
    assert all(type(value) is int for value in index.category_ids)


def test_sizes_that_are_not_there_are_zero(tmp_path: Path) -> None:
    make_coco(tmp_path, images=3, splits=("train",))
    with edit_json(annotation_file(tmp_path)) as content:
        del content["images"][0]["width"]
        content["images"][1]["height"] = "96"
    assert load_split(tmp_path).sizes_hw.tolist() == [[0, 0], [0, 0], [96, 128]]


def test_areas_that_are_no_numbers_are_computed(tmp_path: Path) -> None:
    make_coco(tmp_path, images=3, splits=("train",))
    with edit_json(annotation_file(tmp_path)) as content:
        content["annotations"][0]["area"] = 5.5
        content["annotations"][1]["area"] = None
        content["annotations"][2]["area"] = -3
    index = load_split(tmp_path)
    assert index.areas[0] == 5.5
    np.testing.assert_array_equal(index.areas[1:], index.boxes_xywh[1:, 2] * index.boxes_xywh[1:, 3])


# --- the classes of another split ------------------------------------------------------------------------------------


def test_other_splits_use_the_classes_of_training(tmp_path: Path) -> None:
    make_coco(tmp_path, category_ids="one_based")
    train = load_split(tmp_path)
    with edit_json(annotation_file(tmp_path, "valid")) as content:
        new_id = {1: 30, 2: 20, 3: 10}
        for row in content["categories"]:
            row["id"] = new_id[row["id"]]
        for row in content["annotations"]:
            row["category_id"] = new_id[row["category_id"]]
    valid = load_split(tmp_path, "valid", class_names=train.class_names)
    assert valid.class_names == train.class_names == ("red", "green", "blue")
    assert valid.category_ids == (30, 20, 10)
    assert by_index(valid) == by_hand(annotation_file(tmp_path, "valid"))


@pytest.mark.parametrize(("category_ids", "free"), [("sparse", (91, 92)), ("text", ("cat", "dog"))])
def test_classes_the_file_does_not_list_get_free_ids(tmp_path: Path, category_ids: str, free: tuple) -> None:
    make_coco(tmp_path, category_ids=category_ids)
    index = load_split(tmp_path, "valid", class_names=["cat", "blue", "red", "dog", "green"])
    red, green, blue = CATEGORY_IDS[category_ids]
    assert index.category_ids == (free[0], blue, red, free[1], green)
    assert by_index(index) == by_hand(annotation_file(tmp_path, "valid"))


def test_unused_categories_may_be_missing_from_the_classes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_coco(tmp_path)
    with edit_json(annotation_file(tmp_path, "valid")) as content:
        content["categories"].insert(0, {"id": 0, "name": "shapes"})
    with caplog.at_level(logging.INFO, "hf_detr"):
        index = load_split(tmp_path, "valid", class_names=["red", "green", "blue"])
    assert index.category_ids == (1, 2, 3)
    assert "left out categories without objects: 'shapes'" in caplog.text


def test_objects_of_other_classes_are_an_error(tmp_path: Path) -> None:
    make_coco(tmp_path)
    with pytest.raises(DatasetError, match=r"classes that are not among the 2 classes to be used: 'blue'\. .*'green'"):
        load_split(tmp_path, "valid", class_names=["red", "green"])
    with pytest.raises(DatasetError, match="no name is used twice"):
        load_split(tmp_path, "valid", class_names=["red", "green", "blue", "red"])


# --- what cannot be used ---------------------------------------------------------------------------------------------


def test_all_impossible_records_are_reported_at_once(tmp_path: Path) -> None:
    make_coco(tmp_path, splits=("train",))
    with edit_json(annotation_file(tmp_path)) as content:
        content["annotations"][0]["category_id"] = 77
        content["annotations"][1]["image_id"] = 99
        content["annotations"][2]["bbox"] = [1, 2, float("nan"), 4]
    with pytest.raises(DatasetError) as caught:
        load_split(tmp_path)
    message = str(caught.value)
    for words in ("annotation.unknown_category", "category_id 77", "annotation.unknown_image", "image 99"):
        assert words in message
    assert "box.not_finite" in message
    assert "The file lists 1 (red), 2 (green), 3 (blue)" in message


def test_folder_of_pictures_must_exist(tmp_path: Path) -> None:
    make_coco(tmp_path, images=1, splits=("train",))
    with pytest.raises(DatasetError, match="no such folder of pictures"):
        load_index(Split("train", tmp_path / "nowhere", annotation_file(tmp_path)))


# --- the public function ---------------------------------------------------------------------------------------------


def test_load_coco_finds_annotations_in_the_folder_or_beside_it(tmp_path: Path) -> None:
    make_coco(tmp_path, images=3, splits=("train",))
    dataset = load_coco(tmp_path / "train")
    assert len(dataset) == 3
    assert dataset.index.name == "train"
    annotation_file(tmp_path).rename(tmp_path / "train.json")
    assert load_coco(tmp_path / "train", name="mine").index.name == "mine"
    sample = load_coco(tmp_path / "train", tmp_path / "train.json")[1]
    assert sample["image"].shape == (96, 128, 3)
    assert sample["boxes_xyxy"].shape == (len(sample["class_ids"]), 4)


def test_load_coco_without_annotations(tmp_path: Path) -> None:
    make_coco(tmp_path, images=1, splits=("train",))
    (tmp_path / "train" / "annotations.json").write_text("{}")
    with pytest.raises(DatasetError, match="several annotation files"):
        load_coco(tmp_path / "train")
    annotation_file(tmp_path).unlink()
    (tmp_path / "train" / "annotations.json").unlink()
    with pytest.raises(DatasetError, match=r"no annotation file for these pictures[\s\S]*train\.json"):
        load_coco(tmp_path / "train")
