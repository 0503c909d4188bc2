"""COCO data sets with something of everything, and their conversion."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask

from hf_detr.data.export.convert import convert_dataset
from hf_detr.data.export.outlines import decode_runs
from hf_detr.data.export.wishes import Conversion, Wishes
from hf_detr.data.hub_sources import HubOptions, is_hub_data
from hf_detr.data.splits import find_splits

SIZE_HW = (60, 80)
NAMES = {7: "cat", 3: "dog", 90: "a bird"}
OFFLINE = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


def convert(source: Path, target: Path, to: str, **wishes: Any) -> Conversion:
    hub = HubOptions(box_format="xywh") if is_hub_data(source) else None
    return convert_dataset([find_splits(source, hub)], target, Wishes(to=to, **wishes))


def write(folder: Path, contents: dict[str, dict[str, Any]]) -> Path:
    for split, content in contents.items():
        (folder / split).mkdir(parents=True)
        for row in content["images"]:
            Image.new("L", SIZE_HW[::-1], row["id"] % 256).save(folder / split / row["file_name"])
        (folder / split / "_annotations.coco.json").write_text(json.dumps(content))
    return folder


def read(folder: Path, split: str = "train") -> dict[str, Any]:
    return json.loads((folder / split / "_annotations.coco.json").read_text())


def runs(number: int) -> list[int]:
    return [number, 5, SIZE_HW[0] * SIZE_HW[1] - 5 - number]


def rows_of(folder: Path, key: str) -> dict[Any, dict[str, Any]]:
    """Records of all splits by their ids."""
    return {row["id"]: row for split in ("train", "valid") for row in read(folder, split)[key]}


def coco_text(counts: list[int]) -> dict[str, Any]:
    """A mask as COCO's tools write it."""
    mask = coco_mask.encode(np.asfortranarray(decode_runs(counts, SIZE_HW)))
    return {"size": list(SIZE_HW), "counts": mask["counts"].decode()}


POINT = st.integers(0, 59) | st.floats(0, 59, allow_nan=False)
POLYGON = st.lists(st.tuples(POINT, POINT), min_size=3, max_size=5).map(lambda points: [x for p in points for x in p])
SEGMENTATION = (
    st.lists(POLYGON, max_size=3)
    | st.builds(lambda n: {"size": list(SIZE_HW), "counts": runs(n)}, st.integers(0, 99))
    | st.builds(lambda n: coco_text(runs(n)), st.integers(0, 99))
)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@st.composite
def annotations_of(draw: st.DrawFn, image_ids: list[int]) -> list[dict[str, Any]]:
    """Objects of pictures in any order, with ids that are not numbered, and whatever else COCO may say."""
    rows = []
    ids = draw(st.lists(st.integers(0, 10**12), max_size=6, unique=True))
    for annotation_id in ids:
        box = [draw(POINT), draw(POINT), draw(st.floats(1, 20)), draw(st.integers(1, 20))]
        row = {"id": annotation_id, "image_id": draw(st.sampled_from(image_ids)), "bbox": box}
        row["category_id"] = draw(st.sampled_from(list(NAMES)))
        optional = {
            "area": st.integers(0, 400) | st.floats(0, 400),
            "iscrowd": st.sampled_from([0, 1]),
            "segmentation": SEGMENTATION,
            "keypoints": st.just([1, 2.5, 2, 0, 0, 0]),
            "attributes": st.just({"occluded": True}),
            "score": st.floats(0, 1),
            "note": ANYTHING,
        }
        rows.append(row | draw(st.fixed_dictionaries({}, optional=optional)))
    return rows


@st.composite
def contents(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    """Two splits of three pictures."""
    found = {}
    for number, split in enumerate(("train", "valid")):
        images = []
        for position in range(3):
            image = {"id": 50 - 10 * position + number, "file_name": f"{number}{position}.png", "license": 2}
            image |= {"height": SIZE_HW[0], "width": SIZE_HW[1], "coco_url": "a/b", "date_captured": "2013"}
            images.append(image | draw(st.fixed_dictionaries({}, optional={"more": ANYTHING})))
        found[split] = {
            "info": {"year": 2017, "description": draw(st.text(max_size=3))},
            "licenses": [{"id": 2, "name": "CC", "url": ""}],
            "images": images,
            "annotations": draw(annotations_of([image["id"] for image in images])),
            "categories": [
                {"id": category_id, "name": name, "supercategory": "animal", "skeleton": [[1, 2]]}
                for category_id, name in NAMES.items()
            ],
            "more": draw(ANYTHING),
        }
    return found
