"""From COCO to another format and back again, and what other libraries read from what we write, and we from theirs."""

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import supervision
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from hf_detr.boxes import xywh_to_xyxy
from hf_detr.data.export.convert import convert_dataset
from hf_detr.data.export.wishes import Conversion, Wishes
from hf_detr.data.hub_sources import HubOptions, is_hub_data
from hf_detr.data.index import DetectionIndex
from hf_detr.data.splits import Split, find_splits, load_index
from tests.synthetic import annotation_file, edit_json, images_folder, make_coco

NAMES = ("cat", "a dog & <more>", "Ärmel", "3")  # not in alphabetical order
CATEGORY_IDS = (2, 5, 11, 90)


def splits_of(folder: Path) -> dict[str, Split]:
    """Of a Hugging Face data set with the format of its boxes, which so few of them do not tell."""
    return find_splits(folder, HubOptions(box_format="xywh") if is_hub_data(folder) else None)


def convert(source: Path, target: Path, to: str, **options) -> Conversion:
    return convert_dataset([splits_of(source)], target, Wishes(to=to, **options))


def indices(folder: Path) -> dict[str, DetectionIndex]:
    return {name: load_index(split) for name, split in splits_of(folder).items()}


def rows_by_name(index: DetectionIndex, *, crowds: bool = True) -> dict[str, np.ndarray]:
    """Of each picture ``(n, 7)``: class, crowd, box and area, in the order of the file."""
    columns = (index.class_ids, index.is_crowd, *index.boxes_xywh.T, index.areas)
    table = np.stack([np.asarray(column, np.float64) for column in columns], axis=1)
    found = {}
    for image in range(len(index)):
        rows = table[index.first[image] : index.first[image + 1]]
        rows = rows if crowds else rows[rows[:, 1] == 0]
        found[index.file_names[image]] = rows
    return found


@st.composite
def annotations_of(draw: st.DrawFn, size_hw: tuple[int, int]) -> list[dict]:
    """Objects within a picture, with fractions of pixels, and some crowds."""
    height, width = size_hw

    def span(side: int) -> tuple[float, float]:
        start = draw(st.floats(0, side - 1))
        return start, draw(st.floats(0.5, side - start)) if side - start > 0.5 else side - start

    found = []
    for _ in range(draw(st.integers(0, 3))):
        (x, w), (y, h) = span(width), span(height)
        area = w * h * draw(st.sampled_from([1.0, 0.6]))
        category_id, crowd = draw(st.sampled_from(CATEGORY_IDS)), draw(st.booleans())
        found.append({"category_id": category_id, "bbox": [x, y, w, h], "area": area, "iscrowd": int(crowd)})
    return found


@st.composite
def coco_contents(draw: st.DrawFn) -> dict[str, dict]:
    """Two splits of up to three small pictures each."""
    contents = {}
    for number, split in enumerate(("train", "valid")):
        images, annotations = [], []
        for position in range(draw(st.integers(1, 3))):
            size_hw = draw(st.tuples(st.integers(2, 900), st.integers(2, 900)))
            image_id = 10 * number + 3 * position + 1
            file_name = f"p {number}{position}.png"
            images.append({"id": image_id, "file_name": file_name, "height": size_hw[0], "width": size_hw[1]})
            for row in draw(annotations_of(size_hw)):
                annotations.append({"id": len(annotations) + 1, "image_id": image_id, **row})
        categories = [{"id": one, "name": name} for one, name in zip(CATEGORY_IDS, NAMES, strict=True)]
        contents[split] = {"images": images, "annotations": annotations, "categories": categories}
    return contents


def write_contents(folder: Path, contents: dict[str, dict]) -> Path:
    for split, content in contents.items():
        (folder / split).mkdir(parents=True)
        for row in content["images"]:
            picture = Image.new("L", (row["width"], row["height"]), color=row["id"])
            picture.save(folder / split / row["file_name"], compress_level=1)
        (folder / split / "_annotations.coco.json").write_text(json.dumps(content))
    return folder


