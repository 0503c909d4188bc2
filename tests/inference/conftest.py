from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hf_detr.models.families import build_processor
from tests.tiny import IMAGE_SIZE_HW, tiny_model


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory) -> Path:
    """A tiny D-FINE as `hf-detr train` saves it, with logits far enough apart that no two scores are equal."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    model = tiny_model()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "class_embed" in name or "bbox_embed" in name:
                parameter.normal_(std=0.5)
    model.eval().save_pretrained(folder)
    build_processor(model.config, IMAGE_SIZE_HW).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> list[Path]:
    """Five photographs of different sizes and kinds, one of them turned by its EXIF tag."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    paths = []
    for number, (height, width) in enumerate([(48, 64), (100, 37), (64, 64), (200, 320), (33, 35)]):
        small = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
        picture = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
        exif = Image.Exif()
        if number == 1:
            exif[0x0112] = 6
        if number == 2:
            picture = picture.convert("L")
        path = folder / f"{number}.{'png' if number == 4 else 'jpg'}"
        picture.save(path, exif=exif)
        paths.append(path)
    return paths
