import numpy as np
import pytest
import torch
from torchvision.ops import nms

from hf_detr.boxes import area_xyxy, intersection_xyxy
from hf_detr.errors import HfDetrError
from hf_detr.tiles import Tiling, cut_window, merge_detections


def seen_in_tiles(boxes_xyxy, class_ids, windows_xyxy, *, min_visible=0.1, noise=0.0, rng=None):
    """What a perfect detector, or one that is off by some pixels, finds in each tile: rows and their tiles."""
    rows, tile_of = [np.empty((0, 6))], [np.empty(0, dtype=np.int64)]
    for tile, window in enumerate(windows_xyxy):
        shared = intersection_xyxy(boxes_xyxy, window)
        seen = np.flatnonzero(shared >= np.maximum(min_visible * area_xyxy(boxes_xyxy), 1))
        clipped = boxes_xyxy[seen].clip(np.tile(window[:2], 2), np.tile(window[2:], 2)).astype(np.float64)
        if noise:
            clipped = (clipped + rng.uniform(-noise, noise, clipped.shape)).clip(
                np.tile(window[:2], 2), np.tile(window[2:], 2)
            )
        scores = np.full(len(seen), 0.9) if rng is None else rng.uniform(0.3, 1, len(seen))
        rows.append(np.column_stack([scores, class_ids[seen], clipped]))
        tile_of.append(np.full(len(seen), tile))
    return np.concatenate(rows), np.concatenate(tile_of)


def random_objects(rng, size_hw, count, sides):
    """Boxes in whole pixels, no two of which overlap."""
    boxes = np.empty((0, 4))
    for _ in range(count * 4):
        w, h = rng.integers(*sides, 2)
        x, y = rng.integers(0, size_hw[1] - w), rng.integers(0, size_hw[0] - h)
        box = np.array([x, y, x + w, y + h])
        if not (intersection_xyxy(boxes, box) > 0).any() and len(boxes) < count:
            boxes = np.concatenate([boxes, box[None]])
    return boxes


def in_order(boxes_xyxy):
    return boxes_xyxy[np.lexsort(boxes_xyxy.T)]


# --- where the tiles are


@pytest.mark.parametrize("size_hw", [(640, 640), (641, 640), (2000, 3000), (100, 5000), (7, 3), (639, 1281)])
@pytest.mark.parametrize("overlap", [0, 0.2, 0.5, 0.9])
def test_tiles_cover_a_picture_and_overlap_as_asked(size_hw, overlap):
    windows = Tiling((640, 320), overlap).windows(size_hw)
    assert (windows[:, 2] - windows[:, 0] == 320).all() and (windows[:, 3] - windows[:, 1] == 640).all()
    for low, high, length, side in ((0, 2, size_hw[1], 320), (1, 3, size_hw[0], 640)):
        starts, ends = np.unique(windows[:, low]), np.unique(windows[:, high])
        assert starts[0] == 0 and ends[-1] == max(length, side)
        assert (ends[:-1] - starts[1:] >= np.floor(side * overlap) - 1).all()
        assert (np.diff(starts) > 0).all()
    assert len(np.unique(windows, axis=0)) == len(windows)


def test_no_more_tiles_than_needed():
    assert len(Tiling((640, 640), 0.2).windows((640, 640))) == 1
    assert len(Tiling((640, 640), 0.0).windows((1280, 1280))) == 4
    assert Tiling((640, 640), 0.2).windows((640, 1152)).tolist() == [[0, 0, 640, 640], [512, 0, 1152, 640]]


@pytest.mark.parametrize(
    ("size", "overlap", "message"),
    [
        (0, 0.2, "tile_size must be 1 pixel or more, got 0 x 0"),
        ([640, 640, 3], 0.2, "one number, or height and width; got 640 640 3"),
        (640, 1.0, "from 0 to 0.9; got 1"),
        (640, -0.1, "from 0 to 0.9; got -0.1"),
    ],
)
def test_tiles_that_cannot_be_are_refused(size, overlap, message):
    with pytest.raises(HfDetrError, match=message):
        Tiling.of(size, overlap)


def test_sizes_as_people_write_them():
    assert Tiling.of(None) is None
    assert Tiling.of(640) == Tiling.of([640]) == Tiling((640, 640), 0.2)
    assert Tiling.of((384, 640), 0.1) == Tiling((384, 640), 0.1)


