"""Random brightness, contrast, saturation, hue and channel order of a ``uint8 (H, W, 3)`` picture."""

import cv2
import numpy as np

GREY_WEIGHTS = (0.2989, 0.587, 0.114)  # torchvision's; cv2 and Pillow use 0.299


def distort_colours(
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    brightness: float = 0.125,
    contrast: float = 0.5,
    saturation: float = 0.5,
    hue: float = 0.05,
    prob: float = 0.5,
) -> np.ndarray:
    """Photometric distortion of SSD (https://huggingface.co/papers/1512.02325).

    Each of five changes happens with chance ``prob``, in the order brightness, contrast, saturation, hue, channels;
    half of the time the contrast comes after the hue. Factors are uniform in 1 ± the given range (the hue shifts by
    a fraction of the circle). Distribution and defaults are those of torchvision's ``v2.RandomPhotometricDistort``.
    """
    applied = rng.random(5) < prob
    factors = rng.uniform(-1, 1, 4) * (brightness, contrast, saturation, hue) + (1, 1, 1, 0)
    contrast_first = rng.random() < 0.5
    order = rng.permutation(3)

    if applied[0]:
        image = adjust_brightness(image, factors[0])
    if applied[1] and contrast_first:
        image = adjust_contrast(image, factors[1])
    if applied[2]:
        image = adjust_saturation(image, factors[2])
    if applied[3]:
        image = shift_hue(image, factors[3])
    if applied[1] and not contrast_first:
        image = adjust_contrast(image, factors[1])
    if applied[4]:
        image = cv2.transform(image, np.eye(3)[order])  # fifteen times as fast as indexing
    return image


def adjust_brightness(image: np.ndarray, factor: float) -> np.ndarray:
    """Multiply by ``factor``."""
    return cv2.LUT(image, _lookup_table(np.arange(256) * factor))


def adjust_contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """Blend with the mean grey of the picture: 0 is uniform grey, 1 the picture itself."""
    mean_grey = np.dot(cv2.mean(image)[:3], GREY_WEIGHTS)
    return cv2.LUT(image, _lookup_table(np.arange(256) * factor + mean_grey * (1 - factor)))


def adjust_saturation(image: np.ndarray, factor: float) -> np.ndarray:
    """Blend with the grey picture: 0 is grey, 1 the picture itself."""
    blend = np.eye(3) * factor + np.tile(GREY_WEIGHTS, (3, 1)) * (1 - factor)
    return cv2.transform(image, blend)


def shift_hue(image: np.ndarray, shift: float) -> np.ndarray:
    """Turn the colour circle by ``shift`` of a full turn; in steps of 1/256, 8 bits being all a hue gets."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(round(shift * 256) % 256)  # wraps around, as the circle does
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)


def _lookup_table(values: np.ndarray) -> np.ndarray:
    return values.clip(0, 255).astype(np.uint8)
