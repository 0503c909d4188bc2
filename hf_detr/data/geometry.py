"""Where a picture is cut or padded: random frames, and pictures and boxes seen through them.

A frame is a rectangle in the coordinates of the picture it is laid over, and may reach beyond it. Zooming out gives a
frame larger than the picture, cropping a smaller one, and one within the other is again a frame: however many are
drawn, pixels are copied once. What turns a picture is a matrix instead.
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from hf_detr.boxes import area_xyxy, clip_xyxy, intersection_xyxy
from hf_detr.data.images import resize_image

IOU_CROP_OPTIONS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
IOU_CROP_TRIALS = 40


class Frame(NamedTuple):
    """Rectangle in whole pixels; ``left`` and ``top`` are negative where it begins outside the picture."""

    left: int
    top: int
    width: int
    height: int

    @classmethod
    def around(cls, size_hw: tuple[int, int]) -> "Frame":
        """The frame that shows a picture as it is."""
        height, width = size_hw
        return cls(0, 0, width, height)

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of what the frame shows."""
        return self.height, self.width

    def within(self, outer: "Frame") -> "Frame":
        """This frame, given in the coordinates of what ``outer`` shows, in the coordinates beneath ``outer``."""
        return Frame(outer.left + self.left, outer.top + self.top, self.width, self.height)


def frame_image(image: np.ndarray, frame: Frame) -> np.ndarray:
    """What a frame shows of a picture ``(H, W, C)``; black where there is no picture."""
    return show_frame(image, np.zeros((0, 4)), frame)[0]


