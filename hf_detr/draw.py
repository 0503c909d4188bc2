"""Boxes drawn on pictures, and pictures put together in a grid."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# Paul Tol's "bright" scheme and parts of "vibrant" (https://sronpersonalpages.nl/~pault/): told apart with any kind of
# colour vision. Class k always has colour k; after the last one they start again, and the labels tell classes apart.
PALETTE = (
    (68, 119, 170),
    (238, 102, 119),
    (34, 136, 51),
    (204, 187, 68),
    (170, 51, 119),
    (102, 204, 238),
    (238, 119, 51),
    (0, 153, 136),
    (51, 34, 136),
    (187, 187, 187),
)
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)
_PAPER, _INK = (255, 255, 255), (40, 40, 40)


def class_colour(class_id: int) -> tuple[int, int, int]:
    """Red, green and blue of a class, 0 to 255."""
    return PALETTE[class_id % len(PALETTE)]


def draw_boxes(
    image: np.ndarray,
    boxes_xyxy: np.ndarray,
    labels: Sequence[str],
    class_ids: Sequence[int],
    *,
    longer_side: int | None = None,
) -> np.ndarray:
    """The picture with its boxes, each in the colour of its class and with its label in the upper left corner.

    Lines and letters grow with the picture. Large boxes are drawn first, so that small ones stay visible.

    Args:
        image: ``uint8 (H, W, 3)`` RGB; not changed.
        boxes_xyxy: ``(n, 4)`` pixels; parts outside of the picture are not seen.
        labels: n texts; an empty one draws no label.
        class_ids: n classes, for the colours.
        longer_side: resize the picture to about so many pixels before drawing, so that lines and letters are crisp in
            a grid of such cells; None leaves the size alone.

    Returns:
        ``uint8 (H, W, 3)``.
    """
    canvas = Image.fromarray(image) if longer_side is None else _fitted(image, longer_side)
    draw = ImageDraw.Draw(canvas)
    thickness = max(2, round(max(canvas.size) / 300))
    font = ImageFont.load_default(max(10, round(max(canvas.size) / 44)))
    scale = np.tile(np.array(canvas.size) / image.shape[1::-1], 2)
    boxes_xyxy = np.asarray(boxes_xyxy, np.float64).reshape(-1, 4) * scale
    largest_first = np.argsort(-(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(1), kind="stable")
    for k in largest_first:
        _outline(draw, boxes_xyxy[k], class_colour(int(class_ids[k])), thickness)
    for k in largest_first:
        if labels[k]:
            _label(draw, boxes_xyxy[k], labels[k], class_colour(int(class_ids[k])), font, thickness)
    return np.asarray(canvas)


def _outline(draw: ImageDraw.ImageDraw, box_xyxy: np.ndarray, colour: tuple[int, int, int], thickness: int) -> None:
    """A frame of `thickness` pixels inside of the box, and a darker hairline around it for pictures of its colour."""
    x0, y0, x1, y1 = _whole_pixels(draw, box_xyxy)
    halo = tuple(part // 2 for part in colour)
    draw.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=halo)
    draw.rectangle((x0, y0, x1, y1), outline=colour, width=thickness)


def _whole_pixels(draw: ImageDraw.ImageDraw, box_xyxy: np.ndarray) -> tuple[int, int, int, int]:
    """First and last pixel of the box in each direction, at most one pixel outside of the picture."""
    width, height = draw.im.size
    limits = np.array([width, height, width, height], np.float64)
    x0, y0, x1, y1 = np.round(np.clip(box_xyxy, -1, limits + 1)).astype(int).tolist()
    return x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)


def _label(
    draw: ImageDraw.ImageDraw,
    box_xyxy: np.ndarray,
    text: str,
    colour: tuple[int, int, int],
    font: ImageFont.FreeTypeFont,
    thickness: int,
) -> None:
    """The label on a patch of the box's colour: above the box, or inside where the picture ends; never cut off."""
    x0, y0, _, _ = _whole_pixels(draw, box_xyxy)
    pad = max(1, thickness)
    left, _, right, _ = font.getbbox(text)
    ascent, descent = font.getmetrics()
    patch_width, patch_height = right - left + 2 * pad, ascent + descent
    width, height = draw.im.size
    top = y0 - patch_height if y0 >= patch_height else y0
    top = max(0, min(top, height - patch_height))
    at = max(0, min(x0, width - patch_width))
    draw.rectangle((at, top, at + patch_width - 1, top + patch_height - 1), fill=colour)
    draw.text((at + pad - left, top), text, font=font, fill=_readable_on(colour))


def _readable_on(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """Black on light colours, white on dark ones, by their relative luminance (WCAG 2, with a gamma of 2.2)."""
    red, green, blue = ((part / 255) ** 2.2 for part in colour)
    return _BLACK if 0.2126 * red + 0.7152 * green + 0.0722 * blue >= 0.25 else _WHITE


def image_grid(
    images: Sequence[np.ndarray],
    *,
    columns: int = 4,
    titles: Sequence[str] | None = None,
    cell_side: int = 320,
) -> Image.Image:
    """Pictures of any sizes in rows, each fitted into a square cell and with its title above it.

    Args:
        images: ``uint8 (H, W, 3)`` RGB each, at least one.
        columns: pictures in a row.
        titles: one for each picture, cut where it is wider than the cell; None for none.
        cell_side: pixels of the longer side of every picture; rows are no higher than their pictures need.
    """
    font = ImageFont.load_default(max(11, cell_side // 24))
    fitted = [_fitted(image, cell_side) for image in images]
    gap = max(6, cell_side // 40)
    title_height = 0 if titles is None else sum(font.getmetrics()) + gap // 2
    columns = min(columns, len(fitted))
    cell_width = max(picture.width for picture in fitted)
    row_heights = [
        title_height + max(picture.height for picture in fitted[start : start + columns])
        for start in range(0, len(fitted), columns)
    ]
    size_wh = (gap + columns * (cell_width + gap), gap + sum(row_heights) + gap * len(row_heights))
    grid = Image.new("RGB", size_wh, _PAPER)
    draw = ImageDraw.Draw(grid)
    for k, picture in enumerate(fitted):
        row, column = divmod(k, columns)
        left, top = gap + column * (cell_width + gap), gap + sum(row_heights[:row]) + gap * row
        if titles is not None:
            draw.text((left, top), _cut(titles[k], font, cell_width), font=font, fill=_INK)
        grid.paste(picture, (left, top + title_height))
    return grid


def _fitted(image: np.ndarray, side: int) -> Image.Image:
    """The picture with `side` pixels on its longer side; tiny ones are enlarged by a whole factor, to stay crisp."""
    picture = Image.fromarray(image)
    longer = max(picture.size)
    if 2 * longer <= side:
        factor = side // longer
        return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    scale = side / longer
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.LANCZOS)


def _cut(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """The text, with an ellipsis in its middle where it is wider than `width` pixels: both ends tell files apart."""
    if font.getlength(text) <= width:
        return text
    for kept in range(len(text) - 1, 1, -1):
        shortened = f"{text[: kept // 2]}…{text[-(kept - kept // 2) :]}"
        if font.getlength(shortened) <= width:
            return shortened
    return "…"
