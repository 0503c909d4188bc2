"""The folder with all that a prediction leaves behind: complete, or as it was before."""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from hf_detr.errors import HfDetrError
from hf_detr.evaluation.report import make_folder, write_json
from hf_detr.inference.outputs.datasets import FIFTYONE_FOLDER, YOLO_FOLDER, FiftyOneOutput, YoloOutput
from hf_detr.inference.outputs.drawn import (
    FRAMES_FOLDER,
    PICTURES_FOLDER,
    VIDEOS_FOLDER,
    DrawnFrames,
    DrawnPictures,
    DrawnVideos,
)
from hf_detr.inference.outputs.seen import Output
from hf_detr.inference.outputs.tables import COCO_FILE, CSV_FILE, CocoOutput, CsvOutput

# What was predicted how, and what of the folder's content came of it.
REPORT_FILE = "prediction.json"


class OutputKind(NamedTuple):
    """What is written, as what file or folder, and what it is, for people."""

    open: Callable[[Path, Mapping[int, str]], Output]
    name: str
    meaning: str


OUTPUTS = {
    "pictures": OutputKind(DrawnPictures, PICTURES_FOLDER, "the pictures with boxes"),
    "video": OutputKind(DrawnVideos, VIDEOS_FOLDER, "the videos with boxes"),
    "frames": OutputKind(DrawnFrames, FRAMES_FOLDER, "the frames of videos with boxes, as pictures"),
    "coco": OutputKind(CocoOutput, COCO_FILE, "all detections, as COCO results"),
    "csv": OutputKind(CsvOutput, CSV_FILE, "all detections, as a table"),
    "yolo": OutputKind(YoloOutput, YOLO_FOLDER, "all detections, as YOLO labels with confidence"),
    "fiftyone": OutputKind(FiftyOneOutput, FIFTYONE_FOLDER, "all detections, as a FiftyOneImageDetectionDataset"),
}


def require_free(folder: Path, kinds: Sequence[str], *, overwrite: bool) -> None:
    """Refuse to replace earlier results without being told to, and anything else at all.

    Raises:
        HfDetrError: what is in the way.
    """
    earlier = _earlier_results(folder)
    names = {REPORT_FILE, *(OUTPUTS[kind].name for kind in kinds), *earlier}
    in_the_way = sorted(name for name in names if (folder / name).exists())
    if not in_the_way:
        return
    if not overwrite:
        raise HfDetrError(
            f"{folder} already holds results: {', '.join(in_the_way)}. Choose another --output_dir, or --overwrite to "
            "replace them."
        )
    foreign = [name for name in in_the_way if name not in earlier]
    if foreign:
        raise HfDetrError(
            f"{folder} has {', '.join(foreign)}, which no earlier prediction wrote. Choose another --output_dir."
        )


@contextmanager
def open_outputs(
    folder: Path, kinds: Sequence[str], id2label: Mapping[int, str], report: Mapping[str, Any]
) -> Iterator[list[Output]]:
    """Outputs to write to. They are put into the folder at the end, in place of earlier results.

    Where the block is left with an error, the folder stays as it was.

    Args:
        folder: see `require_free`; made if it is not there.
        kinds: keys of `OUTPUTS`.
        id2label: the model's classes.
        report: what goes into ``prediction.json``, as it is when the block ends.
    """
    make_folder(folder)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unfinished-") as workplace:
        unfinished = Path(workplace)
        with ExitStack() as stack:
            yield [stack.enter_context(OUTPUTS[kind].open(unfinished, id2label)) for kind in kinds]
        names = sorted(path.name for path in unfinished.iterdir())
        write_json(unfinished / REPORT_FILE, {**report, "results": names})
        for name in [REPORT_FILE, *_earlier_results(folder)]:
            _remove(folder / name)
        for name in [*names, REPORT_FILE]:
            (unfinished / name).rename(folder / name)


def _earlier_results(folder: Path) -> list[str]:
    """Files and folders that an earlier prediction left in the folder, its report among them."""
    path = folder / REPORT_FILE
    if not path.is_file():
        return []
    known = {kind.name for kind in OUTPUTS.values()}
    try:
        results = json.loads(path.read_text(encoding="utf-8"))["results"]
        return [REPORT_FILE, *(name for name in results if name in known)]
    except (ValueError, KeyError, TypeError) as error:
        raise HfDetrError(f"{path}: is not the report of a prediction. Choose another --output_dir.") from error


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
