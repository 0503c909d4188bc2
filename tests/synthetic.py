"""Data sets a test can make in milliseconds: coloured rectangles whose class is their colour."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

COLOURS = {"red": (220, 40, 40), "green": (40, 180, 70), "blue": (50, 80, 220)}

# layout -> (pictures, annotation file) of a split, below the data folder
LAYOUTS = {
    "roboflow": ("{split}", "{split}/_annotations.coco.json"),
    "coco2017": ("{coco_split}2017", "annotations/instances_{coco_split}2017.json"),
    "images": ("images/{coco_split}", "annotations/instances_{coco_split}.json"),
}

CATEGORY_IDS: dict[str, tuple[int | str, ...]] = {
    "zero_based": (0, 1, 2),
    "one_based": (1, 2, 3),
    "sparse": (3, 17, 90),
    "unsorted": (7, 2, 5),
    "text": ("cat-r", "cat-g", "cat-b"),
}


def _below(folder: Path, pattern: str, split: str) -> Path:
    return Path(folder) / pattern.format(split=split, coco_split="val" if split == "valid" else split)


def images_folder(folder: Path, split: str = "train", layout: str = "roboflow") -> Path:
    """Where `make_coco` puts the pictures of a split."""
    return _below(folder, LAYOUTS[layout][0], split)


def annotation_file(folder: Path, split: str = "train", layout: str = "roboflow") -> Path:
    """Where `make_coco` puts the annotations of a split."""
    return _below(folder, LAYOUTS[layout][1], split)


@contextmanager
def edit_json(path: Path) -> Iterator[dict[str, Any]]:
    """The content of a JSON file, written back after the `with` block (NaN and Infinity allowed)."""
    content = json.loads(Path(path).read_text())
    yield content
    Path(path).write_text(json.dumps(content))


def _free_box_xywh(rng: np.random.Generator, size_hw: tuple[int, int], taken: list[list[int]]) -> list[int] | None:
    """A box in whole pixels that touches none of those taken, or None after 50 attempts."""
    height, width = size_hw
    for _ in range(50):
        w, h = int(rng.integers(width // 6, width // 2)), int(rng.integers(height // 6, height // 2))
        x, y = int(rng.integers(0, width - w)), int(rng.integers(0, height - h))
        if all(x + w <= tx or tx + tw <= x or y + h <= ty or ty + th <= y for tx, ty, tw, th in taken):
            return [x, y, w, h]
    return None


def _image_id(kind: str, position: int) -> int | str:
    match kind:
        case "numbers":
            return position + 1
        case "unsorted":
            return position * 7919 % 10007 + 1  # both prime: no two alike
        case "text":
            return f"img-{position:03d}"
        case _:
            raise ValueError(f"image_ids must be 'numbers', 'unsorted' or 'text', got {kind!r}")


def make_coco(
    folder: Path,
    *,
    images: int = 8,
    splits: tuple[str, ...] = ("train", "valid"),
    layout: str = "roboflow",
    size_hw: tuple[int, int] = (96, 128),
    max_objects: int = 3,
    category_ids: str = "one_based",
    image_ids: str = "numbers",
    empty_images: int = 0,
    crowds: int = 0,
    with_area: bool = True,
    with_iscrowd: bool = True,
    shuffle_annotations: bool = False,
    seed: int = 0,
) -> Path:
    """Write a COCO data set of coloured rectangles on a grey, noisy ground; returns `folder`.

    Args:
        folder: made if it is not there.
        images: pictures in each split; no two splits share a picture.
        splits: among train, valid, test.
        layout: a key of LAYOUTS: "roboflow", "coco2017" or "images".
        size_hw: height and width of every picture.
        max_objects: each picture with objects has 1 to this many.
        category_ids: a key of CATEGORY_IDS; the categories stand in the file in the order red, green, blue.
        image_ids: "numbers", "unsorted" or "text".
        empty_images: the last so many pictures of a split have no objects.
        crowds: the first so many pictures of a split get a crowd box around the whole picture (needs `with_iscrowd`).
        with_area: write the `area` key.
        with_iscrowd: write the `iscrowd` key.
        shuffle_annotations: annotations in random order, not by image.
        seed: other seeds make other pictures.
    """
    folder = Path(folder)
    ids = CATEGORY_IDS[category_ids]
    colours = list(COLOURS.items())
    for split_number, split in enumerate(splits):
        rng = np.random.default_rng([seed, split_number])
        pictures, annotations_path = images_folder(folder, split, layout), annotation_file(folder, split, layout)
        pictures.mkdir(parents=True, exist_ok=True)
        annotations_path.parent.mkdir(parents=True, exist_ok=True)
        records: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []

        for position in range(images):
            pixels = rng.integers(90, 140, (*size_hw, 3), dtype=np.uint8)
            image_id = _image_id(image_ids, position)
            objects: list[tuple[int, list[int], int]] = []  # category, box, crowd
            wanted = 0 if position >= images - empty_images else int(rng.integers(1, max_objects + 1))
            for _ in range(wanted):
                box = _free_box_xywh(rng, size_hw, [other for _, other, _ in objects])
                if box is None:
                    break
                x, y, w, h = box
                category = int(rng.integers(len(colours)))
                pixels[y : y + h, x : x + w] = colours[category][1]
                objects.append((category, box, 0))
            if position < crowds:
                objects.append((0, [0, 0, size_hw[1], size_hw[0]], 1))
            for category, box, crowd in objects:
                row = {"id": len(annotations) + 1, "image_id": image_id, "category_id": ids[category], "bbox": box}
                row |= {"area": box[2] * box[3]} if with_area else {}
                row |= {"iscrowd": crowd} if with_iscrowd else {}
                annotations.append(row)
            file_name = f"{position:04d}.jpg"
            Image.fromarray(pixels).save(pictures / file_name, quality=95)
            records.append({"id": image_id, "file_name": file_name, "height": size_hw[0], "width": size_hw[1]})
        if shuffle_annotations:
            rng.shuffle(annotations)
        categories = [
            {"id": i, "name": name, "supercategory": "none"} for i, (name, _) in zip(ids, colours, strict=True)
        ]
        annotations_path.write_text(
            json.dumps({"images": records, "annotations": annotations, "categories": categories})
        )
    return folder


def make_field(
    folder: Path, *, size_hw: tuple[int, int] = (2000, 3000), objects: int = 600, sides: tuple[int, int] = (12, 25)
) -> Path:
    """Write one large picture of many small coloured rectangles as ``field.jpg`` and ``field.json``; returns `folder`.

    Args:
        folder: made if it is not there.
        size_hw: height and width of the picture.
        objects: how many rectangles; no two touch.
        sides: least and, excluded, largest side in pixels.
    """
    rng = np.random.default_rng(0)
    cell = sides[1] + 8
    columns = size_hw[1] // cell
    cells = rng.choice(columns * (size_hw[0] // cell), objects, replace=False)
    widths, heights = rng.integers(*sides, objects), rng.integers(*sides, objects)
    classes = rng.integers(0, 3, objects)
    pixels = np.full((*size_hw, 3), 115, dtype=np.uint8)
    annotations = []
    for number, (place, w, h, category) in enumerate(zip(cells, widths, heights, classes, strict=True), start=1):
        x = int(place % columns * cell + rng.integers(0, cell - w - 3))
        y = int(place // columns * cell + rng.integers(0, cell - h - 3))
        pixels[y : y + h, x : x + w] = list(COLOURS.values())[category]
        box = [x, y, int(w), int(h)]
        annotations.append({"id": number, "image_id": 1, "category_id": int(category) + 1, "bbox": box})
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(folder / "field.jpg", quality=95)
    record = {"id": 1, "file_name": "field.jpg", "height": size_hw[0], "width": size_hw[1]}
    categories = [{"id": number, "name": name} for number, name in enumerate(COLOURS, start=1)]
    content = {"images": [record], "annotations": annotations, "categories": categories}
    (folder / "field.json").write_text(json.dumps(content))
    return folder
