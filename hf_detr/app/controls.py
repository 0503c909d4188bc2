"""The controls that choose what is shown, and their values as programs send them."""

from typing import Any, NamedTuple

import gradio as gr

from hf_detr.app.service import Service
from hf_detr.app.uploads import UploadError
from hf_detr.inference.thresholds import DEFAULT_THRESHOLD

# Detections of a picture as long as nobody asks for more: the number of queries of most models.
_MOST = 300


class Controls(NamedTuple):
    """In the order in which events take their values."""

    stored: gr.Checkbox
    threshold: gr.Slider
    classes: gr.Dropdown
    max_detections: gr.Number


def add_controls(service: Service, threshold: float | None, tab: str) -> Controls:
    """Put the controls where the page is being built.

    Args:
        service: the detector, whose classes can be picked.
        threshold: where the slider stands at first; None for the thresholds stored with the model, else 0.5.
        tab: begins the ids of the elements, which are `picture-threshold`, `picture-classes` and so on.
    """
    has_stored = bool(service.detector.stored_thresholds)
    by_class = has_stored and threshold is None
    slider = gr.Slider(
        0,
        1,
        DEFAULT_THRESHOLD if threshold is None else threshold,
        step=0.01,
        label="Confidence of at least",
        interactive=not by_class,
        elem_id=f"{tab}-threshold",
    )
    stored = gr.Checkbox(
        by_class,
        label="For each class the one stored with the model",
        visible=has_stored,
        elem_id=f"{tab}-stored",
    )
    stored.change(
        lambda by_class: gr.Slider(interactive=not by_class), stored, slider, queue=False, api_visibility="private"
    )
    with gr.Row():
        classes = gr.Dropdown(
            list(dict.fromkeys(service.id2label.values())),
            value=[],
            multiselect=True,
            label="Classes",
            info="none chosen: all",
            scale=3,
            min_width=180,
            elem_id=f"{tab}-classes",
        )
        most = gr.Number(
            _MOST,
            minimum=1,
            precision=0,
            label="At most",
            info="of the best",
            scale=2,
            min_width=120,
            elem_id=f"{tab}-most",
        )
    return Controls(stored, slider, classes, most)


def checked(threshold: Any, classes: Any, max_detections: Any) -> tuple[float | None, list[str], int | None]:
    """What a program has sent, which may be anything: a threshold, names of classes, most detections.

    Raises:
        UploadError: it is not what the controls would give.
    """
    if threshold is not None and not (_is_number(threshold) and 0 <= threshold <= 1):
        raise UploadError(
            f"threshold is a number from 0 to 1, or null for the one stored with the model, not {threshold!r}."
        )
    classes = [] if classes is None else classes
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise UploadError(f"classes is a list of names, not {classes!r}.")
    if max_detections is not None and not (_is_number(max_detections) and max_detections >= 1):
        raise UploadError(f"max_detections is a number from 1 on, or null for all, not {max_detections!r}.")
    return threshold, classes, None if max_detections is None else int(max_detections)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
