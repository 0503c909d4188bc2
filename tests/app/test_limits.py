import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from hf_detr.app import uploads
from hf_detr.app.limits import AppLimits
from hf_detr.app.uploads import UploadError, read_upload
from hf_detr.data.images import read_image
from hf_detr.errors import AppError


def png_header(path, width, height):
    """A PNG that says how large it is, and has no pixels."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    header = struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + struct.pack(">I", 1000) + b"IDAT")
    return path


@pytest.mark.parametrize("name", ["max_upload_mb", "max_waiting", "keep_minutes"])
def test_limits_are_above_zero(name):
    with pytest.raises(AppError, match=f"{name} must be above 0, got 0"):
        AppLimits(**{name: 0})


def test_pictures_within_the_limits_are_read(pictures):
    np.testing.assert_array_equal(read_upload(pictures[0], AppLimits()), read_image(pictures[0]))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_pictures_of_too_many_pixels_are_refused_by_their_header_alone(tmp_path, monkeypatch):
    monkeypatch.delattr(uploads, "read_image")
    with pytest.raises(UploadError, match=r"^large\.png has 100 megapixels; this page takes up to 64 megapixels\.$"):
        read_upload(png_header(tmp_path / "large.png", 10_000, 10_000), AppLimits())
    with pytest.raises(UploadError, match=r"^bomb\.png has far more; this page takes up to 64 megapixels\.$"):
        read_upload(png_header(tmp_path / "bomb.png", 60_000, 60_000), AppLimits())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"^photo\.jpg is empty \(0 bytes\)\.$"),
        (b"no picture", r"^photo\.jpg cannot be read: it is not a picture in any format that Pillow knows\.$"),
        (None, r"^photo\.jpg cannot be read: .*truncated.*\.$"),
    ],
    ids=["empty", "no picture", "cut short"],
)
def test_what_is_no_picture_is_refused_in_a_sentence_without_our_paths(content, message, tmp_path):
    path = tmp_path / "photo.jpg"
    if content is None:
        noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
        Image.fromarray(noise).save(path)
        content = path.read_bytes()[:2000]
    path.write_bytes(content)
    with pytest.raises(UploadError, match=message):
        read_upload(path, AppLimits())


def test_a_picture_that_has_been_deleted_is_to_be_given_again(tmp_path):
    with pytest.raises(UploadError, match=r"^gone\.jpg is not here any more\. Please give it again\.$"):
        read_upload(tmp_path / "gone.jpg", AppLimits())
