"""Digits in the wild: a small detection data set made of real handwriting, for demonstrations and tests.

The 1797 handwritten digits that come with scikit-learn (8 x 8 pixels, from the UCI "Optical Recognition of Handwritten
Digits", CC BY 4.0) are written several at a time on textured grounds, at random places, sizes, slants and contrasts.
The result is an ordinary COCO folder: ``train/_annotations.coco.json`` beside its pictures, likewise valid and test.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from hf_detr.data.aside import written_aside
from hf_detr.errors import DatasetError

# The samples come in runs of about 130, each by one hand. No run is in two splits: 9 hands write for train, 2 for
# valid, 3 for test, which therefore asks for handwriting that training has never seen.
WRITTEN_FOR = {"train": range(1157), "valid": range(1157, 1415), "test": range(1415, 1797)}

OPTIONS_FILE = "digits.json"
ANNOTATIONS_FILE = "_annotations.coco.json"
LUMINANCE = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class DigitsOptions:
    """What determines the data set, byte by byte."""

    train: int = field(default=3200, metadata={"help": "Training pictures."})
    valid: int = field(default=200, metadata={"help": "Validation pictures."})
    test: int = field(default=400, metadata={"help": "Test pictures."})
    min_side: int = field(default=160, metadata={"help": "Least height and width of a picture in pixels."})
    max_side: int = field(default=224, metadata={"help": "Greatest height and width."})
    max_digits: int = field(default=6, metadata={"help": "A picture has 1 to this many digits, where they find room."})
    empty_share: float = field(default=0.03, metadata={"help": "Share of the pictures that have no digits at all."})
    seed: int = field(default=0, metadata={"help": "Other seeds make other pictures."})


def make_digits(folder: str | Path, options: DigitsOptions | None = None) -> bool:
    """Write the data set to ``folder``. Returns False if it is there already, made with the same options.

    The folder appears when it is complete: interrupted, nothing is left that looks like a data set.

    Raises:
        DatasetError: the folder holds something else, or scikit-learn is not installed.
    """
    folder, options = Path(folder), options or DigitsOptions()
    if _is_made(folder, options):
        return False
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DatasetError(
            f"{folder} holds something other than this digits data set (another one, or one with files missing). "
            "Name another folder, or delete this one first."
        )
    glyphs, classes = load_handwriting()
    with written_aside(folder) as unfinished:
        for split in WRITTEN_FOR:
            _write_split(unfinished, split, glyphs, classes, options)
        (unfinished / OPTIONS_FILE).write_text(_options_text(options))
    return True


def _is_made(folder: Path, options: DigitsOptions) -> bool:
    """Whether the folder holds this very data set, all pictures there."""
    marker = folder / OPTIONS_FILE
    if not marker.is_file() or marker.read_text() != _options_text(options):
        return False
    names = {split: {path.name for path in (folder / split).glob("*")} for split in WRITTEN_FOR}
    return all(names[split] == {*_file_names(split, options), ANNOTATIONS_FILE} for split in WRITTEN_FOR)


def _options_text(options: DigitsOptions) -> str:
    return json.dumps(asdict(options), indent=1) + "\n"


def _file_names(split: str, options: DigitsOptions) -> list[str]:
    return [f"{number:05d}.jpg" for number in range(getattr(options, split))]


def load_handwriting() -> tuple[np.ndarray, np.ndarray]:
    """Ink ``(1797, 8, 8)`` float32 from 0 to 1, and the digits written ``(1797,)``."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DatasetError("The digits come with the `scikit-learn` package: pip install hf_detr[demo]") from error
    digits = load_digits()
    return (digits.images / 16).astype(np.float32), digits.target


