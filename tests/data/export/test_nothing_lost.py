"""What COCO says beyond boxes comes back: all of it from COCO, and from other formats what they can hold."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from PIL import Image
from pycocotools import mask as coco_mask

from hf_detr.data.export.classes import ClassEdits
from hf_detr.data.export.convert import convert_dataset
from hf_detr.data.export.outlines import decode_runs
from hf_detr.data.export.wishes import NewSplits, Wishes
from hf_detr.data.splits import find_splits
from hf_detr.errors import DatasetError
from tests.data.export.rich import OFFLINE, SIZE_HW, contents, convert, read, rows_of, write


@settings(max_examples=20, phases=[Phase.generate], suppress_health_check=OFFLINE)
@given(contents=contents())
def test_coco_to_coco_is_the_same_json(contents: dict, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("same")
    conversion = convert(write(folder / "in", contents), folder / "out", "coco")
    assert conversion.notes == ()
    for split, content in contents.items():
        assert read(folder / "out", split) == content


def test_new_splits_keep_every_record(rich: Path, tmp_path: Path) -> None:
    wish = NewSplits((0.5, 0.5), near_duplicates=False)
    convert(rich, tmp_path / "out", "coco", split=wish)
    for key in ("annotations", "categories"):
        assert rows_of(tmp_path / "out", key) == rows_of(rich, key)
    for image_id, row in rows_of(tmp_path / "out", "images").items():
        before = rows_of(rich, "images")[image_id]
        assert row | {"file_name": ""} == before | {"file_name": ""}
    assert read(tmp_path / "out")["licenses"] == read(rich)["licenses"]


def test_classes_are_edited_and_all_else_stays(rich: Path, tmp_path: Path) -> None:
    edits = ClassEdits(rename=(("cat", "puss"),), merge=((("dog", "a bird"), "pet"),))
    convert(rich, tmp_path / "out", "coco", classes=edits)
    new_id = {7: 7, 3: 3, 90: 3}
    expected = {
        number: row | {"category_id": new_id[row["category_id"]]}
        for number, row in rows_of(rich, "annotations").items()
    }
    assert rows_of(tmp_path / "out", "annotations") == expected
    assert read(tmp_path / "out")["categories"] == [
        {"id": 7, "name": "puss", "supercategory": "over cat"},
        {"id": 3, "name": "pet", "supercategory": "over dog"},
    ]
    convert(rich, tmp_path / "less", "coco", classes=ClassEdits(drop=("cat",)))
    kept = {number: row for number, row in rows_of(rich, "annotations").items() if row["category_id"] != 7}
    assert rows_of(tmp_path / "less", "annotations") == kept


def test_two_sources_keep_their_records_under_new_ids(rich: Path, tmp_path: Path) -> None:
    convert(rich, tmp_path / "one", "coco")
    path = tmp_path / "one" / "train" / "_annotations.coco.json"
    content = json.loads(path.read_text())
    content["licenses"] += [{"id": 77}]
    content["info"] = {"year": 2020}
    path.write_text(json.dumps(content))
    sources = [find_splits(rich), find_splits(tmp_path / "one")]
    conversion = convert_dataset(sources, tmp_path / "both", Wishes(to="coco"))
    assert "Of the sources' info, which differ, the first is kept." in conversion.notes
    both, before = read(tmp_path / "both"), read(rich)
    assert both["licenses"] == [*before["licenses"], {"id": 77}] and both["info"] == {"year": 2017}

    def without_ids(rows: list[dict]) -> list[dict]:
        return [{key: value for key, value in row.items() if key not in ("id", "image_id")} for row in rows]

    assert without_ids(both["annotations"]) == 2 * without_ids(before["annotations"])
    assert len({row["id"] for row in both["annotations"]}) == 20


def test_outlines_keypoints_and_masks_follow_smaller_pictures(rich: Path, tmp_path: Path) -> None:
    conversion = convert(rich, tmp_path / "out", "coco", resize=[30, 20])
    assert conversion.notes == ("The masks of 8 objects follow their pictures pixel by pixel, by the nearest one.",)
    before, after = rows_of(rich, "annotations"), rows_of(tmp_path / "out", "annotations")
    assert after.keys() == before.keys()
    for number, row in before.items():
        new = after[number]
        assert new["bbox"] == pytest.approx([side * f for side, f in zip(row["bbox"], (0.25, 0.5) * 2, strict=True)])
        assert new["area"] == pytest.approx(row["area"] / 8)
        same = ("score", "attributes", "iscrowd", "category_id", "image_id", "truncated")
        assert all(new[key] == row[key] for key in same)
        outline = row["segmentation"]
        if isinstance(outline, list):
            for polygon, old in zip(new["segmentation"], outline, strict=True):
                np.testing.assert_allclose(polygon[::2], np.array(old[::2]) / 4)
                np.testing.assert_allclose(polygon[1::2], np.array(old[1::2]) / 2)
        else:
            masks = [decoded(one["segmentation"]) for one in (row, new)]
            assert new["segmentation"]["size"] == [30, 20]
            assert type(new["segmentation"]["counts"]) is type(outline["counts"])
            np.testing.assert_array_equal(masks[1], masks[0][1::2, 2::4])
        if "keypoints" in row:
            assert new["keypoints"] == [0.25, 1.0, 2.0, 0.0, 0.0, 0.0]


def decoded(outline: dict[str, Any]) -> np.ndarray:
    """By pycocotools, whatever the mask is written as."""
    if isinstance(outline["counts"], list):
        outline = coco_mask.frPyObjects(outline, *outline["size"])
    return coco_mask.decode(outline)


def test_outlines_turn_with_their_pictures(tmp_path: Path) -> None:
    row = {"id": 5, "image_id": 1, "category_id": 7, "bbox": [0, 0, 40, 15], "area": 600}
    row["segmentation"] = [[0, 0, 40, 0, 40, 15]]
    mask = np.zeros(SIZE_HW, np.uint8)
    mask[:15, :40] = 1
    other = row | {"id": 6, "segmentation": {"size": list(SIZE_HW), "counts": [0, *[15, 45] * 39, 15, 45 + 40 * 60]}}
    image = {"id": 1, "file_name": "a.png", "height": SIZE_HW[0], "width": SIZE_HW[1]}
    content = {"images": [image], "annotations": [row, other], "categories": [{"id": 7, "name": "cat"}]}
    source = write(tmp_path / "in", {"train": content})
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise by 90 degrees
    Image.new("L", SIZE_HW[::-1]).save(source / "train" / "a.png", exif=exif)
    convert(source, tmp_path / "out", "coco", resize=[40, 30])
    first, second = read(tmp_path / "out")["annotations"]
    # upright the picture is 80 high and 60 wide, and what was at the top is at the right
    assert first["bbox"] == [22.5, 0, 7.5, 20] and first["segmentation"] == [[30, 0, 30, 20, 22.5, 20]]
    found = decode_runs(second["segmentation"]["counts"], (40, 30))
    assert np.flatnonzero(found.any(1)).tolist() == list(range(20))
    assert np.flatnonzero(found.any(0)).tolist() == list(range(22, 30))  # 7.5 of 30


def test_outlines_that_cannot_be_moved_are_counted(tmp_path: Path) -> None:
    rows = [
        {"id": i, "image_id": 1, "category_id": 7, "bbox": [1, 1, 9, 9], "iscrowd": 0, **extra}
        for i, extra in enumerate(
            [
                {"segmentation": {"size": [3, 3], "counts": [9]}},
                {"segmentation": {"size": list(SIZE_HW), "counts": [9]}},
                {"segmentation": "here"},
                {"keypoints": [1, 2]},
            ]
        )
    ]
    image = {"id": 1, "file_name": "a.png", "height": SIZE_HW[0], "width": SIZE_HW[1]}
    content = {"images": [image], "annotations": rows, "categories": [{"id": 7, "name": "cat"}]}
    source = write(tmp_path / "in", {"train": content})
    conversion = convert(source, tmp_path / "out", "coco", resize=[40])
    assert conversion.notes == ("Outlines or keypoints of 4 objects left out: they are none of their picture's size.",)
    assert not any({"segmentation", "keypoints"} & row.keys() for row in read(tmp_path / "out")["annotations"])
    assert convert(source, tmp_path / "same", "coco").notes == ()
    assert read(tmp_path / "same")["annotations"] == rows


# --- other formats ---------------------------------------------------------------------------------------------------


def by_box(folder: Path) -> dict[tuple, list[dict[str, Any]]]:
    """Annotations by the name of their picture, in the order of the file."""
    found: dict[tuple, list[dict[str, Any]]] = {}
    for split in ("train", "valid"):
        content = read(folder, split)
        name_of = {row["id"]: row["file_name"] for row in content["images"]}
        for row in content["annotations"]:
            found.setdefault((split, name_of[row["image_id"]]), []).append(row)
    return found


def test_voc_keeps_its_own_tags(rich: Path, tmp_path: Path) -> None:
    conversion = convert(rich, tmp_path / "voc", "voc")
    assert conversion.notes[1:3] == (
        "The outlines of 16 objects are left out: boxes alone are converted.",
        "Left out, as VOC has no place for it: score of 20 objects, attributes of 20 objects, keypoints of 2 objects, "
        "num_keypoints of 2 objects, license of 8 pictures, flickr_url of 8 pictures, supercategory of 3 classes, "
        "info, licenses.",
    )
    path = tmp_path / "voc" / "Annotations" / "0.xml"
    text = path.read_text().replace(
        "<size>", "<source><database>mine</database></source><segmented>1</segmented><size>"
    )
    parts = "".join(
        f"<part><name>{name}</name><bndbox><xmin>{x}</xmin></bndbox></part>"
        for name, x in (("head", 5), ("foot", 9.5))
    )
    path.write_text(text.replace("<bndbox>", f"{parts}<actions><jumping>1</jumping></actions><bndbox>", 1))
    convert(tmp_path / "voc", tmp_path / "again", "voc")
    convert(tmp_path / "again", tmp_path / "back", "coco")
    before, after = by_box(rich), by_box(tmp_path / "back")
    for (split, name), rows in before.items():
        found = after[split, name if split == "train" else name.replace(".", "-2.")]
        keys = ("truncated", "pose", "occluded", "iscrowd")
        assert [{key: row.get(key) for key in keys} for row in found] == [
            {key: row.get(key) for key in keys} for row in rows
        ]
    first = read(tmp_path / "back")["images"][0]
    assert (first["source"], first["segmented"]) == ({"database": "mine"}, 1)
    nested = read(tmp_path / "back")["annotations"][0]
    assert nested["part"] == [
        {"name": "head", "bndbox": {"xmin": 5}},
        {"name": "foot", "bndbox": {"xmin": "9.5"}},
    ]
    assert nested["actions"] == {"jumping": 1}


@pytest.mark.parametrize("resize", [None, [40, 60]])
def test_yolo_holds_outlines_of_one_polygon_if_asked(rich: Path, tmp_path: Path, resize: list[int] | None) -> None:
    conversion = convert(rich, tmp_path / "yolo", "yolo", outlines=True, resize=resize)
    assert "12 objects with masks, or outlines of several parts, written as boxes" in conversion.notes[0]
    convert(tmp_path / "yolo", tmp_path / "back", "coco")
    scale_xy = (1, 1) if resize is None else (60 / 80, 40 / 60)
    after = by_box(tmp_path / "back")
    for place, rows in by_box(rich).items():
        rows = [row for row in rows if not row["iscrowd"]]
        for row, new in zip(rows, after[place], strict=True):
            outline = row["segmentation"]
            if isinstance(outline, list) and len(outline) == 1:
                corners = np.reshape(outline[0], (-1, 2)) * scale_xy
                np.testing.assert_allclose(np.reshape(new["segmentation"], (-1, 2)), corners, atol=1e-3)
            else:
                assert "segmentation" not in new
    notes = convert(rich, tmp_path / "boxes", "yolo").notes
    assert "The outlines of 16 objects are left out: boxes alone are converted; --outlines writes 4 of them." in notes
    with pytest.raises(DatasetError, match=r"--outlines goes with --to yolo.* not with --to voc"):
        convert(rich, tmp_path / "no", "voc", outlines=True)


@pytest.mark.parametrize("to", ["voc", "csv", "yolo"])
def test_spaces_around_the_names_of_classes(tmp_path: Path, to: str) -> None:
    image = {"id": 1, "file_name": "a.png", "height": SIZE_HW[0], "width": SIZE_HW[1]}
    rows = [{"id": i, "image_id": 1, "category_id": i, "bbox": [1, 1, 9 + i, 9]} for i in (1, 2)]
    content = {
        "images": [image],
        "annotations": rows,
        "categories": [{"id": 1, "name": " cat "}, {"id": 2, "name": "d"}],
    }
    source = write(tmp_path / "in", {"train": content})
    notes = convert(source, tmp_path / "out", to).notes
    convert(tmp_path / "out", tmp_path / "back", "coco")
    names = [row["name"] for row in read(tmp_path / "back")["categories"]]
    assert names == ([" cat ", "d"] if to == "yolo" else ["cat", "d"])
    assert ("Names of classes lose the spaces around them: ' cat '." in notes) == (to != "yolo")
    if to == "yolo":
        return
    for name, reason in (("cat", "it would be the same as 'cat'"), ("  ", "a name is one line of text")):
        content["categories"][1]["name"] = name
        (source / "train" / "_annotations.coco.json").write_text(json.dumps(content))
        with pytest.raises(DatasetError, match=f"cannot hold the class .*: {reason}.* with --rename"):
            convert(source, tmp_path / "not", to)


def test_what_other_formats_say_beyond_boxes_is_kept(tmp_path: Path) -> None:
    source = tmp_path / "csv"
    source.mkdir()
    Image.new("L", (9, 9)).save(source / "a.png")
    table = "image,class,xmin,ymin,xmax,ymax,score,who,id,note,plate\na.png,cat,1,2,5,6,0.5,nan,x7,,"
    table += f"{10**20}\nb.png,,,,,,,,,,\n"
    (source / "train.csv").write_text(table)
    Image.new("L", (9, 9)).save(source / "b.png")
    assert convert(source, tmp_path / "one", "coco").notes == ()
    (row,) = read(tmp_path / "one")["annotations"]
    assert (row["score"], row["who"], row["csv_id"], "note" in row) == (0.5, "nan", "x7", False)
    assert row["plate"] == str(10**20)
    people = tmp_path / "people"
    (people / "Images").mkdir(parents=True)
    Image.new("L", (9, 9)).save(people / "Images" / "a.jpg")
    others = {"vbox": [1, 2, 2, 2], "extra": {"box_id": 0}}
    boxes = [{"tag": "person", "fbox": [1, 2, 3, 4]}, {"tag": "mask", "fbox": [0, 0, 3, 4]} | others]
    (people / "annotation_train.odgt").write_text(json.dumps({"ID": "a", "gtboxes": boxes}))
    assert convert(people, tmp_path / "two", "coco").notes == ()
    first, second = read(tmp_path / "two")["annotations"]
    assert first["tag"] == "person" and {key: second[key] for key in others} == others


@pytest.mark.parametrize(
    ("shape", "numbers", "keypoints"),
    [
        ("[2, 2]", "0.4 0.4 0 0", [32, 24, 2, 0, 0, 0]),
        ("[2, 3]", "0.4 0.4 1 0.5 0.5 0", [32, 24, 1, 0, 0, 0]),
        ("[2, 3]", "0.4 0.4 1 0.5", None),
    ],
)
def test_keypoints_of_yolo(tmp_path: Path, shape: str, numbers: str, keypoints: list[float] | None) -> None:
    source = tmp_path / "pose"
    for folder in ("images", "labels"):
        (source / folder / "train").mkdir(parents=True)
    Image.new("L", SIZE_HW[::-1]).save(source / "images/train/a.png")
    (source / "labels/train/a.txt").write_text(f"0 0.5 0.5 0.2 0.2 {numbers}\n")
    (source / "data.yaml").write_text(f"train: images/train\nnames: [cat]\nkpt_shape: {shape}\n")
    convert(source, tmp_path / "out", "coco")
    (row,) = read(tmp_path / "out")["annotations"]
    assert row.get("keypoints") == keypoints
    assert row.get("num_keypoints") == (None if keypoints is None else 1)


def test_columns_of_csv_that_would_be_a_second_box(tmp_path: Path) -> None:
    image = {"id": 1, "file_name": "a.png", "height": SIZE_HW[0], "width": SIZE_HW[1]}
    row = {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "bbox": [1, 2, 3, 4],
        "x": 5,
        "y": 6,
        "w": 7,
        "h": 8,
        "label": "me",
    }
    content = {"images": [image], "annotations": [row], "categories": [{"id": 1, "name": "cat"}]}
    source = write(tmp_path / "in", {"train": content})
    notes = convert(source, tmp_path / "csv", "csv").notes
    assert notes[0] == "Left out, as CSV has no place for it: y of 1 object, label of 1 object."
    convert(tmp_path / "csv", tmp_path / "back", "coco")
    (found,) = read(tmp_path / "back")["annotations"]
    assert found["bbox"] == row["bbox"] and (found["x"], found["w"], found["h"]) == (5, 7, 8)


def test_csv_keeps_numbers_and_text(rich: Path, tmp_path: Path) -> None:
    assert convert(rich, tmp_path / "csv", "csv").notes[1] == (
        "Left out, as CSV has no place for it: attributes of 20 objects, keypoints of 2 objects, num_keypoints of 2 "
        "objects, license of 8 pictures, flickr_url of 8 pictures, supercategory of 3 classes, info, licenses."
    )
    convert(tmp_path / "csv", tmp_path / "back", "coco")
    before, after = by_box(rich), by_box(tmp_path / "back")
    for place, rows in before.items():
        keys = ("score", "truncated", "pose", "occluded", "iscrowd")
        assert [{key: row.get(key) for key in keys} for row in after[place]] == [
            {key: row.get(key) for key in keys} for row in rows
        ]


def test_nan_beside_boxes_stays_nan(tmp_path: Path) -> None:
    """JSON has none, but files do."""
    image = {"id": 1, "file_name": "a.png", "height": SIZE_HW[0], "width": SIZE_HW[1], "gain": float("inf")}
    row = {"id": "x", "image_id": 1, "category_id": 7, "bbox": [1, 1, 9, 9], "score": float("nan"), "null": None}
    content = {"images": [image], "annotations": [row], "categories": [{"id": 7, "name": "cat"}]}
    convert(write(tmp_path / "in", {"train": content}), tmp_path / "out", "coco")
    assert repr(read(tmp_path / "out")["annotations"]) == repr([row])
    assert read(tmp_path / "out")["images"] == [image]
