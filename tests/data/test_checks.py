"""The doctor: every kind of trouble gives its finding, with severity and place, and a good data set gives none."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hf_detr.data.checks import check_dataset, check_fast
from hf_detr.data.findings import Finding, counted, errors_of, render_finding
from hf_detr.data.report import DatasetReport
from hf_detr.data.splits import Split, find_splits, load_index
from hf_detr.errors import DatasetError
from tests.synthetic import annotation_file, edit_json, images_folder, make_coco

NAN, INFINITY = float("nan"), float("inf")


@pytest.fixture(scope="module")
def _clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_coco(tmp_path_factory.mktemp("clean"))


@pytest.fixture
def data(_clean: Path, tmp_path: Path) -> Path:
    """A copy of a data set without trouble, for a test to spoil."""
    shutil.copytree(_clean, tmp_path / "data")
    return tmp_path / "data"


def found(report: DatasetReport, check: str) -> Finding:
    """The one finding of this kind."""
    (finding,) = [finding for finding in report.findings if finding.check == check]
    return finding


def test_a_good_data_set_has_no_findings(data: Path) -> None:
    report = check_dataset(data, image_size_hw=(64, 64))
    assert report.findings == ()
    assert report.exit_code == report.strict_exit_code == 0
    assert "0 errors, 0 warnings, 0 notes. Ready to train." in report.render()


# --- annotations -----------------------------------------------------------------------------------------------------


def first(content: dict[str, Any], **values: Any) -> None:
    """Change the first annotation."""
    content["annotations"][0].update(values)


def drop(content: dict[str, Any], key: str) -> None:
    del content["annotations"][0][key]


def only_outline(content: dict[str, Any]) -> None:
    drop(content, "bbox")
    first(content, segmentation=[[1, 1, 5, 1, 5, 5]])


def text_image_ids(content: dict[str, Any]) -> None:
    for row in content["annotations"]:
        row["image_id"] = str(row["image_id"])


def empty_training(content: dict[str, Any]) -> None:
    content["annotations"] = []


def only_crowds(content: dict[str, Any]) -> None:
    for row in content["annotations"]:
        row["iscrowd"] = 1


def as_corners(content: dict[str, Any]) -> None:
    for row in content["annotations"]:
        x, y, w, h = row["bbox"]
        row["bbox"] = [x, y, x + w, y + h]
    content["annotations"] += [
        {"id": 900 + k, "image_id": 1, "category_id": 1, "bbox": [60 + k, 50 + k, 120, 90]} for k in range(30)
    ]


def as_fractions(content: dict[str, Any]) -> None:
    for row in content["annotations"]:
        row["bbox"] = [value / 128 for value in row["bbox"]]


def supercategory(content: dict[str, Any]) -> None:
    content["categories"].insert(0, {"id": 0, "name": "shapes", "supercategory": "none"})
    for row in content["categories"][1:]:
        row["supercategory"] = "shapes"


# trouble -> finding, severity, what its first example says
TROUBLES: dict[str, tuple[Callable[[dict], Any], str, str, dict[str, Any]]] = {
    "unknown category": (
        lambda c: first(c, category_id=77),
        "annotation.unknown_category",
        "error",
        {"image_id": 1, "annotation_id": 1, "file": "0000.jpg", "value": "category_id 77"},
    ),
    "category of no type": (
        lambda c: first(c, category_id=[1]),
        "annotation.unknown_category",
        "error",
        {"value": "category_id [1]"},
    ),
    "true is not category 1": (
        lambda c: first(c, category_id=True),
        "annotation.unknown_category",
        "error",
        {"value": "category_id True"},
    ),
    "unknown image": (
        lambda c: first(c, image_id=99),
        "annotation.unknown_image",
        "error",
        {"image_id": 99, "annotation_id": 1},
    ),
    "no image": (lambda c: drop(c, "image_id"), "annotation.unknown_image", "error", {"image_id": None}),
    "annotation that is no object": (
        lambda c: c["annotations"].append(7),
        "annotation.unknown_image",
        "error",
        {"image_id": None},
    ),
    "ids of another type": (text_image_ids, "annotation.unknown_image", "error", {"image_id": "1"}),
    "no box": (lambda c: drop(c, "bbox"), "box.missing", "error", {"annotation_id": 1}),
    "outline without box": (only_outline, "box.only_segmentation", "error", {"annotation_id": 1}),
    "box of three": (lambda c: first(c, bbox=[1, 2, 3]), "box.malformed", "error", {"value": "[1, 2, 3]"}),
    "box of text": (lambda c: first(c, bbox=["1", 2, 3, 4]), "box.malformed", "error", {"annotation_id": 1}),
    "box null": (lambda c: first(c, bbox=None), "box.malformed", "error", {"value": "None"}),
    "box NaN": (lambda c: first(c, bbox=[1, 2, NAN, 4]), "box.not_finite", "error", {"annotation_id": 1}),
    "box astronomic": (lambda c: first(c, bbox=[1, 2, 1e308, 1e308]), "box.not_finite", "error", {"annotation_id": 1}),
    "box infinite": (lambda c: first(c, bbox=[1, 2, 3, INFINITY]), "box.not_finite", "error", {"annotation_id": 1}),
    "width 0": (lambda c: first(c, bbox=[5, 6, 0, 7]), "box.degenerate", "warning", {"value": "[5, 6, 0, 7]"}),
    "negative": (lambda c: first(c, bbox=[5, 6, 7, -8]), "box.degenerate", "warning", {"value": "[5, 6, 7, -8]"}),
    "sticks out": (
        lambda c: first(c, bbox=[100, 10, 50, 20]),
        "box.outside",
        "warning",
        {"value": "[100, 10, 50, 20] in a picture of 128 x 96"},
    ),
    "left of the picture": (lambda c: first(c, bbox=[-9, 1, 20, 9]), "box.outside", "warning", {"annotation_id": 1}),
    "beyond": (lambda c: first(c, bbox=[128, 10, 5, 5]), "box.fully_outside", "warning", {"annotation_id": 1}),
    "thin": (
        lambda c: first(c, bbox=[5, 6, 1.5, 20]),
        "box.tiny",
        "warning",
        {"value": "1.5 x 20 px, 0.75 px after resizing"},
    ),
    "corners": (as_corners, "box.corners", "error", {"annotation_id": 1}),
    "fractions": (as_fractions, "box.normalised", "error", {"annotation_id": 1}),
    "box twice": (
        lambda c: c["annotations"].append(c["annotations"][0] | {"id": 500}),
        "box.duplicate",
        "warning",
        {"annotation_id": 500},
    ),
    "annotation id twice": (
        lambda c: c["annotations"][1].update(id=1),
        "annotation.duplicate_id",
        "warning",
        {"annotation_id": 1},
    ),
    "strange crowd": (
        lambda c: first(c, iscrowd="0"),
        "annotation.bad_iscrowd",
        "warning",
        {"value": "iscrowd '0'"},
    ),
    "strange area": (lambda c: first(c, area="big"), "annotation.bad_area", "warning", {"value": "area 'big'"}),
    "image without id": (lambda c: c["images"][7].pop("id"), "image.malformed", "error", {"image_id": "#7"}),
    "image without file": (lambda c: c["images"][7].pop("file_name"), "image.malformed", "error", {"image_id": 8}),
    "image of strange file": (
        lambda c: c["images"][7].update(file_name=3),
        "image.malformed",
        "error",
        {"image_id": 8},
    ),
    "image that is no object": (lambda c: c["images"].append("x.jpg"), "image.malformed", "error", {"image_id": "#8"}),
    "image id twice": (lambda c: c["images"][7].update(id=1), "image.duplicate_id", "error", {"file": "0007.jpg"}),
    "mixed ids": (lambda c: c["images"][7].update(id="8"), "image.mixed_ids", "error", {"image_id": "8"}),
    "file twice": (
        lambda c: c["images"].append(c["images"][0] | {"id": 70}),
        "image.duplicate_file",
        "warning",
        {"image_id": 70, "file": "0000.jpg"},
    ),
    "no size": (lambda c: c["images"][0].pop("width"), "image.no_size", "info", {"image_id": 1}),
    "category without name": (lambda c: c["categories"][0].pop("name"), "category.malformed", "error", {}),
    "category that is no object": (lambda c: c["categories"].append("x"), "category.malformed", "error", {}),
    "category id twice": (
        lambda c: c["categories"].append({"id": 1, "name": "pink"}),
        "category.duplicate_id",
        "error",
        {"value": "id 1: red, pink"},
    ),
    "category name twice": (
        lambda c: c["categories"].append({"id": 9, "name": "red"}),
        "category.duplicate_name",
        "warning",
        {"value": "'red': ids 1, 9"},
    ),
    "no categories": (lambda c: c["categories"].clear(), "category.none", "error", {}),
    "empty class": (
        lambda c: c["categories"].append({"id": 9, "name": "pink"}),
        "category.empty",
        "warning",
        {"value": "pink (id 9)"},
    ),
    "supercategory row": (supercategory, "category.supercategory_row", "warning", {"value": "shapes (id 0)"}),
    "no objects": (empty_training, "split.no_objects", "error", {}),
    "only crowds": (only_crowds, "split.no_objects", "error", {}),
    "no images": (lambda c: c.update(images=[], annotations=[]), "split.no_images", "error", {}),
    "image without objects": (
        lambda c: c["annotations"].__setitem__(slice(None), [a for a in c["annotations"] if a["image_id"] != 3]),
        "image.no_objects",
        "info",
        {"image_id": 3, "file": "0002.jpg"},
    ),
}


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


IMPOSSIBLE = [
    name
    for name, (_, check, severity, _) in TROUBLES.items()
    if severity == "error" and check.startswith("annotation")
]
IMPOSSIBLE += ["no box", "outline without box", "box NaN", "box of three", "image without id", "image id twice"]
IMPOSSIBLE += ["mixed ids", "category without name", "category id twice", "no categories"]


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


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.integers() | st.floats() | st.sampled_from(["", "1", "a.jpg"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["id", "bbox"]), inner),
    max_leaves=6,
)
ID = st.integers(0, 2) | st.sampled_from(["1", 1.0, 1.5, NAN, None, True]) | JSON
BOX = st.lists(st.integers(-5, 150) | st.floats(), min_size=4, max_size=4) | JSON


def records(**values: st.SearchStrategy) -> st.SearchStrategy:
    return st.lists(st.fixed_dictionaries({}, optional=values) | JSON, max_size=5)


@settings(max_examples=150)
@given(
    images=records(id=ID, file_name=JSON, width=JSON, height=JSON),
    annotations=records(id=ID, image_id=ID, category_id=ID, bbox=BOX, area=JSON, iscrowd=JSON, segmentation=JSON),
    categories=records(id=ID, name=JSON, supercategory=JSON),
)
def test_nothing_in_a_file_raises_anything_else(
    tmp_path_factory: pytest.TempPathFactory, images: list, annotations: list, categories: list
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    path = folder / "train.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    report = check_dataset({"train": Split("train", folder, path)}, image_size_hw=(64, 64))
    report.render().encode()
    json.dumps(report.to_dict(), allow_nan=False)
    try:
        load_index(Split("train", folder, path))
    except DatasetError:
        assert report.exit_code == 1


# --- splits ----------------------------------------------------------------------------------------------------------


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


# --- files -----------------------------------------------------------------------------------------------------------


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


def spoilt(path: Path, data: bytes | Callable[[bytes], bytes]) -> None:
    path.write_bytes(data if isinstance(data, bytes) else data(path.read_bytes()))


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


# --- the report ------------------------------------------------------------------------------------------------------


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
