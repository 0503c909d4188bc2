"""The tab for videos: one at a time, with boxes drawn in and counts for each class."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from hf_detr.app.annotate import COUNT_HEADERS, Counts, annotate_video
from hf_detr.app.controls import add_controls, checked
from hf_detr.app.events import add_examples, local_files_only, polite_steps, upload_path
from hf_detr.app.found import summary_html
from hf_detr.app.service import Service
from hf_detr.app.uploads import UploadError

_HINT = '<div class="summary">The video with boxes appears here, and how often each class was seen.</div>'
_REPORT_EVERY = 10  # frames


def add_video_tab(service: Service, threshold: float | None, examples: Sequence[Path]) -> None:
    """Put components and events into the tab that is open; for `threshold` see `add_controls`."""
    limits = service.limits
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=320):
            video = gr.Video(
                label=f"Video, up to {limits.max_video_seconds:g} seconds and {limits.max_upload_mb:g} MB",
                sources=["upload"],
                height=340,
                buttons=[],
                elem_id="video",
            )
            local_files_only(video)
            controls = add_controls(service, threshold, "video")
            with gr.Row():
                start = gr.Button("Find objects", variant="primary", elem_id="video-start")
                stop = gr.Button("Stop", min_width=80, elem_id="video-stop")
            add_examples(examples, video)
        with gr.Column(scale=3, min_width=320):
            drawn = gr.Video(
                label="What it finds", interactive=False, height=460, buttons=["download"], elem_id="video-drawn"
            )
            summary = gr.HTML(_HINT, padding=False, elem_id="video-summary")
            table = gr.Dataframe(
                headers=list(COUNT_HEADERS),
                datatype=["str", *["number"] * 3],
                type="array",
                interactive=False,
                show_label=False,
                max_height=340,
                buttons=["copy"],
                elem_id="video-table",
            )

    def detect(
        video: dict[str, Any] | None, by_class: Any, threshold: Any, classes: Any, max_detections: Any
    ) -> Iterator[tuple[str | None, str, list]]:
        if video is None:
            raise UploadError("Give a video first.")
        path = upload_path(video)
        threshold, classes, most = checked(None if by_class else threshold, classes, max_detections)
        folder = Path(drawn.GRADIO_CACHE)
        folder.mkdir(parents=True, exist_ok=True)
        target = Path(tempfile.mkdtemp(dir=folder)) / f"{path.stem}_found.mp4"
        steps = annotate_video(service, path, target, threshold=threshold, classes=classes, max_detections=most)
        counts = Counts()
        for counts in steps:
            if counts.frames % _REPORT_EVERY == 1:
                yield None, _progress_html(counts), counts.rows(service.id2label)
        told = summary_html(counts.objects, service.id2label, f" in {counts.frames:,} frames")
        yield str(target), told, counts.rows(service.id2label)

    run = start.click(
        polite_steps(detect),
        [video, *controls],
        [drawn, summary, table],
        preprocess=False,
        concurrency_id="videos",
        show_progress="hidden",
        api_visibility="private",
    )
    stop.click(lambda: _HINT, None, summary, cancels=run, queue=False, api_visibility="private")


def _progress_html(counts: Counts) -> str:
    if counts.total is None:
        return f'<div class="summary"><progress></progress> frame {counts.frames:,}</div>'
    total = max(counts.total, counts.frames)
    bar = f'<progress max="{total}" value="{counts.frames}"></progress>'
    return f'<div class="summary">{bar} frame {counts.frames:,} of {total:,}</div>'
