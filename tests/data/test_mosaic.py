"""Mosaic: objects are found again where their boxes are, draws are the papers', samples the same in any worker."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import ks_2samp
from torch.utils.data import DataLoader
from torchvision import tv_tensors
from torchvision.transforms import v2

from hf_detr.boxes import cxcywh_to_xyxy
from hf_detr.data.augment import build_augmentation
from hf_detr.data.collate import DetectionCollator
from hf_detr.data.dataset import DetectionDataset
from hf_detr.data.geometry import random_affine, warp_boxes_xyxy, warp_image
from hf_detr.data.images import UnreadableImageError
from hf_detr.data.mosaic import MAX_TILE_ASPECT, Mosaic, scale_tile, tile_pictures, tile_size_hw
from tests.data.test_dataset import make_index

COLOURS = np.array(
    [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255), (255, 0, 255)], dtype=np.uint8
)
ALIKE = 1e-3  # least p-value of the Kolmogorov-Smirnov tests below; their draws are seeded


def make_picture(class_ids, size_hw=(60, 80)) -> tuple[np.ndarray, np.ndarray]:
    """Black, with a rectangle for each class in the colour of that class, and their boxes."""
    image = np.zeros((*size_hw, 3), dtype=np.uint8)
    height, width = size_hw
    boxes_xyxy = []
    for k, class_id in enumerate(class_ids):
        left = width * k // len(class_ids) + 2
        box = (left, height // 6, left + width // (len(class_ids) + 1) - 2, height // 6 + height // (2 + k))
        image[box[1] : box[3], box[0] : box[2]] = COLOURS[class_id]
        boxes_xyxy.append(box)
    return image, np.array(boxes_xyxy, dtype=np.float64).reshape(-1, 4)


def make_sample(class_ids, size_hw=(60, 80), **changes) -> dict:
    image, boxes_xyxy = make_picture(class_ids, size_hw)
    return {
        "image": image,
        "boxes_xyxy": boxes_xyxy.astype(np.float32),
        "class_ids": np.array(class_ids, dtype=np.int64),
        "unreadable": (),
    } | changes


def with_others(sample: dict, others: list[dict]) -> dict:
    """The sample, whose mosaics take these others in turn."""
    left = iter(others)
    return sample | {"load_other": lambda rng: next(left)}


def found_box_xyxy(image: np.ndarray, class_id: int) -> np.ndarray:
    """Where at least half of a pixel has the colour of a class."""
    rows, columns = np.nonzero((np.abs(image.astype(int) - COLOURS[class_id]) < 128).all(-1))
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


sizes_hw = st.tuples(st.integers(30, 120), st.integers(30, 120))


@given(
    st.integers(0, 10**6),
    st.permutations(range(6)),
    st.lists(sizes_hw, min_size=4, max_size=4),
    st.sampled_from([None, (128, 128), (120, 400)]),
)
def test_every_object_is_found_where_its_box_is(seed, classes, sizes, largest_hw):
    groups = [classes[:1], [], classes[1:3], classes[3:]]
    first, *others = [make_sample(group, size_hw) for group, size_hw in zip(groups, sizes, strict=True)]
    mosaic = Mosaic(64, largest_hw=largest_hw)
    changed = mosaic(with_others(first, others), np.random.default_rng(seed))
    image, boxes_xyxy = changed["image"], changed["boxes_xyxy"]
    assert image.dtype == np.uint8 and boxes_xyxy.dtype == np.float32
    assert largest_hw is None or (np.array(image.shape[:2]) <= largest_hw).all()
    assert changed["class_ids"].tolist() == list(classes), "every box has its class still"
    assert (boxes_xyxy[:, 2:] >= boxes_xyxy[:, :2]).all() and (boxes_xyxy >= 0).all()
    assert (boxes_xyxy[:, 2:] <= image.shape[1::-1]).all()
    for box_xyxy, class_id in zip(boxes_xyxy, changed["class_ids"], strict=True):
        if min(box_xyxy[2:] - box_xyxy[:2]) >= 12:
            # A corner that was turned is a tip of less than a pixel's width, and one cut off by the border may
            # leave the object's side with a box that was as long as before the cut: boxes are around the turned box.
            within = found_box_xyxy(image, class_id)
            assert (within[:2] >= box_xyxy[:2] - 1).all() and (within[2:] <= box_xyxy[2:] + 1).all()
            inside = (box_xyxy[:2] > 0).all() and (box_xyxy[2:] < image.shape[1::-1]).all()
            if inside:
                np.testing.assert_allclose(within, box_xyxy, atol=3)


@given(
    st.integers(0, 10**6),
    st.permutations(range(6)),
    st.lists(sizes_hw, min_size=4, max_size=4),
    st.sampled_from([0.0, 1.0]),
    st.sampled_from([(64, 64), (96, 160), (160, 128)]),
)
def test_every_object_is_found_in_the_batch_where_its_label_is(seed, classes, sizes, mosaic_prob, size_hw):
    groups = [classes[:2], classes[2:3], classes[3:5], classes[5:]]
    first, *others = [
        make_sample(group, picture_hw, image_index=0, image_id=0, orig_size_hw=picture_hw, epoch=0, readable=True)
        for group, picture_hw in zip(groups, sizes, strict=True)
    ]
    augmentation = build_augmentation(
        mosaic_prob=mosaic_prob, mosaic_side=48, photometric_prob=0, iou_crop_prob=0.5, largest_hw=(160, 160)
    )
    changed = augmentation(with_others(first, others), np.random.default_rng(seed), 0)
    batch = DetectionCollator(size_hw)([changed])
    image, label = batch["pixel_values"][0].permute(1, 2, 0).numpy(), batch["labels"][0]
    boxes_xyxy = cxcywh_to_xyxy(label["boxes"].numpy().astype(np.float64)) * np.tile(size_hw[::-1], 2)
    for box_xyxy, class_id in zip(boxes_xyxy, label["class_labels"].tolist(), strict=True):
        if min(box_xyxy[2:] - box_xyxy[:2]) >= 14:
            found = found_box_xyxy(image, class_id)
            assert (found[:2] >= box_xyxy[:2] - 1.5).all() and (found[2:] <= box_xyxy[2:] + 1.5).all()
            if not mosaic_prob:  # which turns them
                np.testing.assert_allclose(found, box_xyxy, atol=1.5)


@given(st.lists(sizes_hw, min_size=4, max_size=4), st.permutations(range(4)))
def test_untouched_mosaics_show_the_tiles_whole(sizes, classes):
    tiles = [make_picture([class_id], size_hw) for class_id, size_hw in zip(classes, sizes, strict=True)]
    canvas, boxes_xyxy = tile_pictures(tiles)
    assert canvas.shape[:2] == (2 * max(h for h, _ in sizes), 2 * max(w for _, w in sizes))
    assert int((canvas > 0).sum()) == sum(int((image > 0).sum()) for image, _ in tiles), "nothing is covered"
    for box_xyxy, class_id in zip(boxes_xyxy, classes, strict=True):
        np.testing.assert_array_equal(found_box_xyxy(canvas, class_id), box_xyxy)


def test_without_change_the_warp_is_exact_and_shifts_are_whole_pixels():
    image, boxes_xyxy = make_picture([0, 1, 2])
    still = np.eye(2, 3)
    np.testing.assert_array_equal(warp_image(image, still), image)
    np.testing.assert_array_equal(warp_boxes_xyxy(boxes_xyxy, still, (60, 80)), boxes_xyxy)
    shift = np.array([[1.0, 0, 7], [0, 1, -5]])
    np.testing.assert_array_equal(warp_image(image, shift)[:-5, 7:], image[5:, :-7])
    matrix = random_affine((60, 80), np.random.default_rng(0), degrees=0, translate=0.3, scale=(1, 1))
    assert (matrix[:, 2] == matrix[:, 2].round()).all() and np.abs(matrix[:, 2]).max() <= 24


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 3000), (3000, 2), (7, 5)])
def test_tiny_and_extreme_pictures_make_reasonable_tiles(size_hw):
    tile_hw = tile_size_hw(size_hw, 32)
    image, boxes_xyxy = scale_tile(np.zeros((*size_hw, 3), np.uint8), np.array([[0, 0, *size_hw[::-1]]]), tile_hw)
    assert min(image.shape[:2]) == 32 and max(image.shape[:2]) <= 32 * MAX_TILE_ASPECT
    np.testing.assert_allclose(boxes_xyxy, [[0, 0, *image.shape[1::-1]]])


def test_pictures_without_boxes_survive():
    empty = [make_sample([], size_hw) for size_hw in [(60, 80), (1, 1), (2, 300), (50, 50)]]
    changed = Mosaic(32)(with_others(empty[0], empty[1:]), np.random.default_rng(0))
    assert changed["boxes_xyxy"].shape == (0, 4) and changed["class_ids"].shape == (0,)
    assert changed["boxes_xyxy"].dtype == np.float32 and changed["class_ids"].dtype == np.int64


# --- distribution, against torchvision's own classes


def papers_mosaic(tiles: list[dict], side: int) -> tuple[np.ndarray, int, int]:
    """Boxes and canvas of the papers' composition: torchvision resizes and warps, Python pastes."""
    resize = v2.Resize(side, antialias=True)
    resized = []
    for tile in tiles:
        image = tv_tensors.Image(torch.from_numpy(tile["image"]).permute(2, 0, 1))
        boxes = tv_tensors.BoundingBoxes(tile["boxes_xyxy"], format="XYXY", canvas_size=tile["image"].shape[:2])
        resized.append(resize(image, boxes))
    height, width = (max(image.shape[axis] for image, _ in resized) for axis in (1, 2))
    canvas = torch.zeros(3, 2 * height, 2 * width, dtype=torch.uint8)
    boxes = torch.cat(
        [
            torch.as_tensor(boxes) + torch.tensor([k % 2 * width, k // 2 * height] * 2)
            for k, (_, boxes) in enumerate(resized)
        ]
    )
    warp = v2.RandomAffine(degrees=10, translate=(0.1, 0.1), scale=(0.5, 1.5), fill=0)
    boxes = tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=canvas.shape[-2:])
    labels = torch.arange(len(boxes))
    out = v2.SanitizeBoundingBoxes(min_size=1)(
        warp({"image": tv_tensors.Image(canvas), "boxes": boxes, "labels": labels})
    )
    return out["boxes"].numpy(), *out["image"].shape[-2:]


def test_boxes_are_distributed_as_in_the_papers_composition():
    tiles = [
        make_sample(group, size_hw)
        for group, size_hw in zip(([0, 1], [2], [], [3, 4, 5]), [(60, 80), (90, 50), (40, 40), (64, 100)], strict=True)
    ]
    mosaic, ours, theirs = Mosaic(32), [], []
    for draw in range(400):
        changed = mosaic(with_others(tiles[0], tiles[1:]), np.random.default_rng([3, draw]))
        boxes_xyxy = changed["boxes_xyxy"]
        kept = ((boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]) >= 1).all(-1)
        ours.append(_summary(boxes_xyxy[kept], *changed["image"].shape[:2]))
        theirs.append(_summary(*papers_mosaic(tiles, 32)))
    for ours_column, theirs_column in zip(np.array(ours).T, np.array(theirs).T, strict=True):
        assert ks_2samp(ours_column, theirs_column).pvalue > ALIKE


