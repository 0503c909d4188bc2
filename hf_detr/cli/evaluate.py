"""`hf-detr evaluate`: the COCO numbers of a model on a split, a table per class, and a look at its pictures."""

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from hf_detr.cli.flags import (
    add_dense_options,
    add_hub_options,
    add_model_options,
    hub_options,
    parse_image_size,
    require_positive,
)
from hf_detr.errors import DatasetError

if TYPE_CHECKING:
    from hf_detr.data.hub_sources import HubOptions
    from hf_detr.data.splits import Split

_DESCRIPTION = """\
Evaluate a detector as COCO does: average precision and recall, overall and for each class.

  hf-detr evaluate runs/first --data my_data                   # the validation split
  hf-detr evaluate runs/first --data my_data --split test --output_dir results/first
  hf-detr evaluate runs/aerial --data my_aerial --tile 640      # large pictures, tile by tile
  hf-detr evaluate runs/first --data my_data --save_thresholds  # the best one of each class, for predict
  hf-detr evaluate ustc-community/dfine-small-coco --images val2017 --annotations val.json

Three files are written: metrics.json with all numbers, predictions.json with all detections as
COCO results, and predictions.png with predictions beside ground truth. The numbers equal those
of pycocotools to the last digit. Classes of model and data are matched by name.
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hf-detr evaluate", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="folder of `hf-detr train` or `hf-detr export`, or a Hub id")
    data = parser.add_argument_group("data")
    data.add_argument("--data", metavar="DIR", help="data set in one of the usual layouts, or USER/NAME on the Hub")
    data.add_argument("--split", choices=["valid", "test", "train"], default="valid", help="default: valid")
    data.add_argument("--images", metavar="DIR", help="pictures, where --data does not fit; with --annotations")
    data.add_argument("--annotations", metavar="FILE", help="their annotations: a file, or a folder of labels")
    add_hub_options(data)
    results = parser.add_argument_group("results")
    results.add_argument(
        "--output_dir",
        metavar="DIR",
        type=Path,
        help="default: MODEL/evaluation-SPLIT, or ./evaluation-NAME-SPLIT for a model on the Hub",
    )
    results.add_argument("--overwrite", action="store_true", help="replace another evaluation in --output_dir")
    results.add_argument("--json", action="store_true", help="print metrics.json instead of tables")
    results.add_argument(
        "--threshold", type=float, help="confidence of the predictions drawn; default: the one with the highest F1"
    )
    results.add_argument(
        "--save_thresholds",
        action="store_true",
        help="store the threshold with the highest F1 of each class in the model's config.json, for `hf-detr predict`",
    )
    scoring = parser.add_argument_group("scoring")
    scoring.add_argument(
        "--max_detections",
        type=int,
        metavar="N",
        help="detections that count per image and class; default: 100, or the objects of the fullest image if more",
    )
    scoring.add_argument(
        "--eval_backend",
        choices=["hotcoco", "pycocotools"],
        default="hotcoco",
        help="equal numbers; pycocotools is the reference and takes 60 times as long. Default: hotcoco",
    )
    scoring.add_argument(
        "--class_map",
        nargs="+",
        default=[],
        metavar="MODEL:DATA",
        help="classes that model and data call differently, such as motorbike:motorcycle",
    )
    scoring.add_argument("--ignore_extra_classes", action="store_true", help="leave out what only the model knows")
    add_dense_options(add_model_options(parser))
    parser.add_argument(
        "--num_workers", type=int, metavar="N", help="processes that read pictures; default: by device"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Evaluate as the command line says. Returns 0.

    Raises:
        HfDetrError: anything the user can mend.
    """
    parser = build_parser()
    args = parser.parse_args(argv)
    require_positive(
        parser, batch_size=args.batch_size, max_detections=args.max_detections, num_queries=args.num_queries
    )
    image_size_hw = parse_image_size(parser, args.image_size)
    split = find_split(args.data, args.split, args.images, args.annotations, hub_options(args))

    from hf_detr.data.dataset import DetectionDataset
    from hf_detr.data.splits import load_index
    from hf_detr.evaluation.loop import match_model_classes
    from hf_detr.evaluation.report import (
        METRICS_FILE,
        PICTURES_FILE,
        PREDICTIONS_FILE,
        evaluate_to_folder,
        evaluated_pair,
        render_metrics,
        require_free_folder,
    )
    from hf_detr.evaluation.thresholds import best_thresholds, config_to_store_in, render_thresholds, store_thresholds
    from hf_detr.inference.detector import Detector

    config = config_to_store_in(args.model) if args.save_thresholds else None
    dataset = DetectionDataset(load_index(split))
    output_dir = args.output_dir or default_output_dir(args.model, split)
    if not args.overwrite:
        require_free_folder(output_dir, evaluated_pair(args.model, dataset))
    detector = Detector.from_pretrained(
        args.model,
        device=args.device,
        image_size_hw=image_size_hw,
        revision=args.revision,
        tile=args.tile,
        tile_overlap=args.tile_overlap,
        num_queries=args.num_queries,
    )
    class_of = match_model_classes(
        detector.id2label, dataset.index, class_map=args.class_map, ignore_extra=args.ignore_extra_classes
    )
    num_workers = args.num_workers
    if num_workers is None:
        num_workers = 0 if detector.backend.device.type == "cpu" else min(8, os.cpu_count() or 1)
    metrics = evaluate_to_folder(
        detector,
        dataset,
        output_dir,
        model_name=args.model,
        batch_size=args.batch_size,
        num_workers=num_workers,
        max_detections=args.max_detections,
        backend=args.eval_backend,
        class_of=class_of,
        threshold=args.threshold,
    )
    thresholds = best_thresholds(metrics, detector.id2label, class_of)
    if config is not None:
        store_thresholds(config, thresholds)
    if args.json:
        print(json.dumps(metrics, indent=2, ensure_ascii=False))
    else:
        print(f"{args.model} on {split.annotations_path} ({split.name})\n")
        print(render_metrics(metrics))
        print()
        for name, what in (
            (METRICS_FILE, "all numbers"),
            (PREDICTIONS_FILE, "all detections"),
            (PICTURES_FILE, "predictions beside ground truth"),
        ):
            print(f"{output_dir / name}  {what}")
        if config is not None:
            print(
                f"{config}  now with the threshold of each class:\n{render_thresholds(thresholds, detector.id2label)}"
            )
    return 0


def find_split(
    data: str | None, split: str, images: str | None, annotations: str | None, hub: "HubOptions | None" = None
) -> "Split":
    """The split that the flags name.

    Raises:
        DatasetError: nothing named, half of a pair, or no such split.
    """
    from hf_detr.data.splits import explicit_split, find_splits

    if (images is None) != (annotations is None):
        raise DatasetError("--images and --annotations go together; one of them is missing.")
    if (data is None) == (images is None):
        raise DatasetError("Evaluate on what? Give either --data DIR, or --images DIR and --annotations FILE.")
    if images is not None:
        return explicit_split(Path(annotations).stem, Path(images), Path(annotations))
    splits = find_splits(data, hub)
    if split not in splits:
        raise DatasetError(f"{data} has no {split} split. It has: {', '.join(splits)}. Choose one with --split.")
    return splits[split]


def default_output_dir(model: str, split: "Split") -> Path:
    """Beside the model where it is a local folder, else here."""
    if Path(model).is_dir():
        return Path(model) / f"evaluation-{split.name}"
    return Path(f"evaluation-{model.replace('/', '-')}-{split.name}")
