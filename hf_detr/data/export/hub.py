"""A Hugging Face data set: Parquet files with the pictures in them, and a card, for `load_dataset` and the Hub."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from hf_detr.data.export.pictures import PictureWriter
from hf_detr.data.findings import counted
from hf_detr.data.index import DetectionIndex
from hf_detr.data.parallel import for_each_file

if TYPE_CHECKING:
    from datasets import Features

SPLIT_OF = {"valid": "validation"}  # what the Hub calls it
_ROWS_AT_ONCE = 100  # a row group: what the Hub's viewer reads to show one page
_LARGEST_FILE = 500_000_000  # bytes of pictures, as `push_to_hub` cuts


def write_hub(folder: Path, splits: Mapping[str, DetectionIndex], pictures: PictureWriter) -> None:
    """Write ``data/train-00000-of-00001.parquet`` and so on, and ``README.md`` below ``folder``.

    A row is a picture with ``image``, ``image_id``, ``width``, ``height`` and ``objects``: ``bbox`` as xywh in pixels,
    ``category`` as a `ClassLabel`, ``area``, ``iscrowd`` and ``id``. Boxes must be those of the upright pictures: so
    `datasets` decodes them.
    """
    (folder / "data").mkdir()
    for name, index in splits.items():
        _write_split(folder / "data", SPLIT_OF.get(name, name), index, pictures)
    (folder / "README.md").write_text(_card(splits), encoding="utf-8")


def _features(index: DetectionIndex) -> "Features":
    from datasets import ClassLabel, Features, Image, List, Value

    objects = {
        "id": List(Value("int64")),
        "bbox": List(List(Value("float64"), length=4)),
        "category": List(ClassLabel(names=list(index.class_names))),
        "area": List(Value("float64")),
        "iscrowd": List(Value("bool")),
    }
    image_id = Value("int64" if isinstance(index.image_ids, np.ndarray) else "string")
    return Features(
        {"image": Image(), "image_id": image_id, "width": Value("int32"), "height": Value("int32"), "objects": objects}
    )


def _write_split(folder: Path, split: str, index: DetectionIndex, pictures: PictureWriter) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _features(index).arrow_schema
    parts: list[Path] = []
    written, writer = _LARGEST_FILE, None
    for begin in tqdm(range(0, max(len(index), 1), _ROWS_AT_ONCE), f"{index.name}: writing rows", disable=None):
        images = range(begin, min(begin + _ROWS_AT_ONCE, len(index)))
        contents = for_each_file(lambda image: pictures.content(index, image), images, title="reading pictures")
        if written >= _LARGEST_FILE:
            if writer is not None:
                writer.close()
            parts.append(folder / f"{split}-{len(parts):05}.parquet")
            written, writer = 0, pq.ParquetWriter(parts[-1], schema)
        rows = [_row(index, image, content) for image, content in zip(images, contents, strict=True)]
        writer.write_table(pa.Table.from_pylist(rows, schema=schema))
        written += sum(map(len, contents))
    writer.close()
    for number, part in enumerate(parts):
        part.rename(folder / f"{split}-{number:05}-of-{len(parts):05}.parquet")


def _row(index: DetectionIndex, image: int, content: bytes) -> dict[str, Any]:
    height, width = index.sizes_hw[image].tolist()
    rows = slice(index.first[image], index.first[image + 1])
    return {
        "image": {"bytes": content, "path": index.file_names[image]},
        "image_id": index.image_id(image),
        "width": width,
        "height": height,
        "objects": {
            "id": list(range(rows.start, rows.stop)),
            "bbox": index.boxes_xywh[rows].tolist(),
            "category": index.class_ids[rows].tolist(),
            "area": index.areas[rows].tolist(),
            "iscrowd": index.is_crowd[rows].tolist(),
        },
    }


def _card(splits: Mapping[str, DetectionIndex]) -> str:
    """What the Hub shows of the data set.

    The splits are known by the names of their files. With `configs` in the card `datasets` would keep its copy of a
    local folder by the folder's name alone, and go on reading that copy when the files have changed (5.2).
    """
    index = next(iter(splits.values()))
    table = [
        f"| {SPLIT_OF.get(name, name)} | {len(index):,} | {int((~index.is_crowd).sum()):,} |"
        for name, index in splits.items()
    ]
    lines = [
        "---",
        "task_categories: [object-detection]",
        "---",
        "",
        f"Pictures with boxes of {counted(len(index.class_names), 'class')}: {', '.join(index.class_names)}.",
        "",
        "| split | pictures | objects |",
        "|---|---|---|",
        *table,
        "",
        "`objects` holds `bbox` (x, y, width, height in pixels), `category` (its names are in the features), `area`, "
        "`iscrowd` and `id`.",
        "",
    ]
    return "\n".join(lines)