def _summary(boxes_xyxy: np.ndarray, height: int, width: int) -> list[float]:
    """Size of the canvas, number of boxes, their total area, and the place and shape of the first and the last."""
    sides = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    ends = [boxes_xyxy[0], boxes_xyxy[-1]] if len(boxes_xyxy) else [np.full(4, -1.0)] * 2
    shapes = [sides[k, 0] / sides[k, 1] for k in (0, -1)] if len(boxes_xyxy) else [-1.0] * 2
    return [height, width, len(boxes_xyxy), sides.prod(-1).sum(), *ends[0], *ends[1], *shapes]


# --- on a data set


@pytest.fixture
def folder(tmp_path) -> Path:
    for number in range(6):
        Image.fromarray(make_picture([number])[0]).save(tmp_path / f"{number}.png")
    return tmp_path


@pytest.fixture
def index(folder):
    """One object in each picture, but none in the last; a crowd in the first."""
    boxes_xyxy = make_picture([0])[1][0]
    box_xywh = [*boxes_xyxy[:2], *(boxes_xyxy[2:] - boxes_xyxy[:2])]
    pictures = [
        {"file_name": f"{number}.png", "size_hw": (60, 80), "boxes_xywh": [box_xywh] if number < 5 else []}
        for number in range(6)
    ]
    pictures[0] |= {"boxes_xywh": [box_xywh, [0, 0, 80, 60]], "is_crowd": [False, True]}
    return make_index(folder, pictures)


