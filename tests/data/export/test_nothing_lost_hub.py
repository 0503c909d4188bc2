"""What COCO says beyond boxes comes back from a Hugging Face data set, and `datasets` shows it."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings

from hf_detr.data.hub_info import find_on_hub
from tests.data.export.rich import OFFLINE, contents, convert, read, rows_of, write
from tests.fake_hub import Repository, read_from_hub


def test_from_coco_to_the_hub_and_back_nothing_is_lost(rich: Path, tmp_path: Path) -> None:
    assert convert(rich, tmp_path / "hub", "hub").notes == ()
    assert convert(tmp_path / "hub", tmp_path / "again", "hub").notes == ()
    assert convert(tmp_path / "again", tmp_path / "back", "coco").notes == ()
    for key in ("images", "annotations"):
        assert rows_of(tmp_path / "back", key) == rows_of(rich, key)
    for split in ("train", "valid"):
        before, after = read(rich, split), read(tmp_path / "back", split)
        for key in ("categories", "info", "licenses"):
            assert after[key] == before[key]


@settings(max_examples=15, phases=[Phase.generate], suppress_health_check=OFFLINE)
@given(contents=contents())
def test_whatever_coco_says(contents: dict, tmp_path_factory: pytest.TempPathFactory) -> None:
    """But for keys with an empty value, and lists of numbers, whose whole numbers get a fraction of 0."""
    folder = tmp_path_factory.mktemp("hub")
    source = write(folder / "in", contents)
    assert convert(source, folder / "hub", "hub").notes == ()
    convert(folder / "hub", folder / "back", "coco")
    for key in ("images", "annotations"):
        before, after = rows_of(source, key), rows_of(folder / "back", key)
        assert before.keys() == after.keys()
        for number, row in before.items():
            assert {name: after[number].get(name) for name in row if said(row[name])} == {
                name: value for name, value in row.items() if said(value)
            }
    for split, content in contents.items():
        found = read(folder / "back", split)
        for key in ("categories", "info", "licenses", "more"):
            assert found[key] == content[key]


def said(value: Any) -> bool:
    return value not in (None, "", [], {})


def test_datasets_shows_masks_and_attributes_as_what_they_are(rich: Path, tmp_path: Path) -> None:
    from datasets import load_dataset

    convert(rich, tmp_path / "hub", "hub")
    rows = load_dataset(str(tmp_path / "hub"), cache_dir=str(tmp_path / "cache"))["train"]
    by_id = rows_of(rich, "annotations")
    objects = [row["objects"] for row in rows]
    assert sum(len(one["id"]) for one in objects) == 10
    for one in objects:
        expected = [by_id[number] for number in one["id"]]
        assert one["segmentation"] == [row["segmentation"] for row in expected]
        assert one["attributes"] == [{"colour": "red"}] * len(expected)


@pytest.mark.parametrize(
    "content",
    [
        "[1",
        "[]",
        '{"categories": []}',
        '{"categories": [{"id": 1}], "splits": {}}',
        '{"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}], "splits": {}}',
        '{"categories": [], "splits": {"train": 1}}',
    ],
)
def test_a_file_of_that_name_with_something_else(
    rich: Path, tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    convert(rich, tmp_path / "hub", "hub")
    (tmp_path / "hub" / "coco_info.json").write_text(content)
    convert(tmp_path / "hub", tmp_path / "back", "coco")
    assert "coco_info.json is not read: it does not hold what COCO says of classes" in caplog.text
    assert [row["id"] for row in read(tmp_path / "back")["categories"]] == [0, 1, 2]


def test_what_is_said_of_other_classes_is_not_used(rich: Path, tmp_path: Path) -> None:
    convert(rich, tmp_path / "hub", "hub")
    path = tmp_path / "hub" / "coco_info.json"
    path.write_text(path.read_text().replace('"cat"', '"tiger"'))
    convert(tmp_path / "hub", tmp_path / "back", "coco")
    assert [row["id"] for row in read(tmp_path / "back")["categories"]] == [0, 1, 2]


def test_the_hub_is_asked_for_it(rich: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    convert(rich, tmp_path / "hub", "hub")
    with read_from_hub(tmp_path / "cache") as hub:
        content = (tmp_path / "hub" / "coco_info.json").read_bytes()
        hub.repositories["datasets/me/cats"] = Repository(private=False, files={"coco_info.json": content})
        hub.repositories["datasets/me/dogs"] = Repository(private=False)
        found = find_on_hub("me/cats")
        assert found is not None and found.read_bytes() == content
        assert find_on_hub("me/cats", only_copies=True) == found
        assert find_on_hub("me/dogs") is None and "to be had" not in caplog.text  # most data sets have none
        assert find_on_hub("me/cats", "a-branch-that-is-not-there") is find_on_hub("me/nothing") is None
        assert "me/nothing: ids of classes are their places, for there is no coco_info.json to be had: " in caplog.text
