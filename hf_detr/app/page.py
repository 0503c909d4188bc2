"""The page: a tab for pictures, a tab for videos, and an address for programs."""

import html
import mimetypes
from collections.abc import Sequence
from pathlib import Path

import gradio as gr

from hf_detr import __version__
from hf_detr.app.limits import AppLimits
from hf_detr.app.picture_tab import add_picture_tab
from hf_detr.app.service import Service
from hf_detr.app.video_tab import add_video_tab
from hf_detr.inference.detector import Detector

_FROM_A_PROGRAM = """\
from gradio_client import Client, handle_file

client = Client("ADDRESS")
found = client.predict(handle_file("photo.jpg"), threshold=0.5, classes=[], max_detections=300, api_name="/detect")
for item in found:
    print(item["category_name"], item["score"], item["bbox"])  # left, top, width, height in pixels
"""


def build_app(
    detector: Detector,
    limits: AppLimits | None = None,
    *,
    name: str = "detector",
    threshold: float | None = None,
    examples: Sequence[Path] = (),
    batch_size: int = 8,
) -> gr.Blocks:
    """The page of a detector. `running_app` launches it with its limits.

    Args:
        detector: finds the objects.
        limits: what visitors may ask for.
        name: of the model, as the title.
        threshold: least confidence of what is shown at first; by default what is stored with the model, else 0.5.
        examples: pictures and videos to click on.
        batch_size: tiles or frames that go through the model at once.
    """
    limits = limits or AppLimits()
    service = Service(detector, limits, batch_size)
    videos = [path for path in examples if (mimetypes.guess_type(path.name)[0] or "").startswith("video/")]
    pictures = [path for path in examples if path not in videos]
    keep_seconds = round(60 * limits.keep_minutes)
    with gr.Blocks(
        title=f"{name} · object detection", analytics_enabled=False, delete_cache=(min(60, keep_seconds), keep_seconds)
    ) as app:
        gr.HTML(_head(name, detector), padding=False, elem_id="head")
        with gr.Tab("Picture"):
            add_picture_tab(service, threshold, pictures)
        with gr.Tab("Video"):
            add_video_tab(service, threshold, videos)
        with gr.Accordion("Use it from a program", open=False):
            code = gr.Code(_FROM_A_PROGRAM, language="python", show_label=False, interactive=False)
            address = "location.origin + location.pathname.replace(/\\/$/, '')"
            app.load(None, None, code, js=f"() => `{_FROM_A_PROGRAM}`.replace('ADDRESS', {address})")
        deleted = f"What you give to this page is deleted after {limits.keep_minutes:g} minutes."
        gr.HTML(f"hf_detr {__version__} · {deleted}", elem_id="foot")
    return app.queue(max_size=limits.max_waiting, default_concurrency_limit=1)


def _head(name: str, detector: Detector) -> str:
    """Title and facts, as HTML."""
    classes = list(dict.fromkeys(detector.id2label.values()))
    named = ", ".join(classes[:12]) + (" …" if len(classes) > 12 else "")
    height, width = detector.image_size_hw
    runtime = type(detector.backend).__name__.removesuffix("Backend")
    seen_at = f"seen at {width} × {height} px"
    facts = (f"{len(classes)} classes: {named}", seen_at, f"{runtime} on {detector.backend.device}")
    listed = "".join(f"<span>{html.escape(fact)}</span>" for fact in facts)
    return f'<h1>{html.escape(name)}</h1><p class="facts">{listed}</p>'
