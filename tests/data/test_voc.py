"""Pascal VOC data sets: the challenge's folders and others, coordinates from 1, difficult objects, and bad files."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_detr.data.checks import check_dataset
from hf_detr.data.loaders import load_voc
from hf_detr.data.splits import explicit_split, find_splits, load_index
from hf_detr.data.voc_xml import parse_annotation
from hf_detr.errors import DatasetError
from tests.data.checks.reading import found
from tests.formats import make_voc, voc_xml
from tests.synthetic import make_coco


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """A VOC data set without trouble, for a test to spoil."""
    return make_voc(make_coco(tmp_path / "coco", images=4), tmp_path / "voc")


def xml(voc: Path, number: int = 0) -> Path:
    return voc / "Annotations" / f"train_{number:04d}.xml"


# --- one file --------------------------------------------------------------------------------------------------------

SIDE = st.floats(-1000, 5000)


@given(
    st.lists(st.tuples(st.text("abc <&>ü", min_size=1), SIDE, SIDE, SIDE, SIDE, st.booleans()), max_size=4),
    st.tuples(st.integers(1, 10**6), st.integers(1, 10**6)),
)
def test_what_is_written_is_read(rows: list[tuple], size_hw: tuple[int, int]) -> None:
    objects = [(name, [x, y, w, h], crowd) for name, x, y, w, h, crowd in rows if name.strip()]
    annotation = parse_annotation(voc_xml("a&b.jpg", size_hw, objects).encode())
    assert (annotation.file_name, annotation.size_hw, annotation.bad_objects) == ("a&b.jpg", size_hw, [])
    assert [(one.name, one.is_difficult, one.number) for one in annotation.objects] == [
        (name.strip(), crowd, number) for number, (name, _, crowd) in enumerate(objects, 1)
    ]
    for one, (_, (x, y, w, h), _) in zip(annotation.objects, objects, strict=True):
        np.testing.assert_allclose(one.box_xyxy, [x, y, x + w, y + h], atol=1e-9)


def test_a_box_around_the_whole_picture_starts_at_1() -> None:
    box = "<bndbox><ymax>375</ymax><xmin>1</xmin><ymin>1</ymin><xmax> 500.0 </xmax></bndbox>"
    content = f"<annotation><object><part><name>head</name></part><name>cat</name>{box}</object></annotation>"
    annotation = parse_annotation(content.encode())
    assert annotation.objects[0][:3] == ("cat", (0, 0, 500, 375), False)
    assert annotation.size_hw == (0, 0)


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ("<name>cat</name>", "it has no <bndbox>"),
        ("<name>cat</name><bndbox><xmin>1</xmin></bndbox>", "its <bndbox> has no <ymin>"),
        ("<name>cat</name><bndbox><xmin>1,5</xmin></bndbox>", "its <xmin> is '1,5'"),
        (
            "<name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>nan</xmax><ymax>1</ymax></bndbox>",
            "its <bndbox> has NaN or infinity",
        ),
        ("<bndbox/>", "it has no <name>"),
    ],
)
def test_an_object_that_cannot_be_used_says_why(part: str, reason: str) -> None:
    annotation = parse_annotation(f"<annotation><object>{part}</object></annotation>".encode())
    assert annotation.bad_objects == [(1, reason)]


@given(st.binary(max_size=80) | st.text("<>/annotion object=\"'&;", max_size=80).map(str.encode))
def test_no_content_raises_anything_else(content: bytes) -> None:
    try:
        parse_annotation(content)
    except ValueError as error:
        assert "XML" in str(error)


# --- folders ---------------------------------------------------------------------------------------------------------


def test_the_folders_of_the_challenge(voc: Path) -> None:
    splits = find_splits(voc)
    assert list(splits) == ["train", "valid"]
    assert splits["valid"].images_dir == voc / "JPEGImages"
    index = load_index(splits["valid"])
    assert [index.file_names[image] for image in range(4)] == [f"valid_{number:04d}.jpg" for number in range(4)]
    assert index.class_names == index.category_ids == ("blue", "green", "red")
    assert index.sizes_hw.tolist() == [[96, 128]] * 4


def test_several_years_together(tmp_path: Path) -> None:
    coco = make_coco(tmp_path / "coco", images=3)
    for folder in ("VOCdevkit/VOC2007", "VOCdevkit/VOC2012"):
        make_voc(coco, tmp_path / folder)
    (tmp_path / "VOCdevkit/VOC2007/ImageSets/Main/val.txt").unlink()
    (tmp_path / "VOCdevkit/VOC2007/ImageSets/Main/red_train.txt").write_text("train_0000 -1\n")
    for data in (tmp_path / "VOCdevkit", tmp_path):
        index = load_index(find_splits(data)["train"])
        assert len(index) == 6
        assert index.image_path(0) == tmp_path / "VOCdevkit/VOC2007/JPEGImages/train_0000.jpg"
        assert index.image_path(5) == tmp_path / "VOCdevkit/VOC2012/JPEGImages/train_0002.jpg"
        assert len(load_index(find_splits(data)["valid"])) == 3


def test_trainval_is_the_training_split_where_there_is_no_other(voc: Path) -> None:
    main = voc / "ImageSets" / "Main"
    (main / "trainval.txt").write_text("".join((main / f"{part}.txt").read_text() for part in ("train", "val")))
    assert find_splits(voc)["train"].part == "train"
    (main / "train.txt").unlink()
    (main / "val.txt").rename(main / "test.txt")
    splits = find_splits(voc)
    assert {name: split.part for name, split in splits.items()} == {"train": "trainval", "test": "test"}
    assert len(load_index(splits["train"])) == 8


def test_lists_with_a_second_column_and_names_with_spaces(voc: Path) -> None:
    listed = voc / "ImageSets" / "Main" / "train.txt"
    listed.write_text("train_0000  1\ntrain_0002 -1\n")
    index = load_index(find_splits(voc)["train"])
    assert [index.file_names[image] for image in range(2)] == ["train_0000.jpg", "train_0002.jpg"]
    for path in (xml(voc), voc / "JPEGImages" / "train_0000.jpg"):
        path.rename(path.with_stem("photo 1"))
    listed.write_text("photo 1\ntrain_0002\n")
    index = load_index(find_splits(voc)["train"])
    assert [index.file_names[image] for image in range(2)] == ["photo 1.jpg", "train_0002.jpg"]


@pytest.mark.parametrize("layout", ["beside", "split folders", "annotations by split", "one folder"])
def test_folders_without_lists(voc: Path, layout: str) -> None:
    expected = load_index(find_splits(voc)["train"])
    for path in [*voc.glob("*/*.xml"), *voc.glob("*/*.jpg")]:
        split, kind = path.stem.split("_")[0], path.parent.name
        target = {
            "beside": voc / split,
            "split folders": voc / split / {"Annotations": "annotations", "JPEGImages": "images"}[kind],
            "annotations by split": voc / {"Annotations": "Annotations", "JPEGImages": "images"}[kind] / split,
            "one folder": voc,
        }[layout]
        target.mkdir(parents=True, exist_ok=True)
        path.rename(target / path.name)
    for path in (voc / "ImageSets" / "Main").iterdir():
        path.unlink()
    (voc / "ImageSets" / "Main").rmdir()
    for folder in ("JPEGImages", *(["Annotations"] if layout != "annotations by split" else [])):
        (voc / folder).rmdir()
    splits = find_splits(voc)
    assert list(splits) == (["train"] if layout == "one folder" else ["train", "valid"])
    index = load_index(splits["train"])
    assert all(index.image_path(image).is_file() for image in range(len(index)))
    np.testing.assert_array_equal(index.boxes_xywh[: len(expected.boxes_xywh)], expected.boxes_xywh)


def test_classes_are_those_of_all_splits_or_of_a_list(voc: Path) -> None:
    for path in voc.glob("Annotations/valid_*.xml"):
        path.write_text(path.read_text().replace("<name>red<", "<name>Pink<"))
    assert load_index(find_splits(voc)["train"]).class_names == ("Pink", "blue", "green", "red")
    (voc / "label_list.txt").write_text("red\ngreen\nblue\n")
    assert load_index(find_splits(voc)["train"]).class_names == ("red", "green", "blue")
    with pytest.raises(
        DatasetError, match=r"label\.unknown_class[\s\S]*object \d: 'Pink'[\s\S]*has: red, green, blue"
    ):
        load_index(find_splits(voc)["valid"])


@pytest.mark.parametrize(
    ("text", "message"),
    [("a\n\nb\n", "line 2: an empty line"), ("a\nb\na\n\n", "line 3: the class 'a' a second time")],
)
def test_a_list_of_classes_that_makes_no_sense(voc: Path, text: str, message: str) -> None:
    (voc / "classes.txt").write_text(text)
    with pytest.raises(DatasetError, match=rf"classes\.txt: {message}\. Every line is the name of one class"):
        find_splits(voc)


def test_folders_named_explicitly(voc: Path) -> None:
    index = load_index(explicit_split("train", voc / "JPEGImages", voc / "Annotations"))
    assert len(index) == 8
    assert index.class_names == ("blue", "green", "red")
    with pytest.raises(
        DatasetError, match=r"neither XML \(Pascal VOC\) nor text files \(YOLO\).*holds: train_0000\.jpg"
    ):
        explicit_split("train", voc / "JPEGImages", voc / "JPEGImages")


# --- what is reported ------------------------------------------------------------------------------------------------


def test_a_good_data_set_has_no_findings(voc: Path) -> None:
    assert check_dataset(voc).findings == ()


def test_difficult_objects_are_left_out_of_training_and_ignored_in_evaluation(tmp_path: Path) -> None:
    voc = make_voc(make_coco(tmp_path / "coco", images=3, crowds=1), tmp_path / "voc")
    dataset = load_voc(voc)
    index = dataset.index
    assert index.is_crowd.tolist().count(True) == 1
    assert len(dataset[0]["class_ids"]) == index.first[1] - 1


def test_broken_files_are_named_with_the_place(voc: Path) -> None:
    xml(voc, 0).write_text("<annotation>\n<object>")
    xml(voc, 1).write_bytes("<annotation><filename>ü</filename></annotation>".encode("latin-1"))
    xml(voc, 2).unlink()
    xml(voc, 3).write_text("<html/>")
    finding = found(check_dataset(voc, read_images=False), "label.unreadable")
    assert finding.severity == "error"
    names = [f"Annotations/train_{number:04d}.xml" for number in range(4)]
    assert [row["labels"] for row in finding.examples] == names
    assert finding.examples[0]["value"] == "not XML: no element found: line 2, column 8"
    assert finding.examples[1]["value"].startswith("not XML: not well-formed (invalid token): line 1, column")
    assert finding.examples[2]["value"] == "there is no such file"
    assert finding.examples[3]["value"] == "XML, but <html> in place of <annotation>"


def test_findings_name_the_file_and_the_object(voc: Path) -> None:
    size = (96, 128)
    xml(voc).write_text(voc_xml("", size, [("red", [0, 0, 9, 9], False), ("red", [100, 0, 60, 9], False)]))
    outside = found(check_dataset(voc, read_images=False), "box.outside")
    assert outside.examples[0] == {
        "file": "train_0000.jpg",
        "labels": "Annotations/train_0000.xml",
        "object": 2,
        "value": "[100, 0, 60, 9] in a picture of 128 x 96",
    }
    xml(voc).write_text("<annotation><object><name>red</name></object></annotation>")
    with pytest.raises(
        DatasetError, match=r"train_0000\.jpg, Annotations/train_0000\.xml, object 1: it has no <bndbox>"
    ):
        load_voc(voc)


def test_a_missing_picture_and_one_of_another_name(voc: Path) -> None:
    pictures = voc / "JPEGImages"
    (pictures / "train_0001.jpg").unlink()
    (pictures / "train_0002.jpg").rename(pictures / "photo.jpg")
    xml(voc, 2).write_text(xml(voc, 2).read_text().replace("train_0002.jpg", "C:\\pictures\\photo.jpg"))
    report = check_dataset(voc, read_images=False)
    assert [row["file"] for row in found(report, "file.missing").examples] == ["train_0001.jpg"]
    index = load_index(find_splits(voc)["train"])
    assert index.file_names[2] == "photo.jpg"


def test_pictures_without_xml_are_not_used_and_mentioned(voc: Path) -> None:
    for path in (voc / "ImageSets" / "Main").iterdir():
        path.unlink()
    (voc / "ImageSets" / "Main").rmdir()
    xml(voc, 1).unlink()
    assert found(check_dataset(voc), "file.unmentioned").examples == ({"file": "train_0001.jpg"},)
