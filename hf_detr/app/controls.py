"""The controls that choose what is shown."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import gradio as gr

from hf_detr.app.uploads import UploadError

MOST = 300  # detections of a picture, as long as nobody asks for more; the number of queries of most models


class Controls(NamedTuple):
    """In the order in which events take their values."""

    threshold: gr.Slider
    classes: gr.Dropdown
    max_detections: gr.Number


def add_controls(id2label: Mapping[int, str], threshold: float, tab: str) -> Controls:
    """Put them where the page is being built; `tab` tells their ids from those of the other tab."""
    slider = gr.Slider(0, 1, threshold, step=0.01, label="Confidence of at least", elem_id=f"{tab}-threshold")
    with gr.Row():
        classes = gr.Dropdown(
            list(dict.fromkeys(id2label.values())),
            value=[],
            multiselect=True,
            label="Classes",
            info="none chosen: all",
            scale=3,
            min_width=180,
            elem_id=f"{tab}-classes",
        )
        most = gr.Number(
            MOST,
            minimum=1,
            precision=0,
            label="At most",
            info="of the best",
            scale=2,
            min_width=120,
            elem_id=f"{tab}-most",
        )
    return Controls(slider, classes, most)


def checked(threshold: Any, classes: Any, max_detections: Any) -> tuple[float, list[str], int | None]:
    """Their values as a program sends them, which may be anything.

    Raises:
        UploadError: they are not what the controls would give.
    """
    number = isinstance(threshold, int | float) and not isinstance(threshold, bool) and 0 <= threshold <= 1
    if not number:
        raise UploadError(f"threshold is a number from 0 to 1, not {threshold!r}.")
    classes = classes or []
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise UploadError(f"classes is a list of names, not {classes!r}.")
    if max_detections is not None and (not isinstance(max_detections, int | float) or max_detections < 1):
        raise UploadError(f"max_detections is a number from 1 on, or null for all, not {max_detections!r}.")
    return float(threshold), classes, None if max_detections is None else int(max_detections)
