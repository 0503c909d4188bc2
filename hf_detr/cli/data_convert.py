"""`hf-detr data convert`: data sets from one format to another, with other splits, classes and sizes."""

import argparse
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from hf_detr.cli.flags import add_hub_options, hub_options, require_positive
from hf_detr.errors import DatasetError

if TYPE_CHECKING:
    from hf_detr.data.export.classes import ClassEdits
    from hf_detr.data.splits import Split

_DESCRIPTION = """\
Write data sets in another format, with other splits, other classes or smaller pictures. The source is never changed.

  hf-detr data convert my_data my_data_yolo --to yolo                # --outlines: polygons in place of boxes
  hf-detr data convert photos more_photos both --to coco --split 0.8/0.1/0.1
  hf-detr data convert my_data vehicles --to coco --merge car,truck=vehicle --drop person
  hf-detr data convert my_data small --to hub --resize 640
  hf-detr data convert objects365 o365 --to coco --resize 640 --valid_size 5000      # as the papers train on it
  hf-detr data convert out --images photos --annotations photos.json --to voc
"""

_EPILOG = """\
IN is anything that `hf-detr check` reads. Several become one: splits of one name are put together, classes are matched
by name. OUT appears when it is complete. What OUT cannot hold is named with numbers, never left out in silence.

  coco   OUT/train/_annotations.coco.json, pictures in OUT/train/
  yolo   OUT/data.yaml, OUT/images/train/, OUT/labels/train/
  voc    OUT/ImageSets/Main/train.txt, OUT/Annotations/, OUT/JPEGImages/, OUT/label_list.txt
  csv    OUT/train/_annotations.csv, pictures in OUT/train/, OUT/classes.txt
  hub    OUT/data/train-00000-of-00001.parquet with the pictures, and a card: for `load_dataset` and the Hub
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hf-detr data convert",
        usage="hf-detr data convert IN [IN ...] OUT --to FORMAT [options]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("sources", metavar="IN", nargs="*", help="folders with data sets, or names on the Hub")
    parser.add_argument("target", metavar="OUT", type=Path, help="the folder to write; new or empty")
    parser.add_argument("--to", required=True, choices=("coco", "yolo", "voc", "csv", "hub"), help="format to write")
    parser.add_argument(
        "--outlines",
        action="store_true",
        help="with --to yolo: where an object has an outline of one polygon, write that in place of its box",
    )
    parser.add_argument("--images", metavar="DIR", type=Path, help="pictures, if no layout fits; with --annotations")
    parser.add_argument(
        "--annotations", metavar="FILE", type=Path, help="their annotations: a file, or a folder of labels"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier conversion in OUT")
    parser.add_argument("--json", action="store_true", help="print what was done as JSON")

    pictures = parser.add_argument_group("pictures")
    pictures.add_argument(
        "--pictures",
        choices=("copy", "link", "symlink", "none"),
        default="copy",
        help="copied, hard-linked (no space needed; same disk only), symbolically linked, or not there. Default: copy",
    )
    pictures.add_argument(
        "--resize",
        type=int,
        nargs="+",
        metavar="PX",
        help="one number: the longer side becomes at most that, in proportion; two: height and width, whatever the "
        "proportions. Boxes are scaled with them",
    )
    pictures.add_argument(
        "--on_unreadable",
        choices=("raise", "skip"),
        default="raise",
        help="a picture that is missing or cannot be read: stop, or leave it out and say so. Default: raise",
    )

    splits = parser.add_argument_group("splits")
    splits.add_argument(
        "--split",
        metavar="A/B[/C]",
        help="share all pictures out anew among train, valid and test, each class in proportion: 0.8/0.1/0.1 or 80/20",
    )
    splits.add_argument(
        "--group_by",
        metavar="PATTERN",
        help="with --split: pictures stay together in whose file names this regular expression finds the same text, "
        "such as '^(.*)_frame' for the frames of a film",
    )
    splits.add_argument(
        "--near_duplicates",
        choices=("together", "spread"),
        default="together",
        help="with --split: near-identical pictures, which in two splits would make scores look better than they are, "
        "stay together, or not. Default: together",
    )
    splits.add_argument("--seed", type=int, default=0, metavar="N", help="with --split: another one, other splits")
    splits.add_argument(
        "--valid_size", type=int, metavar="N", help="keep the first N validation pictures; the others join train"
    )

    classes = parser.add_argument_group("classes")
    classes.add_argument("--rename", nargs="+", default=[], metavar="OLD=NEW", help="give classes other names")
    classes.add_argument("--merge", nargs="+", default=[], metavar="A,B=NEW", help="make several classes one")
    classes.add_argument("--drop", nargs="+", default=[], metavar="CLASS", help="leave out the objects of these")
    classes.add_argument("--keep", nargs="+", default=[], metavar="CLASS", help="leave out those of all others")
    classes.add_argument("--class_map", type=Path, metavar="FILE", help="YAML with `old: new`; `old:` drops a class")
    classes.add_argument(
        "--emptied",
        choices=("keep", "drop"),
        default="keep",
        help="pictures that lose all their objects in this way: keep them as background, or drop them. Default: keep",
    )
    add_hub_options(parser.add_argument_group("Hugging Face data sets to read"))
    return parser


def main(argv: list[str] | None = None) -> int:
    """Convert as the command line says.

    Raises:
        DatasetError: data that cannot be used, a target that is not free, or wishes that do not go together.
    """
    parser = build_parser()
    args = parser.parse_args(argv)
    require_positive(parser, valid_size=args.valid_size, resize=min(args.resize) if args.resize else None)
    if args.resize and len(args.resize) > 2:
        parser.error(f"--resize takes one number, or height and width; got {' '.join(map(str, args.resize))}")
    shares = _parse_shares(parser, args.split) if args.split else None
    if shares is None and args.group_by is not None:
        parser.error("--group_by goes with --split")
    if shares is not None and args.valid_size is not None:
        parser.error("--split and --valid_size are two ways to make splits: choose one")
    group_by = _parse_pattern(parser, args.group_by)
    edits = _class_edits(parser, args)
    sources = _sources(args)

    from hf_detr.data.export.convert import convert_dataset
    from hf_detr.data.export.wishes import NewSplits, Wishes

    wishes = Wishes(
        to=args.to,
        outlines=args.outlines,
        classes=edits,
        keep_emptied=args.emptied == "keep",
        split=shares and NewSplits(shares, group_by, args.near_duplicates == "together", args.seed),
        valid_size=args.valid_size,
        resize=args.resize,
        pictures=args.pictures,
        on_unreadable=args.on_unreadable,
        overwrite=args.overwrite,
    )
    conversion = convert_dataset(sources, args.target, wishes)
    print(json.dumps(asdict(conversion), indent=2, default=str) if args.json else conversion.render())
    return 0


def _sources(args: argparse.Namespace) -> "list[Mapping[str, Split]]":
    """The splits that are to be read, those of each data set apart.

    Raises:
        DatasetError: nothing named, half of a pair, or nothing found.
    """
    from hf_detr.data.hub_sources import is_hub_data
    from hf_detr.data.splits import explicit_split, find_splits

    if (args.images is None) != (args.annotations is None):
        raise DatasetError("--images and --annotations go together; one of them is missing.")
    if bool(args.sources) == (args.images is not None):
        raise DatasetError("Convert what? Give either IN and OUT, or OUT with --images DIR and --annotations FILE.")
    if args.images is not None:
        return [{"train": explicit_split("train", args.images, args.annotations)}]
    on_hub = [is_hub_data(source) for source in args.sources]
    # Their settings are for them alone; where there is no such source, reading says that they are out of place.
    return [
        find_splits(source, hub_options(args) if is_hub or not any(on_hub) else None)
        for source, is_hub in zip(args.sources, on_hub, strict=True)
    ]


def _parse_shares(parser: argparse.ArgumentParser, text: str) -> tuple[float, ...]:
    try:
        parts = [float(part) for part in text.split("/")]
    except ValueError:
        parts = []
    total = sum(parts)
    if len(parts) not in (2, 3) or min(parts) <= 0 or min(abs(total - 1), abs(total - 100)) > 1e-6:
        parser.error(f"--split takes two or three shares that add up to 1 or 100, such as 0.8/0.1/0.1; got {text}")
    return tuple(part / total for part in parts)


def _parse_pattern(parser: argparse.ArgumentParser, text: str | None) -> re.Pattern[str] | None:
    try:
        return None if text is None else re.compile(text)
    except re.error as error:
        parser.error(f"--group_by {text!r} is no regular expression: {error}")


def _class_edits(parser: argparse.ArgumentParser, args: argparse.Namespace) -> "ClassEdits":
    from hf_detr.data.export.classes import ClassEdits, read_class_map

    for flag in ("rename", "merge"):
        for text in getattr(args, flag):
            old, equals, new = text.partition("=")
            if not (old and equals and new):
                parser.error(f"--{flag} takes {'OLD=NEW' if flag == 'rename' else 'A,B=NEW'}, got {text!r}")
    return ClassEdits(
        rename=tuple((old, new) for old, _, new in (text.partition("=") for text in args.rename)),
        merge=tuple((tuple(old.split(",")), new) for old, _, new in (text.partition("=") for text in args.merge)),
        drop=tuple(args.drop),
        keep=tuple(args.keep),
        class_map=None if args.class_map is None else read_class_map(args.class_map),
    )
