"""Augmentation: boxes stay with their pixels, and the draws are distributed as torchvision's."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from hf_detr.data import photometric
from hf_detr.data.arguments import AugmentArguments
from hf_detr.data.augment import (
    Augmentation,
    DropThinBoxes,
    RandomColours,
    RandomFlip,
    RandomFrame,
    build_augmentation,
)
from hf_detr.data.dataset import DetectionDataset, sample_rng
from hf_detr.data.geometry import Frame, flip_boxes_xyxy, frame_image, iou_crop, zoom_out_frame

COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], dtype=np.uint8)
ALIKE = 1e-3  # least p-value of the Kolmogorov-Smirnov tests below; their draws are seeded


def make_sample(boxes_xyxy, size_hw=(48, 64), class_ids=None) -> dict:
    """Rectangles coloured by class on dark grey noise."""
    image = np.random.default_rng(0).integers(1, 60, (*size_hw, 3), dtype=np.uint8)
    boxes_xyxy = np.array(boxes_xyxy, dtype=np.float32).reshape(-1, 4)
    class_ids = np.arange(len(boxes_xyxy)) if class_ids is None else np.array(class_ids)
    for (x0, y0, x1, y1), class_id in zip(boxes_xyxy.astype(int), class_ids, strict=True):
        image[y0:y1, x0:x1] = COLOURS[class_id]
    return {
        "image": image,
        "boxes_xyxy": boxes_xyxy,
        "class_ids": class_ids.astype(np.int64),
        "image_index": 0,
        "orig_size_hw": size_hw,
    }


THREE_BOXES = [(3, 4, 20, 40), (25, 2, 60, 12), (30, 20, 41, 46)]


def found_box_xyxy(image: np.ndarray, class_id: int) -> list[int]:
    rows, columns = np.nonzero((image == COLOURS[class_id]).all(-1))
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@given(st.integers(0, 10**6), st.permutations(range(3)), st.integers(0, 3), st.sampled_from([0.0, 0.5, 1.0]))
def test_boxes_stay_with_their_pixels(seed, classes, number, prob):
    sample = make_sample(THREE_BOXES[:number], class_ids=classes[:number])
    augmentation = build_augmentation(
        photometric_prob=0, zoom_out_prob=prob, iou_crop_prob=1 - prob / 2, flip_prob=prob, min_box_side=1
    )
    changed = augmentation(sample, np.random.default_rng(seed), 0)
    assert changed["image"].dtype == np.uint8 and changed["image"].flags.c_contiguous
    assert changed["boxes_xyxy"].shape == (len(changed["class_ids"]), 4) and changed["boxes_xyxy"].dtype == np.float32
    assert changed["class_ids"].dtype == np.int64
    for box_xyxy, class_id in zip(changed["boxes_xyxy"], changed["class_ids"], strict=True):
        assert box_xyxy.tolist() == found_box_xyxy(changed["image"], class_id)


def test_samples_are_not_changed_in_place():
    sample = make_sample(THREE_BOXES)
    before = {key: np.copy(sample[key]) for key in ("image", "boxes_xyxy", "class_ids")}
    augmentation = build_augmentation(photometric_prob=1, zoom_out_prob=1, iou_crop_prob=1, flip_prob=1)
    for seed in range(20):
        augmentation(sample, np.random.default_rng(seed), 0)
    for key, value in before.items():
        np.testing.assert_array_equal(sample[key], value)


@pytest.mark.parametrize("size_hw", [(48, 64), (1, 1), (2, 300)])
def test_pictures_without_boxes_survive(size_hw):
    augmentation = build_augmentation(photometric_prob=1, zoom_out_prob=1, iou_crop_prob=1, flip_prob=1)
    for seed in range(10):
        changed = augmentation(make_sample([], size_hw), np.random.default_rng(seed), 0)
        assert changed["boxes_xyxy"].shape == (0, 4) and changed["class_ids"].shape == (0,)
        assert min(changed["image"].shape[:2]) >= 1


def test_tiny_pictures_with_boxes_survive():
    augmentation = build_augmentation(photometric_prob=1, zoom_out_prob=0.5, iou_crop_prob=1)
    for seed in range(50):
        changed = augmentation(make_sample([(0, 0, 1, 1)], (2, 2)), np.random.default_rng(seed), 0)
        assert min(changed["image"].shape[:2]) >= 1


def test_heavy_operations_stop_and_the_flip_goes_on():
    augmentation = build_augmentation(flip_prob=1, photometric_prob=1, zoom_out_prob=1, stop_epoch=3)
    sample = make_sample(THREE_BOXES)
    assert augmentation(sample, np.random.default_rng(0), 2)["image"].shape != sample["image"].shape
    flipped = augmentation(sample, np.random.default_rng(0), 3)
    np.testing.assert_array_equal(flipped["image"], sample["image"][:, ::-1])
    np.testing.assert_array_equal(flipped["boxes_xyxy"], flip_boxes_xyxy(sample["boxes_xyxy"], 64))
    assert augmentation(sample, np.random.default_rng(0), 10**6)["image"].shape == sample["image"].shape


def test_plain_epochs_come_first_where_asked_for():
    augmentation = build_augmentation(flip_prob=0, zoom_out_prob=1, start_epoch=2, stop_epoch=3)
    sample = make_sample(THREE_BOXES)
    shapes = [augmentation(sample, np.random.default_rng(0), epoch)["image"].shape for epoch in range(5)]
    assert [shape != sample["image"].shape for shape in shapes] == [False, False, True, False, False]


def test_defaults_are_those_of_the_arguments():
    arguments = AugmentArguments()
    assert build_augmentation() == build_augmentation(
        photometric_prob=arguments.photometric_prob,
        zoom_out_prob=arguments.zoom_out_prob,
        iou_crop_prob=arguments.iou_crop_prob,
        flip_prob=arguments.flip_prob,
        min_box_side=arguments.min_box_side,
        mosaic_prob=arguments.mosaic_prob,
    )


def test_same_generator_same_sample_also_after_pickling():
    augmentation = build_augmentation()
    copy = pickle.loads(pickle.dumps(augmentation))
    for seed in range(10):
        one = augmentation(make_sample(THREE_BOXES), sample_rng(0, 1, seed), 1)
        two = copy(make_sample(THREE_BOXES), sample_rng(0, 1, seed), 1)
        np.testing.assert_array_equal(one["image"], two["image"])
        np.testing.assert_array_equal(one["boxes_xyxy"], two["boxes_xyxy"])


def test_own_operations_can_be_added():
    def darker(sample, rng):
        return sample | {"image": sample["image"] // 2}

    augmentation = Augmentation(heavy=[darker], always=[RandomFlip(1.0)], heavy_epochs=(0, 1))
    sample = make_sample(THREE_BOXES)
    changed = augmentation(sample, np.random.default_rng(0), 0)
    np.testing.assert_array_equal(changed["image"], sample["image"][:, ::-1] // 2)


def test_thin_boxes_are_dropped_with_their_class():
    sample = make_sample([(0, 0, 10, 10), (0, 0, 2, 10), (0, 0, 10, 3)])
    changed = DropThinBoxes(3)(sample, np.random.default_rng(0))
    assert changed["boxes_xyxy"].tolist() == [[0, 0, 10, 10], [0, 0, 10, 3]] and changed["class_ids"].tolist() == [
        0,
        2,
    ]


@given(st.integers(0, 10**6), st.permutations(range(3)), st.sampled_from([(48, 64), (33, 90), (20, 300)]))
def test_boxes_stay_with_their_pixels_when_a_canvas_is_made_smaller(seed, classes, largest_hw):
    sample = make_sample(THREE_BOXES, class_ids=classes)
    sample["image"][sample["image"].max(-1) < 200] = (
        0  # rectangles on black, whose edges are found at half their colour
    )
    rng = np.random.default_rng(seed)
    full = RandomFrame(1.0, 0.5)(sample, np.random.default_rng(seed))
    small = RandomFrame(1.0, 0.5, largest_hw)(sample, rng)
    assert small["image"].shape[:2] == tuple(map(min, full["image"].shape[:2], largest_hw))
    np.testing.assert_array_equal(small["class_ids"], full["class_ids"])
    scale = np.tile(np.divide(small["image"].shape[1::-1], full["image"].shape[1::-1]), 2)
    np.testing.assert_allclose(small["boxes_xyxy"], full["boxes_xyxy"] * scale, atol=1.0)
    for box_xyxy, class_id in zip(small["boxes_xyxy"], small["class_ids"], strict=True):
        if min(box_xyxy[2:] - box_xyxy[:2]) >= 4:
            rows, columns = np.nonzero(small["image"][..., class_id] >= 128)
            found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            np.testing.assert_allclose(found, box_xyxy, atol=1.0)


@given(st.lists(st.lists(st.floats(0, 64), min_size=4, max_size=4), max_size=4))
def test_flip_is_an_involution(boxes):
    boxes_xyxy = np.sort(np.array(boxes).reshape(-1, 2, 2), axis=1).reshape(-1, 4)
    twice = flip_boxes_xyxy(flip_boxes_xyxy(boxes_xyxy, 64), 64)
    np.testing.assert_allclose(twice, boxes_xyxy, atol=1e-9)


@given(st.integers(-30, 90), st.integers(-30, 90), st.integers(1, 100), st.integers(1, 100))
def test_frame_shows_what_a_padded_picture_would(left, top, width, height):
    image = np.random.default_rng(1).integers(1, 256, (48, 64, 3), dtype=np.uint8)
    padded = np.pad(image, ((200, 200), (200, 200), (0, 0)))
    expected = padded[200 + top : 200 + top + height, 200 + left : 200 + left + width]
    np.testing.assert_array_equal(frame_image(image, Frame(left, top, width, height)), expected)


def test_the_whole_path_from_a_folder_on_disk(tmp_path):
    from hf_detr.data.coco import load_coco
    from tests.synthetic import annotation_file, images_folder, make_coco

    make_coco(tmp_path, images=4)
    dataset = load_coco(images_folder(tmp_path), annotation_file(tmp_path), transform=build_augmentation(), seed=5)
    assert isinstance(dataset, DetectionDataset)
    first = [dataset[i]["image"] for i in range(4)]
    again = [dataset[i]["image"] for i in range(4)]
    dataset.set_epoch(1)
    later = [dataset[i]["image"] for i in range(4)]
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, later, strict=True))


# --- distributions, against torchvision's own classes


def tv_inputs(sample: dict) -> dict:
    boxes = tv_tensors.BoundingBoxes(
        torch.from_numpy(sample["boxes_xyxy"]), format="XYXY", canvas_size=sample["image"].shape[:2]
    )
    image = tv_tensors.Image(torch.from_numpy(sample["image"]).permute(2, 0, 1))
    return {"image": image, "boxes": boxes, "labels": torch.from_numpy(sample["class_ids"])}


def assert_alike(ours, theirs) -> None:
    """Neither mean nor shape of two samples of a distribution tells them apart."""
    ours, theirs = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
    assert ks_2samp(ours, theirs).pvalue > ALIKE
    error = np.sqrt(ours.var() / len(ours) + theirs.var() / len(theirs))
    assert abs(ours.mean() - theirs.mean()) <= 4 * error + 1e-12


def test_zoom_out_is_distributed_as_torchvisions():
    image = tv_tensors.Image(torch.zeros(3, 40, 60))
    operation, rng = v2.RandomZoomOut(), np.random.default_rng(0)
    theirs = [operation.make_params([image])["padding"] for _ in range(1000)]
    ours = []
    for _ in range(1000):
        frame = zoom_out_frame((40, 60), rng)
        ours.append([-frame.left, -frame.top, frame.width - 60 + frame.left, frame.height - 40 + frame.top])
    for side in range(4):
        assert_alike(np.array(ours)[:, side], np.array(theirs)[:, side])


@pytest.mark.parametrize("boxes_xyxy", [THREE_BOXES, [(26, 16, 46, 36)]])
def test_iou_crop_is_distributed_as_torchvisions(boxes_xyxy):
    sample = make_sample(boxes_xyxy)
    flat_inputs = [tv_inputs(sample)["image"], tv_inputs(sample)["boxes"]]
    operation, rng = v2.RandomIoUCrop(), np.random.default_rng(0)
    whole = {"left": 0, "top": 0, "width": 64, "height": 48, "is_within_crop_area": torch.ones(len(boxes_xyxy))}
    theirs = [whole | operation.make_params(flat_inputs) for _ in range(300)]
    ours = [iou_crop((48, 64), sample["boxes_xyxy"], rng) for _ in range(300)]
    for name in ("left", "top", "width", "height"):
        assert_alike([getattr(crop.frame, name) for crop in ours], [params[name] for params in theirs])
    aspects = [params["width"] / params["height"] for params in theirs]
    assert_alike([crop.frame.width / crop.frame.height for crop in ours], aspects)
    kept = [int(params["is_within_crop_area"].sum()) for params in theirs]
    assert_alike([crop.kept.sum() for crop in ours], kept)
    unchanged = [params["width"] == 64 and params["height"] == 48 for params in theirs]
    assert_alike([crop.frame == (0, 0, 64, 48) for crop in ours], unchanged)


def test_geometry_as_a_whole_is_distributed_as_the_papers_composition():
    composition = v2.Compose(
        [
            v2.RandomZoomOut(fill=0),
            v2.RandomApply([v2.RandomIoUCrop()], p=0.8),
            v2.SanitizeBoundingBoxes(min_size=1),
            v2.RandomHorizontalFlip(),
        ]
    )
    augmentation = Augmentation(heavy=[RandomFrame(0.5, 0.8), DropThinBoxes(1)], always=[RandomFlip(0.5)])
    sample, ours, theirs = make_sample(THREE_BOXES), [], []
    for draw in range(300):
        changed = augmentation(sample, np.random.default_rng([7, draw]), 0)
        ours.append(_summary(*changed["image"].shape[:2], changed["boxes_xyxy"]))
        expected = composition(tv_inputs(sample))
        theirs.append(_summary(*expected["image"].shape[-2:], expected["boxes"].numpy()))
    for ours_column, theirs_column in zip(np.array(ours).T, np.array(theirs).T, strict=True):
        assert_alike(ours_column, theirs_column)


def _summary(height: int, width: int, boxes_xyxy: np.ndarray) -> list[float]:
    """Size of the output, number of boxes, and size and place of the first one as fractions of the output."""
    norm_xyxy = boxes_xyxy / (width, height, width, height)
    first = norm_xyxy[0] if len(boxes_xyxy) else np.full(4, -1.0)
    return [height, width, width / height, len(boxes_xyxy), *first, *(first[2:] - first[:2])]


def test_chances_of_the_outer_operations():
    sample, rng = make_sample([]), np.random.default_rng(0)
    zoomed = [RandomFrame(0.5, 0)(sample, rng)["image"].shape != sample["image"].shape for _ in range(400)]
    flipped = [not np.array_equal(RandomFlip(0.5)(sample, rng)["image"], sample["image"]) for _ in range(400)]
    coloured = [RandomColours(0.5)(sample, rng)["image"] is not sample["image"] for _ in range(400)]
    for happened, chance in [(zoomed, 0.5), (flipped, 0.5), (coloured, 1 - 0.5**5)]:
        assert np.mean(happened) == pytest.approx(chance, abs=0.08)


@pytest.mark.parametrize(
    ("name", "values", "worst", "mean"),
    [
        ("brightness", [0.875, 1.0, 1.125], 0, 0),
        ("contrast", [0.5, 0.8, 1.5], 1, 0.2),  # torchvision cuts the greys to whole numbers before their mean
        ("saturation", [0.5, 1.0, 1.5], 1, 0.6),  # it cuts where we round
        ("hue", [-0.05, 0.02, 0.05], 10, 2.0),  # 8-bit hues
    ],
)
def test_colours_change_as_torchvision_changes_them(name, values, worst, mean):
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    ours_of = getattr(photometric, "shift_hue" if name == "hue" else f"adjust_{name}")
    for value in values:
        ours = ours_of(image, value)
        theirs = getattr(tv, f"adjust_{name}")(torch.from_numpy(image).permute(2, 0, 1), value).permute(1, 2, 0)
        difference = np.abs(ours.astype(int) - theirs.numpy())
        assert difference.max() <= worst and difference.mean() <= mean


@pytest.mark.parametrize("prob", [0.2, 0.5, 0.9])
def test_colours_as_a_whole_are_distributed_as_torchvisions(prob: float):
    image = np.random.default_rng(0).integers(20, 220, (8, 8, 3), dtype=np.uint8)
    image[..., 0] //= 3
    pixels, rng = torch.from_numpy(image).permute(2, 0, 1), np.random.default_rng(0)
    operation = v2.RandomPhotometricDistort(p=prob)
    ours = [RandomColours(prob)({"image": image}, rng)["image"] for _ in range(500)]
    theirs = [operation(pixels).permute(1, 2, 0).numpy() for _ in range(500)]
    for channel in range(3):
        assert_alike([o[..., channel].mean() for o in ours], [t[..., channel].mean() for t in theirs])
        assert_alike([o[..., channel].std() for o in ours], [t[..., channel].std() for t in theirs])
    assert_alike([o.std(-1).mean() for o in ours], [t.std(-1).mean() for t in theirs])
