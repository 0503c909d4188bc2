"""Drawing: colours are where they should be, nothing fails at the borders, and the input stays untouched."""

import numpy as np
import pytest
from PIL import Image

from hf_detr.draw import PALETTE, class_colour, draw_boxes, image_grid


def grey(height: int = 100, width: int = 160) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


def test_frame_has_the_colour_of_the_class_and_lies_inside_the_box() -> None:
    image = grey()
    drawn = draw_boxes(image, np.array([[20, 30, 60, 80]]), [""], [3])
    assert drawn.dtype == np.uint8
    assert drawn.shape == image.shape
    for y, x in ((30, 20), (79, 59), (30, 40), (50, 20)):
        assert tuple(drawn[y, x]) == class_colour(3)
    assert tuple(drawn[55, 40]) == (128, 128, 128)
    assert (image == 128).all()


def test_label_stands_above_the_box_on_a_patch_of_its_colour() -> None:
    drawn = draw_boxes(grey(), np.array([[20, 60, 60, 90]]), ["cat"], [0])
    above = drawn[48:59, 20:60].reshape(-1, 3)
    assert (above == class_colour(0)).all(1).mean() > 0.2
    without = draw_boxes(grey(), np.array([[20, 60, 60, 90]]), [""], [0])
    assert (without[40:58] == 128).all()


def test_small_boxes_are_drawn_over_large_ones() -> None:
    boxes = np.array([[40, 40, 60, 60], [20, 40, 140, 95]])
    drawn = draw_boxes(grey(), boxes, ["", ""], [0, 1])
    assert tuple(drawn[40, 50]) == class_colour(0)
    assert tuple(drawn[40, 100]) == class_colour(1)


@pytest.mark.parametrize(
    "box",
    [[-50, -50, 500, 500], [150, 90, 170, 120], [10, 10, 10, 10], [200, 200, 300, 300], [-30, -30, -10, -10]],
)
@pytest.mark.parametrize("size_hw", [(100, 160), (3, 5)])
def test_boxes_anywhere_draw_without_failing(box: list[float], size_hw: tuple[int, int]) -> None:
    drawn = draw_boxes(grey(*size_hw), np.array([box], np.float32), ["a label wider than all of the picture"], [12])
    assert drawn.shape == (*size_hw, 3)


def test_no_boxes_leave_the_picture_as_it_is() -> None:
    np.testing.assert_array_equal(draw_boxes(grey(), np.zeros((0, 4)), [], []), grey())


def test_small_pictures_are_enlarged_before_boxes_are_drawn() -> None:
    drawn = draw_boxes(grey(50, 80), np.array([[10, 10, 30, 40]]), [""], [1], longer_side=320)
    assert drawn.shape == (200, 320, 3)
    assert tuple(drawn[40, 80]) == class_colour(1)
    assert draw_boxes(grey(1000, 500), np.zeros((0, 4)), [], [], longer_side=320).shape == (320, 160, 3)


def test_colours_are_stable_and_told_apart() -> None:
    assert len(set(PALETTE)) == len(PALETTE)
    assert class_colour(0) == class_colour(len(PALETTE)) == PALETTE[0]


def test_grid_holds_every_picture_in_its_row_and_column() -> None:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    images = [np.full((40, 80, 3), colour, np.uint8) for colour in colours]
    grid = image_grid(images, columns=2, titles=["first", "a title that is very much wider than its cell", "third"])
    assert isinstance(grid, Image.Image)
    pixels = np.asarray(grid)
    middle = grid.height // 2
    assert (pixels[:middle] == colours[0]).all(-1).sum() == 160 * 320
    assert (pixels[:middle, grid.width // 2 :] == colours[1]).all(-1).sum() == 160 * 320
    assert (pixels[middle:] == colours[2]).all(-1).sum() == 160 * 320


def test_rows_are_no_higher_than_their_pictures() -> None:
    flat = np.zeros((80, 320, 3), np.uint8)
    assert image_grid([flat] * 4, columns=2).height < 2 * 80 + 40
    assert image_grid([flat], columns=4).width < 320 + 40
