"""What a page keeps of a picture, and how it shows the part of it that a visitor asks for."""

import html
import io
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from hf_detr.draw import class_colour, draw_boxes
from hf_detr.inference.detections import Detections

SHOWN_SIDE = 1024  # pixels of the longer side of a picture on the page
TABLE_HEADERS = ("class", "confidence", "left", "top", "right", "bottom")


@dataclass(frozen=True, eq=False)
class Found:
    """Everything the model found in a picture: what the page shows of it is chosen afterwards.

    Attributes:
        name: file name of the picture.
        size_hw: its height and width in pixels.
        rows: ``(n, 6)``, best first: score, class id, left, top, right, bottom in pixels of the picture.
        shown: the picture at the size of the page, ``uint8 (h, w, 3)``.
    """

    name: str
    size_hw: tuple[int, int]
    rows: np.ndarray
    shown: np.ndarray

    @classmethod
    def of(cls, name: str, image: np.ndarray, rows: np.ndarray) -> "Found":
        """From a picture ``uint8 (H, W, 3)`` RGB, of which only a copy of the page's size is kept.

        Small ones are enlarged, so that lines and letters are thin beside what they mark.
        """
        height, width = image.shape[:2]
        scale = SHOWN_SIDE / max(height, width)
        size_wh = max(1, round(width * scale)), max(1, round(height * scale))
        shown = np.asarray(Image.fromarray(image).resize(size_wh, Image.Resampling.LANCZOS))
        return cls(name, (height, width), rows.astype(np.float32), shown)


def select(
    rows: np.ndarray,
    size_hw: tuple[int, int],
    id2label: Mapping[int, str],
    *,
    threshold: float | Mapping[int, float],
    classes: Collection[str] = (),
    max_detections: int | None = None,
) -> Detections:
    """The best detections above a threshold.

    Args:
        rows: ``(n, 6)``, best first: score, class id, left, top, right, bottom in pixels of the picture.
        size_hw: height and width of the picture.
        id2label: class id to class name.
        threshold: one confidence, or one for each class id.
        classes: names of those wanted; none means all.
        max_detections: the best so many of these.
    """
    class_ids = rows[:, 1].astype(int).tolist()
    least = np.array([threshold[k] for k in class_ids]) if isinstance(threshold, Mapping) else threshold
    wanted = np.array([not classes or id2label[k] in classes for k in class_ids], bool)
    best = rows[wanted & (rows[:, 0] > least)][:max_detections]
    return Detections.from_rows(best, id2label, size_hw)


def drawn_jpeg(found: Found, kept: Detections, labels: bool) -> bytes:
    """The picture as the page shows it, as a JPEG with boxes and, with `labels`, their class and confidence."""
    scale = np.tile(np.array(found.shown.shape[1::-1]) / found.size_hw[::-1], 2)
    texts = label_texts(kept) if labels else [""] * len(kept)
    drawn = draw_boxes(found.shown, kept.boxes_xyxy * scale, texts, kept.class_ids)
    content = io.BytesIO()
    # Full colour resolution: thin coloured lines smear without.
    Image.fromarray(drawn).save(content, "JPEG", quality=90, subsampling=0)
    return content.getvalue()


def coco_list(found: Found, kept: Detections) -> list[dict[str, Any]]:
    """COCO results as `hf-detr predict` writes them, for one picture."""
    return [
        result | {"file_name": found.name, "category_name": name}
        for result, name in zip(kept.to_coco(image_id=1), kept.labels, strict=True)
    ]


def table_rows(kept: Detections) -> list[list[Any]]:
    """A row for each object: class, confidence, and its box in pixels of the picture."""
    boxes = np.round(kept.boxes_xyxy.astype(float), 1).tolist()
    return [[name, f"{score:.3f}", *box] for name, score, box in zip(kept.labels, kept.scores, boxes, strict=True)]


def label_texts(kept: Detections) -> list[str]:
    """What is written on the boxes."""
    return [f"{name} {score:.2f}" for name, score in zip(kept.labels, kept.scores, strict=True)]


def summary_html(counts: Mapping[int, int], id2label: Mapping[int, str], where: str = "") -> str:
    """How many of each class, in the colours that their boxes have.

    Args:
        counts: number of each class id.
        id2label: class id to class name.
        where: they were counted, the end of "12 objects".
    """
    total = sum(counts.values())
    chips = "".join(
        f'<span class="chip"><i style="background:rgb{class_colour(class_id)}"></i>'
        f"{html.escape(id2label[class_id])} <b>× {count:,}</b></span>"
        for class_id, count in Counter(counts).most_common()
    )
    told = f"{total:,} object{'' if total == 1 else 's'}{where}"
    return f'<div class="summary"><span class="total">{told}</span>{chips}</div>'


def nothing_html(found: Found, id2label: Mapping[int, str]) -> str:
    """Why no box is to be seen, and the confidence of the best one there is."""
    if not len(found.rows):
        return '<div class="summary">The model found nothing in this picture.</div>'
    score, class_id = found.rows[0, :2]
    best = f"{html.escape(id2label[int(class_id)])} with a confidence of {score:.2f}"
    return f'<div class="summary">Nothing to show with these settings. The best that was found: {best}.</div>'
