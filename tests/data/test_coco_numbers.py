"""The quick parser of annotations: what it takes is right, and what it does not take is left to the thorough one."""

import json
from typing import Any

import numpy as np
import pytest

from hf_detr.data.coco_numbers import parse_numbers

GOOD: dict[str, Any] = {
    "segmentation": [[1, 2, 3, 4]],
    "area": 7.25,
    "iscrowd": 0,
    "image_id": 3,
    "bbox": [1, 2.5, 30, 0.1],
    "category_id": 2,
    "id": 1,
    "other": {"deep": [None, "]}"]},
}


def lines(*records: Any) -> bytes:
    return "\n".join(map(json.dumps, records)).encode()


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in GOOD.items() if name != key}


def test_columns() -> None:
    records = [GOOD, GOOD | {"id": 2**60, "iscrowd": 1}, without("area"), without("iscrowd") | {"area": None}]
    found = parse_numbers(lines(*records), 4)
    assert found is not None
    assert found.ids.tolist() == [1, 2**60, 1, 1] and found.ids.dtype == np.int64
    assert found.image_ids.tolist() == [3] * 4 and found.category_ids.tolist() == [2] * 4
    assert found.boxes_xywh.tolist() == [[1.0, 2.5, 30.0, 0.1]] * 4
    assert found.areas.tolist() == [7.25, 7.25, -1.0, -1.0]
    assert found.is_crowd.tolist() == [False, True, False, False]


def test_many_blocks_keep_their_order() -> None:
    records = [GOOD | {"id": number, "bbox": [number, 0, 1, number + 0.1]} for number in range(30_000)]
    found = parse_numbers(lines(*records), len(records))
    assert found is not None
    assert found.ids.tolist() == list(range(30_000))
    assert found.boxes_xywh[:, 3].tolist() == [number + 0.1 for number in range(30_000)]


@pytest.mark.parametrize(
    "record",
    [
        without("id"),
        without("image_id"),
        without("category_id"),
        without("bbox"),
        GOOD | {"id": "1"},
        GOOD | {"id": 2.0},
        GOOD | {"id": True},
        GOOD | {"id": 2**70},
        GOOD | {"image_id": None},
        GOOD | {"category_id": [1]},
        GOOD | {"bbox": [1, 2, 3]},
        GOOD | {"bbox": [1, 2, 3, 4, 5]},
        GOOD | {"bbox": [1, 2, 3, None]},
        GOOD | {"bbox": [1, 2, 3, "4"]},
        GOOD | {"bbox": None},
        GOOD | {"bbox": [1, 2, 3, float("nan")]},
        GOOD | {"bbox": [1, 2, 3, float("inf")]},
        GOOD | {"area": -1},
        GOOD | {"area": float("nan")},
        GOOD | {"area": "7"},
        GOOD | {"iscrowd": 2},
        GOOD | {"iscrowd": True},
        GOOD | {"iscrowd": "1"},
        [1, 2],
        5,
    ],
    ids=lambda record: json.dumps(record)[-40:],
)
def test_anything_else_is_left_to_others(record: Any) -> None:
    assert parse_numbers(lines(GOOD, record), 2) is None


@pytest.mark.parametrize(
    "text",
    [
        lines(GOOD),
        lines(GOOD, GOOD, GOOD),
        lines(GOOD) + b",\n" + lines(GOOD),
        lines(GOOD) + b"\n" + lines(GOOD)[:-1],
        lines(GOOD) + b"\n" + lines(GOOD).replace(b'"id"', b'"id": 7, "id"'),
        lines(GOOD) + b"\n" + lines(GOOD).replace(b"deep", b"de\xffp"),
        lines(GOOD) + b"\n" + lines(GOOD).replace(b"deep", b"\\ud83d"),
    ],
    ids=["too few", "too many", "a comma", "cut short", "a key twice", "no UTF-8", "half a character"],
)
def test_so_is_damaged_text(text: bytes) -> None:
    assert parse_numbers(text, 2) is None
