"""Streaming: every picture once per epoch whatever the processes, near each other, and resumable in the middle."""

import logging
import pickle
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from accelerate import skip_first_batches
from accelerate.data_loader import prepare_data_loader
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from hf_detr.data import parquet_rows
from hf_detr.data.dataset import DetectionDataset
from hf_detr.data.files import StorageError
from hf_detr.data.hub_sources import HubOptions
from hf_detr.data.hub_tables import RowTables
from hf_detr.data.parquet_rows import ParquetPictures, ParquetRows, join_groups
from hf_detr.data.splits import find_splits, load_index
from hf_detr.data.streaming import StreamSampler, deal_batches, is_streamed, nearby_order
from hf_detr.errors import DatasetError
from tests.hub_data import coco_rows, write_parquet
from tests.synthetic import make_coco

BATCH = 4


@pytest.fixture(autouse=True)
def _small(tmp_path, monkeypatch):
    """Stretches of 3 rows, no pauses, and nothing that stays in the cache of `datasets`."""
    monkeypatch.setattr(parquet_rows, "_LEAST_ROWS", 3)
    monkeypatch.setattr(parquet_rows, "RETRY_AFTER_SECONDS", (0, 0))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """51 pictures to train on, in three files with row groups of 3 rows, and 6 to evaluate on."""
    folder = tmp_path_factory.mktemp("parquet")
    make_coco(folder / "coco", images=51, empty_images=2, size_hw=(48, 64))
    rows = coco_rows(folder / "coco")
    for number, part in enumerate((range(0, 20), range(20, 43), range(43, 51))):
        write_parquet(rows.select(part), folder / "data" / f"train-0000{number}-of-00003.parquet")
    valid = coco_rows(folder / "coco", "valid").select(range(6))
    write_parquet(valid, folder / "data" / "validation-00000-of-00001.parquet")
    return folder


def streamed(folder: Path, transform=None, *, window: int = 9, **options) -> DetectionDataset:
    splits = find_splits(folder / "data", HubOptions(streaming=True, shuffle_window=window))
    return DetectionDataset(load_index(splits["train"]), transform=transform, **options)


def note(sample, rng, epoch):
    """Leaves of a sample what can be compared, instead of its picture."""
    others = [sample["load_other"](rng)["image_index"] for _ in range(2)]
    return sample | {"noted": (sample["image_index"], int(sample["image"].sum()), float(rng.random()), *others)}


def noted(samples: list) -> list[tuple]:
    return [sample["noted"] for sample in samples]


def loader_of(dataset, *, workers: int = 2, ranks: int = 1, rank: int = 0, seed: int = 0, **options) -> DataLoader:
    """As the trainer makes it, for one of several processes."""
    sampler = StreamSampler(dataset, seed=seed, batch_size=BATCH, readers=max(workers, 1) * ranks)
    loader = DataLoader(
        dataset, batch_size=BATCH, sampler=sampler, num_workers=workers, drop_last=True, collate_fn=noted, **options
    )
    return prepare_data_loader(loader, num_processes=ranks, process_index=rank, put_on_device=False)


# --- the order


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=30),
    window=st.integers(1, 100),
    batch_size=st.integers(1, 7),
    readers=st.integers(1, 9),
    seed=st.integers(0, 100),
)
def test_every_row_once_and_never_far_from_its_stretch(sizes, window, batch_size, readers, seed):
    stretch_of = np.repeat(np.arange(len(sizes)), sizes)
    order = nearby_order(stretch_of, window, np.random.default_rng(seed))
    assert sorted(order) == list(range(len(stretch_of)))
    in_line = stretch_of[order]
    for stretch, size in enumerate(sizes):
        places = np.flatnonzero(in_line == stretch)
        assert places[-1] - places[0] < size + 2 * window
    dealt = deal_batches(order, batch_size, readers)
    assert sorted(dealt) == sorted(order)
    batches = len(order) // batch_size
    pieces = [dealt[: batches * batch_size].reshape(batches, batch_size)[reader::readers] for reader in range(readers)]
    np.testing.assert_array_equal(np.concatenate([piece.ravel() for piece in pieces]), order[: batches * batch_size])


def test_the_order_is_random():
    stretch_of = np.repeat(np.arange(20), 10)
    orders = {tuple(nearby_order(stretch_of, 30, np.random.default_rng(seed))) for seed in range(20)}
    assert len(orders) == 20
    mixed = [len(set(stretch_of[list(order[:20])])) for order in orders]
    assert min(mixed) >= 3, "rows of several stretches come between each other"


