"""The sound of a video, copied as it is."""

import heapq
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hf_detr.inference.video_source import import_av, reason_of

logger = logging.getLogger(__name__)

# Encoders begin a little before the first sample: their packets of that time are needed.
_RUN_UP = 0.1


def add_sound(video: Path, source: Path) -> None:
    """Give an .mp4 the first sound track of the video that it was made from, as far as its frames go.

    Nothing is encoded again. Sound of a kind that .mp4 does not take is left out, and the log says so.
    """
    av = import_av()
    with av.open(str(source)) as heard:
        if not heard.streams.audio:
            return
        staging = video.with_name(f".{video.name}.{os.getpid()}")
        try:
            with (
                av.open(str(video)) as seen,
                av.open(str(staging), "w", format="mp4", container_options={"movflags": "faststart"}) as output,
            ):
                _merge(seen, heard, output)
            staging.replace(video)
        except (av.error.FFmpegError, ValueError) as error:
            codec = heard.streams.audio[0].codec_context.name
            logger.warning(
                "%s: has no sound. That of %s (%s) cannot be copied: %s.", video, source, codec, reason_of(error)
            )
        finally:
            staging.unlink(missing_ok=True)


def _merge(seen: Any, heard: Any, output: Any) -> None:
    """Packets of pictures and sound, in the order of their times."""
    pictures, sound = seen.streams.video[0], heard.streams.audio[0]
    end = float(pictures.duration * pictures.time_base)
    of_source = heard.streams.video[0]
    start = float((of_source.start_time or 0) * of_source.time_base)
    targets = {stream.type: output.add_stream_from_template(stream) for stream in (pictures, sound)}
    both = (_packets(seen, pictures), _between(_packets(heard, sound), start, end))
    for packet in heapq.merge(*both, key=lambda packet: packet.dts * packet.time_base):
        packet.stream = targets[packet.stream.type]
        output.mux(packet)


def _packets(container: Any, stream: Any) -> Iterator[Any]:
    return (packet for packet in container.demux(stream) if packet.dts is not None)  # the last one is empty


def _between(packets: Iterator[Any], start: float, end: float) -> Iterator[Any]:
    """Packets with their times counted from ``start`` seconds, none after ``end``."""
    for packet in packets:
        shift = round(start / packet.time_base)
        packet.dts -= shift
        packet.pts -= shift
        if -_RUN_UP <= packet.dts * packet.time_base <= end:
            yield packet
