"""What both tabs need: files behind uploads, errors that visitors can read, examples."""

import functools
import html
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr

from hf_detr.app.uploads import UploadError
from hf_detr.errors import HfDetrError


def polite(function: Callable) -> Callable:
    """The function, with errors that are meant for people as a message in the page, and no traceback in the log."""

    @functools.wraps(function)
    def asked(*args: Any) -> Any:
        with _said_in_the_page():
            return function(*args)

    return asked


def polite_steps(function: Callable[..., Iterator]) -> Callable[..., Iterator]:
    """As `polite`, for a function that gives its values one after the other."""

    @functools.wraps(function)
    def asked(*args: Any) -> Iterator:
        with _said_in_the_page():
            yield from function(*args)

    return asked


@contextmanager
def _said_in_the_page() -> Iterator[None]:
    try:
        yield
    except HfDetrError as error:
        raise gr.Error(html.escape(str(error), quote=False), print_exception=False) from error


def local_files_only(component: gr.components.Component) -> gr.components.Component:
    """The component, which now takes files alone: of an address that a program sends, nothing is fetched.

    Gradio would fetch it without any limit of size. A subclass would say the same, but each subclass of a component
    makes Gradio write a ``.pyi`` file beside its source.
    """
    into_cache = component.async_move_resource_to_block_cache

    async def files_only(path_or_address: str | Path | None) -> str | None:
        if str(path_or_address).startswith(("http://", "https://")):
            raise gr.Error("Send the file itself: this page fetches no addresses.", print_exception=False)
        return await into_cache(path_or_address)

    component.async_move_resource_to_block_cache = files_only
    return component


def add_examples(paths: Sequence[Path], component: gr.components.Component) -> None:
    """Pictures or videos to click on, below what the page has so far."""
    if paths:
        shown = [[str(path)] for path in paths]
        gr.Examples(
            shown,
            component,
            label="Examples",
            cache_examples=False,
            examples_per_page=12,
            elem_id=f"{component.elem_id}-examples",
        )


def upload_path(payload: dict[str, Any]) -> Path:
    """The file that a visitor has uploaded, from what Gradio hands to an event with ``preprocess=False``.

    Gradio has made sure by then that it lies among the uploads. Its own preprocessing would open the picture before
    its size is known.

    Raises:
        UploadError: there is no file.
    """
    path = payload.get("path")
    if not path:
        raise UploadError("Send the picture or video as a file.")
    return Path(path)
