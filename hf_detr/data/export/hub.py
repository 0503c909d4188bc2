"""A Hugging Face data set: Parquet files with the pictures in them, and a card, for `load_dataset` and the Hub.

What is said of classes and of all pictures has no column: it is in a file beside, see `hf_detr.data.hub_info`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from tqdm import tqdm

from hf_detr.data.export.coco import category_records, dumped, merged_header, movement_of
from hf_detr.data.export.outlines import POLYGONS, moved
from hf_detr.data.export.pictures import PictureWriter
from hf_detr.data.export.sourced import SourcedIndex
from hf_detr.data.export.survey import MIXED, Survey, survey
from hf_detr.data.findings import counted
from hf_detr.data.hub_info import INFO_FILE
from hf_detr.data.parallel import for_each_file

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Features

SPLIT_OF = {"valid": "validation"}  # what the Hub calls it
_ROWS_AT_ONCE = 100  # a row group: what the Hub's viewer reads to show one page
_LARGEST_FILE = 500_000_000  # bytes of pictures, as `push_to_hub` cuts
_IMAGE_COLUMNS = frozenset({"image", "image_id", "objects"})
_OBJECT_COLUMNS = frozenset({"category"})


def write_hub(folder: Path, splits: Mapping[str, SourcedIndex], pictures: PictureWriter) -> None:
    """Write ``data/train-00000-of-00001.parquet`` and so on, ``coco_info.json`` and ``README.md`` below ``folder``.

    A row is a picture with ``image``, ``image_id``, ``width``, ``height`` and ``objects``: ``bbox`` as xywh in pixels,
    ``category`` as a `ClassLabel`, ``area``, ``iscrowd`` and ``id``; where there are any, ``segmentation`` as polygons
    (as `datasets.Json` with masks among them), and a column for every other key of objects and pictures, which is
    `datasets.Json` too where values are not all of one kind. Boxes must be those of the upright pictures: so
    `datasets` decodes them.
    """
    (folder / "data").mkdir()
    columns = _columns(splits)
    for name, index in splits.items():
        _write_split(folder / "data", SPLIT_OF.get(name, name), index, pictures, columns)
    headers = {name: merged_header(index)[0] for name, index in splits.items()}
    categories = category_records(next(iter(splits.values())))
    (folder / INFO_FILE).write_bytes(dumped({"categories": categories, "splits": headers}))
    (folder / "README.md").write_text(_card(splits), encoding="utf-8")


class _Columns(NamedTuple):
    """What there is beside the usual columns.

    Attributes:
        images, objects: kind by key, see `value_kind`; MIXED is written as JSON.
        ids: the kind of the objects' ids.
    """

    images: dict[str, str]
    objects: dict[str, str]
    ids: str


def _columns(splits: Mapping[str, SourcedIndex]) -> _Columns:
    found = survey(splits)
    images, objects = column_keys(found)
    outlines = {kind for kind, number in found.outlines.items() if number}
    segmentation = {"segmentation": "polygons" if outlines == {POLYGONS} else MIXED} if outlines else {}
    are_numbers = all(index.annotation_ids.dtype != object for index in splits.values())
    return _Columns(
        {key: found.image_kinds[key] for key in images},
        segmentation | {key: found.annotation_kinds[key] for key in objects},
        "int64" if are_numbers else "string",
    )


def column_keys(found: Survey) -> tuple[list[str], list[str]]:
    """What is known of pictures and of objects that can be columns: all but what has the name of another column."""
    return (
        [key for key in found.image_kinds if key not in _IMAGE_COLUMNS],
        [key for key in found.annotation_kinds if key not in _OBJECT_COLUMNS],
    )


def _features(index: SourcedIndex, columns: _Columns) -> "Features":
    from datasets import ClassLabel, Features, Image, Json, List, Value

    lists = {"numbers": List(Value("float64")), "polygons": List(List(Value("float64"))), MIXED: Json()}

    def feature(kind: str) -> Any:
        return lists.get(kind) or Value(kind)

    objects = {
        "id": List(Value(columns.ids)),
        "bbox": List(List(Value("float64"), length=4)),
        "category": List(ClassLabel(names=list(index.class_names))),
        "area": List(Value("float64")),
        "iscrowd": List(Value("bool")),
    }
    objects |= {key: List(feature(kind)) for key, kind in columns.objects.items()}
    image_id = Value("int64" if isinstance(index.image_ids, np.ndarray) else "string")
    return Features(
        {
            "image": Image(),
            "image_id": image_id,
            "width": Value("int32"),
            "height": Value("int32"),
            **{key: feature(kind) for key, kind in columns.images.items()},
            "objects": objects,
        }
    )


def _write_split(folder: Path, split: str, index: SourcedIndex, pictures: PictureWriter, columns: _Columns) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets.table import table_cast

    schema = _features(index, columns).arrow_schema
    as_text = pa.schema([field.with_type(_with_text(field.type)) for field in schema], schema.metadata)
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
        rows = [_row(index, image, content, columns) for image, content in zip(images, contents, strict=True)]
        writer.write_table(table_cast(pa.Table.from_pylist(rows, schema=as_text), schema))
        written += sum(map(len, contents))
    writer.close()
    for number, part in enumerate(parts):
        part.rename(folder / f"{split}-{number:05}-of-{len(parts):05}.parquet")


def _with_text(kind: "pa.DataType") -> "pa.DataType":
    """A type with text in the place of JSON, of which Arrow makes no values within others (26)."""
    import pyarrow as pa

    if isinstance(kind, pa.JsonType):
        return kind.storage_type
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_with_text(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(_with_text(kind.value_type))
    return kind


def _row(index: SourcedIndex, image: int, content: bytes, columns: _Columns) -> dict[str, Any]:
    height, width = index.sizes_hw[image].tolist()
    rows = slice(index.first[image], index.first[image + 1])
    about = index.image_extras(image)
    extras = [index.annotation_extras(image, row) for row in range(rows.start, rows.stop)]
    if index.is_moved(image):
        extras = [moved(one, movement_of(index, image)) for one in extras]
    ids = index.annotation_ids[rows].tolist()
    return {
        "image": {"bytes": content, "path": index.file_names[image]},
        "image_id": index.image_id(image),
        "width": width,
        "height": height,
        **{key: _cell(about.get(key), kind) for key, kind in columns.images.items()},
        "objects": {
            "id": ids if columns.ids == "int64" else list(map(str, ids)),
            "bbox": index.boxes_xywh[rows].tolist(),
            "category": index.class_ids[rows].tolist(),
            "area": index.areas[rows].tolist(),
            "iscrowd": index.is_crowd[rows].tolist(),
            **{key: [_cell(one.get(key), kind) for one in extras] for key, kind in columns.objects.items()},
        },
    }


def _cell(value: Any, kind: str) -> Any:
    """A value of a column; none where it is empty in another way than its kind is."""
    if kind == MIXED:
        return None if value is None else dumped(value).decode()
    is_empty = value is None or value in ("", [], {})
    return None if is_empty and value != {"string": "", "numbers": [], "polygons": []}.get(kind) else value


def _card(splits: Mapping[str, SourcedIndex]) -> str:
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
        "`iscrowd`, `id`, and what else is known of them.",
        "",
    ]
    return "\n".join(lines)
