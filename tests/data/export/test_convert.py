"""Conversions from one format to another: what is kept, what is said to be lost, and that nothing is half done."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hf_detr.data.export.classes import ClassEdits
from hf_detr.data.export.convert import convert_dataset
from hf_detr.data.export.formats import FORMATS
from hf_detr.data.export.wishes import Conversion, NewSplits, Wishes
from hf_detr.data.index import DetectionIndex
from hf_detr.data.splits import Split, find_splits, load_index
from hf_detr.errors import DatasetError
from tests.synthetic import annotation_file, edit_json, images_folder, make_coco


def convert(source: Path, target: Path, to: str = "coco", **options) -> Conversion:
    return convert_dataset([find_splits(source)], target, Wishes(to=to, **options))


def indices(folder: Path) -> dict[str, DetectionIndex]:
    return {name: load_index(split) for name, split in find_splits(folder).items()}


def content(index: DetectionIndex) -> dict[str, list[tuple]]:
    """What is in each picture, by file name: class names, boxes, areas, crowds, in any order."""
    found = {}
    for image in range(len(index)):
        rows = slice(index.first[image], index.first[image + 1])
        names = [index.class_names[number] for number in index.class_ids[rows]]
        columns = (names, index.boxes_xywh[rows].tolist(), index.areas[rows].tolist(), index.is_crowd[rows].tolist())
        found[index.file_names[image]] = sorted(zip(*columns, strict=True))
    return found


def files_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("category_ids", ["one_based", "sparse", "unsorted", "text"])
@pytest.mark.parametrize("image_ids", ["unsorted", "text"])
def test_coco_to_coco_changes_nothing(tmp_path: Path, category_ids: str, image_ids: str) -> None:
    options = {"category_ids": category_ids, "image_ids": image_ids, "shuffle_annotations": True}
    source = make_coco(tmp_path / "in", layout="coco2017", images=4, empty_images=1, crowds=1, **options)
    with edit_json(annotation_file(source, layout="coco2017")) as annotations:
        for number, row in enumerate(annotations["annotations"]):
            row["bbox"] = [side + 1 / (number + 3) for side in row["bbox"]]
            row["area"] = 123.4 / (number + 1)
    conversion = convert(source, tmp_path / "out")
    assert conversion.notes == ()
    assert conversion.num_pictures == {"train": 4, "valid": 4}
    for name, before in indices(source).items():
        after = indices(tmp_path / "out")[name]
        assert content(after) == content(before)
        assert (after.class_names, after.category_ids) == (before.class_names, before.category_ids)
        assert [after.image_id(i) for i in range(4)] == [before.image_id(i) for i in range(4)]
        np.testing.assert_array_equal(after.sizes_hw, before.sizes_hw)
        for image in range(4):
            assert after.image_path(image).read_bytes() == before.image_path(image).read_bytes()


def test_what_is_left_out_is_said_with_numbers(tmp_path: Path) -> None:
    source = make_coco(tmp_path / "in", images=3, splits=("train",), crowds=2, category_ids="sparse")
    with edit_json(annotation_file(source)) as annotations:
        rows = [row for row in annotations["annotations"] if not row["iscrowd"]]
        for row in rows[:3]:
            row["area"] *= 0.7
            row["segmentation"] = [[1, 1, 5, 5, 1, 5]]
    notes = convert(source, tmp_path / "out", "yolo").notes
    assert notes == (
        "The outlines of 3 objects are left out: boxes alone are converted; --outlines writes 3 of them.",
        "2 crowd regions left out: YOLO has none.",
        "The areas of 3 objects become width times height: YOLO has no areas.",
        "Ids of pictures and objects are not kept: YOLO knows pictures by their file names.",
        "Category ids are not kept: YOLO has classes in order, from 0.",
    )
    assert convert(source, tmp_path / "coco").notes == ()


def test_outlines_of_yolo_are_counted_too(tmp_path: Path) -> None:
    source = make_coco(tmp_path / "in", images=2, splits=("train",))
    convert(source, tmp_path / "yolo", "yolo")
    (tmp_path / "yolo/labels/train/0000.txt").write_text("0 0.1 0.1 0.5 0.1 0.5 0.6\n1 0.5 0.5 0.2 0.2\n")
    notes = convert(tmp_path / "yolo", tmp_path / "out", "csv").notes
    assert notes == ("The outlines of 1 object are left out: boxes alone are converted.",)


def test_yolo_files_are_what_others_expect(tmp_path: Path) -> None:
    source = make_coco(tmp_path / "in", images=2, splits=("train", "valid"), crowds=1, empty_images=1)
    with edit_json(annotation_file(source)) as annotations:
        annotations["annotations"] = [
            {"id": 1, "image_id": 1, "category_id": 3, "bbox": [32, 24, 64, 12]},
            {"id": 2, "image_id": 1, "category_id": 1, "bbox": [100, 90, 40, 12]},
            {"id": 3, "image_id": 1, "category_id": 1, "bbox": [120, 90, 80, 12]},
        ]
    conversion = convert(source, tmp_path / "out", "yolo")
    beyond = "with boxes that stick out: numbers below 0 or above 1, which YOLO trainers may refuse."
    assert f"1 picture {beyond}" in conversion.notes
    assert (tmp_path / "out" / "labels" / "train" / "0000.txt").read_text() == (
        "2 0.50000000 0.31250000 0.50000000 0.12500000\n"
        "0 0.93750000 1.00000000 0.31250000 0.12500000\n"
        "0 1.25000000 1.00000000 0.62500000 0.12500000\n"
    )
    assert (tmp_path / "out" / "labels" / "train" / "0001.txt").read_text() == ""
    assert (tmp_path / "out" / "data.yaml").read_text() == (
        "train: images/train\nval: images/val\nnames:\n  0: red\n  1: green\n  2: blue\n"
    )
    assert sorted(path.name for path in (tmp_path / "out" / "images" / "val").iterdir()) == ["0000.jpg", "0001.jpg"]


def test_boxes_stay_with_the_pixels_of_a_turned_picture(tmp_path: Path) -> None:
    """YOLO does not say what a box was drawn on, and its readers turn pictures upright."""
    source = make_coco(tmp_path / "in", images=1, splits=("train",))
    picture = images_folder(source) / "0000.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise by 90 degrees
    with Image.open(picture) as opened:
        opened.load()
    opened.save(picture, exif=exif, quality=95)
    with edit_json(annotation_file(source)) as annotations:
        annotations["annotations"] = [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 32, 24]}]
    convert(source, tmp_path / "out", "yolo")
    numbers = [float(number) for number in (tmp_path / "out/labels/train/0000.txt").read_text().split()]
    # 24 of 96 pixels high and 32 of 128 wide at the top left, turned: 24 wide at the right, 32 high
    assert numbers == [0, 1 - 0.125, 0.125, 0.25, 0.25]
    with edit_json(annotation_file(source)) as annotations:
        annotations["images"][0] |= {"width": 64, "height": 48}
    with pytest.raises(DatasetError, match=r"0000.jpg is 96 x 128 and annotated as 64 x 48.*file.size_differs"):
        convert(source, tmp_path / "other", "yolo")
    assert not (tmp_path / "other").exists()


def test_several_sources_become_one(tmp_path: Path) -> None:
    first = make_coco(tmp_path / "one", images=3, splits=("train", "valid"))
    second = make_coco(tmp_path / "two", images=4, splits=("train",), seed=1, category_ids="sparse")
    with edit_json(annotation_file(second)) as annotations:
        annotations["categories"][0]["name"] = "yellow"
    conversion = convert_dataset([find_splits(first), find_splits(second)], tmp_path / "out", Wishes(to="coco"))
    assert conversion.num_pictures == {"train": 7, "valid": 3}
    assert conversion.class_names == ("red", "green", "blue", "yellow")
    assert conversion.notes == (
        "Category ids are new, 1 to K in the order of the classes.",
        "3 pictures have new names: others had them, or the format has no folders.",
        "Image ids are new, numbers from 1: some came up twice in one split.",
        "Ids of annotations are new, numbers from 1: some came up twice in one split, or were missing.",
    )
    merged = indices(tmp_path / "out")["train"]
    assert merged.file_names[3] == "0000-2.jpg"
    one, two = indices(first)["train"], indices(second)["train"]
    together = content(merged)
    for source, names in ((one, ["0000.jpg"]), (two, ["0000-2.jpg"])):
        for name in names:
            assert together[name] == content(source)["0000.jpg"]
            assert merged.image_path(list(together).index(name)).read_bytes() == source.image_path(0).read_bytes()


def test_two_categories_of_one_name_become_one_class(tmp_path: Path) -> None:
    source = make_coco(tmp_path / "in", images=4, splits=("train",))
    with edit_json(annotation_file(source)) as annotations:
        annotations["categories"][2]["name"] = "red"
    conversion = convert(source, tmp_path / "out")
    assert conversion.notes == ("Categories of the same name became one class: 'red'.",)
    before, after = indices(source)["train"], indices(tmp_path / "out")["train"]
    assert (after.class_names, after.category_ids) == (("red", "green"), (1, 2))
    assert after.class_ids.tolist() == [{0: 0, 1: 1, 2: 0}[number] for number in before.class_ids.tolist()]


def test_classes_are_edited_and_emptied_pictures_stay_or_go(tmp_path: Path) -> None:
    source = make_coco(tmp_path / "in", images=8, splits=("train",), empty_images=1, crowds=1)
    before = indices(source)["train"]
    edits = ClassEdits(rename=(("green", "lime"),), drop=("red",))
    conversion = convert(source, tmp_path / "kept", classes=edits)
    after = indices(tmp_path / "kept")["train"]
    assert after.class_names == ("lime", "blue") and after.category_ids == (2, 3)
    reds = int((before.class_ids == 0).sum())
    emptied = sum(
        set(before.class_ids[before.first[i] : before.first[i + 1]].tolist()) == {0} for i in range(len(before))
    )
    assert reds and emptied
    noun, stay = ("picture", "stays") if emptied == 1 else ("pictures", "stay")
    assert conversion.notes == (
        f"{reds} annotations of 1 class dropped; {emptied} {noun} without any other {stay} as background.",
    )
    expected = {
        name: [("lime" if row[0] == "green" else row[0], *row[1:]) for row in rows if row[0] != "red"]
        for name, rows in content(before).items()
    }
    assert content(after) == {name: sorted(rows) for name, rows in expected.items()}
    assert len(convert(source, tmp_path / "gone", classes=edits, keep_emptied=False).notes) == 1
    assert len(indices(tmp_path / "gone")["train"]) == len(before) - emptied, "what was empty before stays"


def test_new_splits_take_every_picture_once(tmp_path: Path) -> None:
    source = make_coco(tmp_path / "in", images=20, splits=("train", "valid"))
    conversion = convert(source, tmp_path / "out", split=NewSplits((0.5, 0.25, 0.25), near_duplicates=False))
    assert conversion.num_pictures == {"train": 20, "valid": 10, "test": 10}
    assert conversion.notes[0] == "Split anew, put together before: train, valid."

    def pictures(folder: Path) -> list[bytes]:
        return sorted(path.read_bytes() for path in folder.rglob("*.jpg"))

    assert pictures(tmp_path / "out") == pictures(source)
    before, after = indices(source).values(), indices(tmp_path / "out").values()
    rows = sorted(rows for index in before for rows in content(index).values())
    assert rows == sorted(rows for index in after for rows in content(index).values())
    again = convert(source, tmp_path / "again", split=NewSplits((0.5, 0.25, 0.25), near_duplicates=False))
    assert again.num_objects == conversion.num_objects
    assert files_below(tmp_path / "again") == files_below(tmp_path / "out")


def test_near_identical_pictures_do_not_leak(tmp_path: Path) -> None:
    source = make_coco(tmp_path / "in", images=6, splits=("train", "valid"))
    with edit_json(annotation_file(source)) as annotations:
        for row in list(annotations["images"]):
            copy = f"again_{row['file_name']}"
            with Image.open(images_folder(source) / row["file_name"]) as opened:
                opened.save(images_folder(source) / copy, quality=60)
            annotations["images"].append(row | {"id": row["id"] + 100, "file_name": copy})
    conversion = convert(source, tmp_path / "out", split=NewSplits((0.5, 0.5)))
    assert any(note.startswith("12 pictures stay together in 6 groups, the largest of 2") for note in conversion.notes)
    for index in indices(tmp_path / "out").values():
        names = [index.file_names[image].removeprefix("again_").partition("-")[0] for image in range(len(index))]
        for name in (name for name in names if f"again_{name}" in set(content(index))):
            assert names.count(name) >= 2


def test_a_smaller_validation_split_gives_the_rest_to_train(tmp_path: Path) -> None:
    """What D-FINE does to Objects365: the first 5000 validation pictures stay."""
    source = make_coco(tmp_path / "in", images=5, layout="coco2017", image_ids="unsorted")
    conversion = convert(source, tmp_path / "out", valid_size=2)
    assert conversion.num_pictures == {"train": 8, "valid": 2}
    before, after = indices(source), indices(tmp_path / "out")
    assert list(content(after["valid"]).items()) == list(content(before["valid"]).items())[:2]
    assert list(content(after["train"]).values())[5:] == list(content(before["valid"]).values())[2:]
    with pytest.raises(DatasetError, match=r"--valid_size 5: there are 5 validation pictures to take it from"):
        convert(source, tmp_path / "no", valid_size=5)


@pytest.mark.parametrize(("resize", "size_hw"), [([64], (48, 64)), ([48, 48], (48, 48)), ([500], (96, 128))])
def test_pictures_get_smaller_and_boxes_with_them(tmp_path: Path, resize: list[int], size_hw: tuple[int, int]) -> None:
    source = make_coco(tmp_path / "in", images=4, splits=("train",), category_ids="one_based")
    convert(source, tmp_path / "out", resize=resize)
    before, after = indices(source)["train"], indices(tmp_path / "out")["train"]
    assert after.sizes_hw.tolist() == [list(size_hw)] * 4
    factor_y, factor_x = size_hw[0] / 96, size_hw[1] / 128
    np.testing.assert_allclose(after.boxes_xywh, before.boxes_xywh * [factor_x, factor_y, factor_x, factor_y])
    np.testing.assert_allclose(after.areas, before.areas * factor_x * factor_y)
    for image in range(4):
        with Image.open(after.image_path(image)) as opened:
            pixels = np.asarray(opened.convert("RGB")).astype(int)
        assert pixels.shape[:2] == size_hw
        for row in range(after.first[image], after.first[image + 1]):
            x, y, w, h = after.boxes_xywh[row]
            inside = pixels[round(y) + 3 : round(y + h) - 3, round(x) + 3 : round(x + w) - 3].reshape(-1, 3).mean(0)
            colour = ((220, 40, 40), (40, 180, 70), (50, 80, 220))[after.class_ids[row]]
            assert np.abs(inside - colour).max() < 20, "the rectangle is where its box says"
    if size_hw == (96, 128):
        assert after.image_path(0).read_bytes() == before.image_path(0).read_bytes(), "small ones stay as they are"


def test_kinds_of_pictures_that_are_not_rewritten_become_png(tmp_path: Path) -> None:
    source = make_coco(tmp_path / "in", images=2, splits=("train",))
    pictures = images_folder(source)
    with Image.open(pictures / "0000.jpg") as opened:
        opened.save(pictures / "a.gif")
    with edit_json(annotation_file(source)) as annotations:
        annotations["images"][0]["file_name"] = "a.gif"
    convert(source, tmp_path / "out", resize=[32])
    with Image.open(tmp_path / "out" / "train" / "a.png") as opened:
        assert opened.format == "PNG" and opened.size == (32, 24)


@pytest.mark.parametrize("mode", ["copy", "link", "symlink", "none"])
def test_pictures_are_copied_linked_or_left(tmp_path: Path, mode: str) -> None:
    source = make_coco(tmp_path / "in", images=2, splits=("train",))
    convert(source, tmp_path / "out", "yolo", pictures=mode)
    original, written = source / "train" / "0000.jpg", tmp_path / "out" / "images" / "train" / "0000.jpg"
    if mode == "none":
        assert list(written.parent.iterdir()) == []
        return
    assert written.read_bytes() == original.read_bytes()
    assert written.is_symlink() == (mode == "symlink")
    assert os.path.samefile(written, original) == (mode != "copy")


def test_names_lead_nowhere_else_and_do_not_meet(tmp_path: Path) -> None:
    source = make_coco(tmp_path / "in", images=4, splits=("train",))
    pictures = images_folder(source)
    (pictures / "a").mkdir()
    names = ["../outside.jpg", "a/x.jpg", "a/x.png", "0003.jpg"]
    (pictures / "0000.jpg").rename(source / "outside.jpg")
    (pictures / "0001.jpg").rename(pictures / "a" / "x.jpg")
    with Image.open(pictures / "0002.jpg") as opened:
        opened.save(pictures / "a" / "x.png")
    with edit_json(annotation_file(source)) as annotations:
        for row, name in zip(annotations["images"], names, strict=True):
            row["file_name"] = name
    convert(source, tmp_path / "coco")
    assert list(content(indices(tmp_path / "coco")["train"])) == ["outside.jpg", "a/x.jpg", "a/x.png", "0003.jpg"]
    conversion = convert(source, tmp_path / "yolo", "yolo")
    assert "2 pictures have new names: others had them, or the format has no folders." in conversion.notes
    labels = sorted(path.relative_to(tmp_path / "yolo").as_posix() for path in (tmp_path / "yolo").rglob("*.txt"))
    folder = "labels/train"
    assert labels == [f"{folder}/{name}.txt" for name in ("0003", "a/x-2", "a/x", "outside")]
    assert (tmp_path / "yolo/images/train/a/x-2.png").is_file()


def test_missing_pictures_stop_the_conversion_or_are_left_out(tmp_path: Path) -> None:
    source = make_coco(tmp_path / "in", images=3, splits=("train",))
    (images_folder(source) / "0001.jpg").unlink()
    (images_folder(source) / "0002.jpg").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"files of 1 picture are not there: 0001.jpg.*--on_unreadable skip"):
        convert(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    conversion = convert(source, tmp_path / "out", on_unreadable="skip")
    assert conversion.notes == ("2 pictures left out with their objects, as they cannot be read: 0001.jpg, 0002.jpg",)
    assert content(indices(tmp_path / "out")["train"]) == {"0000.jpg": content(indices(source)["train"])["0000.jpg"]}


@pytest.mark.parametrize(
    "options", [{"resize": [32]}, {"split": NewSplits((0.5, 0.5))}, {"to": "yolo"}], ids=["resize", "split", "yolo"]
)
def test_damaged_pictures_name_the_way_out(tmp_path: Path, options: dict) -> None:
    source = make_coco(tmp_path / "in", images=5, splits=("train",))
    picture = images_folder(source) / "0001.jpg"
    picture.write_bytes(picture.read_bytes()[: 20 if "to" in options else -200])
    with pytest.raises(DatasetError, match=r"0001.jpg: cannot read this picture: .*--on_unreadable skip leaves them"):
        convert(source, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
    assert sum(convert(source, tmp_path / "out", on_unreadable="skip", **options).num_pictures.values()) == 4


def test_only_its_own_work_is_replaced(tmp_path: Path) -> None:
    source, out = make_coco(tmp_path / "in", images=2, splits=("train",)), tmp_path / "out"
    convert(source, out, "yolo")
    before = files_below(out)
    with pytest.raises(DatasetError, match=r"is not empty.*--overwrite"):
        convert(source, out)
    (out / "labels" / "train.cache").write_text("somebody's")
    with pytest.raises(DatasetError, match=r"did not write, and --overwrite leaves those alone: labels/train.cache"):
        convert(source, out, overwrite=True)
    assert files_below(out) == before | {"labels/train.cache": b"somebody's"}
    (out / "labels" / "train.cache").unlink()
    convert(source, out, "coco", overwrite=True)
    assert sorted(files_below(out)) == [
        *(".hf_detr_convert.json", "train/0000.jpg", "train/0001.jpg", "train/_annotations.coco.json")
    ]
    with pytest.raises(DatasetError, match=r"holds the data to be read"):
        convert(out, out, overwrite=True)
    with pytest.raises(DatasetError, match=r"train/0000.jpg.*Move or delete"):
        convert(out, source, overwrite=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="is a file"):
        convert(source, tmp_path / "file")


def test_nothing_half_made_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = make_coco(tmp_path / "in", images=2, splits=("train", "valid")), tmp_path / "out"
    convert(source, out, "yolo")
    before = files_below(out)
    to = FORMATS["coco"]

    def interrupted(folder: Path, splits: dict, pictures: object) -> None:
        to.write(folder, splits, pictures)
        raise KeyboardInterrupt

    monkeypatch.setitem(FORMATS, "coco", replace(to, write=interrupted))
    for target in (out, tmp_path / "new"):
        with pytest.raises(KeyboardInterrupt):
            convert(source, target, "coco", overwrite=True)
    assert files_below(out) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_a_full_disk_is_no_traceback(tmp_path: Path) -> None:
    source = make_coco(tmp_path / "in", images=1, splits=("train",))
    (tmp_path / "locked").write_text("a file where a folder has to be made")
    with pytest.raises(DatasetError, match=r"cannot be written: (Not a directory|File exists)"):
        convert(source, tmp_path / "locked" / "out")


def test_bad_annotations_are_refused_with_the_doctors_words(tmp_path: Path) -> None:
    source = make_coco(tmp_path / "in", images=1, splits=("train",))
    with edit_json(annotation_file(source)) as annotations:
        annotations["annotations"][0]["image_id"] = 77
    with pytest.raises(DatasetError, match=r"cannot be used:\s+ERROR +annotation.unknown_image"):
        convert(source, tmp_path / "out")


def test_wishes_that_contradict_each_other(tmp_path: Path) -> None:
    source = make_coco(tmp_path / "in", images=1, splits=("train",))
    with pytest.raises(DatasetError, match="--resize writes new pictures: it does not go with --pictures link"):
        convert(source, tmp_path / "out", resize=[32], pictures="link")


def test_the_summary_counts(tmp_path: Path) -> None:
    source = make_coco(tmp_path / "in", images=3, splits=("train",), crowds=1)
    conversion = convert_dataset(
        [{"train": Split("train", images_folder(source), annotation_file(source))}],
        tmp_path / "out",
        Wishes(to="coco"),
    )
    content = json.loads((tmp_path / "out/train/_annotations.coco.json").read_text())
    objects = sum(row["iscrowd"] == 0 for row in content["annotations"])
    assert conversion.render() == (
        f"{tmp_path / 'out'}: COCO, 3 pictures with {objects} objects of 3 classes\n"
        f"  train  3 pictures, {objects} objects"
    )
