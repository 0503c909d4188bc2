"""What counts as a difference between a model and its export where the model itself is undecided."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from hf_detr.errors import ExportError
from hf_detr.export.verify import TOLERANCES, Agreement, compare, require_agreement
from hf_detr.models.decoding import decode_detections
from hf_detr.models.families import build_processor
from tests.tiny import tiny_config

BOXES_CXCYWH = torch.tensor([[[0.3, 0.3, 0.2, 0.2], [0.7, 0.7, 0.2, 0.2], [0.5, 0.5, 0.4, 0.4]]])
PICTURE = np.full((64, 64, 3), 200, np.uint8)


class Undecided:
    """Stands for a detector: the last bits of two pixels decide in which of two places it finds its second object."""

    device = torch.device("cpu")
    processor = build_processor(tiny_config(), PICTURE.shape[:2])

    def __init__(self, *, first_place: bool, confidence: float = 0.9):
        self.first_place, self.confidence = first_place, confidence
        self.backend = self

    def prepare(self, picture: np.ndarray) -> Tensor:
        return torch.from_numpy(picture).permute(2, 0, 1)

    def __call__(self, pixel_values: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
        a, b = pixel_values[0, 0, 0, :2]
        here = self.first_place if a == b else bool(a > b)
        scores = torch.tensor([[[self.confidence], [0.8 if here else 0.1], [0.1 if here else 0.8]]])
        return scores.logit(), BOXES_CXCYWH

    def detect(self, prepared: Tensor, sizes_hw: Tensor, at_least: int) -> list[Tensor]:
        return decode_detections(*self(prepared / 255, sizes_hw), sizes_hw, at_least)


def test_a_model_that_rounding_changes_is_asked_again() -> None:
    model, export = Undecided(first_place=True), Undecided(first_place=False)
    agreement = compare(model, export, [PICTURE], TOLERANCES["float32"])
    assert (agreement.decided, agreement.undecided, agreement.missing, agreement.extra) == (1, 2, 0, 0)
    require_agreement(agreement, TOLERANCES["float32"])


def test_without_doubt_that_is_an_error() -> None:
    strict = replace(TOLERANCES["float32"], doubt=0.0)  # all pixels go up together: the model does the same again
    agreement = compare(Undecided(first_place=True), Undecided(first_place=False), [PICTURE], strict)
    assert (agreement.decided, agreement.missing) == (3, 1)  # not the last of the list
    with pytest.raises(ExportError, match="it lacks 1 and has 1 others"):
        require_agreement(agreement, strict)


def test_what_the_model_is_sure_of_has_to_be_there_all_the_same() -> None:
    model, export = Undecided(first_place=True), Undecided(first_place=False, confidence=0.89)
    agreement = compare(model, export, [PICTURE], TOLERANCES["float32"])
    assert (agreement.decided, agreement.missing) == (1, 1)
    with pytest.raises(ExportError, match="it lacks 1 and has 1 others"):
        require_agreement(agreement, TOLERANCES["float32"])


def test_a_model_that_is_sure_of_nothing_agrees_with_nothing() -> None:
    nothing = Agreement(pictures=4, decided=0, undecided=1200, missing=0, extra=0, score=0.0, box=0.0)
    assert nothing.describe() == "the model is sure of nothing in 4 pictures, so there was nothing to compare"