# format -> (how far corners may move in pixels, what of an annotation comes back)
HELD = {
    "coco": (0.0, {"crowds", "areas", "image_ids", "category_ids", "names"}),
    "yolo": (1e-3, {"names"}),
    "voc": (1e-6, {"crowds"}),
    "csv": (1e-9, {"crowds", "areas", "names"}),
    "hub": (0.0, {"crowds", "areas", "image_ids", "category_ids"}),
}


@pytest.mark.parametrize("to", HELD)
@settings(max_examples=6, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(contents=coco_contents())
def test_there_and_back(to: str, contents: dict[str, dict], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("trip")
    source = write_contents(folder / "in", contents)
    there, back = folder / "there", folder / "back"
    convert(source, there, to)
    convert(there, back, "coco")
    tolerance, held = HELD[to]
    for name, before in indices(source).items():
        after = indices(back)[name]
        assert after.class_names == before.class_names
        expected = rows_by_name(before, crowds="crowds" in held)
        found = rows_by_name(after)
        if "names" not in held:
            expected = {file_name.replace(" ", "_"): rows for file_name, rows in expected.items()}
        assert found.keys() == expected.keys()
        for file_name, rows in expected.items():
            np.testing.assert_array_equal(found[file_name][:, :2], rows[:, :2])
            corners, true_corners = xywh_to_xyxy(found[file_name][:, 2:6]), xywh_to_xyxy(rows[:, 2:6])
            np.testing.assert_allclose(corners, true_corners, rtol=0, atol=tolerance)
            if "areas" in held:
                np.testing.assert_allclose(found[file_name][:, 6], rows[:, 6], rtol=1e-12)
        assert (after.category_ids == before.category_ids) == ("category_ids" in held)
        if "image_ids" in held:
            ids = {before.file_names[image].replace(" ", "_"): before.image_id(image) for image in range(len(before))}
            assert ids == {
                after.file_names[image].replace(" ", "_"): after.image_id(image) for image in range(len(after))
            }
        pictures = sorted(path.read_bytes() for path in (source / name).glob("*.png"))
        assert pictures == sorted(path.read_bytes() for path in (back / name).glob("*.png"))


@pytest.fixture(scope="module")
def fractions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set whose boxes have fractions of pixels, one with an empty picture, none with crowds."""
    source = make_coco(tmp_path_factory.mktemp("fractions"), images=4, splits=("train",), empty_images=1)
    with edit_json(annotation_file(source)) as content:
        for number, row in enumerate(content["annotations"]):
            x, y, w, h = row["bbox"]
            row["bbox"] = [x + 0.125, y + 0.25, w - 0.37 - 0.01 * number, h - 0.5]
    return source


def boxes_seen_by_supervision(dataset: supervision.DetectionDataset) -> dict[str, list[tuple]]:
    """Of each picture its class names and xyxy pixels, sorted by box."""
    return {
        Path(path).name: sorted(
            (*box.tolist(), dataset.classes[class_id])
            for box, class_id in zip(found.xyxy, found.class_id if len(found) else [], strict=True)
        )
        for path, _, found in dataset
    }


def boxes_seen_by_us(index: DetectionIndex) -> dict[str, list[tuple]]:
    boxes_xyxy = xywh_to_xyxy(index.boxes_xywh).tolist()
    return {
        index.file_names[image]: sorted(
            (*boxes_xyxy[row], index.class_names[index.class_ids[row]])
            for row in range(index.first[image], index.first[image + 1])
        )
        for image in range(len(index))
    }


def assert_same_boxes(ones: dict[str, list[tuple]], others: dict[str, list[tuple]], tolerance: float) -> None:
    assert ones.keys() == others.keys()
    for name, rows in ones.items():
        assert [row[-1] for row in rows] == [row[-1] for row in others[name]]
        boxes, other_boxes = ([row[:-1] for row in table] for table in (rows, others[name]))
        np.testing.assert_allclose(boxes, other_boxes, rtol=0, atol=tolerance)


def from_yolo(folder: Path) -> supervision.DetectionDataset:
    return supervision.DetectionDataset.from_yolo(
        str(folder / "images" / "train"), str(folder / "labels" / "train"), str(folder / "data.yaml")
    )


def from_voc(folder: Path) -> supervision.DetectionDataset:
    return supervision.DetectionDataset.from_pascal_voc(str(folder / "JPEGImages"), str(folder / "Annotations"))


def from_coco(folder: Path) -> supervision.DetectionDataset:
    return supervision.DetectionDataset.from_coco(
        str(folder / "train"), str(folder / "train" / "_annotations.coco.json")
    )


# supervision keeps boxes as float32, exact to 1e-5 pixels here. It reads VOC as pixels from 1, as we write it.
@pytest.mark.parametrize(("to", "read"), [("yolo", from_yolo), ("voc", from_voc), ("coco", from_coco)])
def test_supervision_reads_what_we_write(to: str, read: Callable, fractions: Path, tmp_path: Path) -> None:
    convert(fractions, tmp_path / "out", to)
    expected = boxes_seen_by_us(indices(fractions)["train"])
    assert sum(map(len, expected.values())) >= 4
    assert_same_boxes(boxes_seen_by_supervision(read(tmp_path / "out")), expected, 1e-5)


def test_we_read_what_supervision_writes(fractions: Path, tmp_path: Path) -> None:
    """Its YOLO and COCO hold fractions; its VOC is rounded to whole pixels, so up to half a pixel off."""
    theirs, expected = from_coco(fractions), boxes_seen_by_us(indices(fractions)["train"])
    theirs.as_yolo(
        str(tmp_path / "yolo/images/train"), str(tmp_path / "yolo/labels/train"), str(tmp_path / "yolo/data.yaml")
    )
    theirs.as_pascal_voc(str(tmp_path / "voc/JPEGImages"), str(tmp_path / "voc/Annotations"))
    theirs.as_coco(str(tmp_path / "coco/train"), str(tmp_path / "coco/train/_annotations.coco.json"))
    for name, tolerance in (("yolo", 1e-3), ("voc", 0.501), ("coco", 1e-3)):
        assert_same_boxes(boxes_seen_by_us(indices(tmp_path / name)["train"]), expected, tolerance)


def test_voc_files_are_the_challenges(tmp_path: Path) -> None:
    source = make_coco(tmp_path / "in", images=2, splits=("train", "valid"), crowds=1)
    with edit_json(annotation_file(source)) as content:
        content["annotations"] = [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 128, 96]},
            {"id": 2, "image_id": 1, "category_id": 2, "bbox": [9.5, 19.25, 1, 2], "iscrowd": 1},
        ]
    notes = convert(source, tmp_path / "out", "voc").notes
    assert "4 pictures have new names" not in " ".join(notes)
    root = ElementTree.parse(tmp_path / "out" / "Annotations" / "0000.xml").getroot()
    assert [root.findtext(path) for path in ("filename", "size/width", "size/height")] == ["0000.jpg", "128", "96"]
    whole, crowd = root.findall("object")
    assert [side.text for side in whole.find("bndbox")] == ["1", "1", "128", "96"]
    assert [side.text for side in crowd.find("bndbox")] == ["10.5", "20.25", "10.5", "21.25"]
    assert [(found.findtext("name"), found.findtext("difficult")) for found in (whole, crowd)] == [
        ("red", "0"),
        ("green", "1"),
    ]
    lists = tmp_path / "out" / "ImageSets" / "Main"
    assert (lists / "train.txt").read_text() == "0000\n0001\n"
    assert (lists / "val.txt").read_text() == "0000-2\n0001-2\n"
    assert "2 pictures have new names: others had them, or the format has no folders." in notes


def test_datasets_loads_what_the_hub_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    from hf_detr.data.export import hub

    monkeypatch.setattr(hub, "_ROWS_AT_ONCE", 2)
    monkeypatch.setattr(hub, "_LARGEST_FILE", 1)
    source = make_coco(tmp_path / "in", images=5, empty_images=1, crowds=1, image_ids="text")
    convert(source, tmp_path / "my_shapes", "hub")
    files = sorted(path.name for path in (tmp_path / "my_shapes" / "data").iterdir())
    assert files[:3] == [f"train-{number:05}-of-00003.parquet" for number in range(3)] and len(files) == 6
    loaded = datasets.load_dataset(str(tmp_path / "my_shapes"), cache_dir=str(tmp_path / "cache"))
    assert {name: len(rows) for name, rows in loaded.items()} == {"train": 5, "validation": 5}
    rows, index = loaded["train"], indices(source)["train"]
    categories = rows.features["objects"]["category"].feature
    assert categories.names == ["red", "green", "blue"] and categories.int2str(2) == "blue"
    for image, row in enumerate(rows):
        own = slice(index.first[image], index.first[image + 1])
        assert (row["image_id"], row["width"], row["height"]) == (index.image_id(image), 128, 96)
        assert row["image"].size == (128, 96)
        assert row["objects"]["bbox"] == index.boxes_xywh[own].tolist()
        assert row["objects"]["category"] == index.class_ids[own].tolist()
        assert row["objects"]["iscrowd"] == index.is_crowd[own].tolist()
    raw = rows.cast_column("image", datasets.Image(decode=False))[0]["image"]
    assert raw == {"bytes": index.image_path(0).read_bytes(), "path": "0000.jpg"}
    card = (tmp_path / "my_shapes" / "README.md").read_text()
    assert "task_categories: [object-detection]" in card
    assert "Pictures with boxes of 3 classes: red, green, blue." in card and "| validation | 5 | " in card
    assert "configs" not in card, "with it `datasets` would read an old copy of a folder of the same name"


def test_a_folder_that_is_written_again_is_read_again(tmp_path: Path) -> None:
    for number in (2, 3):
        source = make_coco(tmp_path / f"in{number}", images=number, splits=("train",))
        convert(source, tmp_path / "again_and_again", "hub", overwrite=True)
        assert len(indices(tmp_path / "again_and_again")["train"]) == number


def test_csv_is_the_table_of_tensorflow_and_roboflow(tmp_path: Path) -> None:
    source = make_coco(tmp_path / "in", images=2, splits=("train",), empty_images=1)
    with edit_json(annotation_file(source)) as content:
        content["annotations"] = [
            {"id": 1, "image_id": 1, "category_id": 2, "bbox": [1, 2.5, 30, 40], "area": 7, "iscrowd": 1},
        ]
    assert convert(source, tmp_path / "out", "csv").notes == (
        "Ids of pictures and objects are not kept: CSV knows pictures by their file names.",
        "Category ids are not kept: CSV has classes in order, from 0.",
    )
    assert (tmp_path / "out" / "train" / "_annotations.csv").read_text().splitlines() == [
        "filename,width,height,class,xmin,ymin,xmax,ymax,area,iscrowd",
        "0000.jpg,128,96,green,1.0,2.5,31.0,42.5,7.0,1",
        "0001.jpg,128,96,,,,,,,",
    ]
    assert (tmp_path / "out" / "classes.txt").read_text() == "red\ngreen\nblue\n"


def test_pictures_of_a_hub_data_set_get_files_with_their_names(tmp_path: Path) -> None:
    source = make_coco(tmp_path / "in", images=2, splits=("train",))
    convert(source, tmp_path / "hub", "hub")
    for mode in ("copy", "symlink"):
        convert(tmp_path / "hub", tmp_path / mode, "yolo", pictures=mode)
        for name in ("0000.jpg", "0001.jpg"):
            written = tmp_path / mode / "images" / "train" / name
            assert written.read_bytes() == (images_folder(source) / name).read_bytes()
