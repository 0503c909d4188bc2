"""`hf-detr predict`: pictures in, pictures with boxes and COCO results out."""

import argparse
import glob
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

from hf_detr.cli.flags import add_dense_options, add_model_options, parse_image_size, require_positive
from hf_detr.errors import DatasetError, HfDetrError

if TYPE_CHECKING:
    from hf_detr.data.images import UnreadableImageError
    from hf_detr.inference.detector import Detector

logger = logging.getLogger(__name__)

RESULTS_FILE = "detections.json"
PICTURES_FOLDER = "pictures"

_DESCRIPTION = """\
Find objects in pictures.

  hf-detr predict runs/first photo.jpg --output_dir found
  hf-detr predict runs/first photos more_photos/*.png --output_dir found --threshold 0.3
  hf-detr predict ustc-community/dfine-small-coco photos --output_dir found --no_pictures
  hf-detr predict runs/aerial field.tif --output_dir found --tile 640 --tile_overlap 0.2

Folders are searched with all folders below them. Written are the pictures with boxes drawn in,
and detections.json: a list in the COCO results format, one entry per object, with file and class
name added. Image ids count the pictures from 1; category ids are the model's class ids.
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hf-detr predict", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="folder that `hf-detr train` wrote, or a Hub id")
    parser.add_argument("images", nargs="+", help="pictures, folders of pictures, or patterns such as 'photos/*.jpg'")
    parser.add_argument("--output_dir", type=Path, required=True, metavar="DIR", help="where the results go")
    parser.add_argument("--threshold", type=float, default=0.5, help="least confidence of a detection; default: 0.5")
    parser.add_argument(
        "--max_detections",
        type=int,
        metavar="N",
        help="keep the best N of each picture; default: all above the threshold",
    )
    parser.add_argument("--no_pictures", action="store_true", help="write detections.json only")
    parser.add_argument("--overwrite", action="store_true", help="replace earlier results in --output_dir")
    add_dense_options(add_model_options(parser))
    return parser


def main(argv: list[str] | None = None) -> int:
    """Predict as the command line says. Returns 0, also where some of the pictures cannot be read: they are named.

    Raises:
        HfDetrError: no pictures, none that can be read, no such model, or results already there.
    """
    parser = build_parser()
    args = parser.parse_args(argv)
    require_positive(
        parser, batch_size=args.batch_size, max_detections=args.max_detections, num_queries=args.num_queries
    )
    image_size_hw = parse_image_size(parser, args.image_size)
    paths = find_pictures(args.images, leave_out=args.output_dir)
    if (args.output_dir / RESULTS_FILE).exists() and not args.overwrite:
        raise HfDetrError(
            f"{args.output_dir} already holds results. Choose another --output_dir, or --overwrite to replace them."
        )

    from hf_detr.inference.detector import Detector

    detector = Detector.from_pretrained(
        args.model,
        device=args.device,
        image_size_hw=image_size_hw,
        revision=args.revision,
        tile=args.tile,
        tile_overlap=args.tile_overlap,
        num_queries=args.num_queries,
    )
    unreadable: list[UnreadableImageError] = []
    counts = predict_to_folder(
        detector,
        paths,
        args.output_dir,
        threshold=args.threshold,
        max_detections=args.max_detections,
        batch_size=args.batch_size,
        draw=not args.no_pictures,
        unreadable=unreadable,
    )
    if unreadable:
        listed = "\n".join(f"  {error}" for error in unreadable)
        logger.warning("%d of %d pictures cannot be read and are left out:\n%s", len(unreadable), len(paths), listed)
    classes = ", ".join(f"{name} {count:,}" for name, count in counts.most_common())
    print(f"{len(paths) - len(unreadable):,} pictures, {counts.total():,} objects{f': {classes}' if classes else ''}")
    print(f"{args.output_dir / RESULTS_FILE}  all detections")
    if not args.no_pictures:
        print(f"{args.output_dir / PICTURES_FOLDER}/  the pictures with boxes")
    return 0


def predict_to_folder(
    detector: "Detector",
    paths: list[Path],
    output_dir: Path,
    *,
    threshold: float,
    max_detections: int | None = None,
    batch_size: int,
    draw: bool,
    unreadable: "list[UnreadableImageError]",
) -> Counter[str]:
    """Write detections, and pictures if asked; returns how many objects of each class were found.

    Pictures that cannot be read are left out and their errors put into ``unreadable``.

    Raises:
        DatasetError: none can be read.
    """
    from PIL import Image
    from tqdm import tqdm

    from hf_detr.draw import draw_boxes
    from hf_detr.evaluation.report import make_folder
    from hf_detr.evaluation.results import CocoResultsWriter

    make_folder(output_dir)
    targets = picture_targets(paths)
    image_ids = {path: number for number, path in enumerate(paths, start=1)}
    counts: Counter[str] = Counter()
    with (
        CocoResultsWriter(output_dir / RESULTS_FILE) as writer,
        tqdm(total=len(paths), desc="predicting", unit=" images", disable=None) as bar,
    ):
        stream = detector.stream(
            paths,
            threshold=threshold,
            max_detections=max_detections,
            batch_size=batch_size,
            on_unreadable=unreadable.append,
        )
        for image, found in stream:
            results = found.to_coco(image_ids[found.path])
            named = {"file_name": str(found.path)}
            writer.write(
                result | named | {"category_name": label} for result, label in zip(results, found.labels, strict=True)
            )
            counts.update(found.labels)
            if draw:
                labels = [f"{label} {score:.2f}" for label, score in zip(found.labels, found.scores, strict=True)]
                target = output_dir / PICTURES_FOLDER / targets[found.path]
                make_folder(target.parent)
                Image.fromarray(draw_boxes(image, found.boxes_xyxy, labels, found.class_ids)).save(target, quality=92)
            bar.update()
        bar.update(len(unreadable))
        if len(unreadable) == len(paths):
            listed = "\n".join(f"  {error}" for error in unreadable[:10])
            raise DatasetError(f"None of the {len(paths)} pictures can be read:\n{listed}")
    return counts


def find_pictures(sources: Iterable[str], leave_out: Path | None = None) -> list[Path]:
    """Picture files named directly, below folders, or by patterns; each once, folders and patterns in order of names.

    Args:
        sources: files, folders and patterns.
        leave_out: a folder whose content is not looked at, such as that of the results.

    Raises:
        DatasetError: a source does not exist or holds no pictures.
    """
    found: dict[Path, None] = {}
    results = leave_out.absolute() if leave_out is not None else None
    for source in sources:
        pictures = [path for path in _pictures_of(source) if results not in path.absolute().parents]
        if not pictures:
            raise DatasetError(f"{source}: no pictures there.")
        found.update(dict.fromkeys(pictures))
    return list(found)


def _pictures_of(source: str) -> Iterator[Path]:
    from hf_detr.data.folders import PICTURE_SUFFIXES

    path = Path(source)
    if path.is_dir():
        yield from sorted(p for p in path.rglob("*") if p.suffix.lower() in PICTURE_SUFFIXES and p.is_file())
    elif path.exists():
        yield path
    elif glob.has_magic(source):
        for match in sorted(glob.glob(source, recursive=True)):
            yield from _pictures_of(match)
    else:
        raise DatasetError(f"{source}: no such file or folder.")


def picture_targets(paths: list[Path]) -> dict[Path, Path]:
    """Where each picture goes below the folder of pictures: as ``.jpg`` under its own name, no two at one place.

    Pictures of equal name keep as many of their folders as tell them apart.
    """
    targets: dict[Path, Path] = {}
    taken: set[str] = set()
    for path in paths:
        parts = [part for part in path.with_suffix("").parts if part not in ("..", path.anchor)]
        with_folders = (Path(*parts[-depth:]) for depth in range(1, len(parts) + 1))
        with_number = (Path(f"{parts[-1]}-{number}") for number in count(2))
        # compared in lower case: some file systems do
        name = next(name for name in chain(with_folders, with_number) if str(name).lower() not in taken)
        taken.add(str(name).lower())
        targets[path] = name.with_name(f"{name.name}.jpg")
    return targets