def facts_of(samples: list[dict]) -> list[tuple]:
    """Collate function of the loaders below; fails if a sample takes the data set along."""
    assert all("load_other" not in sample for sample in samples)
    return [(sample["image"].tobytes(), sample["boxes_xyxy"].tobytes(), sample["unreadable"]) for sample in samples]


def mosaics(**changes):
    return build_augmentation(**{"mosaic_prob": 1.0, "mosaic_side": 32, "photometric_prob": 0.0} | changes)


@pytest.mark.parametrize("workers", [1, 2])
def test_samples_are_the_same_in_any_worker(index, workers):
    dataset = DetectionDataset(index, transform=mosaics(photometric_prob=0.5), seed=3)
    alone = [facts for batch in DataLoader(dataset, collate_fn=facts_of) for facts in batch]
    loader = DataLoader(dataset, batch_size=2, num_workers=workers, collate_fn=facts_of)
    assert [facts for batch in loader for facts in batch] == alone
    dataset.set_epoch(1)
    assert [facts for batch in loader for facts in batch] != alone


def test_crowds_do_not_come_in_with_the_tiles(index):
    dataset = DetectionDataset(index, transform=mosaics(), seed=0)
    for sample in dataset:
        canvas_area = sample["image"].shape[0] * sample["image"].shape[1]
        sides = sample["boxes_xyxy"][:, 2:] - sample["boxes_xyxy"][:, :2]
        assert len(sample["boxes_xyxy"]) <= 4 and (sides.prod(-1) < 0.2 * canvas_area).all()


