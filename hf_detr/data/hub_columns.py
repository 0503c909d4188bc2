"""Which columns of a Hugging Face data set hold the picture, its boxes and their classes, by the names people use."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from hf_detr.errors import DatasetError

OBJECT_NAMES = ("objects", "object", "annotations", "annotation", "labels", "faces", "detections")
_BOX_NAMES = ("bbox", "bboxes", "boxes", "box", "bounding_boxes", "bounding_box")
_CATEGORY_NAMES = (
    "category", "categories", "label", "labels", "class", "classes", "category_name", "class_name", "category_id",
    "category_ids", "class_id", "class_ids", "label_id",
)  # fmt: skip
_AREA_NAMES = ("area", "areas")
_CROWD_NAMES = ("iscrowd", "is_crowd", "crowd")
_ANNOTATION_ID_NAMES = ("id", "ids", "bbox_id", "annotation_id")
_IMAGE_NAMES = ("image", "img", "picture", "pixel_values", "jpg", "png")
_IMAGE_ID_NAMES = ("image_id", "img_id", "id")
_WIDTH_NAMES, _HEIGHT_NAMES = ("width", "image_width"), ("height", "image_height")

EXPECTED = """\
Expected are a column with the picture and one with its objects, such as
  image:   the picture
  objects: {"bbox": [[10, 20, 30, 40]], "category": ["cat"]}   (or a list of {"bbox": ..., "category": ...})
and, where there are any: objects' area, iscrowd and id; image_id, width and height of the picture."""


@dataclass(frozen=True)
class RowColumns:
    """Names of columns; None for what there is not.

    Attributes:
        image: the picture.
        objects: the column with the objects of each picture; None where boxes and classes are columns of their own.
        box, category, area, is_crowd, annotation_id: fields of the objects, or those columns.
        image_id, width, height: of the picture.
    """

    image: str
    objects: str | None
    box: str
    category: str | None
    area: str | None
    is_crowd: str | None
    annotation_id: str | None
    image_id: str | None
    width: str | None
    height: str | None

    @property
    def annotations(self) -> list[str]:
        """The columns to read for everything but the picture."""
        fields = (self.box, self.category, self.area, self.is_crowd, self.annotation_id)
        objects = fields if self.objects is None else (self.objects,)
        names = (*objects, self.image_id, self.width, self.height)
        return list(dict.fromkeys(name for name in names if name is not None))


def find_columns(schema: pa.Schema, source: str) -> RowColumns:
    """What the columns of a data set are.

    Args:
        schema: their names and types, with pictures undecoded.
        source: what messages call the data.

    Raises:
        DatasetError: no picture, no boxes, or several of either and none with the usual name.
    """
    images = [field.name for field in schema if _holds_pictures(field)]
    objects = {field.name: names for field in schema if (names := _object_fields(field.type))}
    own_columns = [field.name for field in schema if field.name in _BOX_NAMES and _is_list_of_lists(field.type)]
    if not images or not (objects or own_columns):
        missing = "no column with pictures" if not images else "no column with boxes"
        raise DatasetError(f"{source}: {missing}. It has: {_described(schema)}.\n{EXPECTED}")
    image = _only(images, _IMAGE_NAMES, "pictures", source)
    if objects:
        chosen = _only(list(objects), OBJECT_NAMES, "boxes", source)
        fields = objects[chosen]
    else:
        chosen, fields = None, schema.names
    return RowColumns(
        image=image,
        objects=chosen,
        box=_first(_BOX_NAMES, fields),
        category=_first(_CATEGORY_NAMES, fields),
        area=_first(_AREA_NAMES, fields),
        is_crowd=_first(_CROWD_NAMES, fields),
        annotation_id=None if chosen is None else _first(_ANNOTATION_ID_NAMES, fields),
        image_id=_first(_IMAGE_ID_NAMES, schema.names),
        width=_first(_WIDTH_NAMES, schema.names),
        height=_first(_HEIGHT_NAMES, schema.names),
    )


def _holds_pictures(field: pa.Field) -> bool:
    if pa.types.is_struct(field.type):
        return {"bytes", "path"} <= {part.name for part in field.type}
    return field.name in _IMAGE_NAMES and (pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type))


def _object_fields(kind: pa.DataType) -> list[str]:
    """Names in a dict of lists or a list of dicts that has boxes; [] for anything else."""
    parts = kind.value_type if is_list(kind) else kind
    if not pa.types.is_struct(parts):
        return []
    names = [part.name for part in parts]
    return names if _first(_BOX_NAMES, names) else []


def is_list(kind: pa.DataType) -> bool:
    """Whether a column holds lists."""
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _is_list_of_lists(kind: pa.DataType) -> bool:
    return is_list(kind) and is_list(kind.value_type)


def _first(names: Iterable[str], among: Sequence[str]) -> str | None:
    return next((name for name in names if name in among), None)


def _only(found: list[str], usual: Sequence[str], what: str, source: str) -> str:
    chosen = found[0] if len(found) == 1 else _first(usual, found)
    if chosen is None:
        raise DatasetError(
            f"{source}: {len(found)} columns with {what}: {', '.join(found)}. In Python, keep the right one with "
            "`dataset.select_columns(...)` and use `hf_detr.load_hf_dataset`."
        )
    return chosen


def _described(schema: pa.Schema, most: int = 12) -> str:
    listed = ", ".join(f"{field.name} ({field.type})" for field in list(schema)[:most])
    return listed + (f" and {len(schema) - most} more" if len(schema) > most else "")
