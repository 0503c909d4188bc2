from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.tiny import save_tiny_detector


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory) -> Path:
    return save_tiny_detector(tmp_path_factory.mktemp("model"))


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
