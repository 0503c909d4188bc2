"""Samples: boxes cleaned for training, pictures that cannot be read, EXIF, and epochs that reach the workers."""

import dataclasses
import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch._utils import ExceptionWrapper
from torch.utils.data import DataLoader

from hf_detr.data.dataset import DetectionDataset, annotated_as_stored
from hf_detr.data.images import UnreadableImageError
from hf_detr.data.index import DetectionIndex, PackedStrings


def make_index(folder: Path, pictures: list[dict]) -> DetectionIndex:
    """Index of pictures given as dicts of file_name, size_hw, boxes_xywh and, where wanted, is_crowd."""
    counts = [len(picture["boxes_xywh"]) for picture in pictures]
    boxes_xywh = np.array([box for picture in pictures for box in picture["boxes_xywh"]], dtype=np.float64)
    boxes_xywh = boxes_xywh.reshape(-1, 4)
    crowd = [
        flag for picture, n in zip(pictures, counts, strict=True) for flag in picture.get("is_crowd", [False] * n)
    ]
    return DetectionIndex(
        name="train",
        images_dir=folder,
        annotations_path=folder / "annotations.json",
        file_names=PackedStrings(picture["file_name"] for picture in pictures),
        image_ids=np.arange(len(pictures)) + 100,
        sizes_hw=np.array([picture["size_hw"] for picture in pictures], dtype=np.int32).reshape(-1, 2),
        first=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        boxes_xywh=boxes_xywh,
        class_ids=np.arange(len(boxes_xywh), dtype=np.int32) % 3,
        areas=boxes_xywh[:, 2] * boxes_xywh[:, 3],
        is_crowd=np.array(crowd, dtype=bool),
        category_ids=(1, 2, 3),
        class_names=("red", "green", "blue"),
    )


def keep_as_is(sample, rng, epoch):
    return sample


def draw_number(sample, rng, epoch):
    return sample | {"drawn": float(rng.random()), "seen_epoch": epoch}


def numbers_of(samples: list[dict]) -> list[tuple]:
    """Collate function of the loaders below: what `draw_number` left, without the pictures."""
    return [(sample["image_index"], sample["seen_epoch"], sample["drawn"]) for sample in samples]


@pytest.fixture
def folder(tmp_path) -> Path:
    for number in range(6):
        Image.new("RGB", (40, 30), (number * 40, 0, 0)).save(tmp_path / f"{number}.png")
    return tmp_path


@pytest.fixture
def index(folder) -> DetectionIndex:
    pictures = [
        {
            "file_name": "0.png",
            "size_hw": (30, 40),
            "boxes_xywh": [[1, 2, 10, 10], [0, 0, 40, 30]],
            "is_crowd": [0, 1],
        },
        {"file_name": "1.png", "size_hw": (30, 40), "boxes_xywh": []},
        {"file_name": "2.png", "size_hw": (30, 40), "boxes_xywh": [[-5, 20, 10, 20], [5, 5, 0, 8], [50, 5, 4, 4]]},
        {"file_name": "3.png", "size_hw": (0, 0), "boxes_xywh": [[35, 1, 10, 3], [np.nan, 1, 2, 3]]},
        {"file_name": "4.png", "size_hw": (30, 40), "boxes_xywh": [[1, 1, 5, 5]]},
        {"file_name": "5.png", "size_hw": (30, 40), "boxes_xywh": [[1, 1, 5, 5]]},
    ]
    return make_index(folder, pictures)


def test_sample_for_training(index):
    dataset = DetectionDataset(index, transform=keep_as_is)
    assert len(dataset) == 6 and dataset.id2label == {0: "red", 1: "green", 2: "blue"}
    sample = dataset[2]
    assert sample["image"].shape == (30, 40, 3) and sample["image"].dtype == np.uint8
    assert sample["image"][0, 0].tolist() == [80, 0, 0]
    assert sample["boxes_xyxy"].tolist() == [[0, 20, 5, 30]] and sample["boxes_xyxy"].dtype == np.float32
    assert sample["class_ids"].tolist() == [2] and sample["class_ids"].dtype == np.int64
    assert sample["image_index"] == 2 and sample["image_id"] == 102 and sample["orig_size_hw"] == (30, 40)
    assert sample["readable"] and sample["unreadable"] == () and sample["epoch"] == 0


