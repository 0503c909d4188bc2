import os
import re
import threading
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
from PIL import Image

from hf_detr.errors import HfDetrError
from hf_detr.inference.ahead import iterate_ahead
from hf_detr.inference.detector import Detector
from hf_detr.inference.video import UnreadableVideoError, VideoReader, VideoWriter, detect_video
from tests.video import make_video, moving_squares


def test_frames_come_back_with_numbers_times_and_colours(tmp_path):
    images = moving_squares(12, size_hw=(48, 64))
    path = make_video(tmp_path / "a.mp4", images, fps=25)
    with VideoReader(path) as reader:
        assert (reader.fps, reader.num_frames, reader.size_hw) == (25, 12, (48, 64))
        frames = list(reader.frames())
    assert [frame.number for frame in frames] == list(range(12))
    np.testing.assert_allclose([frame.seconds for frame in frames], np.arange(12) / 25, atol=1e-4)
    for frame, image in zip(frames, images, strict=True):
        # chroma has half the resolution: edges blur, surfaces keep their colour
        assert np.median(np.abs(frame.image.astype(int) - image)) <= 4


def test_every_takes_one_of_n(tmp_path):
    path = make_video(tmp_path / "a.mp4", moving_squares(10), fps=10)
    with VideoReader(path, every=4) as reader:
        assert reader.num_frames == 10
        assert [(frame.number, round(frame.seconds, 3)) for frame in reader.frames()] == [(0, 0), (4, 0.4), (8, 0.8)]
    with VideoReader(path, every=4) as reader:
        assert [number for number, image in reader if image.shape == (48, 64, 3)] == [0, 4, 8]
    with pytest.raises(ValueError, match="every must be 1 or more"):
        VideoReader(path, every=0)


def test_variable_frame_rates_keep_their_times(tmp_path):
    times = [0.0, 0.04, 0.5, 0.52, 2.0]
    with VideoWriter(tmp_path / "a.mp4", 25, (48, 64)) as writer:
        for image, seconds in zip(moving_squares(5), times, strict=True):
            writer.write(image, seconds)
    with VideoReader(tmp_path / "a.mp4") as reader:
        np.testing.assert_allclose([frame.seconds for frame in reader.frames()], times, atol=1e-4)


