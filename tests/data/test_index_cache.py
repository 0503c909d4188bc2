"""Annotations of large files: read once, mapped afterwards, and never those of another file."""

import json
import logging
import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pytest

from hf_detr.cli.train_data import refuse_bad_data
from hf_detr.data import index_cache, splits
from hf_detr.data.index import DetectionIndex, PackedStrings
from hf_detr.data.index_cache import MappedArray, cache_folder, is_cached
from hf_detr.data.splits import Split, find_splits, load_index
from hf_detr.errors import DatasetError
from hf_detr.recipes import load_recipe
from tests.formats import make_csv
from tests.synthetic import annotation_file, images_folder, make_coco

ARRAYS = ("sizes_hw", "first", "boxes_xywh", "class_ids", "areas", "is_crowd")


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch, tmp_path):
    monkeypatch.setattr(index_cache, "LARGE_FILE_BYTES", 0)
    monkeypatch.setenv("HF_DETR_CACHE", str(tmp_path / "cache"))


@pytest.fixture(params=["numbers", "text"])
def split(tmp_path, request) -> Split:
    make_coco(tmp_path, images=5, crowds=1, empty_images=1, image_ids=request.param, splits=("train",))
    return Split("train", images_folder(tmp_path), annotation_file(tmp_path))


@pytest.fixture
def reads(monkeypatch) -> list[Split]:
    """The splits whose annotation files are read from here on."""
    seen, read_table = [], splits.read_table

    def spy(split: Split):
        seen.append(split)
        return read_table(split)

    monkeypatch.setattr(splits, "read_table", spy)
    return seen


def contents(index: DetectionIndex) -> list:
    """Everything in an index."""
    texts = [
        list(values) if isinstance(values, PackedStrings) else values.tolist()
        for values in (index.file_names, index.image_ids)
    ]
    places = [index.name, index.images_dir, index.annotations_path, index.category_ids, index.class_names]
    return [*(getattr(index, name).tolist() for name in ARRAYS), *texts, *places]


def test_the_second_time_nothing_is_read_and_all_is_the_same(split, reads, monkeypatch):
    plain = splits._read_index(split, None)
    assert not is_cached(split)
    first, second = load_index(split), load_index(split)
    assert len(reads) == 2 and is_cached(split)  # one for `plain`
    assert contents(first) == contents(second) == contents(plain)
    assert isinstance(second.boxes_xywh, MappedArray) and not second.boxes_xywh.flags.writeable
    assert all(getattr(second, name).dtype == getattr(plain, name).dtype for name in ARRAYS)


def test_small_files_are_not_kept(split, reads, monkeypatch):
    monkeypatch.setattr(index_cache, "LARGE_FILE_BYTES", split.annotations_path.stat().st_size + 1)
    for _ in range(2):
        assert type(load_index(split).boxes_xywh) is np.ndarray
    assert len(reads) == 2 and not cache_folder().exists()


def test_a_changed_file_is_read_anew_and_the_old_entry_goes(split, reads):
    before = load_index(split)
    content = json.loads(split.annotations_path.read_text())
    content["annotations"][0]["bbox"] = [1, 2, 3, 4]
    split.annotations_path.write_text(json.dumps(content))
    after = load_index(split)
    assert len(reads) == 2 and contents(after) != contents(before)
    assert len(list((cache_folder() / "annotations").iterdir())) == 1


def test_other_classes_are_another_entry(split, reads):
    own, other = load_index(split), load_index(split, ("blue", "green", "red"))
    assert own.class_names != other.class_names and own.class_ids.tolist() != other.class_ids.tolist()
    load_index(split), load_index(split, ("blue", "green", "red"))
    assert len(reads) == 2


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


DAMAGE = {
    "cut": lambda folder: truncate(folder / "boxes_xywh.npy"),
    "missing": lambda folder: (folder / "areas.npy").unlink(),
    "description": lambda folder: truncate(folder / "index.json"),
    "classes": lambda folder: np.save(folder / "class_ids.npy", np.load(folder / "class_ids.npy") + 50),
    "counts": lambda folder: np.save(folder / "first.npy", np.load(folder / "first.npy")[::-1]),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_entry_is_made_anew(split, reads, damage, caplog):
    expected = contents(load_index(split))
    (folder,) = (cache_folder() / "annotations").iterdir()
    DAMAGE[damage](folder)
    with caplog.at_level(logging.WARNING, "hf_detr"):
        assert contents(load_index(split)) == expected
    assert len(reads) == 2 and "its cache is damaged" in caplog.text
    load_index(split)
    assert len(reads) == 2


def test_where_nothing_can_be_written_it_is_said_and_goes_on(split, reads, caplog, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HF_DETR_CACHE", str(tmp_path / "file" / "below"))
    with caplog.at_level(logging.WARNING, "hf_detr"):
        assert len(load_index(split)) == 5
    assert "cannot be cached" in caplog.text and "HF_DETR_CACHE names another folder" in caplog.text


def load_together(split: Split, barrier, queue) -> None:
    barrier.wait()
    queue.put(pickle.dumps(contents(load_index(split))))


def test_several_processes_may_make_the_entry_at_once(split):
    context = multiprocessing.get_context("fork")
    barrier, queue = context.Barrier(4), context.Queue()
    processes = [context.Process(target=load_together, args=(split, barrier, queue)) for _ in range(4)]
    for process in processes:
        process.start()
    found = {queue.get(timeout=30) for _ in processes}
    for process in processes:
        process.join()
    assert found == {pickle.dumps(contents(splits._read_index(split, None)))}
    assert [path.name.startswith("making") for path in (cache_folder() / "annotations").iterdir()] == [False]


def test_a_spawned_process_maps_it_again(split):
    index = load_index(split)
    pickled = pickle.dumps(index.boxes_xywh)
    assert b"boxes_xywh.npy" in pickled and len(pickled) < 400, "the path, not the numbers"
    again = pickle.loads(pickle.dumps(index))
    assert contents(again) == contents(index) and isinstance(again.boxes_xywh, MappedArray)
    part = pickle.loads(pickle.dumps(index.boxes_xywh[1:3]))
    np.testing.assert_array_equal(part, index.boxes_xywh[1:3])


def test_the_folder_is_that_of_the_user(monkeypatch, tmp_path):
    monkeypatch.delenv("HF_DETR_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "hf_detr"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "hf_detr"


def test_before_a_run_an_unchanged_file_is_not_checked_again(split, caplog):
    recipe, found = load_recipe(None, {"data": str(split.images_dir.parent)}), {"train": split}
    refuse_bad_data(found, recipe)
    assert "is not checked" not in caplog.text
    load_index(split)
    with caplog.at_level(logging.INFO, "hf_detr"):
        refuse_bad_data(found, recipe)
    assert f"{split.annotations_path} is not checked: it is large, and has not changed" in caplog.text
    split.annotations_path.write_text("no longer JSON")
    with pytest.raises(DatasetError, match="not JSON"):
        refuse_bad_data(found, recipe)


def test_formats_that_look_at_the_pictures_are_read_each_time(tmp_path):
    table = make_csv(make_coco(tmp_path / "coco", images=2), tmp_path / "csv")
    split = find_splits(table)["train"]
    load_index(split)
    assert not is_cached(split)
