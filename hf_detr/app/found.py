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
        everything: the detections, however weak.
        shown: the picture at the size of the page, ``uint8 (h, w, 3)``.
    """

    name: str
    everything: Detections
    shown: np.ndarray

    @classmethod
    def of(cls, name: str, image: np.ndarray, everything: Detections) -> "Found":
        """From a picture ``uint8 (H, W, 3)`` RGB, of which only a copy of the page's size is kept.

        Small ones are enlarged, so that lines and letters are thin beside what they mark.
        """
        height, width = image.shape[:2]
        scale = SHOWN_SIDE / max(height, width)
        size_wh = max(1, round(width * scale)), max(1, round(height * scale))
        shown = np.asarray(Image.fromarray(image).resize(size_wh, Image.Resampling.LANCZOS))
        return cls(name, everything, shown)


def select(
    everything: Detections, limits: np.ndarray, classes: Collection[str] = (), max_detections: int | None = None
) -> Detections:
    """The best detections above a threshold.

    Args:
        everything: best first.
        limits: ``(K,)`` the threshold of each class.
        classes: names of those wanted; none means all.
        max_detections: the best so many of these.
    """
    kept = everything.above(limits)
    kept = kept.of_classes(classes) if classes else kept
    return kept.take(np.arange(len(kept))[:max_detections])


def drawn_jpeg(found: Found, kept: Detections, captions: bool) -> bytes:
    """The picture as the page shows it, as a JPEG with boxes and, if wanted, their captions."""
    scale = np.tile(np.array(found.shown.shape[1::-1]) / kept.image_size_hw[::-1], 2)
    texts = kept.captions() if captions else [""] * len(kept)
    drawn = draw_boxes(found.shown, kept.boxes_xyxy * scale, texts, kept.class_ids)
    content = io.BytesIO()
    # Full colour resolution: thin coloured lines smear without.
    Image.fromarray(drawn).save(content, "JPEG", quality=90, subsampling=0)
    return content.getvalue()


def coco_list(name: str, kept: Detections) -> list[dict[str, Any]]:
    """COCO results as `hf-detr predict` writes them, for one picture."""
    return [
        result | {"file_name": name, "category_name": label}
        for result, label in zip(kept.to_coco(image_id=1), kept.labels, strict=True)
    ]


def table_rows(kept: Detections) -> list[list[Any]]:
    """A row for each object: class, confidence, and its box in pixels of the picture."""
    boxes = np.round(kept.boxes_xyxy.astype(float), 1).tolist()
    return [[label, f"{score:.3f}", *box] for label, score, box in zip(kept.labels, kept.scores, boxes, strict=True)]


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


def nothing_html(everything: Detections) -> str:
    """Why no box is to be seen, and the confidence of the best one there is."""
    if not len(everything):
        return '<div class="summary">The model found nothing in this picture.</div>'
    best = f"{html.escape(everything.labels[0])} with a confidence of {everything.scores[0]:.2f}"
    return f'<div class="summary">Nothing to show with these settings. The best that was found: {best}.</div>'