def _write_split(folder: Path, split: str, glyphs: np.ndarray, classes: np.ndarray, options: DigitsOptions) -> None:
    (folder / split).mkdir(parents=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    writing = np.array(WRITTEN_FOR[split])
    for number, file_name in enumerate(tqdm(_file_names(split, options), desc=f"digits, {split}", disable=None)):
        rng = np.random.default_rng([options.seed, list(WRITTEN_FOR).index(split), number])
        picture, boxes_xywh, samples = draw_picture(glyphs, writing, rng, options)
        Image.fromarray(picture).save(folder / split / file_name, quality=int(rng.integers(85, 96)))
        height, width = picture.shape[:2]
        images.append({"id": number + 1, "file_name": file_name, "height": height, "width": width})
        for box_xywh, sample in zip(boxes_xywh, samples, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number + 1,
                    "category_id": int(classes[sample]) + 1,
                    "bbox": box_xywh,
                    "area": box_xywh[2] * box_xywh[3],
                    "iscrowd": 0,
                }
            )
    content = {
        "info": {
            "description": f"Digits in the wild, {split}: handwriting of the UCI optical digits on drawn grounds",
            "license": "handwriting CC BY 4.0, Alpaydin and Kaynak, Optical Recognition of Handwritten Digits",
        },
        "images": images,
        "annotations": annotations,
        "categories": [{"id": digit + 1, "name": str(digit), "supercategory": "digit"} for digit in range(10)],
    }
    (folder / split / ANNOTATIONS_FILE).write_text(json.dumps(content))


def draw_picture(
    glyphs: np.ndarray, writing: np.ndarray, rng: np.random.Generator, options: DigitsOptions
) -> tuple[np.ndarray, list[list[int]], list[int]]:
    """One picture ``uint8 (H, W, 3)``, tight boxes xywh in pixels of its digits, and which samples they are.

    Args:
        glyphs: all handwriting, ``(n, 8, 8)`` ink from 0 to 1.
        writing: numbers of the samples to choose from.
        rng: all that happens comes from here.
        options: sizes and counts.
    """
    size_hw = tuple(rng.integers(options.min_side, options.max_side + 1, 2).tolist())
    canvas = draw_ground(size_hw, rng)
    count = 0 if rng.random() < options.empty_share else int(rng.integers(1, options.max_digits + 1))
    boxes_xyxy: list[list[int]] = []
    samples: list[int] = []
    for sample in rng.choice(writing, count, replace=False).tolist():
        height = min(size_hw) * 0.13 * (0.42 / 0.13) ** rng.random()
        ink = draw_ink(glyphs[sample], height, rng)
        place = _free_place(ink.shape, size_hw, boxes_xyxy, rng)
        if place is None:
            continue
        x, y = place
        region = canvas[y : y + ink.shape[0], x : x + ink.shape[1]]
        region += ink[..., None] * (_ink_colour(region, rng) - region)
        boxes_xyxy.append(_tight_box_xyxy(ink, x, y))
        samples.append(sample)
    canvas += rng.normal(0, rng.uniform(0, 5), canvas.shape).astype(np.float32)
    picture = canvas.clip(0, 255).astype(np.uint8)
    return picture, [[x0, y0, x1 - x0, y1 - y0] for x0, y0, x1, y1 in boxes_xyxy], samples


def draw_ink(glyph: np.ndarray, height: float, rng: np.random.Generator) -> np.ndarray:
    """A handwritten sample ``(8, 8)`` about ``height`` pixels high, slanted and turned: opacity ``(h, w)`` 0 to 1."""
    angle, slant = np.deg2rad(rng.uniform(-14, 14)), rng.uniform(-0.2, 0.2)
    scale = height / 8
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ np.array([[1, slant], [0, 1]]) @ np.diag([rng.uniform(0.85, 1.25), 1]) * scale
    side = int(height * 1.9)
    offset = side / 2 - linear @ np.array([3.5, 3.5])
    smooth = cv2.warpAffine(glyph, np.column_stack([linear, offset]), (side, side), flags=cv2.INTER_CUBIC)
    smooth = cv2.GaussianBlur(smooth, (0, 0), 0.25 * scale)
    edge = rng.uniform(0.42, 0.54)  # the lower, the bolder the stroke
    opacity = ((smooth - edge) / 0.22 + 0.5).clip(0, 1)
    x0, y0, x1, y1 = _tight_box_xyxy(opacity, 0, 0, least=0.02)
    return opacity[y0:y1, x0:x1]


def _tight_box_xyxy(opacity: np.ndarray, x: int, y: int, least: float = 0.5) -> list[int]:
    """The pixels at least so opaque, as a box in whole pixels, for ink whose corner lies at ``x``, ``y``."""
    columns = np.flatnonzero((opacity >= least).any(0))
    rows = np.flatnonzero((opacity >= least).any(1))
    return [x + int(columns[0]), y + int(rows[0]), x + int(columns[-1]) + 1, y + int(rows[-1]) + 1]


