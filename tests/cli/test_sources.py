from pathlib import Path

import pytest

from hf_detr.cli.sources import find_pictures, find_sources, output_names
from hf_detr.data.images import UnreadableImageError
from hf_detr.errors import DatasetError
from tests.web import serve


@pytest.fixture
def folder(tmp_path):
    """Files by name alone: nothing is opened to find them."""
    for name in ("a/b/x.JPG", "a/b/notes.txt", "a/b/page.ts", "a/y.png", "a/clip.MOV", "a/out/pictures/x.jpg", "z.ts"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def test_sources_are_files_folders_and_patterns(folder):
    found = find_sources([f"{folder}/**/*.png", f"{folder}/a", f"{folder}/z.ts"], leave_out=folder / "a" / "out")
    assert found.pictures == [folder / "a/y.png", folder / "a/b/x.JPG"]
    assert found.videos == [folder / "a/clip.MOV", folder / "z.ts"]
    assert find_pictures([str(folder / "a")], leave_out=folder / "a" / "out") == [
        folder / "a/b/x.JPG",
        folder / "a/y.png",
    ]


@pytest.mark.parametrize(
    ("source", "message"),
    [("none.jpg", "no such file or folder"), ("*.jpg", "no pictures or videos there"), ("", "no pictures or videos")],
)
def test_sources_without_pictures(source, message, tmp_path):
    with pytest.raises(DatasetError, match=message):
        find_sources([str(tmp_path / source)], leave_out=tmp_path / "out")
    with pytest.raises(DatasetError, match=r"no such file or folder|no pictures there"):
        find_pictures([str(tmp_path / source)])


def test_webcams_streams_and_addresses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = find_sources(
        ["webcam", "webcam:3", "rtsp://camera/stream", "https://example.org/a.jpg?x=1", "http://example.org/clip.mp4"]
    )
    assert found.videos == [0, 3, "rtsp://camera/stream", "http://example.org/clip.mp4"]
    assert found.pictures == ["https://example.org/a.jpg?x=1"]
    (tmp_path / "webcam").touch()  # a file of that name is what is meant
    assert find_sources(["webcam"]).pictures == [Path("webcam")]


def test_addresses_without_an_ending_are_asked():
    kinds = {"/1": "image/png", "/2": "video/mp4", "/3": "application/vnd.apple.mpegurl", "/4": ""}
    with serve({path: (kind, b"") for path, kind in kinds.items()}) as address:
        found = find_sources([address + path for path in kinds])
        assert found.pictures == [address + "/1", address + "/4"] and found.videos == [address + "/2", address + "/3"]
        with pytest.raises(UnreadableImageError, match="/5: cannot be fetched: the server answers 404"):
            find_sources([address + "/5"])


def test_sources_of_equal_name_are_called_differently():
    paths = [Path(text) for text in ("a/x.png", "b/x.png", "b/x.jpg", "c/X.jpg", "/x.png", "../b/x.tif", "y.v2.jpg")]
    assert [str(name) for name in output_names(paths).values()] == ["x", "b/x", "x-2", "c/X", "x-3", "x-4", "y.v2"]
    others = [0, "http://example.org/p/a.jpg?b=c", "rtsp://user:pw@10.0.0.5:554/", "rtsp://10.0.0.5/live/main.sdp"]
    assert [str(name) for name in output_names(others).values()] == ["webcam-0", "a", "10.0.0.5", "main"]
