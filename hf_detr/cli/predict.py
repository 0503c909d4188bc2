"""`hf-detr predict`: pictures and videos in, drawn pictures and videos and detections in several formats out."""

import argparse
import logging
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_detr.cli.flags import add_dense_options, add_model_options, parse_image_size, require_positive
from hf_detr.cli.predict_run import list_errors, predict_to_folder
from hf_detr.cli.sources import find_sources

if TYPE_CHECKING:
    from hf_detr.inference.thresholds import Threshold

logger = logging.getLogger(__name__)

# `hf_detr.inference.outputs.folder.OUTPUTS` and `hf_detr.inference.tracking.TRACKERS`, which take long to load.
SAVED = ("pictures", "video", "frames", "coco", "csv", "yolo", "fiftyone")
TRACKED = ("bytetrack", "sort", "ocsort", "botsort")
DEFAULT_SAVED = ("pictures", "video", "coco")

_DESCRIPTION = """\
Find objects in pictures and videos.

  hf-detr predict runs/first photo.jpg --output_dir found
  hf-detr predict runs/first photos more_photos/*.png clip.mp4 --output_dir found --threshold 0.3
  hf-detr predict runs/first street.mp4 --output_dir found --every 5 --track --save video csv
  hf-detr predict runs/first webcam --output_dir found        # until Ctrl-C, which keeps what is done
  hf-detr predict runs/first https://example.org/a.jpg rtsp://camera/stream --output_dir found
  hf-detr predict runs/first photos --output_dir found --classes person car --threshold person=0.4
  hf-detr predict runs/aerial field.tif --output_dir found --tile 640 --tile_overlap 0.2

Folders are searched with all folders below them. By default the pictures and videos are written
with boxes drawn in, and detections.json: a list in the COCO results format, one entry per object,
with file and class name added, and for videos frame and time. Image ids count the pictures from 1,
and after them the frames; category ids are the model's class ids.
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hf-detr predict", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="folder that `hf-detr train` or `hf-detr export` wrote, or a Hub id")
    parser.add_argument(
        "sources",
        nargs="+",
        help="pictures, videos, folders of them, patterns such as 'photos/*.jpg', URLs, streams, webcam or webcam:1",
    )
    results = parser.add_argument_group("results")
    results.add_argument("--output_dir", type=Path, required=True, metavar="DIR", help="where the results go")
    results.add_argument(
        "--save",
        nargs="+",
        choices=SAVED,
        default=DEFAULT_SAVED,
        metavar="KIND",
        help=f"any of {', '.join(SAVED)}; default: {' '.join(DEFAULT_SAVED)}",
    )
    results.add_argument("--overwrite", action="store_true", help="replace earlier results in --output_dir")
    chosen = parser.add_argument_group("which detections")
    chosen.add_argument(
        "--threshold",
        nargs="+",
        metavar="T",
        help="least confidence of a detection: a number, CLASS=NUMBER for some classes, or both; default: those "
        "stored with the model, see `hf-detr evaluate --save_thresholds`, else 0.5",
    )
    chosen.add_argument("--classes", nargs="+", metavar="CLASS", help="look for these only; default: all")
    chosen.add_argument(
        "--max_detections",
        type=int,
        metavar="N",
        help="keep the best N of each picture; default: all above the threshold",
    )
    videos = parser.add_argument_group("videos")
    videos.add_argument("--every", type=int, default=1, metavar="N", help="look at one frame of N; default: at all")
    videos.add_argument(
        "--track",
        nargs="?",
        choices=TRACKED,
        const=TRACKED[0],
        help="follow objects from frame to frame and number them; without a name: bytetrack",
    )
    add_dense_options(add_model_options(parser))
    return parser


def main(argv: list[str] | None = None) -> int:
    """Predict as the command line says. Returns 0, also where some of the sources cannot be read: they are named.

    Raises:
        HfDetrError: nothing to look at, nothing that can be read, no such model, or results already there.
        KeyboardInterrupt: after Ctrl-C, when what was done until then is written.
    """
    parser = build_parser()
    args = parser.parse_args(argv)
    require_positive(
        parser,
        batch_size=args.batch_size,
        max_detections=args.max_detections,
        num_queries=args.num_queries,
        every=args.every,
    )
    image_size_hw = parse_image_size(parser, args.image_size)
    thresholds = parse_thresholds(parser, args.threshold)
    sources = find_sources(args.sources, leave_out=args.output_dir)

    from hf_detr.inference.detector import Detector
    from hf_detr.inference.outputs.folder import OUTPUTS, REPORT_FILE, require_free

    kinds = list(dict.fromkeys(args.save))
    require_free(args.output_dir, kinds, overwrite=args.overwrite)
    detector = Detector.from_pretrained(
        args.model,
        device=args.device,
        image_size_hw=image_size_hw,
        revision=args.revision,
        tile=args.tile,
        tile_overlap=args.tile_overlap,
        num_queries=args.num_queries,
    )
    with _stopped_by_ctrl_c() as is_stopped:
        tally = predict_to_folder(
            detector,
            sources,
            args.output_dir,
            model_name=args.model,
            kinds=kinds,
            threshold=combine_thresholds(*thresholds, detector.id2label),
            classes=args.classes,
            max_detections=args.max_detections,
            batch_size=args.batch_size,
            every=args.every,
            track=args.track,
            is_stopped=is_stopped,
        )
        stopped = is_stopped()
    if tally.unreadable:
        total, listed = len(sources.pictures) + len(sources.videos), list_errors(tally.unreadable)
        logger.warning("%d of %d cannot be read and are left out:\n%s", len(tally.unreadable), total, listed)
    print(tally)
    for name, meaning in [*(OUTPUTS[kind][1:] for kind in kinds), (REPORT_FILE, "how this was made")]:
        path = args.output_dir / name
        if path.exists():
            print(f"{path}{'/' if path.is_dir() else ''}  {meaning}")
    if stopped:
        raise KeyboardInterrupt
    return 0


def parse_thresholds(
    parser: argparse.ArgumentParser, values: list[str] | None
) -> tuple[float | None, dict[str, float]]:
    """The number for all classes, None where there is none, and those of some classes."""
    of_all: float | None = None
    of_some: dict[str, float] = {}
    for value in values or []:
        name, is_named, number = value.rpartition("=")
        try:
            if is_named:
                of_some[name] = float(number)
            else:
                of_all = float(number)
        except ValueError:
            parser.error(f"--threshold takes a number, or CLASS=NUMBER; got {value!r}")
    return of_all, of_some


def combine_thresholds(of_all: float | None, of_some: dict[str, float], id2label: Mapping[int, str]) -> "Threshold":
    """What a `Detector` takes, from what `parse_thresholds` gives."""
    if not of_some:
        return of_all
    return of_some if of_all is None else {**dict.fromkeys(id2label.values(), of_all), **of_some}


@contextmanager
def _stopped_by_ctrl_c() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed. Pressed once it asks to stop after the picture or frame, twice it stops at once."""
    pressed = False

    def press(*_: Any) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True
        logger.warning("stopping and writing what is done; once more Ctrl-C throws it away")

    before = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)
