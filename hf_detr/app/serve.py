"""From a detector to a page that answers under an address."""

import logging
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hf_detr.app.limits import MEGABYTE, AppLimits
from hf_detr.errors import AppError

if TYPE_CHECKING:
    import gradio as gr

    from hf_detr.inference.detector import Detector

logger = logging.getLogger(__name__)

# Gradio keeps uploads, and what is made of them, below the folder that this names.
_FOLDER_VARIABLE = "GRADIO_TEMP_DIR"
_MULTIPART_ROOM = MEGABYTE  # boundaries and headers around an uploaded file


@contextmanager
def running_app(
    detector: "Detector",
    limits: AppLimits | None = None,
    *,
    host: str | None = None,
    port: int | None = None,
    share: bool = False,
    **page: Any,
) -> Iterator["gr.Blocks"]:
    """The page of a detector, answering as long as the ``with`` block lasts; its address is ``local_url``.

    Args:
        detector: finds the objects.
        limits: what visitors may ask for.
        host: the address to listen on; by default this computer alone, or what GRADIO_SERVER_NAME says, as in a Space.
        port: by default the first free one from 7860 on.
        share: make a public link through Gradio's tunnel as well; ``share_url`` holds it.
        page: what `build_app` takes besides.

    Raises:
        AppError: Gradio is not installed, the address cannot be used, or there is no public link to be had.
    """
    require_gradio()
    from fastapi.middleware import Middleware

    from hf_detr.app.body_limit import BodyLimit
    from hf_detr.app.look import CSS, theme
    from hf_detr.app.page import build_app

    limits = limits or AppLimits()
    _require_free(host or os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"), port)
    with _upload_folder():
        app = build_app(detector, limits, **page)
        body_limit = Middleware(BodyLimit, max_upload_bytes=limits.max_upload_bytes + _MULTIPART_ROOM)
        try:
            app.launch(
                server_name=host,
                server_port=port,
                share=share,
                prevent_thread_lock=True,
                quiet=True,
                theme=theme(),
                css=CSS,
                footer_links=[],
                run_history=False,
                enable_monitoring=False,
                ssr_mode=False,
                mcp_server=False,
                pwa=False,
                max_file_size=limits.max_upload_bytes,
                state_session_capacity=limits.max_sessions,
                app_kwargs={"middleware": [body_limit]},
            )
        except OSError as error:
            raise AppError(f"The page cannot be served: {error}") from error
        try:
            if share and not app.share_url:
                raise AppError("There is no public link to be had: see above for the reason. Leave out --share.")
            yield app
        finally:
            app.close(verbose=False)


def serve(detector: "Detector", limits: AppLimits | None = None, **options: Any) -> None:
    """Serve the page of a detector until Ctrl-C; takes what `running_app` takes.

    Raises:
        AppError: as `running_app`.
    """
    with running_app(detector, limits, **options) as app:
        logger.info("%s  (Ctrl-C stops it)", app.local_url)
        if app.share_url:
            logger.info("%s  for everybody who knows this address", app.share_url)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            logger.info("stopping")


def require_gradio() -> None:
    """Say what to install where Gradio is missing.

    Raises:
        AppError: it is.
    """
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise AppError("The page needs Gradio: pip install 'hf_detr[app]'") from error


def _require_free(host: str, port: int | None) -> None:
    """Refuse an address that cannot be listened on, before Gradio tries for minutes; None is for any free port.

    Raises:
        AppError: the host is not one of this computer's, or the port is taken, not allowed or no port.
    """
    if port is not None and not 0 < port < 65536:
        raise AppError(f"A port is a number from 1 to 65535, not {port}.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port or 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if port is None:
            raise AppError(f"Cannot listen on {host}: {error.strerror}. Leave out --host, or try 0.0.0.0.") from error
        raise AppError(
            f"Cannot listen on {host} port {port}: {error.strerror}. Name another --port, or none: then it is the "
            "first free one from 7860 on."
        ) from error


@contextmanager
def _upload_folder() -> Iterator[None]:
    """A folder for Gradio's files that is deleted at the end, unless the environment names one already."""
    if _FOLDER_VARIABLE in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="hf_detr_app_") as folder:
        os.environ[_FOLDER_VARIABLE] = folder
        try:
            yield
        finally:
            del os.environ[_FOLDER_VARIABLE]