@given(st.lists(st.integers(1, 30), max_size=30))
def test_row_groups_are_joined_in_order(rows):
    joined = join_groups(rows)
    assert [group for first, end, _ in joined for group in range(first, end)] == list(range(len(rows)))
    assert all(sum(rows[first:end]) == count for first, end, count in joined)
    assert all(count >= parquet_rows._LEAST_ROWS for *_, count in joined) or len(joined) == 1


# --- samples


def test_the_same_as_read_from_files(folder):
    dataset, files_ = streamed(folder), DetectionDataset(load_index(find_splits(folder / "coco")["train"]))
    assert is_streamed(dataset) and not is_streamed(files_) and len(dataset) == 51
    for sample, other in zip(dataset, files_, strict=True):
        for name, value in other.items():
            np.testing.assert_array_equal(sample[name], value, err_msg=name)
    assert dataset.index.image_path(21).name == "row-21-0021.jpg"


@pytest.mark.parametrize(("ranks", "workers"), [(1, 0), (1, 2), (2, 2), (3, 1)])
def test_no_picture_twice_and_none_lost(folder, ranks, workers):
    dataset = streamed(folder, note)
    seen = []
    for rank in range(ranks):
        batches = list(loader_of(dataset, workers=workers, ranks=ranks, rank=rank))
        assert len(batches) == 51 // (BATCH * ranks)
        seen += [number for batch in batches for number, *_ in batch]
    assert len(seen) == len(set(seen)) == 51 // (BATCH * ranks) * BATCH * ranks


def test_each_stretch_is_read_about_once(folder, monkeypatch):
    """Two readers cut one stretch in two, and the stretches at the edges of their pieces overlap."""
    dataset = streamed(folder, window=6)
    pictures = dataset.index.pictures
    loads = []
    load = ParquetPictures._load
    monkeypatch.setattr(ParquetPictures, "_load", lambda self, stretch: loads.append(stretch) or load(self, stretch))
    for image in StreamSampler(dataset, batch_size=BATCH, readers=1):
        dataset[image]
    assert sorted(loads) == list(range(len(pictures.first_row) - 1))
    held = sum(map(len, pictures._stretches.values()))
    assert held <= 6 + 4 * np.diff(pictures.first_row).max() < 51


def test_a_sample_depends_on_seed_epoch_and_row_alone(folder):
    dataset = streamed(folder, note, seed=3)

    def epoch(number: int, workers: int, seed: int = 0) -> dict[int, tuple]:
        loader = loader_of(dataset, workers=workers, seed=seed)
        loader.set_epoch(number)
        return {row[0]: row for batch in loader for row in batch}

    first = epoch(1, 0)
    for other in (epoch(1, 1), epoch(1, 2), epoch(1, 0, seed=9)):
        assert all(first[image] == row for image, row in other.items() if image in first)
    changed = epoch(2, 0)
    assert list(first) != list(changed)
    assert all(first[image][2] != row[2] for image, row in changed.items() if image in first)


def test_mosaics_are_made_of_what_is_near(folder):
    dataset = streamed(folder, note)
    for image in (0, 21, 50):
        near = dataset.index.pictures.near(image)
        assert image in near and len(near) <= 5
        assert set(dataset[image]["noted"][3:]) <= set(near)


@pytest.mark.parametrize("workers", [0, 2])
def test_resumed_in_the_middle_of_an_epoch(folder, workers):
    """What is not seen before comes afterwards, exactly as without the interruption."""
    straight = loader_of(streamed(folder, note), workers=workers, persistent_workers=workers > 0)
    resumed = skip_first_batches(loader_of(streamed(folder, note), workers=workers), 5)
    for loader in (straight, resumed):
        loader.set_epoch(3)
    whole = list(straight)
    assert len(whole) == 12 and list(resumed) == whole[5:]


def test_pickled_and_spawned_workers_open_files_of_their_own(folder):
    dataset = streamed(folder, note)
    dataset[7]
    copy = pickle.loads(pickle.dumps(dataset))
    assert not copy.index.pictures._stretches and copy[7]["noted"] == dataset[7]["noted"]


# --- what is streamed


def test_validation_is_copied(folder):
    splits = find_splits(folder / "data", HubOptions(streaming=True))
    assert list(splits) == ["train", "valid"]
    valid = DetectionDataset(load_index(splits["valid"], load_index(splits["train"]).class_names))
    assert len(valid) == 6 and not is_streamed(valid) and valid[5]["readable"]


def test_what_it_will_hold_is_said(folder, caplog):
    with caplog.at_level(logging.INFO, "hf_detr"):
        streamed(folder)
    assert "Streaming 51 pictures, 0.0 GB, from 3 files; each loader process holds up to 0 MB" in caplog.text