def _free_place(
    ink_hw: tuple[int, int], size_hw: tuple[int, int], taken_xyxy: list[list[int]], rng: np.random.Generator
) -> tuple[int, int] | None:
    """Left and top for ink of this size, clear of other digits by 2 pixels; None after 30 attempts."""
    (ink_height, ink_width), (height, width) = ink_hw, size_hw
    for _ in range(30):
        x = int(rng.integers(0, width - ink_width + 1))
        y = int(rng.integers(0, height - ink_height + 1))
        if all(
            x + ink_width + 2 <= x0 or x1 + 2 <= x or y + ink_height + 2 <= y0 or y1 + 2 <= y
            for x0, y0, x1, y1 in taken_xyxy
        ):
            return x, y
    return None


def _ink_colour(ground: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A colour ``(3,)`` well darker or lighter than the ground beneath the ink ``(h, w, 3)``."""
    beneath = float(ground.mean((0, 1)) @ LUMINANCE)
    contrast = rng.uniform(80, 170)
    lighter = rng.random() < 0.5 if 90 < beneath < 165 else beneath <= 90
    luminance = np.clip(beneath + (contrast if lighter else -contrast), 8, 250)
    return _colour_of(luminance, rng.uniform(0, 60), rng)


def _colour_of(luminance: float, colourfulness: float, rng: np.random.Generator) -> np.ndarray:
    """A random colour ``(3,)`` float32 0 to 255 of about this luminance."""
    tint = rng.normal(0, 1, 3)
    tint -= tint @ LUMINANCE
    colour = luminance + tint * colourfulness / max(np.abs(tint).max(), 1e-6)
    return colour.clip(0, 255).astype(np.float32)


def draw_ground(size_hw: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A textured ground ``(H, W, 3)`` float32 0 to 255: two colours mixed by a random pattern, unevenly lit."""
    luminance = rng.uniform(25, 230)
    pattern = (_clouds, _stripes, _ruled, _tiles, _gradient)[rng.integers(5)](size_hw, rng)
    other = luminance + rng.choice([-1, 1]) * rng.uniform(10, 45)
    first, second = _colour_of(luminance, rng.uniform(0, 45), rng), _colour_of(other, rng.uniform(0, 45), rng)
    ground = first + pattern[..., None] * (second - first)
    ground += (_noise(size_hw, 2, rng)[..., None] - 0.5) * rng.uniform(0, 14)  # roughness
    return ground * (1 + (_gradient(size_hw, rng)[..., None] - 0.5) * rng.uniform(0, 0.35))  # light from one side


def _noise(size_hw: tuple[int, int], grain: float, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise ``(H, W)`` 0 to 1 with spots of about ``grain`` pixels."""
    height, width = size_hw
    coarse = rng.random((max(int(height / grain), 2), max(int(width / grain), 2)), dtype=np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 1)


def _coordinates(size_hw: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Pixels along a random direction ``(H, W)``."""
    height, width = size_hw
    angle = rng.uniform(0, np.pi)
    rows, columns = np.arange(height, dtype=np.float32), np.arange(width, dtype=np.float32)
    return rows[:, None] * np.float32(np.sin(angle)) + columns[None] * np.float32(np.cos(angle))


def _clouds(size_hw: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    grain = rng.uniform(12, 60)
    return (
        _noise(size_hw, grain, rng) * 4 + _noise(size_hw, grain / 3, rng) * 2 + _noise(size_hw, grain / 9, rng)
    ) / 7


def _stripes(size_hw: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    period = rng.uniform(8, 40)
    return 0.5 + 0.5 * np.sin(_coordinates(size_hw, rng) * np.float32(2 * np.pi / period))


def _ruled(size_hw: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Lined or squared paper."""
    spacing = rng.integers(12, 30)
    pattern = np.zeros(size_hw, dtype=np.float32)
    pattern[rng.integers(spacing) :: spacing] = 1
    if rng.random() < 0.5:
        pattern[:, rng.integers(spacing) :: spacing] = 1
    return pattern


def _tiles(size_hw: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Tiles of different shades."""
    height, width = size_hw
    side = int(rng.integers(14, 50))
    shades = rng.random((height // side + 2, width // side + 2), dtype=np.float32)
    top, left = rng.integers(side, size=2)
    return np.kron(shades, np.ones((side, side), dtype=np.float32))[top : top + height, left : left + width]


def _gradient(size_hw: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    along = _coordinates(size_hw, rng)
    return (along - along.min()) / (along.max() - along.min())
