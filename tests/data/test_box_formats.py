"""The format of boxes is found where the boxes tell it, and never guessed where they do not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_detr.data.arguments import DataArguments
from hf_detr.data.box_formats import BOX_FORMATS, boxes_to_xywh, choose_box_format, weigh_box_formats
from hf_detr.errors import DatasetError
from tests.hub_data import written_boxes

FORMATS = list(BOX_FORMATS)


def drawn_boxes(seed: int, count: int, size_hw: tuple[int, int]) -> np.ndarray:
    """Boxes ``(count, 4)`` xywh in whole pixels anywhere in a picture, none thinner than 2 px."""
    rng = np.random.default_rng(seed)
    sides_wh = rng.integers(2, np.array(size_hw[::-1]) // 2, (count, 2))
    left_top = rng.integers(0, np.array(size_hw[::-1]) - sides_wh + 1)
    return np.concatenate([left_top, sides_wh], axis=1).astype(float)


@given(
    seed=st.integers(0, 10_000),
    height=st.integers(64, 2000),
    width=st.integers(64, 2000),
    box_format=st.sampled_from(FORMATS),
)
def test_boxes_anywhere_in_their_pictures_tell_their_format(seed, height, width, box_format):
    boxes_xywh = drawn_boxes(seed, 300, (height, width))
    sizes_hw = np.tile([height, width], (300, 1))
    written = np.array(written_boxes(boxes_xywh, box_format, (height, width)))
    found, _ = choose_box_format(written, sizes_hw, source="cats")
    assert found == box_format
    np.testing.assert_allclose(boxes_to_xywh(written, found, sizes_hw), boxes_xywh, atol=1e-9)


@given(seed=st.integers(0, 10_000), box_format=st.sampled_from(FORMATS))
def test_a_few_mistakes_do_not_mislead(seed, box_format):
    """Three of a hundred boxes stick out by far, as they do in true data."""
    boxes_xywh = drawn_boxes(seed, 300, (480, 640))
    boxes_xywh[:9, 2] += 640
    written = np.array(written_boxes(boxes_xywh, box_format, (480, 640)))
    assert choose_box_format(written, np.tile([480, 640], (300, 1)), source="cats")[0] == box_format


@given(seed=st.integers(0, 10_000), box_format=st.sampled_from(FORMATS), count=st.integers(0, 8))
def test_few_boxes_are_read_right_or_not_at_all(seed, box_format, count):
    boxes_xywh = drawn_boxes(seed, count, (480, 640))
    sizes_hw = np.tile([480, 640], (count, 1))
    written = np.array(written_boxes(boxes_xywh, box_format, (480, 640))).reshape(-1, 4)
    try:
        found, _ = choose_box_format(written, sizes_hw, source="cats")
    except DatasetError:
        return
    if count:
        np.testing.assert_allclose(boxes_to_xywh(written, found, sizes_hw), boxes_xywh, atol=0.5)


def test_small_boxes_in_the_middle_may_be_anything():
    boxes = np.tile([300.0, 200.0, 10.0, 10.0], (50, 1))
    with pytest.raises(DatasetError, match=r"(?s)cats: its 50 boxes may be xywh or cxcywh;.*--box_format"):
        choose_box_format(boxes, np.tile([480, 640], (50, 1)), source="cats")


def test_boxes_that_fit_nowhere_are_no_format():
    boxes = np.tile([700.0, 900.0, 50.0, 60.0], (50, 1))
    with pytest.raises(DatasetError, match="in no box format do the boxes lie inside"):
        choose_box_format(boxes, np.tile([480, 640], (50, 1)), source="cats")


def test_boxes_of_whole_pictures_are_the_same_either_way():
    boxes = np.tile([0.0, 0.0, 640.0, 480.0], (20, 1))
    found, _ = choose_box_format(boxes, np.tile([480, 640], (20, 1)), source="cats")
    assert boxes_to_xywh(boxes, found, np.tile([480, 640], (20, 1))).tolist() == boxes.tolist()


def test_boxes_without_numbers_do_not_count():
    boxes = np.concatenate([drawn_boxes(0, 100, (480, 640)), np.full((40, 4), np.nan)])
    assert weigh_box_formats(boxes, np.tile([480, 640], (140, 1))).boxes == 100


def test_the_sentence_says_how_sure_it_is():
    _, sentence = choose_box_format(drawn_boxes(0, 200, (480, 640)), np.tile([480, 640], (200, 1)), source="me/cats")
    assert sentence.startswith("me/cats: boxes are [x, y, width, height] in pixels, as in COCO. So read, 100 % of 200")
    assert "next best reading is" in sentence and "--box_format" in sentence


def test_the_setting_has_all_formats():
    assert DataArguments.__dataclass_fields__["box_format"].metadata["choices"] == FORMATS
