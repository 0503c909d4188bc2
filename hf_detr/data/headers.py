"""Sizes of many pictures, read from their headers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hf_detr.data.images import UnreadableImageError, orient_size_hw, read_header
from hf_detr.data.parallel import for_each_file


def upright_size_hw(picture: Path) -> tuple[int, int]:
    """Height and width as the picture is shown; 0, 0 where it cannot be read, which the checks of files report."""
    try:
        return orient_size_hw(*read_header(picture))
    except UnreadableImageError:
        return 0, 0


def upright_sizes_hw(pictures: Sequence[Path]) -> np.ndarray:
    """``(N, 2)`` int32 height and width of each picture, see `upright_size_hw`."""
    sizes = for_each_file(upright_size_hw, pictures, title="reading sizes of pictures")
    return np.array(sizes, np.int32).reshape(-1, 2)
