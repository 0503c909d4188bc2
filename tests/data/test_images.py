"""Every kind of picture file, upright and in RGB, and resized as the model's processor would."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps
from transformers import RTDetrImageProcessor

from hf_detr.data import images
from hf_detr.data.images import (
    UnreadableImageError,
    decode_image,
    orient_boxes_xyxy,
    orient_image,
    orient_size_hw,
    read_header,
    read_image,
    resize_image,
)
from hf_detr.errors import DatasetError


@pytest.fixture(params=["simplejpeg", "pillow"])
def decoder(request, monkeypatch) -> str:
    """Each test with this fixture runs with simplejpeg and as if it were not installed."""
    if request.param == "simplejpeg":
        pytest.importorskip("simplejpeg")
    else:
        monkeypatch.setattr(images, "_jpeg_decoder", lambda: None)
    return request.param


@pytest.fixture
def photo(rng) -> np.ndarray:
    """Something smooth enough for JPEG to keep, different in each corner, 40 x 56 pixels."""
    small = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((56, 40), Image.Resampling.BICUBIC))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def _jpeg(photo: np.ndarray, orientation: int | None = None, **options) -> bytes:
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, "JPEG", quality=95, exif=exif, **options)
    return buffer.getvalue()


def test_jpeg_pixels_do_not_depend_on_the_decoder(tmp_path, photo, decoder):
    for subsampling in (0, 1, 2):
        path = tmp_path / "a.jpg"
        path.write_bytes(_jpeg(photo, subsampling=subsampling))
        image = read_image(path)
        assert image.dtype == np.uint8 and image.flags.c_contiguous and image.flags.writeable
        np.testing.assert_array_equal(image, np.asarray(Image.open(path)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(tmp_path, photo, decoder, orientation):
    path = tmp_path / "phone.jpg"
    path.write_bytes(_jpeg(photo, orientation))
    upright = ImageOps.exif_transpose(Image.open(path))
    image = read_image(path)
    np.testing.assert_array_equal(image, np.asarray(upright))
    stored, found = decode_image(path)
    assert found == orientation
    assert stored.shape == photo.shape
    assert orient_size_hw(stored.shape[:2], orientation) == image.shape[:2]


def test_a_picture_in_memory_is_one_in_a_file(tmp_path, photo, decoder):
    path, content = tmp_path / "a.jpg", _jpeg(photo, 6)
    path.write_bytes(content)
    for picture in (path, content):
        assert read_header(picture) == ((40, 56), 6)
        pixels, orientation = decode_image(picture)
        assert orientation == 6
        np.testing.assert_array_equal(orient_image(pixels, orientation), read_image(path))
    for read in (decode_image, read_header):
        with pytest.raises(UnreadableImageError, match=r"a picture of 13 bytes: .* not a picture"):
            read(b"not a picture")
        with pytest.raises(UnreadableImageError, match=r"none.jpg: .*No such file"):
            read(tmp_path / "none.jpg")


def test_exif_of_a_png_counts_too(tmp_path, photo):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photo).save(tmp_path / "a.png", exif=exif)
    assert read_image(tmp_path / "a.png").shape == (56, 40, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_turn_with_their_picture(orientation):
    image = np.zeros((20, 30, 3), dtype=np.uint8)
    image[3:8, 10:24] = 255
    turned = orient_image(image, orientation)
    rows, columns = np.nonzero(turned[..., 0])
    found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    boxes_xyxy = orient_boxes_xyxy(np.array([[10.0, 3, 24, 8]]), orientation, (20, 30))
    np.testing.assert_array_equal(boxes_xyxy, [found])
    assert orient_boxes_xyxy(np.zeros((0, 4)), orientation, (20, 30)).shape == (0, 4)


@pytest.mark.parametrize("value", [0, 9, 77])
def test_orientation_without_meaning_is_upright(tmp_path, photo, value):
    (tmp_path / "a.jpg").write_bytes(_jpeg(photo, value))
    assert decode_image(tmp_path / "a.jpg")[1] == 1


def test_damaged_exif_does_not_cost_the_picture(tmp_path, photo):
    damaged = _jpeg(photo, 6).replace(b"Exif\0\0MM\0*", b"Exif\0\0garbage"[:10])
    (tmp_path / "a.jpg").write_bytes(damaged)
    image, orientation = decode_image(tmp_path / "a.jpg")
    assert image.shape == photo.shape and orientation == 1


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA", "LA", "CMYK", "YCbCr"])
def test_modes_become_rgb_as_pillow_converts_them(tmp_path, photo, decoder, mode):
    suffix = "jpg" if mode in ("CMYK", "YCbCr") else "png"
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(photo).convert(mode).save(path)
    np.testing.assert_array_equal(read_image(path), np.asarray(Image.open(path).convert("RGB")))


def test_transparency_is_dropped_like_in_the_transformers_pipeline(tmp_path, photo):
    from transformers.image_utils import load_image

    alpha = np.tile(np.arange(56, dtype=np.uint8) * 4, (40, 1))
    Image.fromarray(np.dstack([photo, alpha])).save(tmp_path / "rgba.png")
    palette = Image.fromarray(photo).quantize(16)
    palette.save(tmp_path / "palette.png", transparency=3)
    np.testing.assert_array_equal(read_image(tmp_path / "rgba.png"), photo)
    for name in ("rgba.png", "palette.png"):
        np.testing.assert_array_equal(read_image(tmp_path / name), np.asarray(load_image(str(tmp_path / name))))


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_16_bit_greys_are_scaled_not_clipped(tmp_path, suffix):
    grey16 = np.linspace(0, 65535, 64 * 48).reshape(48, 64).astype(np.uint16)
    Image.fromarray(grey16).save(tmp_path / f"a.{suffix}")
    image = read_image(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(image, np.repeat((grey16 >> 8).astype(np.uint8)[:, :, None], 3, axis=2))


def test_32_bit_integers_are_taken_for_16_bit_greys(tmp_path):
    grey = np.array([[-5, 0, 256], [65535, 70000, 512]], dtype=np.int32)
    Image.fromarray(grey).save(tmp_path / "a.tiff")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tiff")[..., 0], [[0, 0, 1], [255, 255, 2]])


def test_float_pictures_are_refused(tmp_path):
    Image.fromarray(np.ones((4, 4), dtype=np.float32)).save(tmp_path / "a.tiff")
    with pytest.raises(UnreadableImageError, match=r"a\.tiff.*32-bit floats.*8 or 16 bits"):
        read_image(tmp_path / "a.tiff")


def _corrupt(kind: str, photo: np.ndarray) -> bytes:
    jpeg = _jpeg(photo)
    png = io.BytesIO()
    Image.fromarray(photo).save(png, "PNG")
    return {
        "empty": b"",
        "garbage": b"this is no picture" * 10,
        "html": b"<!DOCTYPE html><html>404</html>",
        "header only": jpeg[:20],
        "half a jpeg": jpeg[: len(jpeg) // 2],
        "jpeg without its last bytes": jpeg[:-40],
        "half a png": png.getvalue()[: len(png.getvalue()) // 2],
    }[kind]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("empty", "the file is empty"),
        ("garbage", "not a picture"),
        ("html", "not a picture"),
        ("header only", ""),
        ("half a jpeg", "truncated"),
        ("jpeg without its last bytes", "truncated"),
        ("half a png", ""),
    ],
)
def test_damaged_files_are_named_with_the_reason(tmp_path, photo, decoder, kind, reason):
    path = tmp_path / "broken.jpg"
    path.write_bytes(_corrupt(kind, photo))
    with pytest.raises(UnreadableImageError, match=rf"broken\.jpg: cannot read this picture: .*{reason}") as caught:
        read_image(path)
    assert caught.value.reason and str(path) not in caught.value.reason
    assert isinstance(caught.value, DatasetError)


def test_harmless_stray_bytes_in_a_jpeg_are_read_by_either_decoder(tmp_path, photo, decoder):
    jpeg = _jpeg(photo)
    table = jpeg.index(b"\xff\xdb")
    (tmp_path / "a.jpg").write_bytes(jpeg[:table] + b"\0\0" + jpeg[table:])
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), np.asarray(Image.open(io.BytesIO(jpeg))))


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(UnreadableImageError, match=r"gone\.jpg.*No such file"):
        read_image(tmp_path / "gone.jpg")
    with pytest.raises(UnreadableImageError, match="Is a directory"):
        read_image(tmp_path)


@pytest.mark.parametrize("size_hw", [(64, 64), (32, 96), (160, 128), (480, 640)])
def test_resize_equals_the_stock_processor(rng, size_hw):
    processor = RTDetrImageProcessor(size={"height": size_hw[0], "width": size_hw[1]})
    for source_hw in [(97, 131), (33, 640), (64, 64), (1, 1)]:
        image = rng.integers(0, 256, (*source_hw, 3), dtype=np.uint8)
        expected = processor(image, return_tensors="pt", input_data_format="channels_last")["pixel_values"][0]
        ours = resize_image(image, size_hw)
        assert ours.shape == (*size_hw, 3) and ours.flags.c_contiguous
        np.testing.assert_array_equal((ours * np.float32(1 / 255)).transpose(2, 0, 1), expected.numpy())
