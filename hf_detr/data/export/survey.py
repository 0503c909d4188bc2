"""What there is in a conversion beyond boxes: counted before it is written, to say what gets lost."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

from hf_detr.data.export.outlines import MASK, POLYGONS, immovable_keys, outline_kind
from hf_detr.data.export.sourced import SourcedIndex
from hf_detr.data.parallel import BAR_AFTER_SECONDS

# What every format has in its own way.
_OF_ANNOTATIONS = frozenset({"id", "image_id", "category_id", "bbox", "area", "iscrowd", "segmentation"})
_OF_IMAGES = frozenset({"id", "file_name", "width", "height"})
_OF_CATEGORIES = frozenset({"id", "name"})

MIXED = "mixed"


@dataclass
class Survey:
    """Counts of all splits together.

    Attributes:
        outlines: objects with a ``segmentation`` of each kind, see `outline_kind`.
        single: objects whose outline is one polygon.
        moved_masks, immovable: in pictures that are turned or scaled, objects with masks, and those with an outline
            or keypoints that cannot be.
        annotations, images, categories: how many have a key of which nothing else is said, with a value.
        annotation_kinds, image_kinds: what the values of these keys are, see `value_kind`; MIXED if not all the same.
    """

    outlines: Counter[str] = field(default_factory=Counter)
    single: int = 0
    moved_masks: int = 0
    immovable: int = 0
    annotations: Counter[str] = field(default_factory=Counter)
    images: Counter[str] = field(default_factory=Counter)
    categories: Counter[str] = field(default_factory=Counter)
    annotation_kinds: dict[str, str] = field(default_factory=dict)
    image_kinds: dict[str, str] = field(default_factory=dict)


def survey(splits: Mapping[str, SourcedIndex]) -> Survey:
    """Look at everything that the sources say."""
    found = Survey()
    for index in splits.values():
        title = f"{index.name}: looking at annotations"
        for image in tqdm(range(len(index)), title, unit=" pictures", delay=BAR_AFTER_SECONDS, disable=None):
            for key, value in _filled(index.image_extras(image), _OF_IMAGES):
                found.images[key] += 1
                _add_kind(found.image_kinds, key, value)
            for row in range(index.first[image], index.first[image + 1]):
                extras = index.annotation_extras(image, row)
                _add_annotation(found, extras)
                if index.is_moved(image):
                    lost = immovable_keys(extras, tuple(index.drawn_hw[image].tolist()))
                    found.immovable += bool(lost)
                    found.moved_masks += (
                        "segmentation" not in lost and outline_kind(extras.get("segmentation")) == MASK
                    )
    for extras in next(iter(splits.values())).category_extras:
        for key, value in _filled(extras, _OF_CATEGORIES):
            found.categories[key] += (key, value) != ("supercategory", "none")
    return found


def _add_annotation(found: Survey, extras: dict[str, Any]) -> None:
    segmentation = extras.get("segmentation")
    if kind := outline_kind(segmentation):
        found.outlines[kind] += 1
        found.single += kind == POLYGONS and len(segmentation) == 1
    for key, value in _filled(extras, _OF_ANNOTATIONS):
        found.annotations[key] += 1
        _add_kind(found.annotation_kinds, key, value)


def _filled(extras: Mapping[str, Any], known: frozenset[str]) -> Iterator[tuple[str, Any]]:
    return ((key, value) for key, value in extras.items() if key not in known and value not in (None, "", [], {}))


def _add_kind(kinds: dict[str, str], key: str, value: Any) -> None:
    kind = value_kind(value)
    before = kinds.setdefault(key, kind)
    if kind != before:
        kinds[key] = "float64" if {kind, before} == {"int64", "float64"} else MIXED


def value_kind(value: Any) -> str:
    """The type of a column for such values: ``"numbers"`` for a list of them, MIXED where there is none.

    >>> [value_kind(value) for value in (True, 7, 1.5, "a", [1, 2.5], {"a": 1})]
    ['bool', 'int64', 'float64', 'string', 'numbers', 'mixed']
    """
    match value:
        case bool():
            return "bool"
        case int():
            return "int64" if -(2**63) <= value < 2**63 else MIXED
        case float():
            return "float64"
        case str():
            return "string"
        case list() if {int, float}.issuperset(map(type, value)):
            return "numbers"
        case _:
            return MIXED