def test_a_window_that_sticks_out_is_black_there():
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) + 1
    (window,) = Tiling((4, 5)).windows((2, 3))
    part = cut_window(image, window)
    assert part.shape == (4, 5, 3) and (part[:2, :3] == image).all()
    assert part[2:].sum() == part[:, 3:].sum() == 0
    assert (cut_window(image, np.array([1, 0, 3, 1])) == image[:1, 1:3]).all()


# --- what was found in them


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("sides", [(4, 60), (30, 300)], ids=["small", "larger than the overlap and than a tile"])
def test_every_object_is_found_once_and_whole(seed, sides):
    rng = np.random.default_rng(seed)
    size_hw = tuple(rng.integers(300, 900, 2))
    tiling = Tiling((int(rng.integers(120, 250)), int(rng.integers(120, 250))), float(rng.choice([0.1, 0.2, 0.4])))
    boxes = random_objects(rng, size_hw, 60, (sides[0], min(sides[1], min(size_hw) - 1)))
    class_ids = rng.integers(0, 3, len(boxes))
    windows = tiling.windows(size_hw)
    rows, tile_of = seen_in_tiles(boxes, class_ids, windows, min_visible=0.0, rng=rng)
    assert len(rows) > len(boxes)
    shuffled = rng.permutation(len(rows))
    merged = merge_detections(rows[shuffled], tile_of[shuffled], windows, size_hw)
    assert (np.diff(merged[:, 0]) <= 0).all()
    assert in_order(merged[:, [1, 2, 3, 4, 5]]).tolist() == in_order(np.column_stack([class_ids, boxes])).tolist()


@pytest.mark.parametrize("seed", range(4))
def test_boxes_that_are_a_little_off_are_counted_once_too(seed):
    rng = np.random.default_rng(seed)
    size_hw, tiling = (700, 900), Tiling((256, 256), 0.25)
    boxes = random_objects(rng, size_hw, 80, (16, 60))
    windows = tiling.windows(size_hw)
    class_ids = np.zeros(len(boxes), dtype=int)
    rows, tile_of = seen_in_tiles(boxes, class_ids, windows, min_visible=0.3, noise=1.5, rng=rng)
    merged = merge_detections(rows, tile_of, windows, size_hw)
    assert len(rows) > len(merged) == len(boxes)
    nearest = np.abs(merged[:, None, 2:] - boxes[None]).max(-1)
    assert nearest.min(axis=1).max() < 4 and len(set(nearest.argmin(axis=1))) == len(boxes)


def test_objects_that_overlap_in_one_tile_stay_two_where_suppression_leaves_one():
    windows = Tiling((100, 100), 0.2).windows((100, 180))
    boxes = np.array([[10.0, 10, 50, 50], [14, 12, 54, 52], [85, 40, 105, 60], [88, 42, 108, 62]])
    rows, tile_of = seen_in_tiles(boxes, np.zeros(4, dtype=int), windows)
    assert len(rows) == 6
    merged = merge_detections(rows, tile_of, windows, (100, 180))
    assert in_order(merged[:, 2:]).tolist() == in_order(boxes).tolist()
    kept = nms(torch.tensor(rows[:, 2:]), torch.tensor(rows[:, 0]), 0.5)
    assert len(kept) != 4  # it drops a neighbour, or keeps a part of an object


def test_the_best_score_stays_and_classes_are_not_mixed():
    windows = Tiling((100, 100), 0.5).windows((100, 150))
    rows = np.array(
        [[0.6, 1, 60, 10, 90, 40], [0.8, 1, 61, 10, 91, 40], [0.7, 2, 60, 10, 90, 40], [0.1, 1, 60, 10, 90, 41]]
    )
    merged = merge_detections(rows, np.array([0, 1, 1, 0]), windows, (100, 150))
    # the fourth is the first tile's second guess at the same object: it stays, as it would without tiles
    assert merged[:, :2].tolist() == [[0.8, 1], [0.7, 2], [0.1, 1]]
    assert merged[0, 2:].tolist() == [61, 10, 91, 40]


def test_what_is_found_beside_the_picture_is_dropped():
    windows = Tiling((100, 100)).windows((50, 60))
    rows = np.array([[0.9, 0, 10, 10, 70, 40], [0.5, 0, 65, 60, 80, 90]])
    merged = merge_detections(rows, np.zeros(2, dtype=int), windows, (50, 60))
    assert merged.tolist() == [[0.9, 0, 10, 10, 60, 40]]
    assert merge_detections(np.empty((0, 6)), np.empty(0, dtype=int), windows, (50, 60)).shape == (0, 6)
