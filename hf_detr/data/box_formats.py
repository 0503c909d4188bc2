"""The ways boxes are written down, and which of them a data set uses, found from the boxes themselves.

A box in the wrong format is a box somewhere else: most wrong readings put boxes outside of their pictures, or turn
them inside out. So each format is tried on all boxes, and the one that keeps them inside is taken if it is the only
one.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hf_detr.boxes import cxcywh_to_xyxy, xywh_to_xyxy, xyxy_to_xywh
from hf_detr.data.findings import counted
from hf_detr.errors import DatasetError

# name -> what it is, for messages; `_norm` is in fractions of the picture's width and height
BOX_FORMATS: Mapping[str, str] = {
    "xywh": "[x, y, width, height] in pixels, as in COCO",
    "xyxy": "[left, top, right, bottom] in pixels",
    "cxcywh": "[centre x, centre y, width, height] in pixels",
    "xywh_norm": "[x, y, width, height] as fractions of the picture",
    "xyxy_norm": "[left, top, right, bottom] as fractions of the picture",
    "cxcywh_norm": "[centre x, centre y, width, height] as fractions of the picture, as in YOLO",
}
_TO_XYXY = {"xywh": xywh_to_xyxy, "xyxy": lambda boxes: boxes, "cxcywh": cxcywh_to_xyxy}

# Annotation tools round: so many pixels, and so large a share of a side, a box may stick out and still fit.
_TOLERANCE_PIXELS, _TOLERANCE_FRACTION, _TOLERANCE_SHARE = 1.0, 0.005, 0.005
_MOST_MISFITS = 0.05  # share of boxes that the format of a data set may put outside: true data has mistakes
_LEAST_MISFITS, _MISFIT_RATIO = 3, 4  # what another format has to do worse to be ruled out: boxes, and times as many


@dataclass(frozen=True)
class BoxFormatEvidence:
    """How well each format fits.

    Attributes:
        boxes: how many boxes of four finite numbers were looked at.
        misfits: by format, how many of them it puts outside of their picture, inside out, or within one pixel.
        same_as_best: formats that read all boxes as the best one does.
    """

    boxes: int
    misfits: Mapping[str, int]
    same_as_best: frozenset[str]

    @property
    def best(self) -> str:
        """The format with the fewest misfits."""
        return min(self.misfits, key=self.misfits.__getitem__)

    @property
    def others(self) -> list[str]:
        """Formats that read the boxes otherwise than the best one, those that fit best first."""
        return sorted((name for name in self.misfits if name not in self.same_as_best), key=self.misfits.__getitem__)

    @property
    def rivals(self) -> list[str]:
        """Those of the others that fit about as well as the best one."""
        needed = max(_LEAST_MISFITS, _MISFIT_RATIO * self.misfits[self.best])
        return [name for name in self.others if self.misfits[name] < needed]

    def share_inside(self, name: str) -> str:
        """The share of boxes that fit in a format, for a person; rounded down, so that 100 % are all of them.

        >>> BoxFormatEvidence(30_000, {"xywh": 1}, frozenset()).share_inside("xywh")
        '99.99 %'
        """
        return f"{math.floor(10_000 * (1 - self.misfits[name] / self.boxes)) / 100:g} %"


def weigh_box_formats(boxes: np.ndarray, sizes_hw: np.ndarray) -> BoxFormatEvidence:
    """Try all formats.

    Args:
        boxes: ``(M, 4)`` as they are written; rows with NaN or infinity are left out.
        sizes_hw: ``(M, 2)`` height and width in pixels of the picture of each; 0, 0 for not known.
    """
    finite = np.isfinite(boxes).all(1)
    boxes, sizes_hw = boxes[finite], sizes_hw[finite]
    fractions = np.ones_like(sizes_hw)
    misfits = {}
    for name, to_xyxy in _TO_XYXY.items():
        boxes_xyxy = to_xyxy(boxes)
        in_pixels = _misfits(boxes_xyxy, sizes_hw, tolerance=_TOLERANCE_PIXELS, least_side=1.0)
        in_fractions = _misfits(boxes_xyxy, fractions, tolerance=_TOLERANCE_FRACTION, least_side=0.0)
        misfits |= {name: int(in_pixels.sum()), f"{name}_norm": int(in_fractions.sum())}
    best = min(misfits, key=misfits.__getitem__)
    as_best = boxes_to_xywh(boxes, best, sizes_hw)
    same = (name for name in BOX_FORMATS if np.allclose(boxes_to_xywh(boxes, name, sizes_hw), as_best, atol=0.5))
    return BoxFormatEvidence(len(boxes), misfits, frozenset(same))


def _misfits(boxes_xyxy: np.ndarray, sizes_hw: np.ndarray, *, tolerance: float, least_side: float) -> np.ndarray:
    """``(M,)`` bool boxes that stick out, or whose sides are not above 0 or below ``least_side``."""
    limits_xy = np.where(sizes_hw[:, ::-1] > 0, sizes_hw[:, ::-1], np.inf)
    slack = tolerance + np.where(np.isinf(limits_xy), 0.0, limits_xy * _TOLERANCE_SHARE)
    sides = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    outside = (boxes_xyxy[:, :2] < -slack) | (boxes_xyxy[:, 2:] > limits_xy + slack)
    return (outside | (sides <= 0) | (sides < least_side)).any(1)


def choose_box_format(boxes: np.ndarray, sizes_hw: np.ndarray, *, source: str) -> tuple[str, str]:
    """The format of a data set's boxes, and a sentence that says how sure that is.

    Args:
        boxes: ``(M, 4)`` as they are written.
        sizes_hw: ``(M, 2)`` height and width of their pictures; 0, 0 for not known.
        source: what messages call the data.

    Raises:
        DatasetError: several formats fit, or none does.
    """
    evidence = weigh_box_formats(boxes, sizes_hw)
    if evidence.boxes == 0:
        return "xywh", f"{source}: not one box of four numbers, so there is no telling their format."
    best, rivals = evidence.best, evidence.rivals
    options = "\n".join(
        f"  {name:<12} {evidence.share_inside(name):>7} fit  {text}" for name, text in BOX_FORMATS.items()
    )
    if evidence.misfits[best] > _MOST_MISFITS * evidence.boxes:
        raise DatasetError(
            f"{source}: in no box format do the boxes lie inside of their pictures:\n{options}\n"
            "If you know the format, say so with --box_format; `hf-detr check` then shows the boxes that do not fit."
        )
    if rivals:
        raise DatasetError(
            f"{source}: its {counted(evidence.boxes, 'box')} may be {' or '.join([best, *rivals])}; they fit into "
            f"their pictures either way:\n{options}\nSay which it is with --box_format."
        )
    second = evidence.others[0]
    return best, (
        f"{source}: boxes are {BOX_FORMATS[best]}. So read, {evidence.share_inside(best)} of "
        f"{evidence.boxes:,} lie inside of their pictures; the next best reading is {second} with "
        f"{evidence.share_inside(second)}. If that is wrong: --box_format."
    )


def boxes_to_xywh(boxes: np.ndarray, box_format: str, sizes_hw: np.ndarray) -> np.ndarray:
    """Boxes ``(M, 4)`` in a format of `BOX_FORMATS` as xywh in pixels; ``sizes_hw`` ``(M, 2)`` of their pictures."""
    boxes_xyxy = _TO_XYXY[box_format.removesuffix("_norm")](boxes)
    if box_format.endswith("_norm"):
        boxes_xyxy = boxes_xyxy * np.tile(sizes_hw[:, ::-1], 2)
    return boxes if box_format == "xywh" else xyxy_to_xywh(boxes_xyxy)