def show_frame(
    image: np.ndarray, boxes_xyxy: np.ndarray, frame: Frame, largest_hw: tuple[int, int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """What a frame shows of a picture ``uint8 (H, W, 3)``, and boxes ``(n, 4)`` in pixels of the frame with it.

    Black where there is no picture. A side of the frame that is longer than that of ``largest_hw`` is scaled down to
    it: only the part of the picture that is seen is resized, to whole pixels, and a zoomed-out canvas is never filled
    at its full size. Boxes are inside the part that is seen, and follow its pixels exactly.
    """
    (y0, y1), (x0, x1) = (
        np.clip([start, start + length], 0, limit)
        for start, length, limit in zip((frame.top, frame.left), frame.size_hw, image.shape[:2], strict=True)
    )
    seen = image[y0:y1, x0:x1]
    size_hw = frame.size_hw if largest_hw is None else tuple(map(min, frame.size_hw, largest_hw))
    canvas_shape = (*size_hw, image.shape[2])
    if not seen.size:
        return np.zeros(canvas_shape, dtype=image.dtype), np.zeros_like(boxes_xyxy)
    top, bottom = _whole_pixels(y0 - frame.top, y1 - frame.top, frame.height, size_hw[0])
    left, right = _whole_pixels(x0 - frame.left, x1 - frame.left, frame.width, size_hw[1])
    if size_hw != frame.size_hw:
        factors_xy = np.array([(right - left) / (x1 - x0), (bottom - top) / (y1 - y0)])
        offset_xy = (left, top) - np.array([x0 - frame.left, y0 - frame.top]) * factors_xy
        boxes_xyxy = (boxes_xyxy * np.tile(factors_xy, 2) + np.tile(offset_xy, 2)).astype(boxes_xyxy.dtype)
        seen = resize_image(seen, (bottom - top, right - left))
    if seen.shape == canvas_shape:
        return np.ascontiguousarray(seen), boxes_xyxy
    canvas = np.zeros(canvas_shape, dtype=image.dtype)
    canvas[top:bottom, left:right] = seen
    return canvas, boxes_xyxy


def _whole_pixels(start: int, end: int, length: int, shown: int) -> tuple[int, int]:
    """Where a stretch of ``length`` pixels begins and ends when they are shown on ``shown``; never nothing of it."""
    first = min(round(start * shown / length), shown - 1)
    return first, max(round(end * shown / length), first + 1)


def frame_boxes_xyxy(boxes_xyxy: np.ndarray, frame: Frame) -> np.ndarray:
    """Boxes ``(n, 4)`` in pixels in the coordinates of the frame, cut at its border."""
    offset = np.array([frame.left, frame.top, frame.left, frame.top], dtype=boxes_xyxy.dtype)
    return clip_xyxy(boxes_xyxy - offset, frame.size_hw)


def flip_image(image: np.ndarray) -> np.ndarray:
    """Mirror a picture ``(H, W, C)`` left to right."""
    return cv2.flip(image, 1)


def flip_boxes_xyxy(boxes_xyxy: np.ndarray, width: int) -> np.ndarray:
    """Mirror boxes ``(n, 4)`` in pixels with a picture of this width."""
    x0, y0, x1, y1 = boxes_xyxy.T
    return np.stack([width - x1, y0, width - x0, y1], axis=-1)


def zoom_out_frame(size_hw: tuple[int, int], rng: np.random.Generator, largest: float = 4.0) -> Frame:
    """A canvas 1 to ``largest`` times the size of a picture, which lies somewhere on it.

    Zoom-out of SSD (https://huggingface.co/papers/1512.02325), distributed as torchvision's ``v2.RandomZoomOut``.
    """
    height, width = size_hw
    ratio = rng.uniform(1.0, largest)
    canvas_width, canvas_height = int(width * ratio), int(height * ratio)
    left = int((canvas_width - width) * rng.random())
    top = int((canvas_height - height) * rng.random())
    return Frame(-left, -top, canvas_width, canvas_height)


@dataclass(frozen=True)
class Crop:
    """A frame, and which of the boxes ``(n,)`` bool stay: those whose centre it shows."""

    frame: Frame
    kept: np.ndarray


def iou_crop(
    size_hw: tuple[int, int],
    boxes_xyxy: np.ndarray,
    rng: np.random.Generator,
    *,
    min_scale: float = 0.3,
    max_aspect_ratio: float = 2.0,
) -> Crop:
    """A random part of a picture that overlaps at least one box well enough.

    The crop of SSD (https://huggingface.co/papers/1512.02325), distributed as torchvision's ``v2.RandomIoUCrop``: draw
    the least IoU of crop and box from IOU_CROP_OPTIONS; 1 leaves the picture as it is. Try 40 crops with sides 0.3 to
    1 times the picture's and within a factor of 2 of each other; take the first one that shows the centre of a box and
    reaches that IoU with one of the boxes whose centres it shows. Draw again if there is none. A picture without boxes
    stays as it is.
    """
    whole = Crop(Frame.around(size_hw), np.ones(len(boxes_xyxy), dtype=bool))
    while len(boxes_xyxy):
        min_iou = IOU_CROP_OPTIONS[rng.integers(len(IOU_CROP_OPTIONS))]
        if min_iou >= 1:
            break
        crops_xyxy = _random_rectangles_xyxy(size_hw, rng, min_scale)
        sides = crops_xyxy[:, 2:] - crops_xyxy[:, :2]
        shaped = (sides >= 1).all(-1) & (sides.max(-1) <= max_aspect_ratio * sides.min(-1))
        centres_within = _centres_within(boxes_xyxy, crops_xyxy)
        ious = np.where(centres_within, _iou_xyxy(crops_xyxy[:, None], boxes_xyxy[None]), -1.0)
        accepted = np.flatnonzero(shaped & centres_within.any(-1) & (ious.max(-1) >= min_iou))
        if len(accepted):
            x0, y0, x1, y1 = crops_xyxy[accepted[0]].astype(int).tolist()
            return Crop(Frame(x0, y0, x1 - x0, y1 - y0), centres_within[accepted[0]])
    return whole


def random_affine(
    size_hw: tuple[int, int],
    rng: np.random.Generator,
    *,
    degrees: float,
    translate: float,
    scale: tuple[float, float],
) -> np.ndarray:
    """A turn and a scaling about the centre of a picture, then a shift by whole pixels: a matrix ``(2, 3)``.

    It takes points ``(x, y, 1)`` in pixels, the corner of the picture being 0, to where they go. Distributed as
    torchvision's ``v2.RandomAffine``: up to ``degrees`` in either direction, up to ``translate`` times the picture's
    sides, a factor between the two of ``scale``.
    """
    centre = np.array(size_hw[::-1]) / 2
    angle = np.deg2rad(rng.uniform(-degrees, degrees))
    shift = np.round(rng.uniform(-translate, translate, 2) * size_hw[::-1])
    cosine, sine = rng.uniform(*scale) * np.array([np.cos(angle), np.sin(angle)])
    linear = np.array([[cosine, -sine], [sine, cosine]])
    return np.column_stack([linear, centre + shift - linear @ centre])


def warp_image(image: np.ndarray, matrix: np.ndarray, size_hw: tuple[int, int] | None = None) -> np.ndarray:
    """A picture ``(H, W, C)`` moved by an affine matrix ``(2, 3)``; black where nothing comes to.

    It comes at its own size, or at ``size_hw``. Bilinear, hence meant for matrices that scale by about 1.
    """
    # OpenCV counts from the centre of the first pixel, we count from its corner.
    to_centres = matrix.copy()
    to_centres[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5
    height, width = size_hw or image.shape[:2]
    return cv2.warpAffine(image, to_centres, (width, height), flags=cv2.INTER_LINEAR)


def warp_boxes_xyxy(boxes_xyxy: np.ndarray, matrix: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Upright boxes ``(n, 4)`` in pixels around where a matrix ``(2, 3)`` takes boxes, cut at the picture's border."""
    corners = boxes_xyxy[:, [[0, 1], [2, 1], [2, 3], [0, 3]]] @ matrix[:, :2].T + matrix[:, 2]
    return clip_xyxy(np.concatenate([corners.min(1), corners.max(1)], axis=-1), size_hw)


def _random_rectangles_xyxy(size_hw: tuple[int, int], rng: np.random.Generator, min_scale: float) -> np.ndarray:
    """IOU_CROP_TRIALS rectangles of whole pixels inside a picture, ``(trials, 4)``."""
    size_wh = np.array(size_hw[::-1])
    sides = np.floor(size_wh * rng.uniform(min_scale, 1.0, (IOU_CROP_TRIALS, 2)))
    corners = np.floor((size_wh - sides) * rng.random((IOU_CROP_TRIALS, 2)))
    return np.concatenate([corners, corners + sides], axis=-1)


def _centres_within(boxes_xyxy: np.ndarray, crops_xyxy: np.ndarray) -> np.ndarray:
    """Whether the centres of boxes ``(n, 4)`` lie in crops ``(m, 4)``: bool ``(m, n)``."""
    centres = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2
    return ((crops_xyxy[:, None, :2] < centres) & (centres < crops_xyxy[:, None, 2:])).all(-1)


def _iou_xyxy(boxes_a_xyxy: np.ndarray, boxes_b_xyxy: np.ndarray) -> np.ndarray:
    shared = intersection_xyxy(boxes_a_xyxy, boxes_b_xyxy)
    union = area_xyxy(boxes_a_xyxy) + area_xyxy(boxes_b_xyxy) - shared
    return shared / np.maximum(union, np.finfo(np.float64).tiny)
