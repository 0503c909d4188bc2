"""Files from the web: one picture at a time, never too large and never for ever."""

import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from hf_detr import __version__
from hf_detr.data.images import UnreadableImageError

# A picture of 100 megapixels is smaller, as JPEG and as most PNGs.
MOST_BYTES = 100 * 1024 * 1024
# Without an answer, and for all of it.
_SILENCE_SECONDS, _ALL_SECONDS = 10.0, 60.0


def is_web_address(text: str) -> bool:
    """Whether it begins with ``http://`` or ``https://``."""
    return re.match(r"https?://", text, re.IGNORECASE) is not None


def fetch(url: str, *, silence_seconds: float = _SILENCE_SECONDS, most_bytes: int = MOST_BYTES) -> bytes:
    """The content of a URL.

    Args:
        url: ``http://`` or ``https://``.
        silence_seconds: the server may say nothing for so long; all of it must be there within a minute.
        most_bytes: refuse more than this.

    Raises:
        UnreadableImageError: no such address, no answer, an error or a web page for an answer, or too large.
    """
    give_up = time.monotonic() + _ALL_SECONDS
    content = bytearray()
    with _opened(url, silence_seconds) as response:
        while piece := response.read1(1 << 16):
            content += piece
            if len(content) > most_bytes:
                raise _unreadable(url, f"it has more than {most_bytes:,} bytes")
            if time.monotonic() > give_up:
                raise _unreadable(url, f"it took more than {_ALL_SECONDS:.0f} seconds")
    return bytes(content)


def content_type(url: str, *, silence_seconds: float = _SILENCE_SECONDS) -> str:
    """What the server says the URL is, such as ``"image/jpeg"``; empty where it does not say.

    Raises:
        UnreadableImageError: as `fetch`.
    """
    with _opened(url, silence_seconds) as response:
        return _stated_type(response)


def _stated_type(response: http.client.HTTPResponse) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower()


@contextmanager
def _opened(url: str, silence_seconds: float) -> Iterator[http.client.HTTPResponse]:
    request = urllib.request.Request(url, headers={"User-Agent": f"hf_detr/{__version__}"})
    try:
        with urllib.request.urlopen(request, timeout=silence_seconds) as response:
            if _stated_type(response) == "text/html":
                raise _unreadable(url, "this is a web page; give the address of the picture or video itself")
            yield response
    except urllib.error.HTTPError as error:
        raise _unreadable(url, f"the server answers {error.code} {error.reason}") from error
    except (TimeoutError, urllib.error.URLError) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, TimeoutError):
            raise _unreadable(url, f"no answer within {silence_seconds:g} seconds") from error
        raise _unreadable(url, getattr(reason, "strerror", None) or str(reason)) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _unreadable(url, str(error) or type(error).__name__) from error


def _unreadable(url: str, reason: str) -> UnreadableImageError:
    return UnreadableImageError(f"{url}: cannot be fetched: {reason}.", reason)
