"""The work of `hf-detr predict`: look at one source after the other, and hand what is seen to every output."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_detr import __version__
from hf_detr.cli.sources import Sources, output_names
from hf_detr.errors import DatasetError, HfDetrError

if TYPE_CHECKING:
    from hf_detr.inference.detector import Detector
    from hf_detr.inference.outputs.seen import Seen
    from hf_detr.inference.thresholds import Threshold


@dataclass
class Tally:
    """What was looked at and found."""

    pictures: int = 0
    frames: int = 0
    videos: set[Path] = field(default_factory=set)
    objects: Counter[str] = field(default_factory=Counter)
    tracks: set[tuple[Path, int]] = field(default_factory=set)
    unreadable: list[HfDetrError] = field(default_factory=list)

    def add(self, seen: "Seen") -> None:
        self.objects.update(seen.found.labels)
        if seen.video is None:
            self.pictures += 1
        else:
            self.frames += 1
            self.videos.add(seen.name)
            self.tracks.update((seen.name, track) for track in seen.found.tracks() if track is not None)

    def __str__(self) -> str:
        parts = []
        if self.pictures or not self.frames:
            parts.append(f"{self.pictures:,} pictures")
        if self.frames:
            parts.append(f"{len(self.videos):,} videos with {self.frames:,} frames")
        if self.tracks:
            parts.append(f"{len(self.tracks):,} tracks")
        classes = ", ".join(f"{name} {number:,}" for name, number in self.objects.most_common())
        return f"{', '.join(parts)}, {self.objects.total():,} objects{f': {classes}' if classes else ''}"


def predict_to_folder(
    detector: "Detector",
    sources: Sources,
    output_dir: Path,
    *,
    model_name: str,
    kinds: list[str],
    threshold: "Threshold" = None,
    classes: list[str] | None = None,
    max_detections: int | None = None,
    batch_size: int = 8,
    every: int = 1,
    track: str | None = None,
    is_stopped: Callable[[], bool] = lambda: False,
) -> Tally:
    """Write what is found in pictures and videos; returns how much that is.

    What cannot be read is left out, with its error in the tally; a video that breaks off keeps what came before.

    Raises:
        HfDetrError: nothing can be read, or a class or threshold that cannot be.
    """
    from hf_detr.inference.outputs.folder import open_outputs

    options = {
        "threshold": threshold,
        "classes": classes,
        "max_detections": max_detections,
        "batch_size": batch_size,
    }
    tally = Tally()
    report = {
        "model": model_name,
        "thresholds": {detector.id2label[k]: round(float(t), 4) for k, t in enumerate(detector.thresholds(threshold))},
        "classes": classes,
        "max_detections": max_detections,
        "every": every,
        "track": track,
    }
    with open_outputs(output_dir, kinds, detector.id2label, report) as outputs:
        for seen in _look(detector, sources, options, every, track, tally.unreadable):
            for output in outputs:
                output.write(seen)
            tally.add(seen)
            if is_stopped():
                break
        if tally.unreadable and not tally.pictures + tally.frames:
            if len(tally.unreadable) == 1:
                raise tally.unreadable[0]
            first = list_errors(tally.unreadable[:10])
            raise DatasetError(f"None of the {len(tally.unreadable)} pictures and videos can be read:\n{first}")
        report |= {
            "pictures": tally.pictures,
            "videos": len(tally.videos),
            "frames": tally.frames,
            "objects": dict(tally.objects.most_common()),
            "unreadable": [str(error) for error in tally.unreadable],
            "complete": not is_stopped(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "hf_detr_version": __version__,
        }
    return tally


def _look(
    detector: "Detector",
    sources: Sources,
    options: Mapping[str, Any],
    every: int,
    track: str | None,
    unreadable: list[HfDetrError],
) -> Iterator["Seen"]:
    """Pictures, then one video after the other."""
    from hf_detr.inference.video import UnreadableVideoError

    yield from _look_at_pictures(detector, sources.pictures, options, unreadable)
    next_id = len(sources.pictures) + 1
    for video, name in output_names(sources.videos).items():
        try:
            for seen in _look_at_video(detector, video, name, options, every, track, next_id):
                next_id = seen.image_id + 1
                yield seen
        except UnreadableVideoError as error:
            unreadable.append(error)


def _look_at_pictures(
    detector: "Detector", pictures: list[Path | str], options: Mapping[str, Any], unreadable: list[HfDetrError]
) -> Iterator["Seen"]:
    from tqdm import tqdm

    from hf_detr.inference.outputs.seen import Seen

    names = output_names(pictures)
    image_ids = {picture: number for number, picture in enumerate(pictures, start=1)}
    if not pictures:
        return
    with tqdm(total=len(pictures), desc="predicting", unit=" images", disable=None) as bar:
        for image, found in detector.stream(pictures, on_unreadable=unreadable.append, **options):
            yield Seen(image, found, image_ids[found.path], names[found.path])
            bar.update()
        bar.update(len(unreadable))


def _look_at_video(
    detector: "Detector",
    video: Path | str | int,
    name: Path,
    options: Mapping[str, Any],
    every: int,
    track: str | None,
    first_id: int,
) -> Iterator["Seen"]:
    from tqdm import tqdm

    from hf_detr.inference.outputs.seen import Seen
    from hf_detr.inference.video import VideoReader, detect_video

    with VideoReader(video, every) as reader:
        total = None if reader.num_frames is None else -(-reader.num_frames // every)
        with tqdm(total=total, desc=name.name, unit=" frames", disable=None) as bar:
            frames = detect_video(detector, reader, track=track, **options)
            for frame_id, (_, image, found) in enumerate(frames, start=first_id):
                yield Seen(image, found, frame_id, name, reader)
                bar.update()


def list_errors(errors: list[HfDetrError]) -> str:
    """Their messages, one a line."""
    return "\n".join(f"  {error}" for error in errors)
