"""`hf-detr predict` on videos: as a user runs it."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from PIL import Image

from hf_detr.cli.main import main
from hf_detr.cli.predict_run import predict_to_folder
from hf_detr.cli.sources import Sources
from hf_detr.inference.detector import Detector
from hf_detr.inference.video import VideoReader
from tests.tiny import save_tiny_detector
from tests.video import make_video, moving_squares
from tests.web import serve


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_detector(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return make_video(tmp_path_factory.mktemp("videos") / "clip.mp4", moving_squares(9), fps=10)


def predict(capsys, *flags):
    """Exit code, and what was printed."""
    code = main(["predict", *map(str, flags)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def frames_of(path):
    with VideoReader(path) as reader:
        return [(frame.number, round(frame.seconds, 3)) for frame in reader.frames()]


def test_videos_and_pictures_together(capsys, model, clip, tmp_path):
    picture = tmp_path / "still.png"
    Image.fromarray(moving_squares(1)[0]).save(picture)
    out = tmp_path / "out"
    flags = ("--every", 4, "--track", "--save", "video", "coco", "csv", "--threshold", 0.6)
    code, printed, _ = predict(capsys, model, clip, picture, "--output_dir", out, *flags)
    assert code == 0
    assert "1 pictures, 1 videos with 3 frames, " in printed and " tracks, " in printed
    assert frames_of(out / "videos" / "clip.mp4") == [(0, 0), (1, 0.4), (2, 0.8)]
    results = json.loads((out / "detections.json").read_text())
    assert {(row["image_id"], row.get("frame")) for row in results} == {(1, None), (2, 0), (3, 4), (4, 8)}
    assert any("track_id" in row for row in results)
    with (out / "detections.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(results)
    assert {row["seconds"] for row in rows if row["frame"] == "8"} == {"0.8"}
    assert json.loads((out / "prediction.json").read_text())["frames"] == 3


def test_videos_in_tiles(capsys, model, clip, tmp_path):
    flags = ("--tile", 32, "--every", 3, "--save", "coco", "--threshold", 0.1)
    code, printed, _ = predict(capsys, model, clip, "--output_dir", tmp_path, *flags)
    assert code == 0 and "1 videos with 3 frames" in printed
    assert {row["frame"] for row in json.loads((tmp_path / "detections.json").read_text())} == {0, 3, 6}


def test_videos_and_pictures_from_the_web(capsys, caplog, model, clip, tmp_path):
    picture = tmp_path / "still.png"
    Image.fromarray(moving_squares(1)[0]).save(picture)
    pages = {
        "/clip.mp4": ("video/mp4", clip.read_bytes()),
        "/photo": ("image/png", picture.read_bytes()),
        "/page.mp4": ("text/html", b"<html><body>not here</body></html>"),
    }
    with serve(pages) as address:
        urls = [f"{address}/{name}" for name in ("clip.mp4", "photo", "none.png", "none.mp4", "page.mp4")]
        code, printed, _ = predict(capsys, model, *urls, "--output_dir", tmp_path / "out", "--save", "coco", "video")
    assert code == 0 and "1 pictures, 1 videos with 9 frames" in printed
    assert "3 of 5 cannot be read" in caplog.text
    assert "none.png: cannot be fetched: the server answers 404" in caplog.text
    assert "none.mp4: cannot be opened: Server returned 404 Not Found" in caplog.text
    assert "page.mp4: this is not a video" in caplog.text
    names = {row["file_name"] for row in json.loads((tmp_path / "out" / "detections.json").read_text())}
    assert names == set(urls[:2])
    assert len(frames_of(tmp_path / "out" / "videos" / "clip.mp4")) == 9


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file or folder"),
        (b"", "v.mp4: the file is empty (0 bytes)"),
        (b"hello " * 99, "v.mp4: this is not a video"),
    ],
)
def test_files_that_are_no_videos(content, message, capsys, model, tmp_path):
    path = tmp_path / "v.mp4"
    if content is not None:
        path.write_bytes(content)
    code, _, err = predict(capsys, model, path, "--output_dir", tmp_path / "out")
    assert code == 2 and message in err and str(path) in err
    assert list((tmp_path / "out").glob("*")) == []


@pytest.mark.skipif(os.path.exists("/dev/video0"), reason="there is a webcam")
def test_a_webcam_that_is_not_there(capsys, model, tmp_path):
    code, _, err = predict(capsys, model, "webcam", "--output_dir", tmp_path / "out")
    assert code == 2 and "webcam:0: there is no /dev/video0" in err


def test_a_video_that_breaks_off_keeps_what_came_before(capsys, model, tmp_path):
    path = make_video(tmp_path / "v.mkv", moving_squares(40), container="matroska")
    content = path.read_bytes()
    path.write_bytes(content[: 2 * len(content) // 3])
    code, _, _ = predict(capsys, model, path, "--output_dir", tmp_path / "out", "--save", "video", "coco")
    assert code == 0
    assert 1 < len(frames_of(tmp_path / "out" / "videos" / "v.mp4")) < 40


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length(model, tmp_path):
    clip = make_video(tmp_path / "clip.mp4", moving_squares(1) * 3000, fps=30)
    used = []

    def sample() -> bool:
        used.append(psutil.Process().memory_info().rss)
        return False

    tally = predict_to_folder(
        Detector.from_pretrained(model, device="cpu"),
        Sources([], [clip]),
        tmp_path / "out",
        model_name="tiny",
        kinds=["video", "coco", "csv"],
        track="bytetrack",
        is_stopped=sample,
    )
    assert tally.frames == 3000
    # 2,000 frames of 64 x 48 are 18 MB, their detections 4 MB more
    assert max(used[1000:]) - used[1000] < 12e6


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_done(model, tmp_path):
    clip = make_video(tmp_path / "clip.mp4", moving_squares(3000), fps=30)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "hf_detr.cli.main", "predict", model, clip, "--output_dir", out, "--track"]
    process = subprocess.Popen([*map(str, command)], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(out.glob(".unfinished-*/videos/.*")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130 and "stopping and writing what is done" in err and "interrupted" in err
    report = json.loads((out / "prediction.json").read_text())
    assert not report["complete"] and 0 < report["frames"] < 3000
    assert len(frames_of(out / "videos" / "clip.mp4")) == report["frames"]
    frames = {row["frame"] for row in json.loads((out / "detections.json").read_text())}
    assert frames and max(frames) < report["frames"]
    assert sorted(path.name for path in out.iterdir()) == ["detections.json", "prediction.json", "videos"]
