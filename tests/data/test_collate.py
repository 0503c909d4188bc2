"""Batches: sizes, label format, multi-scale."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import RTDetrImageProcessor

from hf_detr.boxes import cxcywh_to_xyxy
from hf_detr.data.collate import DetectionCollator, multi_scale_sizes


def make_sample(size_hw=(60, 80), boxes_xyxy=((10, 20, 30, 50),), image_index=0, epoch=0, **changes) -> dict:
    rng = np.random.default_rng(image_index)
    return {
        "image": rng.integers(0, 256, (*size_hw, 3), dtype=np.uint8),
        "boxes_xyxy": np.array(boxes_xyxy, dtype=np.float32).reshape(-1, 4),
        "class_ids": np.arange(len(boxes_xyxy), dtype=np.int64),
        "image_index": image_index,
        "orig_size_hw": size_hw,
        "epoch": epoch,
        "readable": True,
        "unreadable": (),
    } | changes


def test_batch_of_pictures_of_different_sizes():
    batch = DetectionCollator((64, 96))([make_sample(), make_sample((33, 47), (), image_index=5)])
    assert set(batch) == {"pixel_values", "labels"}
    pixels = batch["pixel_values"]
    assert pixels.shape == (2, 3, 64, 96) and pixels.dtype == torch.uint8
    assert pixels.is_contiguous(memory_format=torch.channels_last)
    first, second = batch["labels"]
    assert first["boxes"].dtype == torch.float32 and first["class_labels"].dtype == torch.int64
    torch.testing.assert_close(first["boxes"], torch.tensor([[0.25, 35 / 60, 0.25, 0.5]]))
    assert second["boxes"].shape == (0, 4) and second["class_labels"].shape == (0,)
    assert second["image_index"].item() == 5 and second["image_index"].dtype == torch.int64
    assert second["orig_size_hw"].tolist() == [33, 47]
    assert second["readable"].item() is True and second["readable"].dtype == torch.bool


def test_pixels_are_those_of_the_stock_processor():
    samples = [make_sample(), make_sample((100, 50), image_index=1)]
    pixels = DetectionCollator((64, 96))(samples)["pixel_values"]
    processor = RTDetrImageProcessor(size={"height": 64, "width": 96})
    expected = processor([sample["image"] for sample in samples], return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(pixels * (1 / 255), expected, rtol=0, atol=0)


def test_unreadable_pictures_are_handed_on():
    samples = [
        make_sample(unreadable=(("a.jpg", "empty"), ("b.jpg", "cut short"))),
        make_sample(readable=False, unreadable=(("c.jpg", "missing"),)),
    ]
    batch = DetectionCollator((64, 64))(samples)
    assert batch["unreadable"] == [("a.jpg", "empty"), ("b.jpg", "cut short"), ("c.jpg", "missing")]
    assert [label["readable"].item() for label in batch["labels"]] == [True, False]


@given(
    st.lists(
        st.tuples(st.floats(0, 70), st.floats(0, 50), st.floats(1, 10), st.floats(1, 10)).map(
            lambda box: (box[0], box[1], box[0] + box[2], box[1] + box[3])
        ),
        max_size=5,
    )
)
def test_labels_give_the_boxes_back(boxes_xyxy):
    label = DetectionCollator((32, 64))([make_sample(boxes_xyxy=boxes_xyxy)])["labels"][0]
    back = cxcywh_to_xyxy(label["boxes"]) * torch.tensor([80, 60, 80, 60])
    torch.testing.assert_close(back, torch.tensor(boxes_xyxy).reshape(-1, 4), rtol=0, atol=1e-4)
    assert label["boxes"].min() >= 0 and label["boxes"].max() <= 1 if len(boxes_xyxy) else True


def test_boxes_too_thin_for_the_input_size_can_be_dropped():
    boxes_xyxy = [(0, 0, 40, 30), (0, 0, 1, 30), (0, 0, 40, 1)]  # at half the size: 20 x 15, 0.5 x 15, 20 x 0.5
    sample = make_sample((64, 128), boxes_xyxy)
    kept = DetectionCollator((32, 64), min_box_side=1)([sample])["labels"][0]
    assert len(kept["boxes"]) == 1 and kept["class_labels"].tolist() == [0]
    assert len(DetectionCollator((32, 64))([sample])["labels"][0]["boxes"]) == 3


def test_official_sizes_for_squares():
    sizes = multi_scale_sizes((640, 640), repeat=3)
    expected = [*range(480, 640, 32), 640, 640, 640, *range(800, 640, -32)]
    assert sizes == [(side, side) for side in expected]


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 20))
def test_sizes_are_multiples_of_32_near_the_base(rows, columns, repeat):
    base = (32 * rows, 32 * columns)
    sizes = multi_scale_sizes(base, repeat)
    assert sizes.count(base) >= repeat
    for size in sizes:
        for side, base_side in zip(size, base, strict=True):
            assert side % 32 == 0 and side >= 32
            assert abs(side - base_side) <= base_side * 0.25 + 32


def test_size_of_a_batch_depends_on_seed_epoch_and_first_picture_alone():
    sizes_hw = multi_scale_sizes((64, 64), repeat=2)
    collator = DetectionCollator((64, 64), train_sizes_hw=sizes_hw, seed=1)
    drawn = [collator.batch_size_hw(epoch, first) for epoch in range(5) for first in range(200)]
    assert drawn == [collator.batch_size_hw(epoch, first) for epoch in range(5) for first in range(200)]
    counts = Counter(drawn)
    assert set(counts) == set(sizes_hw) == {(32, 32), (64, 64)}
    assert counts[(64, 64)] / len(drawn) == pytest.approx(sizes_hw.count((64, 64)) / len(sizes_hw), abs=0.05)
    batch = collator([make_sample(image_index=7, epoch=2), make_sample(image_index=3, epoch=2)])
    assert batch["pixel_values"].shape[2:] == collator.batch_size_hw(2, 7)
    other = DetectionCollator((64, 64), train_sizes_hw=sizes_hw, seed=2)
    assert drawn != [other.batch_size_hw(epoch, first) for epoch in range(5) for first in range(200)]


def test_only_the_base_size_from_the_stop_epoch_on():
    collator = DetectionCollator((64, 64), train_sizes_hw=[(96, 96)], stop_epoch=2)
    shapes = [collator([make_sample(epoch=epoch)])["pixel_values"].shape[-1] for epoch in range(4)]
    assert shapes == [96, 96, 64, 64]


@pytest.mark.parametrize(("size_hw", "others"), [((100, 64), None), ((64, 64), [(64, 65)]), ((0, 32), None)])
def test_sizes_the_model_cannot_take(size_hw, others):
    with pytest.raises(ValueError, match="multiples of 32"):
        DetectionCollator(size_hw, train_sizes_hw=others)


def test_evaluation_is_at_the_base_size_with_all_boxes():
    collator = DetectionCollator((64, 64), train_sizes_hw=[(96, 96)], min_box_side=10).for_evaluation()
    batch = collator([make_sample((64, 64), [(0, 0, 2, 2)])])
    assert batch["pixel_values"].shape[-2:] == (64, 64) and len(batch["labels"][0]["boxes"]) == 1
