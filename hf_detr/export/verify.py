"""Whether an exported detector computes what the model computes in PyTorch: shown on pictures, before it is done.

Detections are compared as sets: equal scores may come in any order. Where the model itself is undecided, no runtime
can agree with it: an untrained model scores thousands of places alike, and the last bit decides which of them become
queries. So the model is run a second time on pixels that differ in their last bits, or by the rounding of a lower
precision, and only detections that both of its runs make have to be there. Deep networks with random weights blow up
what every layer rounds; where detections are missing in float32, the model therefore answers four times more.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from torch import Tensor

from hf_detr.errors import ExportError
from hf_detr.models.decoding import EVALUATED_DETECTIONS, decode_detections, prepare_pixels

if TYPE_CHECKING:
    from hf_detr.inference.detector import Detector


@dataclass(frozen=True)
class Tolerance:
    """How far two runs of one model may be apart.

    Attributes:
        score: largest difference of a detection's confidence, as a share of the picture's best: there are models whose
            best is 0.03, and to these 0.02 is a world.
        box: largest difference of a corner's coordinate, as a share of the picture's longer side.
        missing: largest share of the detections that may be without partner.
        rounding: of the pixels, as a share of the largest; what it changes is not held against an export.
        doubt: rounding of the pixels, each up or down, in the further runs where something is missing; 0 for none.
        faint: detections below this share of the picture's best confidence are not compared: low precision moves them.
    """

    score: float
    box: float
    missing: float
    rounding: float
    faint: float
    doubt: float = 0.0


# By precision. In float32 runtimes differ by the order in which they add; 1e-3 is far below what a picture shows. The
# others were measured, see docs/export.md. float32 neighbours lie 6e-8 apart, those of 16 bits 5e-4 and 4e-3. Steps of
# 1e-6 change as much in a network of random weights (RT-DETRv2 with ResNet-50 or HGNetv2-L) as another runtime does.
TOLERANCES = {
    "float32": Tolerance(score=1e-3, box=1e-3, missing=0.0, rounding=2e-7, faint=0.0, doubt=1e-6),
    "float16": Tolerance(score=0.03, box=0.005, missing=0.01, rounding=5e-4, faint=0.3),
    "bfloat16": Tolerance(score=0.25, box=0.03, missing=0.05, rounding=4e-3, faint=0.3),
    "int8": Tolerance(score=0.25, box=0.03, missing=0.15, rounding=4e-3, faint=0.3),
}
DOUBTFUL_RUNS = 4


@dataclass(frozen=True)
class Agreement:
    """What a comparison over some pictures found.

    Attributes:
        pictures: how many were compared.
        decided: detections that the model makes however the pixels are rounded.
        undecided: detections that depend on that.
        missing: decided detections that the exported model does not make.
        extra: detections that only the exported model makes.
        score: largest difference of the confidence of partners.
        box: largest difference of their corners, as a share of the picture's longer side.
        made_up: whether the pictures were drawn for want of real ones, which tells less.
    """

    pictures: int
    decided: int
    undecided: int
    missing: int
    extra: int
    score: float
    box: float
    made_up: bool = False

    def describe(self) -> str:
        """One line for people."""
        pictures = f"{self.pictures} made-up pictures" if self.made_up else f"{self.pictures} pictures"
        if self.decided == 0:
            return f"the model is sure of nothing in {pictures}, so there was nothing to compare"
        return (
            f"{self.decided - self.missing} of {self.decided} detections in {pictures} agree; largest "
            f"difference {self.score:.1e} in confidence, {self.box:.1e} of the picture's side in position"
        )


def compare(
    reference: "Detector", exported: "Detector", pictures: Iterable[np.ndarray], tolerance: Tolerance
) -> Agreement:
    """Run two detectors on pictures and match what they find.

    Args:
        reference: in PyTorch, in float32.
        exported: the same model on another runtime.
        pictures: ``uint8 (H, W, 3)`` RGB, of any sizes.
        tolerance: how near partners must be.

    Raises:
        ExportError: there are no pictures.
    """
    parts = [_compare_picture(reference, exported, picture, tolerance) for picture in pictures]
    if not parts:
        raise ExportError("There are no pictures to verify the exported model on; name some with --images.")
    total = np.array([part[:4] for part in parts]).sum(0).tolist()
    return Agreement(len(parts), *total, *(max(part[i] for part in parts) for i in (4, 5)))


def made_up_pictures(count: int, size_hw: tuple[int, int]) -> list[np.ndarray]:
    """Pictures to compare on where there are none: coloured shapes on soft textures, the same at every call.

    Returns:
        ``count`` arrays, ``uint8 (H, W, 3)``.
    """
    rng = np.random.default_rng(0)
    height, width = size_hw
    pictures = []
    for _ in range(count):
        picture = np.zeros((height, width, 3), np.float32)
        for cells in (3, 12, 48):
            texture = rng.uniform(0, 85, (cells, cells, 3)).astype(np.float32)
            picture += cv2.resize(texture, (width, height), interpolation=cv2.INTER_CUBIC)
        picture = np.ascontiguousarray(picture.clip(0, 255).astype(np.uint8))
        for draw in (cv2.rectangle, _ellipse) * 4:
            corner, extent = rng.uniform(0, 0.8, 2), rng.uniform(0.05, 0.4, 2)
            start, end = (np.array([corner, corner + extent]) * (width, height)).astype(int).tolist()
            draw(picture, start, end, rng.integers(0, 256, 3).tolist(), -1)
        pictures.append(picture)
    return pictures


def _ellipse(picture: np.ndarray, start: list[int], end: list[int], color: list[int], thickness: int) -> None:
    center = [(a + b) // 2 for a, b in zip(start, end, strict=True)]
    axes = [(b - a) // 2 for a, b in zip(start, end, strict=True)]
    cv2.ellipse(picture, center, axes, 0, 0, 360, color, thickness)


def require_agreement(agreement: Agreement, tolerance: Tolerance) -> None:
    """Refuse an exported model that computes something else.

    Raises:
        ExportError: more detections without partner than allowed.
    """
    found = agreement.decided + agreement.undecided
    allowed = tolerance.missing * found
    if agreement.missing > allowed or agreement.extra > agreement.undecided + allowed:
        raise ExportError(
            f"The exported model does not compute what the model computes in PyTorch: of {agreement.decided} "
            f"detections in {agreement.pictures} pictures it lacks {agreement.missing} and has {agreement.extra} "
            f"others (within {tolerance.score} of the best confidence and {tolerance.box} of the picture's side). "
            "Nothing was written."
        )


def _compare_picture(
    reference: "Detector", exported: "Detector", picture: np.ndarray, tolerance: Tolerance
) -> tuple[int, int, int, int, float, float]:
    """Decided, undecided, missing, extra; largest difference in score, and in boxes."""
    prepared, sizes_hw = reference.prepare(picture)[None], torch.tensor([picture.shape[:2]])
    pixels = prepare_pixels(prepared.to(reference.backend.device), reference.processor)
    scale = pixels.abs().amax()
    first = _detections(reference, pixels, sizes_hw)
    others_of_model = [_detections(reference, pixels + scale * tolerance.rounding, sizes_hw)]
    other = exported.detect(exported.prepare(picture)[None], sizes_hw, at_least=EVALUATED_DETECTIONS)[0].cpu().numpy()
    side = max(picture.shape[:2])
    found = _compare_detections(first, others_of_model, other, tolerance, side)
    _, undecided, missing, extra, *_ = found
    if tolerance.doubt and (missing > 0 or extra > undecided):
        generator = torch.Generator().manual_seed(0)
        for _ in range(DOUBTFUL_RUNS):
            up_or_down = torch.randint(0, 2, pixels.shape, generator=generator).to(pixels) * 2 - 1
            others_of_model.append(_detections(reference, pixels + scale * tolerance.doubt * up_or_down, sizes_hw))
        found = _compare_detections(first, others_of_model, other, tolerance, side)
    return found


def _compare_detections(
    first: np.ndarray, others_of_model: list[np.ndarray], other: np.ndarray, tolerance: Tolerance, side: int
) -> tuple[int, int, int, int, float, float]:
    """As `_compare_picture`, from the model's own runs and the exported model's."""
    best = first[0, 0]
    near = replace(tolerance, score=tolerance.score * best)
    faint = tolerance.faint * best
    clear = first[:, 0] >= faint
    decided = clear & np.all([_partners(first, run, near, side) >= 0 for run in others_of_model], axis=0)
    partner = _partners(first, other, near, side)
    # The list ends somewhere, and what has the last place in one may be just beyond it in the other.
    last = max(run[-1, 0] for run in (first, *others_of_model, other))
    missing = decided & (partner < 0) & (first[:, 0] > last + near.score)
    known = np.isin(np.arange(len(other)), partner)
    known |= np.any([_partners(other, run, near, side) >= 0 for run in others_of_model], axis=0)
    extra = ~known & (other[:, 0] > max(last, faint) + near.score)
    pairs = first[decided & (partner >= 0)], other[partner[decided & (partner >= 0)]]
    return (
        int(decided.sum()),
        int((clear & ~decided).sum()),
        int(missing.sum()),
        int(extra.sum()),
        float(np.abs(pairs[0][:, 0] - pairs[1][:, 0]).max(initial=0)),
        float(np.abs(pairs[0][:, 2:] - pairs[1][:, 2:]).max(initial=0) / side),
    )


def _detections(detector: "Detector", pixel_values: Tensor, sizes_hw: Tensor) -> np.ndarray:
    logits, pred_boxes = detector.backend(pixel_values, sizes_hw)
    return decode_detections(logits, pred_boxes, sizes_hw, max(EVALUATED_DETECTIONS, logits.shape[1]))[0].cpu().numpy()


def _partners(rows: np.ndarray, others: np.ndarray, tolerance: Tolerance, side: int) -> np.ndarray:
    """For each of ``rows (n, 6)`` the nearest of ``others (m, 6)`` of its class and within the tolerance, or -1.

    Each of the others is taken once, by the best row first.
    """
    score = np.abs(rows[:, None, 0] - others[None, :, 0])
    box = np.abs(rows[:, None, 2:] - others[None, :, 2:]).max(-1) / side
    near = (rows[:, None, 1] == others[None, :, 1]) & (score <= tolerance.score) & (box <= tolerance.box)
    distance = np.where(near, score / tolerance.score + box / tolerance.box, np.inf)
    partners = np.full(len(rows), -1)
    for row in range(len(rows)):
        nearest = int(distance[row].argmin())
        if np.isfinite(distance[row, nearest]):
            partners[row] = nearest
            distance[:, nearest] = np.inf
    return partners