def test_crowds_and_boxes_without_area_are_left_out_and_empty_pictures_kept(index):
    dataset = DetectionDataset(index, transform=keep_as_is)
    assert dataset[0]["boxes_xyxy"].tolist() == [[1, 2, 11, 12]]
    assert dataset[1]["boxes_xyxy"].shape == (0, 4) and dataset[1]["class_ids"].shape == (0,)
    assert dataset[3]["boxes_xyxy"].tolist() == [[35, 1, 40, 4]]  # size not annotated: cut at the true border


def test_what_is_left_out_is_logged_once(index, caplog):
    with caplog.at_level(logging.INFO, "hf_detr"):
        dataset = DetectionDataset(index, transform=keep_as_is)
        for image in range(6):
            dataset[image]
    text = caplog.text
    assert text.count("leaves out 1 crowd regions") == 1
    assert text.count("leaves out 3 boxes without area") == 1
    assert text.count("1 boxes stick out") == 1


def test_position_outside_the_split_ends_iteration(index):
    dataset = DetectionDataset(index)
    assert [sample["image_index"] for sample in dataset] == list(range(6))
    with pytest.raises(IndexError, match="train has 6 pictures; there is no picture 6"):
        dataset[6]


def test_choice_for_unreadable_is_checked(index):
    with pytest.raises(ValueError, match="'skip' or 'raise', got 'ignore'"):
        DetectionDataset(index, on_unreadable="ignore")


def test_unreadable_picture_is_replaced_in_training_and_named(index, folder):
    for number in (2, 3):
        (folder / f"{number}.png").write_bytes(b"")
    dataset = DetectionDataset(index, transform=keep_as_is)
    sample = dataset[2]
    assert sample["image_index"] == 4 and sample["readable"]
    (path, reason), (second, _) = sample["unreadable"]
    assert path == str(folder / "2.png") and "empty" in reason and second.endswith("3.png")
    assert dataset[4]["unreadable"] == ()


def test_replacement_wraps_around_at_the_end(index, folder):
    (folder / "5.png").unlink()
    assert DetectionDataset(index, transform=keep_as_is)[5]["image_index"] == 0


def test_unreadable_picture_is_never_replaced_in_evaluation(index, folder):
    (folder / "2.png").write_bytes(b"garbage")
    sample = DetectionDataset(index)[2]
    assert sample["image_index"] == 2 and not sample["readable"]
    assert sample["image"].shape == (1, 1, 3) and len(sample["boxes_xyxy"]) == 0
    assert sample["unreadable"][0][0].endswith("2.png")


@pytest.mark.parametrize("transform", [None, keep_as_is])
def test_unreadable_picture_raises_when_asked(index, folder, transform):
    (folder / "2.png").write_bytes(b"garbage")
    with pytest.raises(UnreadableImageError, match=r"2\.png"):
        DetectionDataset(index, transform=transform, on_unreadable="raise")[2]


def test_no_readable_picture_at_all(index, folder):
    for number in range(6):
        (folder / f"{number}.png").unlink()
    with pytest.raises(UnreadableImageError, match=r"none of the 6 pictures can be read.*1\.png.*hf-detr check"):
        DetectionDataset(index, transform=keep_as_is)[1]


def test_error_keeps_its_type_when_it_comes_from_a_worker(index, folder):
    """As `DataLoader` hands it over; a real one takes 5 seconds to end after an error."""
    (folder / "0.png").write_bytes(b"")
    try:
        DetectionDataset(index, on_unreadable="raise")[0]
    except UnreadableImageError:
        handed_over = ExceptionWrapper(where="in DataLoader worker process 0")
    with pytest.raises(UnreadableImageError, match=r"0\.png: cannot read this picture: the file is empty"):
        handed_over.reraise()


# --- EXIF


