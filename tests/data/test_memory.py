"""Pictures in memory: the same samples, from one copy that all processes share, and never more than fits."""

import logging
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader

from hf_detr.data.augment import build_augmentation
from hf_detr.data.dataset import DetectionDataset
from hf_detr.data.images import decode_stored
from hf_detr.data.index import DetectionIndex
from hf_detr.data.memory import available_bytes, cache_pictures, estimate_bytes, open_cache, require_memory
from hf_detr.errors import DatasetError
from tests.data.test_dataset import AS_STORED, make_index, turned_index

SIZES_HW = [(30, 40), (64, 50), (33, 47), (120, 160)]


@pytest.fixture
def index(tmp_path) -> DetectionIndex:
    """Four pictures: JPEG and PNG, one of them grey; the last one's size is not annotated."""
    rng = np.random.default_rng(0)
    pictures = []
    for number, (height, width) in enumerate(SIZES_HW):
        pixels = np.kron(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8), np.ones((20, 20, 1), dtype=np.uint8))
        name = f"{number}.{'png' if number == 2 else 'jpg'}"
        picture = Image.fromarray(pixels[:height, :width])
        (picture.convert("L") if number == 1 else picture).save(tmp_path / name)
        annotated = (0, 0) if number == 3 else (height, width)
        pictures.append({"file_name": name, "size_hw": annotated, "boxes_xywh": [[3, 4, 20, 25], [10, 2, 9, 9]]})
    return make_index(tmp_path, pictures)


def training(index: DetectionIndex, **changes) -> DetectionDataset:
    return DetectionDataset(index, transform=build_augmentation(mosaic_prob=0.5, mosaic_side=32), seed=3, **changes)


def facts_of(samples: list[dict]) -> list[tuple]:
    """Everything of a sample, as bytes."""
    keys = ("image", "boxes_xyxy", "class_ids")
    return [
        (*(sample[key].tobytes() for key in keys), sample["orig_size_hw"], sample["unreadable"]) for sample in samples
    ]


def epochs(dataset: DetectionDataset, **loader) -> list[tuple]:
    loader = DataLoader(dataset, batch_size=2, collate_fn=facts_of, **loader)
    facts = []
    for epoch in (0, 1):
        dataset.set_epoch(epoch)
        facts += [fact for batch in loader for fact in batch]
    return facts


@pytest.mark.parametrize("decode_side", [None, 20])
def test_samples_are_those_of_the_files(index, decode_side):
    cached = training(index, decode_side=decode_side, cache=cache_pictures(index, least_side=decode_side))
    expected = epochs(training(index, decode_side=decode_side))
    for path in index.images_dir.iterdir():
        path.unlink()  # they are not read any more
    assert epochs(cached) == expected


@pytest.mark.parametrize(("start_method", "workers"), [("fork", 2), ("spawn", 1)])
def test_loader_processes_share_them(index, start_method, workers):
    cached = training(index, cache=cache_pictures(index))
    expected = epochs(training(index))
    for path in index.images_dir.iterdir():
        path.unlink()
    loader = {"num_workers": workers, "multiprocessing_context": start_method, "persistent_workers": True}
    assert epochs(cached, **loader) == expected


def read_by_address(address: tuple[int, int, int], queue) -> None:
    cache = open_cache(address)
    queue.put([cache.read(image).pixels.sum() for image in range(4)])


def test_another_process_opens_them_by_address(index):
    cache = cache_pictures(index)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    other = context.Process(target=read_by_address, args=(cache.address, queue))
    other.start()
    assert queue.get(timeout=20) == [cache.read(image).pixels.sum() for image in range(4)]
    other.join()


def test_whoever_changes_a_picture_changes_it_for_nobody_else(index):
    cache = cache_pictures(index)
    before = cache.read(0).pixels.copy()
    cache.read(0).pixels[:] = 0
    np.testing.assert_array_equal(cache.read(0).pixels, before)


