"""Small videos whose content is known."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tests.synthetic import COLOURS


def square_boxes_xyxy(frame: int, size_hw: tuple[int, int] = (48, 64)) -> np.ndarray:
    """``(3, 4)`` boxes of the squares of `moving_squares` in a frame; their class ids are 0, 1 and 2."""
    height, width = size_hw
    side = height // 4
    lefts = np.array([2 * frame, width - side - 2 * frame, width // 2])
    tops = np.array([0, height // 2 - side // 2, height - side])
    return np.stack([lefts, tops, lefts + side, tops + side], axis=1)


def moving_squares(frames: int, size_hw: tuple[int, int] = (48, 64)) -> list[np.ndarray]:
    """Pictures of three squares on grey: one goes right, one left, and one stays."""
    images = []
    for frame in range(frames):
        image = np.full((*size_hw, 3), 128, np.uint8)
        for (x0, y0, x1, y1), colour in zip(square_boxes_xyxy(frame, size_hw), COLOURS.values(), strict=True):
            image[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = colour
        images.append(image)
    return images


def make_video(
    path: Path,
    images: Sequence[np.ndarray],
    *,
    fps: int = 10,
    rotation: int = 0,
    container: str = "mp4",
    sound: str | None = None,
) -> Path:
    """Write pictures as a video, with PyAV alone; returns its path.

    Args:
        path: the file.
        images: ``uint8 (H, W, 3)`` RGB, even sizes.
        fps: frames per second.
        rotation: degrees counterclockwise, for players to turn it by.
        container: FFmpeg's name of the file format.
        sound: codec of a silent sound track as long as the video.
    """
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "crf": "10"})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, fps)
        if rotation:
            stream.set_display_rotation(rotation)
        track = output.add_stream(sound, rate=8000, layout="mono") if sound else None
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            output.mux(stream.encode(frame))
            if track is not None:
                output.mux(track.encode(_silence(track, number, 8000 // fps)))
        output.mux(stream.encode(None))
        if track is not None:
            output.mux(track.encode(None))
    return path


def _silence(track: av.AudioStream, number: int, samples: int) -> av.AudioFrame:
    """The silence of one frame."""
    frame = av.AudioFrame(format=track.format.name, layout="mono", samples=samples)
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    frame.sample_rate, frame.pts, frame.time_base = 8000, number * samples, Fraction(1, 8000)
    return frame
