"""MixUp and CopyBlend: boxes stay with their pixels, weights and chances are the papers', empties survive."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hf_detr.boxes import cxcywh_to_xyxy, normalise_boxes, xyxy_to_cxcywh
from hf_detr.data.collate import DetectionCollator, multi_scale_sizes
from hf_detr.data.mixing import BatchMixing, Targets, copy_blend, mix_up
from tests.data.test_collate import make_sample

SIZE_HW = (64, 96)


def make_batch(boxes_per_picture) -> tuple[np.ndarray, list[Targets]]:
    """Black pictures ``(B, 64, 96, 3)``; object k of the batch is a rectangle of grey 60 + 10 k, its class is k."""
    pixels = np.zeros((len(boxes_per_picture), *SIZE_HW, 3), dtype=np.uint8)
    targets, class_id = [], 0
    for picture, boxes in enumerate(boxes_per_picture):
        boxes_xyxy = np.array(boxes, dtype=np.float64).reshape(-1, 4)
        for x0, y0, x1, y1 in boxes_xyxy.astype(int):
            pixels[picture, y0:y1, x0:x1] = 60 + 10 * class_id
            class_id += 1
        class_ids = np.arange(class_id - len(boxes_xyxy), class_id)
        boxes_norm = xyxy_to_cxcywh(normalise_boxes(boxes_xyxy, SIZE_HW)).astype(np.float32)
        targets.append(Targets(boxes_norm, class_ids))
    return pixels, targets


def pixel_boxes_xyxy(boxes_cxcywh_norm: np.ndarray) -> np.ndarray:
    return cxcywh_to_xyxy(boxes_cxcywh_norm.astype(np.float64)) * (*SIZE_HW[::-1], *SIZE_HW[::-1])


OBJECTS = [[(2, 3, 30, 20)], [(40, 30, 80, 60), (5, 40, 25, 55)], [(10, 10, 20, 30)]]


def test_mixup_blends_each_picture_with_the_one_before_it():
    pixels, targets = make_batch(OBJECTS)
    before = pixels.copy()
    mixed, both = mix_up(pixels, targets, np.random.default_rng(0))
    np.testing.assert_array_equal(pixels, before)
    assert mixed.dtype == np.uint8 and mixed.shape == pixels.shape
    shares = []
    for k in range(3):
        previous = (k - 1) % 3
        np.testing.assert_array_equal(
            both[k].boxes_cxcywh_norm,
            np.concatenate([targets[k].boxes_cxcywh_norm, targets[previous].boxes_cxcywh_norm]),
        )
        assert both[k].class_ids.tolist() == [*targets[k].class_ids, *targets[previous].class_ids]
        own, other = pixels[k].astype(float), pixels[previous].astype(float)
        differs = own != other
        shares.append(np.median((mixed[k] - other)[differs] / (own - other)[differs]))
        np.testing.assert_allclose(mixed[k], shares[0] * own + (1 - shares[0]) * other, atol=1.5)
    assert 0.44 <= min(shares) <= max(shares) <= 0.56


def test_one_picture_is_not_mixed_with_itself():
    pixels, targets = make_batch(OBJECTS[:1])
    mixed, kept = mix_up(pixels, targets, np.random.default_rng(0))
    np.testing.assert_array_equal(mixed, pixels)
    assert len(kept) == 1 and len(kept[0].class_ids) == 1


boxes = st.tuples(st.integers(0, 70), st.integers(0, 40), st.integers(12, 26), st.integers(12, 24)).map(
    lambda xywh: (xywh[0], xywh[1], xywh[0] + xywh[2], xywh[1] + xywh[3])
)


@given(st.integers(0, 10**6), boxes, st.integers(1, 3))
def test_a_blended_object_is_found_where_its_box_is(seed, box, pictures):
    pixels, targets = make_batch([[box], *([[]] * (pictures - 1))])
    blended, extended = copy_blend(pixels, targets, np.random.default_rng(seed))
    for k in range(1, pictures):  # these were black: all that can be seen in them came from the first
        assert extended[k].class_ids.tolist() == [0]
        rows, columns = np.nonzero(blended[k].max(-1))
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(pixel_boxes_xyxy(extended[k].boxes_cxcywh_norm)[0], found, atol=1e-3)
        shares = blended[k][blended[k] > 0] / 60
        assert shares.min() >= 0.44 and shares.max() <= 0.56  # 1 - share, of 60
    assert extended[0].class_ids.tolist() == [0, 0], "its own objects may be blended in again"


def test_pasted_boxes_keep_their_size_to_a_fraction_of_a_pixel_and_lie_inside():
    pixels, targets = make_batch(OBJECTS)
    targets[0].boxes_cxcywh_norm[:] += 0.3 / 96
    sizes = {
        class_id: box[2:]
        for target in targets
        for box, class_id in zip(target.boxes_cxcywh_norm, target.class_ids, strict=True)
    }
    for seed in range(40):
        _, extended = copy_blend(pixels, targets, np.random.default_rng(seed))
        for target, own in zip(extended, targets, strict=True):
            added = slice(len(own.class_ids), None)
            assert len(target.class_ids[added]) == 3 == len(set(target.class_ids[added])), "three different ones"
            for box, class_id in zip(target.boxes_cxcywh_norm[added], target.class_ids[added], strict=True):
                np.testing.assert_array_equal(box[2:], sizes[class_id])
            found_xyxy = pixel_boxes_xyxy(target.boxes_cxcywh_norm)
            assert found_xyxy.min() >= -1e-3 and (found_xyxy[:, 2:] <= np.array(SIZE_HW[::-1]) + 1e-3).all()


def test_a_margin_around_the_object_is_blended_along():
    """A white picture with a box in its middle: where it lands in a black one, the grey is wider than the box."""
    pixels = np.stack([np.full((*SIZE_HW, 3), 255, np.uint8), np.zeros((*SIZE_HW, 3), np.uint8)])
    _, targets = make_batch([[(30, 20, 50, 40)], []])
    margins = []
    for seed in range(60):
        blended, extended = copy_blend(pixels, targets, np.random.default_rng(seed))
        box_xyxy = pixel_boxes_xyxy(extended[1].boxes_cxcywh_norm)[0]
        rows, columns = np.nonzero(blended[1].max(-1))
        found = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        outside = (box_xyxy - found) * (1, 1, -1, -1)
        room = [*box_xyxy[:2], *(np.array(SIZE_HW[::-1]) - box_xyxy[2:])]
        margins += [margin for margin, left in zip(outside, room, strict=True) if left >= 5]
        assert (outside >= -1e-3).all()
    margins = np.round(margins).astype(int)
    assert set(margins) == {2, 3, 4}, "10 to 25 % of 20 pixels, in whole ones"


def test_small_objects_are_not_copied():
    pixels, targets = make_batch([[(0, 0, 9, 11)], [(0, 0, 10, 11)]])
    _, extended = copy_blend(pixels, targets, np.random.default_rng(0))
    assert [target.class_ids.tolist() for target in extended] == [[0, 1], [1, 1]]


@pytest.mark.parametrize("mix", [mix_up, copy_blend])
def test_batches_without_objects_survive(mix):
    pixels, targets = make_batch([[], []])
    mixed, kept = mix(pixels, targets, np.random.default_rng(0))
    np.testing.assert_array_equal(mixed, pixels)
    for target in kept:
        assert target.boxes_cxcywh_norm.shape == (0, 4) and target.class_ids.shape == (0,)
        assert target.boxes_cxcywh_norm.dtype == np.float32 and target.class_ids.dtype == np.int64


def test_an_object_as_large_as_the_picture_can_be_copied():
    pixels, targets = make_batch([[(0, 0, 96, 64)], []])
    blended, extended = copy_blend(pixels, targets, np.random.default_rng(0))
    assert (blended[1] > 0).all()
    np.testing.assert_allclose(pixel_boxes_xyxy(extended[1].boxes_cxcywh_norm), [[0, 0, 96, 64]], atol=1e-4)


def kind_of(mixing: BatchMixing, rng: np.random.Generator, epoch: int) -> str:
    pixels, targets = make_batch([[(0, 0, 20, 20)], [(30, 30, 60, 60)]])
    _, mixed = mixing(pixels, targets, rng, epoch)
    added = [target.class_ids.tolist() for target in mixed]
    if added == [[0], [1]]:
        return "plain"
    return "mixup" if added == [[0, 1], [1, 0]] else "copyblend"


def test_chances_and_epochs():
    """CopyBlend gets what MixUp leaves: half of the half while both are on."""
    mixing = BatchMixing(mixup_prob=0.5, copyblend_prob=0.5, mixup_epochs=(4, 6), copyblend_epochs=(4, 8))
    shares, rng = {}, np.random.default_rng(0)
    for epoch in (3, 4, 6, 8):
        counts = Counter(kind_of(mixing, rng, epoch) for _ in range(400))
        shares[epoch] = [counts[kind] / 400 for kind in ("plain", "mixup", "copyblend")]
    assert shares[3] == shares[8] == [1, 0, 0]
    assert shares[4] == pytest.approx([0.25, 0.5, 0.25], abs=0.08)
    assert shares[6] == pytest.approx([0.5, 0, 0.5], abs=0.08)


# --- in the collator


def collate(mixing, seed=0, epoch=0, first=0, **changes):
    samples = [make_sample(image_index=first + k, epoch=epoch, **changes) for k in range(3)]
    return DetectionCollator((64, 64), mixing=mixing, seed=seed)(samples)


def test_the_collator_mixes_after_resizing_and_keeps_its_format():
    batch, plain = collate(BatchMixing(mixup_prob=1)), collate(None)
    assert batch["pixel_values"].dtype == torch.uint8
    assert batch["pixel_values"].is_contiguous(memory_format=torch.channels_last)
    assert not torch.equal(batch["pixel_values"], plain["pixel_values"])
    for label, own in zip(batch["labels"], plain["labels"], strict=True):
        assert label["boxes"].shape == (2, 4) and label["boxes"].dtype == torch.float32
        assert label["class_labels"].dtype == torch.int64 and label["image_index"] == own["image_index"]


def test_mixtures_depend_on_seed_epoch_and_first_picture_alone():
    mixing = BatchMixing(copyblend_prob=1)
    one, two = collate(mixing), collate(mixing)
    assert torch.equal(one["pixel_values"], two["pixel_values"])
    boxes = {
        tuple(collate(mixing, **where)["labels"][0]["boxes"].flatten().tolist())
        for where in ({}, {"seed": 1}, {"epoch": 1}, {"first": 1})
    }
    assert len(boxes) == 4


def test_sizes_do_not_change_with_the_mixing():
    sizes_hw = multi_scale_sizes((64, 64), repeat=2)
    collators = [
        DetectionCollator((64, 64), train_sizes_hw=sizes_hw, mixing=mixing)
        for mixing in (None, BatchMixing(mixup_prob=0.5))
    ]
    for first in range(20):
        sizes = {collator([make_sample(image_index=first)])["pixel_values"].shape for collator in collators}
        assert len(sizes) == 1


def test_nothing_is_mixed_for_the_evaluation():
    collator = DetectionCollator((64, 64), mixing=BatchMixing(mixup_prob=1, copyblend_prob=1)).for_evaluation()
    assert [len(label["boxes"]) for label in collator([make_sample(), make_sample()])["labels"]] == [1, 1]
