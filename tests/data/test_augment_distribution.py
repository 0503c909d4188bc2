"""The whole augmentation against torchvision's composition: same scales, shapes, places and numbers of boxes.

What is compared is what the model is shown: boxes as fractions of the input, after the resize. Draws are seeded. That
the comparison sees a difference is shown as well: a single wrong parameter makes it fail.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp

from benchmarks.torchvision_pipeline import TorchvisionPipeline, TorchvisionTransform
from hf_detr.boxes import normalise_boxes
from hf_detr.data.augment import build_augmentation

SIDE = 320
DRAWS = 1200
ALIKE = 1e-3  # least p-value of any of the columns below; by chance one of 9 columns falls below it in 1 % of seeds
SIZES_HW = [(240, 320), (320, 200), (250, 250), (180, 360)]
BOXES_XYXY = [
    [(15, 20, 100, 200), (125, 10, 300, 60), (150, 100, 205, 230)],
    [(50, 50, 150, 250)],
    [],
    [(0, 0, 100, 100), (200, 25, 350, 170)],
]


def sample_of(picture: int) -> dict:
    """Without content: only where boxes come to is looked at."""
    boxes_xyxy = np.array(BOXES_XYXY[picture], dtype=np.float32).reshape(-1, 4)
    return {
        "image": np.zeros((*SIZES_HW[picture], 3), dtype=np.uint8),
        "boxes_xyxy": boxes_xyxy,
        "class_ids": 10 * picture + np.arange(len(boxes_xyxy)),
        "unreadable": (),
        "load_other": lambda rng: sample_of(int(rng.integers(4))),
    }


def facts(sample: dict) -> list[float]:
    """Number of boxes; their share of the input; of one of them place, sides and aspect ratio, -1 without."""
    boxes = normalise_boxes(sample["boxes_xyxy"].astype(np.float64), sample["image"].shape[:2])
    sides = boxes[:, 2:] - boxes[:, :2]
    kept = (sides * SIDE >= 1).all(-1)  # as the collator does, and the papers' last sanitising
    boxes, sides = boxes[kept], sides[kept]
    classes = sample["class_ids"][kept]
    if not len(boxes):
        return [0.0, 0.0, *[-1.0] * 7]
    k = len(boxes) // 2
    aspect = sides[k, 0] / sides[k, 1]
    return [len(boxes), sides.prod(-1).sum(), *boxes[k, :2], *sides[k], aspect, classes[k], classes[0]]


# Many draws have in common what a picture gives that is neither zoomed out nor cropped. The last digits of that, and
# the whole pixels of the input on which ours puts a zoomed-out picture, make no difference to a model, but all of it
# to a test of order: they are blurred by so much in either direction.
BLUR = np.array([0, 0.01, 0.01, 0.01, 0.01, 0.01, 0.05, 0, 0])


def draw(transform: Callable, seed: int) -> np.ndarray:
    """``(DRAWS, 9)`` facts; pictures take turns."""
    generators = [np.random.default_rng([seed, number]) for number in range(DRAWS)]
    drawn = np.array([facts(transform(sample_of(k % 2 * 3), rng, 0)) for k, rng in enumerate(generators)])
    return drawn + BLUR * np.random.default_rng(seed).uniform(-1, 1, drawn.shape)


def p_values(ours: np.ndarray, theirs: np.ndarray) -> list[float]:
    return [ks_2samp(one, other).pvalue for one, other in zip(ours.T, theirs.T, strict=True)]


def our_transform(mosaic_prob: float, **changes):
    chances = {"mosaic_prob": mosaic_prob, "photometric_prob": 0.0} | changes
    return build_augmentation(mosaic_side=SIDE // 2, largest_hw=(SIDE, SIDE), **chances)


@pytest.fixture(scope="module")
def theirs() -> dict[float, np.ndarray]:
    """Facts of the papers' composition, by the chance of a mosaic."""
    torch.set_num_threads(1)
    return {
        prob: draw(TorchvisionTransform(TorchvisionPipeline(SIDE, mosaic_prob=prob, photometric_prob=0.0)), seed=1)
        for prob in (0.0, 1.0)
    }


@pytest.mark.slow
@pytest.mark.parametrize("mosaic_prob", [0.0, 1.0])
def test_the_distribution_is_the_papers(theirs, mosaic_prob):
    found = p_values(draw(our_transform(mosaic_prob), seed=2), theirs[mosaic_prob])
    assert min(found) > ALIKE, [round(value, 4) for value in found]


# One parameter each, off by as much as a slip would make it.
WRONG = {
    "zoom-out too rare": (0.0, {"zoom_out_prob": 0.4}),
    "IoU crop always": (0.0, {"iou_crop_prob": 1.0}),
    "flip never": (0.0, {"flip_prob": 0.0}),
    "mosaic scaled from 0.6 on": (1.0, {}),
}


@pytest.mark.slow
@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_parameter_is_noticed(theirs, wrong):
    mosaic_prob, changes = WRONG[wrong]
    transform = our_transform(mosaic_prob, **changes)
    if wrong == "mosaic scaled from 0.6 on":
        mosaic, *rest = transform.dense
        transform = replace(transform, dense=(replace(mosaic, scale=(0.6, 1.5)), *rest))
    found = p_values(draw(transform, seed=2), theirs[mosaic_prob])
    assert min(found) < ALIKE, [round(value, 4) for value in found]
