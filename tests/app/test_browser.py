"""The page in a real browser, as a visitor sees it."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from tests.app.browser import CHROMIUM, drop, open_browser, visit
from tests.video import make_video, moving_squares

pytest.importorskip("playwright", reason="playwright drives the browser, and is not installed")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on the PATH to look at the page with")


@pytest.fixture(scope="module")
def browser():
    with open_browser() as browser:
        yield browser


@pytest.fixture
def page(browser, address):
    page = visit(browser, address)
    yield page
    page.close()


def number_told(page, number):
    """Wait until the page says so many objects."""
    noun = "object" if number == 1 else "objects"
    page.locator("#summary .total", has_text=re.compile(f"^{number} {noun}$")).wait_for()


def test_a_picture_is_dropped_and_chosen_from(page, detector, pictures, monkeypatch):
    expected = detector(pictures[2], threshold=0.5)
    drop(page, pictures[2])
    number_told(page, len(expected))
    page.locator("#drawn img").wait_for()

    # fewer with a higher threshold, without another run of the model
    strong = detector(pictures[2], threshold=0.9)
    monkeypatch.setattr(detector, "detect", None)
    assert 0 < len(strong) < len(expected)
    page.locator("#picture-threshold input[type=number]").fill("0.9")
    page.locator("#picture-threshold input[type=number]").press("Enter")
    number_told(page, len(strong))
    table = page.locator("#table").inner_text()
    assert all(f"{score:.3f}" in table for score in strong.scores[:3])

    # one class of them
    page.locator("#picture-classes input").click()
    page.get_by_role("option", name="green").click()
    page.keyboard.press("Escape")
    green = strong.labels.count("green")
    assert 0 < green < len(strong)
    number_told(page, green)

    # and as a file
    with page.expect_download() as download:
        page.locator("#download").click()
    assert download.value.suggested_filename == f"{pictures[2].stem}.coco.json"
    results = json.loads(download.value.path().read_text())
    assert [result["category_name"] for result in results] == ["green"] * green
    assert {result["file_name"] for result in results} == {pictures[2].name}


def test_boxes_are_drawn_at_the_size_of_the_page(page, pictures, tmp_path):
    drop(page, pictures[3])
    page.locator("#summary .total").wait_for()
    with page.expect_download() as download:
        page.locator("#drawn").get_by_label("Download").click()
    drawn = Image.open(download.value.path())
    with Image.open(pictures[3]) as original:
        assert max(drawn.size) == 1024
        enlarged = original.convert("RGB").resize(drawn.size, Image.Resampling.LANCZOS)
    different = np.abs(np.asarray(drawn.convert("RGB"), int) - np.asarray(enlarged, int)).max(2) > 60
    assert 0.001 < different.mean() < 0.9


def test_a_corrupt_picture_is_explained_and_the_page_goes_on(page, detector, pictures, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture at all")
    drop(page, broken)
    page.get_by_text("broken.jpg cannot be read: it is not a picture in any format that Pillow knows.").wait_for()
    page.locator("#summary", has_text="appear here").wait_for()
    assert page.locator("#drawn img").count() == 0
    drop(page, pictures[4])
    page.locator("#drawn img").wait_for()
    page.locator("#summary .total").wait_for()


def test_a_file_that_is_too_large_is_refused_at_once(page, tmp_path):
    large = tmp_path / "large.jpg"
    large.write_bytes(b"x" * 2_500_000)
    drop(page, large)
    page.get_by_text(re.compile("maximum allowed size", re.IGNORECASE)).first.wait_for()


def test_a_video_comes_back_with_counts(page, tmp_path):
    video = make_video(tmp_path / "street.mp4", moving_squares(8))
    page.get_by_role("tab", name="Video").click()
    page.locator("#video input[type=file]").first.set_input_files(str(video))
    page.locator("#video video").wait_for()
    page.locator("#video-start").click()
    page.locator("#video-summary", has_text="in 8 frames").wait_for()
    page.locator("#video-drawn video").wait_for()
    assert "frames with it" in page.locator("#video-table").inner_text()


def test_the_page_loads_nothing_from_elsewhere(page, address, pictures):
    drop(page, pictures[0])
    page.locator("#drawn img").wait_for()
    page.get_by_text("Use it from a program").click()
    page.get_by_text(f'Client("{address.rstrip("/")}")').wait_for()
    assert len(page.requested) > 20
    assert [url for url in page.requested if not url.startswith((address, "blob:", "data:"))] == []


def test_it_fits_on_a_phone(browser, address, pictures):
    page = visit(browser, address, width=390, height=844)
    drop(page, pictures[2])
    page.locator("#summary .total").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()