def test_urls(folder):
    """Whatever fsspec opens; the Hub is one such place."""
    memory = fsspec.filesystem("memory")
    for path in sorted((folder / "data").glob("train-*")):
        memory.pipe(f"/far/{path.name}", path.read_bytes())
    urls = [f"memory://far/{path.name}" for path in sorted((folder / "data").glob("train-*"))]
    index = load_index(RowTables("far", {"train": ParquetRows(urls, window=9)}).splits()["train"])
    expected = streamed(folder)
    np.testing.assert_array_equal(DetectionDataset(index)[30]["image"], expected[30]["image"])
    np.testing.assert_array_equal(index.boxes_xywh, expected.index.boxes_xywh)


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda path: coco_rows(path / "coco").save_to_disk(path / "x"), "read bit by bit without --streaming"),
        (lambda path: write_parquet(coco_rows(path / "coco"), path / "x" / "test.parquet"), "must be one to train on"),
    ],
)
def test_what_cannot_be_streamed(tmp_path, prepare, message):
    make_coco(tmp_path / "coco", images=3, splits=("train",))
    prepare(tmp_path)
    with pytest.raises(DatasetError, match=message):
        find_splits(tmp_path / "x", HubOptions(streaming=True))


def test_parts_of_splits_are_refused(folder):
    with pytest.raises(DatasetError, match=r"take whole splits.*It has: train, validation; not: train\[:9%\]"):
        find_splits(folder / "data", HubOptions(streaming=True, train_split="train[:9%]"))


def test_files_with_other_columns(folder, tmp_path):
    write_parquet(coco_rows(folder / "coco").remove_columns("width"), tmp_path / "train-1.parquet")
    paths = [str(folder / "data" / "train-00000-of-00003.parquet"), str(tmp_path / "train-1.parquet")]
    with pytest.raises(DatasetError, match=r"train-1.parquet: has the columns image, .*unlike .*train-00000"):
        ParquetRows(paths)


# --- faults


def failing(monkeypatch, errors: list[Exception]) -> None:
    """The next attempts to read row groups fail with these errors, one each."""
    read = parquet_rows.pq.ParquetFile.read_row_groups

    def read_row_groups(self, *args, **options):
        if errors:
            raise errors.pop(0)
        return read(self, *args, **options)

    monkeypatch.setattr(parquet_rows.pq.ParquetFile, "read_row_groups", read_row_groups)


def test_a_passing_fault_is_waited_for(folder, monkeypatch, caplog):
    dataset = streamed(folder)
    expected = streamed(folder)[9]["image"]
    failing(monkeypatch, [OSError("connection reset"), OSError("timed out")])
    with caplog.at_level(logging.WARNING, "hf_detr"):
        np.testing.assert_array_equal(dataset[9]["image"], expected)
    assert caplog.text.count("another try in 0 s") == 2 and "train-00000-of-00003.parquet: timed out" in caplog.text


def test_a_fault_that_stays_ends_the_run_by_name(folder, monkeypatch):
    dataset = streamed(folder, note)
    failing(monkeypatch, [OSError("no route to host")] * 9)
    with pytest.raises(StorageError, match=r"train-00000-of-00003\.parquet: cannot be read: no route.*--resume"):
        dataset[0]


def test_a_damaged_file_is_named(folder, tmp_path):
    (tmp_path / "train.parquet").write_bytes((folder / "data" / "train-00000-of-00003.parquet").read_bytes()[:-50])
    with pytest.raises(DatasetError, match=r"train\.parquet: not a Parquet file, or a damaged one"):
        ParquetRows([str(tmp_path / "train.parquet")])
    with pytest.raises(DatasetError, match=r"gone\.parquet: no such file"):
        ParquetRows([str(tmp_path / "gone.parquet")])


def test_a_picture_that_cannot_be_read_is_replaced_and_named(tmp_path):
    make_coco(tmp_path / "coco", images=8, splits=("train",))
    rows = coco_rows(tmp_path / "coco").with_format("arrow")[:]
    images = rows.column("image").to_pylist()
    images[2]["bytes"], images[3] = b"garbage", None
    rows = rows.set_column(0, rows.schema.field("image"), pa.array(images, rows.schema.field("image").type))
    (tmp_path / "data").mkdir()
    parquet_rows.pq.write_table(rows, tmp_path / "data" / "train.parquet", row_group_size=3)
    sample = streamed(tmp_path, note)[2]
    assert sample["image_index"] == 4
    assert [Path(name).name for name, _ in sample["unreadable"]][:2] == ["row-2-0002.jpg", "row-3"]