def turned_index(folder: Path, size_hw: tuple[int, int], box_xywh: list[float]) -> DetectionIndex:
    """A red rectangle on a picture stored as 30 x 40, which EXIF turns clockwise to 40 x 30."""
    stored = np.zeros((30, 40, 3), dtype=np.uint8)
    stored[5:10, 20:35, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(stored).save(folder / "turned.png", exif=exif)
    return make_index(folder, [{"file_name": "turned.png", "size_hw": size_hw, "boxes_xywh": [box_xywh]}])


def red_box_xyxy(image: np.ndarray) -> list[int]:
    rows, columns = np.nonzero(image[..., 0])
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


AS_STORED = ((30, 40), [20, 5, 15, 5])
UPRIGHT = ((40, 30), [20, 20, 5, 15])
NOT_ANNOTATED = ((0, 0), [20, 20, 5, 15])


@pytest.mark.parametrize(("size_hw", "box_xywh"), [AS_STORED, UPRIGHT, NOT_ANNOTATED])
@pytest.mark.parametrize("transform", [None, keep_as_is])
def test_boxes_fit_their_picture_however_they_were_annotated(tmp_path, size_hw, box_xywh, transform):
    sample = DetectionDataset(turned_index(tmp_path, size_hw, box_xywh), transform=transform)[0]
    assert sample["boxes_xyxy"].tolist() == [red_box_xyxy(sample["image"])]
    assert sample["orig_size_hw"] == sample["image"].shape[:2]


def test_training_is_always_upright_and_evaluation_in_the_frame_of_the_annotations(tmp_path):
    index = turned_index(tmp_path, *AS_STORED)
    assert DetectionDataset(index, transform=keep_as_is)[0]["orig_size_hw"] == (40, 30)
    assert DetectionDataset(index)[0]["orig_size_hw"] == (30, 40)


def test_square_pictures_and_half_turns_count_as_annotated_upright():
    assert not annotated_as_stored((30, 30), (30, 30), 6)
    assert not annotated_as_stored((30, 40), (30, 40), 3)
    assert not annotated_as_stored((300, 400), (30, 40), 6)
    assert annotated_as_stored((30, 40), (30, 40), 6)


# --- random numbers and workers


def test_augmentation_depends_on_seed_epoch_and_position_alone(index):
    def drawn(seed=0, epoch=0, image=0):
        dataset = DetectionDataset(index, transform=draw_number, seed=seed)
        dataset.set_epoch(epoch)
        dataset[5]  # what was asked for before does not matter
        return dataset[image]["drawn"]

    assert drawn() == drawn()
    assert len({drawn(), drawn(seed=1), drawn(epoch=1), drawn(image=1), drawn(seed=1, epoch=1)}) == 5


@pytest.mark.parametrize(("start_method", "workers"), [("fork", 2), ("spawn", 1)])
def test_persistent_workers_see_the_epoch_change(index, start_method, workers):
    dataset = DetectionDataset(index, transform=draw_number, seed=3)
    loader = DataLoader(
        dataset,
        batch_size=2,
        num_workers=workers,
        persistent_workers=True,
        multiprocessing_context=start_method,
        collate_fn=numbers_of,
    )
    for epoch in (0, 1, 7):
        dataset.set_epoch(epoch)
        from_workers = [numbers for batch in loader for numbers in batch]
        assert [seen for _, seen, _ in from_workers] == [epoch] * 6
        assert from_workers == [n for batch in DataLoader(dataset, collate_fn=numbers_of) for n in batch]


def test_dataset_survives_pickling(index):
    dataset = DetectionDataset(index, transform=draw_number, seed=3)
    dataset.set_epoch(4)
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy[1]["drawn"] == dataset[1]["drawn"] and copy.epoch == 4


def test_ids_may_be_text(index):
    index = dataclasses.replace(index, image_ids=PackedStrings(f"img-{i}" for i in range(6)))
    assert DetectionDataset(index)[1]["image_id"] == "img-1"


def test_samples_can_be_made_into_tensors(index):
    sample = DetectionDataset(index)[0]
    assert torch.from_numpy(sample["image"]).dtype == torch.uint8
    assert torch.from_numpy(sample["boxes_xyxy"]).dtype == torch.float32
