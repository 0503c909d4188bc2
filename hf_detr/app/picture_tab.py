"""The tab for pictures: the model runs once per picture, and what is shown of its answer is chosen afterwards."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
import orjson
from gradio.processing_utils import save_bytes_to_cache

from hf_detr.app.controls import Controls, add_controls, checked
from hf_detr.app.events import add_examples, local_files_only, polite, upload_path
from hf_detr.app.found import (
    TABLE_HEADERS,
    Found,
    coco_list,
    drawn_jpeg,
    nothing_html,
    summary_html,
    table_rows,
)
from hf_detr.app.limits import AppLimits
from hf_detr.app.service import Service
from hf_detr.app.uploads import UploadError
from hf_detr.inference.detections import Detections

_HINT = '<div class="summary">Boxes, classes and numbers appear here.</div>'


def add_picture_tab(service: Service, threshold: float | None, examples: Sequence[Path]) -> None:
    """Put components and events into the tab that is open; for `threshold` see `add_controls`."""
    found = gr.State(None, time_to_live=60 * service.limits.keep_minutes)
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=320):
            picture = _picture_input(service.limits)
            controls = add_controls(service, threshold, "picture")
            captions = gr.Checkbox(True, label="Write class and confidence on the boxes", elem_id="captions")
            add_examples(examples, picture)
        with gr.Column(scale=3, min_width=320):
            shown = _Results.add()

    def find(payload: dict[str, Any] | None) -> Found | None:
        return None if payload is None else service.find(upload_path(payload))

    def show(
        found: Found | None,
        by_class: bool,
        threshold: float,
        classes: list[str],
        max_detections: int | None,
        captions: bool,
    ) -> tuple:
        if found is None:
            return None, _HINT, [], None, gr.DownloadButton(value=None, interactive=False)
        kept = service.select(found.everything, None if by_class else threshold, classes, max_detections)
        return shown.of(found, kept, service.id2label, captions)

    chosen = [found, *controls, captions]
    look = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    search = picture.change(
        polite(find),
        picture,
        found,
        preprocess=False,
        concurrency_id="pictures",
        show_progress_on=shown.picture,
        api_visibility="private",
    )
    search.success(show, chosen, [*shown], **look)
    search.failure(lambda: None, None, picture, **look)  # which is a change, and clears the rest
    gr.on([control.change for control in chosen[1:]], show, chosen, [*shown], trigger_mode="always_last", **look)
    _add_endpoint(service, picture, controls)


def _picture_input(limits: AppLimits) -> gr.Image:
    picture = gr.Image(
        label="Picture",
        type="filepath",
        image_mode=None,
        sources=["upload", "webcam", "clipboard"],
        height=340,
        placeholder=f"Drop a picture here, paste it, or click to choose one\nup to {limits.max_upload_mb:g} MB",
        webcam_options=gr.WebcamOptions(mirror=False),
        buttons=[],
        elem_id="picture",
    )
    return local_files_only(picture)


class _Results(NamedTuple):
    """What shows the objects of a picture, in the order in which events give their values."""

    picture: gr.Image
    summary: gr.HTML
    table: gr.Dataframe
    as_json: gr.JSON
    download: gr.DownloadButton

    @classmethod
    def add(cls) -> "_Results":
        """Put them where the page is being built."""
        picture = gr.Image(
            label="What it finds",
            type="filepath",
            interactive=False,
            buttons=["download", "fullscreen"],
            height=520,
            elem_id="drawn",
        )
        summary = gr.HTML(_HINT, padding=False, elem_id="summary")
        with gr.Tab("Table"):
            table = gr.Dataframe(
                headers=list(TABLE_HEADERS),
                datatype=["str", "str", *["number"] * 4],
                type="array",
                interactive=False,
                show_label=False,
                max_height=340,
                buttons=["copy"],
                elem_id="table",
            )
        with gr.Tab("JSON"):
            as_json = gr.JSON(show_label=False, max_height=340, elem_id="json")
        download = gr.DownloadButton("Download as COCO JSON", size="sm", interactive=False, elem_id="download")
        return cls(picture, summary, table, as_json, download)

    def of(self, found: Found, kept: Detections, id2label: Mapping[int, str], captions: bool) -> tuple:
        """Their values for what is kept of a picture. Files go where Gradio keeps, and deletes, its own."""
        results, stem = coco_list(found.name, kept), Path(found.name).stem
        counts = Counter(kept.class_ids.tolist())
        file = save_bytes_to_cache(_json(results), f"{stem}.coco.json", self.download.GRADIO_CACHE)
        return (
            save_bytes_to_cache(drawn_jpeg(found, kept, captions), f"{stem}_found.jpg", self.picture.GRADIO_CACHE),
            summary_html(counts, id2label) if counts else nothing_html(found.everything),
            table_rows(kept),
            results,
            gr.DownloadButton(value=file, interactive=True),
        )


def _json(results: list[dict[str, Any]]) -> bytes:
    return orjson.dumps(results, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _add_endpoint(service: Service, picture: gr.Image, controls: Controls) -> None:
    """`/detect` for programs: an event of a button that nobody sees."""

    def detect(picture: dict[str, Any] | None, threshold: Any, classes: Any, max_detections: Any) -> list:
        """Objects in a picture as COCO results, best first: category_name, score, and bbox as left, top, width and
        height in pixels of the picture."""
        if picture is None:
            raise UploadError("There is no picture in this request.")
        return service.detect(upload_path(picture), *checked(threshold, classes, max_detections))

    gr.Button(visible=False).click(
        polite(detect),
        [picture, controls.threshold, controls.classes, controls.max_detections],
        gr.JSON(visible=False, label="found"),
        preprocess=False,
        concurrency_id="pictures",
        api_name="detect",
    )
