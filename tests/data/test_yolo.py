"""YOLO data sets: `data.yaml` in all its variants, labels line by line, and what is reported of them."""

import logging
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hf_detr.data.checks import check_dataset
from hf_detr.data.loaders import load_yolo
from hf_detr.data.splits import explicit_split, find_splits, load_index
from hf_detr.data.yolo_labels import parse_labels
from hf_detr.errors import DatasetError
from tests.formats import make_yolo
from tests.synthetic import make_coco


@pytest.fixture
def yolo(tmp_path: Path) -> Path:
    """A YOLO data set without trouble, for a test to spoil."""
    return make_yolo(make_coco(tmp_path / "coco", images=4), tmp_path / "yolo")


def labels(folder: Path, number: int = 0, split: str = "train") -> Path:
    return folder / "labels" / split / f"{number:04d}.txt"


def findings(data: Path) -> dict[str, tuple[str, dict]]:
    """Severity and first example of every finding."""
    report = check_dataset(data, read_images=False)
    report.render().encode()
    return {finding.check: (finding.severity, next(iter(finding.examples), {})) for finding in report.findings}


# --- lines -----------------------------------------------------------------------------------------------------------

FRACTION = st.floats(0, 1)


@given(st.lists(st.tuples(st.integers(0, 2**31 - 1), FRACTION, FRACTION, FRACTION, FRACTION), max_size=5))
def test_what_is_written_is_read(rows: list[tuple]) -> None:
    content = "\r\n\r\n".join(" ".join(map(repr, row)) for row in rows).encode()
    objects, bad = parse_labels(content)
    assert bad == []
    assert [(found.class_id, *found.box_cxcywh_norm) for found in objects] == rows
    assert [found.line for found in objects] == [2 * number + 1 for number in range(len(rows))]


@given(st.binary(max_size=60) | st.text("0123456789.- \nnaife+", max_size=60).map(str.encode))
def test_no_content_raises(content: bytes) -> None:
    objects, bad = parse_labels(content)
    lines = [line for line in content.removeprefix(b"\xef\xbb\xbf").splitlines() if line.split()]
    assert len(objects) + len(bad) == len(lines)
    assert all(math.isfinite(side) for found in objects for side in found.box_cxcywh_norm)


@given(st.lists(st.tuples(FRACTION, FRACTION), min_size=3, max_size=9))
def test_an_outline_becomes_the_box_around_it(corners: list[tuple[float, float]]) -> None:
    content = "3 " + " ".join(f"{x!r} {y!r}" for x, y in corners)
    ((class_id, (cx, cy, w, h), _),), _ = parse_labels(content.encode())
    xs, ys = zip(*corners, strict=True)
    assert class_id == 3
    np.testing.assert_allclose(
        [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], [min(xs), min(ys), max(xs), max(ys)], atol=1e-12
    )


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("cat 0.1 0.1 0.1 0.1", "not numbers"),
        ("0,0.1,0.1,0.1,0.1", "not numbers"),
        ("0 0.1 0.1 nan 0.1", "NaN or infinity"),
        ("0 0.1 0.1 0.1 0.1 0.9", "is it a confidence, are these predictions?"),
        ("0 0.1 0.1 0.1", "3 numbers after the class"),
        ("0 0.1 0.1 0.1 0.1 0.1 0.1 0.1", "7 numbers after the class"),
        ("-1 0.1 0.1 0.1 0.1", "the class is -1, and classes are numbered"),
        ("1.5 0.1 0.1 0.1 0.1", "the class is 1.5"),
    ],
)
def test_a_line_that_is_no_object_says_why(line: str, reason: str) -> None:
    objects, (bad,) = parse_labels(f"0 0.5 0.5 0.5 0.5\n{line}\n".encode())
    assert len(objects) == 1
    assert (bad.line, bad.text) == (2, line)
    assert reason in bad.reason


def test_odd_lines_that_are_objects() -> None:
    objects, bad = parse_labels(b"\xef\xbb\xbf1.0 0.5\t0.5 1e-1 .25  \n\n0 0 0 1 0 1 1")
    assert bad == []
    assert [found[:2] for found in objects] == [(1, (0.5, 0.5, 0.1, 0.25)), (0, (0.5, 0.5, 1.0, 1.0))]
    keypoints, _ = parse_labels(b"0 0.5 0.5 0.2 0.2 0.1 0.1 2 0.9 0.9 2", has_keypoints=True)
    assert keypoints[0].box_cxcywh_norm == (0.5, 0.5, 0.2, 0.2)


