"""`hf-detr check`: what is wrong with a data set, all at once, before a model is built or downloaded."""

import argparse
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hf_detr.cli.drawn import save_beside
from hf_detr.cli.flags import add_hub_options, hub_options, parse_image_size, require_positive
from hf_detr.errors import DatasetError

if TYPE_CHECKING:
    from hf_detr.data.hub_sources import HubOptions
    from hf_detr.data.splits import Split

_DESCRIPTION = """\
Find everything that is wrong with a data set, before an hour of training on it.

  hf-detr check my_data                       # annotations, files, every picture, and a drawn sample
  hf-detr check my_data --fast                # annotations and files only: seconds, also on COCO
  hf-detr check --images photos --annotations photos.json
  hf-detr check my_data --strict --json > report.json         # for a script: warnings count too
"""

_EPILOG = """\
DIR is a data set in one of these layouts (val or valid, with or without year, test too), or the
file that describes it, such as my_data/data.yaml:

  COCO        DIR/train/_annotations.coco.json, DIR/annotations/instances_train2017.json, DIR/train.json
  YOLO        DIR/data.yaml, or DIR/images/train/ and DIR/labels/train/ with DIR/classes.txt
  Pascal VOC  DIR/ImageSets/Main/train.txt, DIR/VOC2007/ImageSets/..., or DIR/train/*.xml
  CSV         DIR/train/_annotations.csv, DIR/train.csv, or DIR/annotations.csv with a column split
  others      Objects365, CrowdHuman, Hugging Face datasets; docs/data.md has an example of each

Every finding has an id that stays the same (box.outside), a severity, the file and the annotation
id or line, and says what to do:

  ERROR    training, or the numbers measured, would be wrong; `hf-detr train` refuses most of them
  WARNING  probably not what you want, but training copes with it and says how
  INFO     good to know

exit code: 0 no errors (with --strict: no warnings either), 1 errors found, 2 nothing to check:
no such folder, no annotations in it, or a file that cannot be read
"""

_MAX_WIDTH = 100


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hf-detr check",
        usage="hf-detr check DIR [options]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "data", metavar="DIR", nargs="?", type=Path, help="folder with the data set, or USER/NAME on the Hub"
    )
    parser.add_argument("--images", metavar="DIR", type=Path, help="pictures, if no layout fits; with --annotations")
    parser.add_argument(
        "--annotations", metavar="FILE", type=Path, help="their annotations: a file, or a folder of labels"
    )
    add_hub_options(parser.add_argument_group("Hugging Face data sets"))
    parser.add_argument("--fast", action="store_true", help="do not open the pictures")
    parser.add_argument(
        "--num_queries",
        type=int,
        default=300,
        metavar="N",
        help="objects your model can find in a picture; pictures with more are reported. Default: 300",
    )
    parser.add_argument(
        "--image_size",
        type=int,
        nargs="+",
        default=[640],
        metavar="N",
        help="size you will train at, one number or height and width; objects that vanish there are reported. "
        "Default: 640",
    )
    parser.add_argument("--strict", action="store_true", help="exit with 1 on warnings too")
    parser.add_argument("--json", action="store_true", help="print the whole report as JSON, every place included")
    parser.add_argument(
        "--sample", type=int, default=12, metavar="N", help="pictures in the drawn sample, 0 for none. Default: 12"
    )
    parser.add_argument(
        "--output_dir", metavar="DIR", type=Path, help="where the drawn sample goes. Default: ./check/NAME"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    parser = build_parser()
    args = parser.parse_args(argv)
    image_size_hw = parse_image_size(parser, args.image_size)
    require_positive(parser, num_queries=args.num_queries, image_size=min(args.image_size))
    splits = _splits(args.data, args.images, args.annotations, hub_options(args))

    from hf_detr.data.checks import check_dataset
    from hf_detr.data.splits import read_splits

    splits = read_splits(splits)  # once, for the report and for the sample
    report = check_dataset(
        splits,
        source=str(args.data or args.annotations),
        read_images=not args.fast,
        num_queries=args.num_queries,
        image_size_hw=image_size_hw,
        progress=True,
    )
    if args.json:
        print(json.dumps(report.to_dict(), indent=2, ensure_ascii=False))
    else:
        print(report.render(width=min(_MAX_WIDTH, shutil.get_terminal_size((_MAX_WIDTH, 24)).columns)))
    if args.sample > 0 and not args.fast:
        name = _name_of(args.data or args.annotations)
        sample = _save_sample(splits, args.sample, args.output_dir or Path("check") / name)
        # With --json the report alone is on stdout.
        print(f"\nDrawn sample: {sample or 'none, there is nothing to draw'}", file=sys.stderr if args.json else None)
    return report.strict_exit_code if args.strict else report.exit_code


def _name_of(data: Path) -> str:
    """What to call a data set: its folder, or the file that describes it without its ending."""
    return data.stem if data.is_file() else data.absolute().name


def _splits(
    data: Path | None, images: Path | None, annotations: Path | None, hub: "HubOptions"
) -> Mapping[str, "Split"]:
    """The splits that the flags name.

    Raises:
        DatasetError: nothing named, half of a pair, or nothing found.
    """
    from hf_detr.data.splits import explicit_split, find_splits

    if (images is None) != (annotations is None):
        raise DatasetError("--images and --annotations go together; one of them is missing.")
    if (data is None) == (images is None):
        raise DatasetError("Check what? Give either DIR, or --images DIR and --annotations FILE.")
    return find_splits(data, hub) if data else {"train": explicit_split("train", images, annotations)}


def _save_sample(splits: Mapping[str, "Split"], count: int, output_dir: Path) -> Path | None:
    """Draw pictures into a new file in `output_dir`; its path, or None where there is nothing to draw."""
    from hf_detr.data.preview import preview_grid

    grid = preview_grid(splits, count=count)
    if grid is None:
        return None
    way_out = "Choose another --output_dir, or --sample 0 for none."
    return save_beside(grid, output_dir / "sample.png", way_out=way_out)
