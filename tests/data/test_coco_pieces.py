"""COCO files read piece by piece: the same tables as from the file parsed as a whole, whatever the JSON looks like."""

import json
import random
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_detr.data import coco_file, coco_table, json_lists
from hf_detr.data.coco_file import open_coco, parse_coco
from hf_detr.data.coco_table import read_coco_table
from hf_detr.data.json_lists import JsonFile, OtherLayoutError, RecordList, find_lists
from hf_detr.data.table import AnnotationTable, CocoRecords, Split
from hf_detr.errors import DatasetError

TEXTS = st.sampled_from(
    ['a "quoted" \\ name', "}],[{", "\\\\", 'x\\"', "Ärger\n", "{", "]", "images", '"annotations": [']
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
IDS = st.integers(0, 5) | st.integers(2**40, 2**40 + 2)
ODD_IDS = IDS | st.sampled_from(["a", "7", 2.0, None, True, 2**70, [1]])
BOXES = st.lists(st.integers(0, 50) | st.floats(0, 50), min_size=4, max_size=4) | st.sampled_from([None, [1], "x"])


def records(known: dict[str, st.SearchStrategy]) -> st.SearchStrategy:
    """Lists of objects that may have these keys, in any order, and others."""
    one = st.fixed_dictionaries({}, optional=known | {"other": VALUES, "]": VALUES})
    return st.lists(one, max_size=6)


@st.composite
def contents(draw: st.DrawFn) -> dict[str, Any]:
    """What may be in a COCO file, good and bad, its keys in any order."""
    ids = draw(st.sampled_from([IDS, ODD_IDS]))
    images = {"id": ids, "file_name": TEXTS, "height": st.integers(0, 9), "width": st.integers(0, 9)}
    annotations = {
        "id": ids,
        "image_id": ids,
        "category_id": ids,
        "bbox": BOXES,
        "area": st.integers(-1, 9) | st.sampled_from([None, "7", 1.5]),
        "iscrowd": st.sampled_from([0, 1, True, None, 2, "1"]),
        "segmentation": st.sampled_from([[], [[1, 2, 3.5, 4, 5, 6]], {"counts": "a]}", "size": [1, 2]}]),
    }
    content = {
        "images": draw(records(images)),
        "annotations": draw(records(annotations)),
        "categories": draw(records({"id": ids, "name": TEXTS})),
        "info": draw(VALUES),
        "more": draw(st.lists(VALUES, max_size=3)),
    }
    keys = draw(st.permutations(list(content)))
    return {key: content[key] for key in keys}


def spread(text: str, seed: int) -> str:
    """The same JSON with other white space between its parts."""
    rng, found, in_text, escaped = random.Random(seed), [], False, False
    for character in text:
        if in_text:
            in_text, escaped = not (character == '"' and not escaped), character == "\\" and not escaped
            found.append(character)
        else:
            in_text = character == '"'
            blank = "".join(rng.choices(" \n\t\r", k=rng.choice((0, 0, 0, 1, 3))))
            found.append(blank + character if character in '{}[],:"' else character)
    return "".join(found)


def values(table: AnnotationTable) -> dict[str, Any]:
    """All columns of a table, and its records."""
    columns = {field.name: getattr(table, field.name) for field in fields(table)}
    for name in ("locate", "records", "extras"):
        del columns[name]
    plain = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in columns.items()}
    for field in fields(CocoRecords):
        plain[f"records.{field.name}"] = list(getattr(table.records, field.name))
    places = [table.locate(annotation) for annotation in range(len(table.boxes_xywh))]
    return plain | {"places": places, "header": dict(table.extras.header)}


@pytest.mark.parametrize("piece_bytes", [1, 37, 500])
@given(content=contents(), seed=st.integers(0, 99))
def test_pieces_make_the_same_table(
    piece_bytes: int, content: dict, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("pieces") / "train.json"
    path.write_text(spread(json.dumps(content), seed))
    split = Split("train", path.parent, path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_lists, "PIECE_BYTES", piece_bytes)
        patch.setattr(coco_table, "parse_coco", None)  # this JSON never has to be parsed as a whole
        found = values(read_coco_table(split))
    assert repr(found) == repr(values(coco_table._table(split, parse_coco(path))))


def lists_of(text: bytes, folder: Path) -> tuple[dict[str, RecordList], bytes]:
    path = folder / "a.json"
    path.write_bytes(text)
    return find_lists(JsonFile(path), ("images", "annotations"), lambda part, begin: json.loads(part))


def test_lists_are_found_at_the_top_alone(tmp_path: Path) -> None:
    text = b'{"a\\"images": [{"images": [{}]}], "x": {"annotations": [{}]}, "images" :\n[ {"a": [1]} , [2]\n,{} ]}'
    found, rest = lists_of(text, tmp_path)
    assert list(found) == ["images"] and list(found["images"]) == [{"a": [1]}, [2], {}]
    assert json.loads(rest) == {'a"images': [{"images": [{}]}], "x": {"annotations": [{}]}, "images": []}
    assert found["images"][1] == [2]
    with pytest.raises(IndexError):
        found["images"][3]


@pytest.mark.parametrize(
    "text",
    [
        b'{"images": [1, {}]}',
        b'{"images": [{}, null]}',
        b'{"images": [{}], "images": [{}]}',
        b'[{"images": []}]',
        '{"images": []}'.encode("utf-16"),
        b'{"images": []}}',
    ],
)
def test_other_layouts_are_left_to_others(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(OtherLayoutError):
        for records in lists_of(text, tmp_path)[0].values():
            [piece.values() for piece in records.pieces("reading")]


GOOD = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [], "categories": [{"id": 1, "name": "a"}]}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[:-30], "cut short: the file ends at byte"),
        (lambda text: text.replace('"a.jpg"', "a.jpg"), r"not JSON between bytes 11 and 42 of \d+: Expecting value"),
        (lambda text: text.replace("a.jpg", "\\ud83d"), "half a character"),
        (lambda text: text.replace('"categories":', '"categories"'), "not JSON between bytes 0 and"),
        (lambda text: text.replace('"annotations": [],', ""), "no 'annotations'"),
    ],
)
def test_damage_in_a_large_file_is_placed_without_parsing_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Any, message: str
) -> None:
    path = tmp_path / "train.json"
    path.write_text(damage(json.dumps(GOOD)))
    monkeypatch.setattr(coco_file, "_LOCATED_UP_TO_BYTES", 0)
    monkeypatch.setattr(coco_file, "read_coco_json", None)
    with pytest.raises(DatasetError, match=message):
        read_coco_table(Split("train", tmp_path, path))


def test_values_that_only_python_reads_are_read_in_pieces_too(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    rows = '{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, NaN, 2, 3], "n": 12345678901234567890123}'
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).replace("[]", f"[{rows}]").encode())
    content = open_coco(path)
    assert isinstance(content.annotations, RecordList)
    assert content.annotations[0]["n"] == 12345678901234567890123.0
    assert np.isnan(read_coco_table(Split("train", tmp_path, path)).boxes_xywh[0, 1])
