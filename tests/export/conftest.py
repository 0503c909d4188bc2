"""Tiny detectors that answer differently to different pictures, and their exports: one export per test session."""

from pathlib import Path

import pytest
import torch

from hf_detr.models.families import build_processor
from tests.tiny import IMAGE_SIZE_HW, tiny_model


def save_decided_detector(folder: Path, name: str = "d_fine", image_size_hw: tuple[int, int] = IMAGE_SIZE_HW) -> Path:
    """A tiny model whose weights are large enough for its scores to lie apart; returns `folder`."""
    torch.manual_seed(0)
    model = tiny_model(name).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.2)
    model.save_pretrained(folder)
    build_processor(model.config, image_size_hw).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def decided_detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_decided_detector(tmp_path_factory.mktemp("decided") / "model")