@pytest.mark.parametrize("degrees", [90, -90, 180])
def test_frames_are_turned_upright(degrees, tmp_path):
    upright = np.zeros((48, 64, 3), np.uint8)
    upright[:16, :16] = (255, 0, 0)
    upright[32:, :16] = (0, 0, 255)
    stored = np.rot90(upright, -degrees // 90)  # the display matrix turns it counterclockwise again
    path = make_video(tmp_path / "a.mp4", [stored] * 3, rotation=degrees)
    with VideoReader(path) as reader:
        assert reader.size_hw == (48, 64)
        for _, image in reader:
            assert image.flags.c_contiguous
            np.testing.assert_allclose(image[8, 8], (255, 0, 0), atol=6)
            np.testing.assert_allclose(image[40, 8], (0, 0, 255), atol=6)


def test_odd_sizes_are_filled_up(tmp_path):
    image = np.full((33, 51, 3), 90, np.uint8)
    with VideoWriter(tmp_path / "a.mp4", 10, (33, 51)) as writer:
        writer.write(image)
    with VideoReader(tmp_path / "a.mp4") as reader:
        ((_, back),) = reader
    assert back.shape == (34, 52, 3) and np.abs(back.astype(int) - 90).max() <= 4


def test_frames_of_another_size_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"uint8 of \(48, 64, 3\)"), VideoWriter(tmp_path / "a.mp4", 5, (48, 64)) as w:
        w.write(np.zeros((48, 60, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_passwords_do_not_get_into_messages():
    with pytest.raises(UnreadableVideoError, match=r"^http://127\.0\.0\.1:9/a\.mp4: cannot be opened"):
        VideoReader("http://me:secret@127.0.0.1:9/a.mp4")


def test_a_video_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "a.mp4"
    with pytest.raises(KeyboardInterrupt), VideoWriter(path, 5, (48, 64)) as writer:
        writer.write(moving_squares(1)[0])
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    with VideoWriter(path, 5, (48, 64)) as writer:
        writer.write(moving_squares(1)[0])
        assert not path.exists()
    assert list(tmp_path.iterdir()) == [path]


def test_files_that_are_no_videos_are_named(tmp_path):
    def file(name: str, content: bytes) -> Path:
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    video = make_video(tmp_path / "whole.mp4", moving_squares(3)).read_bytes()
    picture = tmp_path / "still.jpg"
    Image.new("RGB", (32, 32)).save(picture)
    sound = tmp_path / "sound.mp4"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 2048), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 8000
        container.mux(stream.encode(silence) + stream.encode(None))
    for source, reason in [
        (tmp_path / "none.mp4", "no such file"),
        (tmp_path, "no such file"),
        (file("empty.mp4", b""), r"empty \(0 bytes\)"),
        (file("text.mp4", b"hello " * 100), "not a video"),
        (file("text.txt", b"hello " * 100), "not a video"),
        (file("list.m3u8", b"#EXTM3U\n#EXTINF:1,\nwhole.mp4\n"), "not a video"),
        (file("cut.mp4", video[: len(video) // 2]), "reading stopped|damaged|no frames"),
        (picture, "not a video"),
        (sound, "no video in it"),
        ("http://127.0.0.1:9/a.mp4", "cannot be opened: Connection refused"),
        (4711, "webcam:4711: there is no /dev/video4711"),
    ]:
        with pytest.raises(UnreadableVideoError, match=reason) as error:
            VideoReader(source)
        assert str(source) in str(error.value) and isinstance(error.value, HfDetrError)


@pytest.mark.parametrize("container", ["matroska", "mp4", "avi"])
def test_a_video_without_frames(container, tmp_path):
    path = tmp_path / "none.video"
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        output.start_encoding()
    with pytest.raises(UnreadableVideoError, match=r"none\.video: (the video has no frames|there is no video in it)"):
        VideoReader(path)


@pytest.mark.parametrize(
    ("container", "message"), [("mp4", r"\d+ damaged pieces of it are left out"), ("matroska", "only 11 of 60 frames")]
)
def test_damaged_parts_are_left_out_and_counted(container, message, tmp_path, caplog):
    path = make_video(tmp_path / "a.video", moving_squares(60), container=container)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 500] = bytes(500)
    path.write_bytes(content)
    with VideoReader(path) as reader:
        assert 10 < len(list(reader)) < 60
    assert re.search(rf"a\.video: {message}", caplog.text)


def test_videos_are_an_extra(tmp_path, monkeypatch):
    path = make_video(tmp_path / "a.mp4", moving_squares(1))
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(HfDetrError, match=r"pip install 'hf_detr\[video\]'"):
        VideoReader(path)


def test_iterating_ahead_keeps_order_errors_and_its_distance():
    taken = []

    def numbers():
        for number in range(8):
            taken.append(number)
            if number == 6:
                raise HfDetrError("broken")
            yield number

    items = iterate_ahead(numbers(), 3)
    assert [next(items) for _ in range(2)] == [0, 1]
    assert len(taken) <= 6
    with pytest.raises(HfDetrError, match="broken"):
        list(items)
    threads = threading.active_count()
    abandoned = iterate_ahead(numbers(), 3)
    next(abandoned)
    abandoned.close()
    assert threading.active_count() == threads


def test_detections_belong_to_their_frames(model_folder, tmp_path):
    detector = Detector.from_pretrained(model_folder, device="cpu")
    path = make_video(tmp_path / "a.mp4", moving_squares(7))
    with VideoReader(path) as reader:
        images = [image for _, image in reader]
    with VideoReader(path, every=2) as reader:
        seen = list(detect_video(detector, reader, threshold=0.3, batch_size=3))
    assert [number for number, _, _ in seen] == [0, 2, 4, 6]
    for number, image, found in seen:
        np.testing.assert_array_equal(image, images[number])
        alone = detector(images[number], threshold=0.3)
        np.testing.assert_allclose(found.boxes_xyxy, alone.boxes_xyxy, atol=1e-3)
        assert len(found) > 0


def test_memory_does_not_grow_with_the_length(tmp_path):
    image = moving_squares(1)[0]
    path = tmp_path / "long.mp4"
    process = psutil.Process(os.getpid())
    with VideoWriter(path, 30, (48, 64)) as writer:
        for number in range(3000):
            if number == 500:
                before = process.memory_info().rss
            writer.write(image)
    with VideoReader(path) as reader:
        assert sum(1 for _ in iterate_ahead(reader.frames(), 16)) == 3000
    assert process.memory_info().rss - before < 20e6
