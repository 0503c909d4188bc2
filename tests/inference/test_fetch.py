import io
import re

import numpy as np
import pytest
from PIL import Image

from hf_detr.data.images import UnreadableImageError, read_image
from hf_detr.inference.detector import Detector
from hf_detr.inference.fetch import content_type, fetch
from hf_detr.inference.pictures import load_picture
from tests.web import serve


def test_pictures_from_the_web_are_those_of_the_file(model_folder, pictures):
    content = pictures[1].read_bytes()  # turned by its EXIF tag
    detector = Detector.from_pretrained(model_folder, device="cpu")
    with serve({"/a.jpg": ("image/jpeg", content)}) as address:
        url = f"{address}/a.jpg"
        image, path = load_picture(url)
        from_web = detector(url)
        assert content_type(url) == "image/jpeg"
    np.testing.assert_array_equal(image, read_image(pictures[1]))
    assert path == from_web.path == url
    np.testing.assert_array_equal(from_web.boxes_xyxy, detector(pictures[1]).boxes_xyxy)


def test_what_cannot_be_fetched_is_named():
    pages = {
        "/page": ("text/html; charset=utf-8", b"<html>"),
        "/text": ("image/png", b"not a picture"),
        "/empty": ("image/png", b""),
        "/large": ("image/png", bytes(5000)),
    }
    with serve(pages) as address:
        for path, reason in [
            ("/none", "cannot be fetched: the server answers 404 Not Found."),
            ("/page", "cannot be fetched: this is a web page; give the address of the picture or video itself."),
            ("/text", "cannot read this picture: it is not a picture in any format that Pillow knows"),
            ("/empty", "cannot read this picture: the file is empty (0 bytes)"),
        ]:
            with pytest.raises(UnreadableImageError, match=re.escape(f"{address}{path}: {reason}")):
                load_picture(address + path)
        with pytest.raises(UnreadableImageError, match=r"/large: cannot be fetched: it has more than 4,999 bytes"):
            fetch(f"{address}/large", most_bytes=4999)
        assert len(fetch(f"{address}/large", most_bytes=5000)) == 5000
    for url, reason in [
        (address, "Connection refused"),
        ("http://", "no host given"),
        ("http://no.such.host.invalid/a.jpg", "cannot be fetched"),
    ]:
        with pytest.raises(UnreadableImageError, match=reason):
            fetch(url)


def test_silent_servers_are_given_up_on():
    with (
        serve({"/a.jpg": ("image/jpeg", b"")}, silence_seconds=0.5) as address,
        pytest.raises(UnreadableImageError, match=r"a\.jpg: cannot be fetched: no answer within 0\.1 seconds"),
    ):
        fetch(f"{address}/a.jpg", silence_seconds=0.1)


def test_in_a_stream_they_are_left_out(model_folder):
    detector = Detector.from_pretrained(model_folder, device="cpu")
    picture = io.BytesIO()
    Image.new("RGB", (32, 32)).save(picture, "PNG")
    failures = []
    with serve({"/a.png": ("image/png", picture.getvalue())}) as address:
        urls = [f"{address}/{name}.png" for name in ("a", "b")]
        assert [found.path for _, found in detector.stream(urls, on_unreadable=failures.append)] == urls[:1]
    assert [urls[1] in str(failure) for failure in failures] == [True]
