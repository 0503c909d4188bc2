"""Box geometry: round trips and bounds, the same for numpy and torch."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hf_detr.boxes import (
    area_xyxy,
    clip_xyxy,
    cxcywh_to_xyxy,
    intersection_xyxy,
    is_valid_xyxy,
    normalise_boxes,
    xywh_to_xyxy,
    xyxy_to_cxcywh,
    xyxy_to_xywh,
)

side = st.floats(-2000, 2000, width=32)


@st.composite
def boxes_xyxy(draw: st.DrawFn, count: int | None = None) -> np.ndarray:
    """``(n, 4)`` float64 boxes that are not turned inside out, some of them without area."""
    number = draw(st.integers(0, 5)) if count is None else count
    corners = np.array(draw(st.lists(side, min_size=4 * number, max_size=4 * number)), np.float64).reshape(-1, 2, 2)
    return np.sort(corners, 1).reshape(-1, 4)


sizes_hw = st.tuples(st.integers(1, 3000), st.integers(1, 3000))


@given(boxes_xyxy())
def test_formats_round_trip(boxes: np.ndarray) -> None:
    np.testing.assert_allclose(xywh_to_xyxy(xyxy_to_xywh(boxes)), boxes, atol=1e-9)
    np.testing.assert_allclose(cxcywh_to_xyxy(xyxy_to_cxcywh(boxes)), boxes, atol=1e-9)


@given(boxes_xyxy(), sizes_hw)
def test_numpy_and_torch_agree_to_the_bit(boxes: np.ndarray, size_hw: tuple[int, int]) -> None:
    tensor = torch.from_numpy(boxes)
    for convert in (xywh_to_xyxy, xyxy_to_xywh, cxcywh_to_xyxy, xyxy_to_cxcywh, area_xyxy, is_valid_xyxy):
        np.testing.assert_array_equal(convert(tensor).numpy(), convert(boxes))
    for convert in (clip_xyxy, normalise_boxes):
        np.testing.assert_array_equal(convert(tensor, size_hw).numpy(), convert(boxes, size_hw))
    np.testing.assert_array_equal(
        intersection_xyxy(tensor[:, None], tensor[None]).numpy(), intersection_xyxy(boxes[:, None], boxes[None])
    )


@given(boxes_xyxy(), sizes_hw)
def test_clipped_boxes_are_inside_and_stay_as_they_are(boxes: np.ndarray, size_hw: tuple[int, int]) -> None:
    clipped = clip_xyxy(boxes, size_hw)
    height, width = size_hw
    assert (clipped >= 0).all()
    assert (clipped <= [width, height, width, height]).all()
    np.testing.assert_array_equal(clip_xyxy(clipped, size_hw), clipped)
    assert (area_xyxy(clipped) <= area_xyxy(boxes) + 1e-9).all()


@given(boxes_xyxy(), sizes_hw)
def test_clipped_and_normalised_boxes_are_fractions(boxes: np.ndarray, size_hw: tuple[int, int]) -> None:
    fractions = normalise_boxes(clip_xyxy(boxes, size_hw), size_hw)
    assert (fractions >= 0).all()
    assert (fractions <= 1).all()


@given(boxes_xyxy(2))
def test_intersection_is_symmetric_and_within_both(boxes: np.ndarray) -> None:
    first, second = boxes
    shared = intersection_xyxy(first[None], second[None])[0]
    assert shared == intersection_xyxy(second[None], first[None])[0]
    assert 0 <= shared <= min(area_xyxy(first), area_xyxy(second)) + 1e-9
    assert intersection_xyxy(first[None], first[None])[0] == area_xyxy(first)


@given(boxes_xyxy())
def test_valid_boxes_have_area_and_survive_the_round_trip(boxes: np.ndarray) -> None:
    valid = is_valid_xyxy(boxes)
    np.testing.assert_array_equal(valid, (xyxy_to_xywh(boxes)[:, 2:] > 0).all(-1))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_boxes_that_are_not_finite_are_not_valid(bad: float) -> None:
    boxes = np.array([[0, 0, 5, 5], [0, bad, 5, 5], [5, 0, 0, 5], [0, 0, 5, 0.5]])
    assert is_valid_xyxy(boxes).tolist() == [True, False, False, True]
    assert is_valid_xyxy(boxes, min_side=1.0).tolist() == [True, False, False, False]


def test_one_box_without_a_batch_axis() -> None:
    assert xywh_to_xyxy(np.array([1.0, 2.0, 3.0, 4.0])).tolist() == [1, 2, 4, 6]
    assert area_xyxy(torch.tensor([1.0, 2.0, 4.0, 6.0])).item() == 12