def test_pictures_that_cannot_be_read_are_named_as_without_memory(index, caplog):
    (index.images_dir / "1.jpg").write_bytes(b"broken")
    with caplog.at_level(logging.INFO, "hf_detr"):
        cache = cache_pictures(index)
    assert len(cache) == 3 and "train: 3 pictures in memory, 0 MB; 1 could not be read" in caplog.text
    assert epochs(training(index, cache=cache)) == epochs(training(index))
    assert training(index, cache=cache)[1]["unreadable"][0][0].endswith("1.jpg")


def test_turned_pictures_keep_their_orientation(tmp_path):
    index = turned_index(tmp_path, *AS_STORED)
    cache = cache_pictures(index)
    for transform in (None, build_augmentation()):
        one = DetectionDataset(index, transform=transform)[0]
        two = DetectionDataset(index, transform=transform, cache=cache)[0]
        assert facts_of([one]) == facts_of([two])


def test_the_memory_is_given_back(index):
    cache = cache_pictures(index)
    descriptor = cache.address[1]
    os.fstat(descriptor)
    del cache
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_estimate_is_what_they_take(index):
    assert estimate_bytes(index) == sum(3 * height * width for height, width in SIZES_HW)
    reduced = [decode_stored(index.picture(image), 20).pixels.nbytes for image in range(4)]
    assert estimate_bytes(index, 20) == sum(reduced)
    (index.images_dir / "3.jpg").write_bytes(b"broken")
    assert estimate_bytes(index) == sum(3 * height * width for height, width in SIZES_HW[:3])


def test_what_does_not_fit_is_refused(index):
    require_memory(index, 8_000_000_000, 10_000_000_000)
    with pytest.raises(
        DatasetError, match=r"annotations\.json: the 4 pictures take 8\.1 GB in memory; 10\.0 GB are free"
    ):
        require_memory(index, 8_100_000_000, 10_000_000_000)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8_192_000),
        ({"memory.max": "max\n", "memory.current": "1000\n"}, 8_192_000),
        ({"memory.max": "5000000\n", "memory.current": "1000000\n"}, 4_000_000),
        ({"memory/memory.limit_in_bytes": "3000\n", "memory/memory.usage_in_bytes": "4000\n"}, 0),
    ],
)
def test_free_memory_is_what_kernel_and_container_leave(tmp_path, files, expected):
    write(tmp_path / "proc/meminfo", "MemTotal:       24681000 kB\nMemAvailable:       8000 kB\n")
    for name, text in files.items():
        write(tmp_path / "sys/fs/cgroup" / name, text)
    assert available_bytes(tmp_path) == expected
    assert available_bytes() > 0


@pytest.mark.parametrize("size_hw", [(37, 53), (160, 121)])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_reduced_pictures_keep_their_boxes(tmp_path, size_hw, suffix):
    height, width = size_hw
    pixels = np.zeros((*size_hw, 3), dtype=np.uint8)
    pixels[height // 4 : height // 2, width // 4 : width // 2, 0] = 255
    Image.fromarray(pixels).save(
        tmp_path / f"a.{suffix}", **({"quality": 95, "subsampling": 0} if suffix == "jpg" else {})
    )
    box_xywh = [width // 4, height // 4, width // 2 - width // 4, height // 2 - height // 4]
    index = make_index(tmp_path, [{"file_name": f"a.{suffix}", "size_hw": size_hw, "boxes_xywh": [box_xywh]}])
    sample = DetectionDataset(index, decode_side=18)[0]
    factor = 2 if height < 40 else 4
    assert sample["image"].shape[:2] == (-(-height // factor), -(-width // factor))
    assert sample["orig_size_hw"] == size_hw
    rows, columns = np.nonzero(sample["image"][..., 0] >= 128)
    found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    np.testing.assert_allclose(sample["boxes_xyxy"][0], found, atol=1)


def test_reduced_jpegs_do_not_depend_on_the_decoder(index, monkeypatch):
    fast = [decode_stored(index.picture(image), 10).pixels for image in range(4)]
    monkeypatch.setattr("hf_detr.data.images._jpeg_decoder", lambda: None)
    for image, pixels in enumerate(fast):
        np.testing.assert_array_equal(decode_stored(index.picture(image), 10).pixels, pixels)