# --- data.yaml -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", "path: .\n", "path:\n", "path: ../yolo\n"])
def test_paths_start_from_path_or_from_the_file(yolo: Path, path: str) -> None:
    text = (yolo / "data.yaml").read_text().removeprefix("path: .\n")
    (yolo / "data.yaml").write_text(path + text)
    splits = find_splits(yolo)
    assert list(splits) == ["train", "valid"] == list(find_splits(yolo / "data.yaml"))
    assert splits["valid"].images_dir.resolve() == yolo / "images" / "valid"
    assert splits["valid"].annotations_path == yolo / "data.yaml"


def test_a_path_that_is_not_there_falls_back_to_the_folder_of_the_file_and_says_so(
    yolo: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = (yolo / "data.yaml").read_text()
    (yolo / "data.yaml").write_text(text.replace("path: .", "path: /content/datasets/fruit"))
    with caplog.at_level(logging.INFO):
        assert find_splits(yolo)["train"].images_dir == yolo / "images" / "train"
    assert f"`path: /content/datasets/fruit` is not there; its paths start from {yolo}" in caplog.text


def test_a_path_below_the_working_folder_or_its_datasets(
    yolo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    text = (yolo / "data.yaml").read_text().replace("path: .", "path: yolo")
    (yolo / "data.yaml").rename(tmp_path / "elsewhere" / "fruit.yaml")
    (tmp_path / "elsewhere" / "fruit.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert find_splits("elsewhere/fruit.yaml")["train"].images_dir.resolve() == yolo / "images" / "train"
    (tmp_path / "datasets").mkdir()
    yolo.rename(tmp_path / "datasets" / "yolo")
    assert find_splits("elsewhere/fruit.yaml")["train"].images_dir == Path("datasets/yolo/images/train")


def test_entries_of_roboflow_lists_and_files_of_pictures(yolo: Path, tmp_path: Path) -> None:
    whole = load_index(find_splits(yolo)["train"])
    names = "names: [red, green, blue]\n"
    (yolo / "data.yaml").write_text(f"train: ../images/train\nval: ../images/valid\ntest: ../images/test\n{names}")
    assert list(find_splits(yolo)) == ["train", "valid"]
    (yolo / "data.yaml").write_text(f"train: [images/train, images/valid]\n{names}")
    both = load_index(find_splits(yolo)["train"])
    assert [both.file_names[image] for image in (0, 4)] == ["images/train/0000.jpg", "images/valid/0000.jpg"]
    assert len(both) == 8
    (yolo / "few.txt").write_text("./images/train/0002.jpg\n\nimages/train/0000.jpg\nimages/train/0000.jpg\n")
    (yolo / "data.yaml").write_text(f"train: few.txt\n{names}")
    few = load_index(find_splits(yolo)["train"])
    assert [few.file_names[image] for image in range(len(few))] == ["images/train/0000.jpg", "images/train/0002.jpg"]
    assert np.array_equal(few.boxes_xywh[: few.first[1]], whole.boxes_xywh[: whole.first[1]])


def test_names_stay_the_text_they_are(yolo: Path) -> None:
    text = (yolo / "data.yaml").read_text()
    (yolo / "data.yaml").write_text(text[: text.index("names")] + "names: [no, 1.0, ünder way]\n")
    index = load_index(find_splits(yolo)["train"])
    assert index.class_names == ("no", "1.0", "ünder way")
    assert index.category_ids == (0, 1, 2)


def test_numbers_of_classes_may_have_gaps(yolo: Path) -> None:
    for path in (yolo / "labels").rglob("*.txt"):
        path.write_text("7 0.5 0.5 0.5 0.5\n")
    text = (yolo / "data.yaml").read_text()
    (yolo / "data.yaml").write_text(text[: text.index("nc")] + "nc: 8\nnames: {7: cat, 2: dog}\n")
    index = load_index(find_splits(yolo)["train"])
    assert (index.class_names, index.category_ids) == (("dog", "cat"), (2, 7))
    assert set(index.class_ids.tolist()) == {1}


def test_without_names_classes_come_from_a_list_or_are_numbered(yolo: Path) -> None:
    text = (yolo / "data.yaml").read_text()
    (yolo / "data.yaml").write_text(text[: text.index("names")])
    assert load_index(find_splits(yolo)["train"]).class_names == ("class0", "class1", "class2")
    (yolo / "classes.txt").write_text("a\nb\nc\n")
    assert load_index(find_splits(yolo)["train"]).class_names == ("a", "b", "c")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("nc: 3", "nc: 4", r"`nc: 4`, but there are 3 names: red, green, blue"),
        ("nc: 3", "nc: three", r"`nc` has to be the number of classes; it is 'three'"),
        ("  0: red\n  1: green\n  2: blue\n", "  red: 0\n", r"`names` has to be a list or a mapping"),
        ("images/train", "pictures", r"`train: pictures` is not in .*yolo\. Correct the file"),
        ("nc: 3", "nc: [3", r"not YAML: .* at line \d+, column \d+"),
        ("path: .", "validation: images/valid", r"two splits are called 'valid'"),
    ],
)
def test_a_yaml_that_makes_no_sense(yolo: Path, old: str, new: str, message: str) -> None:
    text = (yolo / "data.yaml").read_text()
    assert old in text
    (yolo / "data.yaml").write_text(text.replace(old, new))
    with pytest.raises(DatasetError, match=message):
        find_splits(yolo)


def test_a_yaml_of_pictures_that_are_nowhere(tmp_path: Path) -> None:
    (tmp_path / "coco.yaml").write_text("path: coco\ntrain: train2017.txt\nnames: [cat]\n")
    with pytest.raises(
        DatasetError, match=r"none of its pictures is there[\s\S]*datasets/coco[\s\S]*Nothing is downl"
    ):
        find_splits(tmp_path / "coco.yaml")


def test_a_yaml_without_classes_or_in_another_encoding(yolo: Path) -> None:
    (yolo / "data.yaml").write_text("train: images/train\n")
    with pytest.raises(DatasetError, match=r"does not name the classes\. Add `names: \[cat, dog\]`"):
        find_splits(yolo)
    (yolo / "data.yaml").write_bytes("train: images/train\nnames: [Äpfel]\n".encode("latin-1"))
    with pytest.raises(DatasetError, match=r"not text in UTF-8: .* at byte 28\. Save the file as UTF-8"):
        find_splits(yolo)


def test_several_yaml_files_are_ambiguous(yolo: Path) -> None:
    (yolo / "more.yaml").write_text((yolo / "data.yaml").read_text())
    (yolo / "settings.yml").write_text("train: {epochs: 3}\n")
    with pytest.raises(DatasetError, match=r"several files describe a YOLO data set:[\s\S]*more\.yaml\nName one"):
        find_splits(yolo)
    assert list(find_splits(yolo / "more.yaml")) == ["train", "valid"]


# --- folders without data.yaml ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["images/{}", "{}/images", "darknet", "cvat"])
def test_folders_without_a_yaml(yolo: Path, layout: str) -> None:
    expected = load_index(find_splits(yolo)["valid"])
    (yolo / "data.yaml").unlink()
    (yolo / "obj.names").write_text("red\ngreen\nblue\n")
    for split in ("train", "valid"):
        if layout == "{}/images":
            (yolo / split).mkdir()
            for part in ("images", "labels"):
                (yolo / part / split).rename(yolo / split / part)
        elif layout in ("darknet", "cvat"):
            target = yolo / (split if layout == "darknet" else f"obj_{split}_data")
            (yolo / "images" / split).rename(target)
            for path in (yolo / "labels" / split).iterdir():
                path.rename(target / path.name)
    index = load_index(find_splits(yolo)["valid"])
    assert index.class_names == ("red", "green", "blue")
    np.testing.assert_array_equal(index.boxes_xywh, expected.boxes_xywh)


def test_one_folder_of_pictures_and_one_of_labels_are_a_training_split(yolo: Path) -> None:
    for part in ("images", "labels"):
        (yolo / part / "train").rename(yolo / f"{part}-train")
        for path in (yolo / part).rglob("*.*"):
            path.unlink()
        (yolo / part / "valid").rmdir()
        (yolo / part).rmdir()
        (yolo / f"{part}-train").rename(yolo / part)
    (yolo / "data.yaml").unlink()
    with pytest.raises(DatasetError, match=r"nothing names the classes of these labels.*classes\.txt, one a line"):
        load_index(find_splits(yolo)["train"])
    (yolo / "labels" / "classes.txt").write_text("red\ngreen\nblue\n")  # where labelImg writes it
    assert len(load_index(find_splits(yolo)["train"])) == 4
    assert "label.without_picture" not in findings(yolo)


def test_two_folders_of_one_split(yolo: Path) -> None:
    (yolo / "data.yaml").unlink()
    for part in ("images", "labels"):
        (yolo / part / "valid").rename(yolo / part / "train2017")
    with pytest.raises(DatasetError, match=r"two splits are called 'train':[\s\S]*images/train2017"):
        find_splits(yolo)


@pytest.mark.parametrize("annotations", ["data.yaml", "labels/train"])
def test_pictures_and_labels_named_explicitly(yolo: Path, annotations: str) -> None:
    (yolo / "classes.txt").write_text("red\ngreen\nblue\n")
    found = load_index(find_splits(yolo)["train"])
    index = load_index(explicit_split("train", yolo / "images" / "train", yolo / annotations))
    np.testing.assert_array_equal(index.boxes_xywh, found.boxes_xywh)
    assert index.class_names == found.class_names


# --- what is reported ------------------------------------------------------------------------------------------------


def test_a_good_data_set_has_no_findings(yolo: Path) -> None:
    assert check_dataset(yolo).findings == ()


def test_missing_and_empty_label_files_are_pictures_without_objects(yolo: Path) -> None:
    labels(yolo, 1).unlink()
    labels(yolo, 2).write_text("\n")
    index = load_index(find_splits(yolo)["train"])
    assert index.objects_per_image[1:3].tolist() == [0, 0]
    assert findings(yolo) == {"image.no_objects": ("info", {"file": "0001.jpg"})}


@pytest.mark.parametrize(
    ("content", "check", "value"),
    [
        ("0 0.5 0.5\n", "label.malformed", "'0 0.5 0.5': 2 numbers after the class, neither a box (4) nor an"),
        ("3 0.5 0.5 0.1 0.1\n", "label.unknown_class", "class 3"),
        ("0 64 48 20 20\n", "label.not_fractions", "64 48 20 20"),
    ],
)
def test_errors_name_the_label_file_and_the_line(yolo: Path, content: str, check: str, value: str) -> None:
    labels(yolo).write_text("0 0.5 0.5 0.1 0.1\n" + content)
    severity, example = findings(yolo)[check]
    assert severity == "error"
    assert example["value"].startswith(value)
    assert example | {"value": ""} == {
        "file": "0000.jpg",
        "labels": "labels/train/0000.txt",
        "line": 2,
        "value": "",
    }
    with pytest.raises(DatasetError, match=rf"{check}[\s\S]*0000\.jpg, labels/train/0000\.txt, line 2: "):
        load_index(find_splits(yolo)["train"])


def test_warnings_name_the_line_too(yolo: Path) -> None:
    labels(yolo).write_text("0 0.5 0.5 0.2 0.2\n0 0.99 0.5 0.2 0.2\n0 0.5 0.5 0.2 0.2\n1 0.5 0.5 0 0.2\n")
    found = findings(yolo)
    assert {check: (severity, row["line"]) for check, (severity, row) in found.items() if "line" in row} == {
        "box.outside": ("warning", 2),
        "box.duplicate": ("warning", 3),
        "box.degenerate": ("warning", 4),
    }


def test_labels_that_count_classes_from_1_are_recognised(yolo: Path) -> None:
    labels(yolo).write_text("3 0.5 0.5 0.2 0.2\n")
    with pytest.raises(
        DatasetError, match=r"names: 0 red, 1 green, 2 blue\. Classes count from 0: labels that count from 1"
    ):
        load_index(find_splits(yolo)["train"])


def test_labels_without_a_picture_and_pictures_without_any_label(yolo: Path) -> None:
    (yolo / "images" / "train" / "0003.jpg").unlink()
    (yolo / "labels" / "valid").rename(yolo / "labels" / "val")
    found = findings(yolo)
    assert found["label.without_picture"] == ("warning", {"labels": "labels/train/0003.txt"})
    assert found["label.none"][0] == "warning"
    (yolo / "labels" / "train").rename(yolo / "labels" / "training")
    assert [finding.severity for finding in check_dataset(yolo).findings if finding.check == "label.none"] == [
        "error",
        "warning",
    ]


def test_a_picture_that_cannot_be_read_does_not_stop_the_others(yolo: Path) -> None:
    (yolo / "images" / "train" / "0001.jpg").write_bytes(b"not a picture")
    dataset = load_yolo(yolo)
    assert [dataset[image]["readable"] for image in range(4)] == [True, False, True, True]
    assert check_dataset(yolo).findings[0].check == "file.unreadable"


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_boxes_are_of_the_upright_picture(yolo: Path, suffix: str) -> None:
    path = yolo / "images" / "train" / "0000.jpg"
    with Image.open(path) as image:
        exif = Image.Exif()
        exif[0x0112] = 6  # shown with its width and height swapped
        path.unlink()
        image.save(path.with_suffix(suffix), exif=exif)
    labels(yolo).write_text("0 0.25 0.5 0.5 1\n")  # the left half of what is seen
    sample = load_yolo(yolo / "data.yaml")[0]
    assert sample["image"].shape == (128, 96, 3)
    np.testing.assert_allclose(sample["boxes_xyxy"], [[0, 0, 48, 128]])


def test_load_yolo_names_the_splits_there_are(yolo: Path) -> None:
    assert load_yolo(yolo, "valid").index.name == "valid"
    with pytest.raises(DatasetError, match=r"no split 'test'\. It has: train, valid\."):
        load_yolo(yolo, "test")
    with pytest.raises(DatasetError, match="no such file or folder"):
        load_yolo(yolo / "other.yaml")
    with pytest.raises(DatasetError, match="No YOLO data set was found there"):
        load_yolo(yolo / "images")