def test_tiles_that_cannot_be_read_are_replaced_and_named(index, folder):
    for number in (1, 2, 3):
        (folder / f"{number}.png").write_bytes(b"broken")
    dataset = DetectionDataset(index, transform=mosaics(), seed=0)
    samples = [dataset[i] for i in range(6)]
    named = {Path(path).name for sample in samples for path, _ in sample["unreadable"]}
    assert named == {"1.png", "2.png", "3.png"}
    of_readable = {int(index.class_ids[index.first[image]]) for image in (0, 4)}
    assert {class_id for sample in samples for class_id in sample["class_ids"].tolist()} == of_readable
    strict = DetectionDataset(index, transform=mosaics(), seed=0, on_unreadable="raise")
    with pytest.raises(UnreadableImageError, match=r"[123]\.png"):
        list(strict)


def test_a_mosaic_takes_the_place_of_zoom_out_and_crop_in_its_epochs(index):
    dataset = DetectionDataset(
        index,
        transform=mosaics(
            zoom_out_prob=1, iou_crop_prob=0, flip_prob=0, start_epoch=1, stop_epoch=3, mosaic_epochs=(1, 2)
        ),
    )
    shapes = []
    for epoch in range(4):
        dataset.set_epoch(epoch)
        shapes.append(dataset[0]["image"].shape[:2])
    plain, mosaic = (60, 80), (2 * 32, 2 * tile_size_hw((60, 80), 32)[1])
    assert shapes[:2] == [plain, mosaic] and shapes[3] == plain
    assert shapes[2] not in (plain, mosaic)


def test_chance_of_a_mosaic(index):
    dataset = DetectionDataset(index, transform=mosaics(mosaic_prob=0.3, zoom_out_prob=0, iou_crop_prob=0))
    made = []
    for epoch in range(60):
        dataset.set_epoch(epoch)
        made += [sample["image"].shape[0] == 64 for sample in dataset]
    assert np.mean(made) == pytest.approx(0.3, abs=0.08)


def test_other_draws_stay_as_they_were_without_mosaic(index):
    alone = DetectionDataset(index, transform=build_augmentation(), seed=1)
    off = DetectionDataset(index, transform=build_augmentation(mosaic_prob=0.5, mosaic_epochs=(5, 9)), seed=1)
    for one, two in zip(alone, off, strict=True):
        np.testing.assert_array_equal(one["image"], two["image"])
