"""A real browser for tests and screenshots: the Chromium of the system, driven by playwright."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# What a browser does on its own, above all in the network, has no place in a test.
_FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()


@contextmanager
def open_browser() -> Iterator[Any]:
    """A browser of playwright; `visit` shows pages in it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_FLAGS)
        yield browser
        browser.close()


def visit(browser: Any, address: str, *, width: int = 1240, height: int = 900) -> Any:
    """The page of a detector in a window of that size in pixels, in the light theme, ready to be used."""
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme="light")
    page.requested = []
    page.on("request", lambda request: page.requested.append(request.url))
    page.goto(address)
    page.locator("#picture input[type=file]").first.wait_for(state="attached")
    return page


def drop(page: Any, picture: Path) -> None:
    """Give a picture, as a visitor would drop it, in the place of one that is there."""
    remove = page.locator("#picture").get_by_label("Remove Image")
    if remove.count():
        remove.click()
        remove.wait_for(state="detached")
    page.locator("#picture input[type=file]").first.set_input_files(str(picture))
