"""`hf-detr export`: a trained model for another runtime, compared with the original before it is called done."""

import argparse
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from hf_detr.cli.flags import parse_image_size, require_positive
from hf_detr.errors import HfDetrError
from hf_detr.export.targets import MAX_BATCH, TARGETS

if TYPE_CHECKING:
    import numpy as np

    from hf_detr.data.dataset import DetectionDataset

logger = logging.getLogger(__name__)

_DESCRIPTION = """\
Export a detector to another format. The file is run on pictures before it is called done, and has to find
what the model finds in PyTorch; with --data COCO AP is measured before and after, too. If it finds something
else or loses too much AP, that is an error and nothing is written.

  hf-detr export runs/first --data my_data
  hf-detr export runs/first --data my_data --precision float16 --output_dir exported/half
  hf-detr export runs/first --data my_data --precision int8 --to openvino
  hf-detr export runs/first --images my_data/valid --with-postprocess --uint8-input
  hf-detr export ustc-community/dfine-small-coco --output_dir exported/dfine-s

The folder has model.onnx or openvino_model.xml, with class names and preprocessing as metadata,
config.json and preprocessor_config.json; `hf-detr predict` and `hf-detr evaluate` take it like any other model.
Input: pixel_values (batch, 3, height, width). Output: logits (batch, queries, classes), before the
sigmoid, and pred_boxes (batch, queries, 4), centre, width and height as shares of the picture.
"""


def main(argv: list[str] | None = None) -> int:
    """Export as the command line says. Returns 0.

    Raises:
        HfDetrError: no such model, a folder that is not free, or an exported model that computes something else.
    """
    parser = argparse.ArgumentParser(
        prog="hf-detr export", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="folder that `hf-detr train` wrote, or a Hub id")
    parser.add_argument(
        "--output_dir",
        type=Path,
        metavar="DIR",
        help="default: MODEL/onnx, by the format, or ./NAME-onnx for a model on the Hub",
    )
    add_options(parser)
    args = parser.parse_args(argv)
    run(parser, args, args.output_dir or default_output_dir(args.model, args.to))
    return 0


def add_options(parser: argparse.ArgumentParser) -> None:
    """What `hf-detr export` and `optimum-cli export detr` have in common."""
    parser.add_argument("--to", choices=list(TARGETS), default="onnx", help="default: onnx")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export in --output_dir")
    parser.add_argument("--json", action="store_true", help="print what was done as JSON")
    parser.add_argument("--revision", default="main", help="branch, tag or commit on the Hub")
    graph = parser.add_argument_group("the graph")
    graph.add_argument(
        "--image_size",
        type=int,
        nargs="+",
        metavar="PX",
        help="input size, one number or height and width; default: the one the model was trained with",
    )
    graph.add_argument(
        "--with-postprocess",
        "--with_postprocess",
        action="store_true",
        help="scores, labels and boxes in pixels come out; target_sizes (batch, 2), height and width of the original "
        "pictures, go in as well",
    )
    graph.add_argument(
        "--uint8-input",
        "--uint8_input",
        action="store_true",
        help="resized pictures go in as they are, uint8 RGB; the graph rescales and normalises",
    )
    graph.add_argument("--static_batch", action="store_true", help="one picture at a time; default: any number")
    graph.add_argument(
        "--dynamic_size", action="store_true", help="any height and width that 32 divides; default: one size"
    )
    graph.add_argument("--opset", type=int, metavar="N", help="ONNX operator set, from 18 on; default: 20")
    graph.add_argument("--external_data", action="store_true", help="weights in model.onnx.data beside the graph")
    graph.add_argument(
        "--max_batch",
        type=int,
        default=MAX_BATCH,
        metavar="N",
        help=f"most pictures at once, for which TensorRT and Triton are tuned; default: {MAX_BATCH}",
    )
    graph.add_argument(
        "--workspace_mib",
        type=int,
        metavar="MIB",
        help="most memory that a layer of a TensorRT engine may use on the GPU; default: all there is",
    )
    proof = parser.add_argument_group("precision, and comparison with PyTorch")
    proof.add_argument(
        "--precision",
        default="float32",
        metavar="NAME",
        help="float32, float16, bfloat16 or int8 (fp32, fp16, bf16), where the format has it. What needs more digits "
        "stays in float32. Default: float32",
    )
    proof.add_argument(
        "--data",
        metavar="DIR",
        help="data set in one of the usual layouts, or USER/NAME on the Hub: measure COCO AP before and after. int8 "
        "is calibrated on its training pictures",
    )
    proof.add_argument("--split", choices=["valid", "test", "train"], default="valid", help="for AP; default: valid")
    proof.add_argument(
        "--max_ap_drop",
        type=float,
        metavar="AP",
        help="AP, 0 to 1, that may be lost; default: 0.001 for float32, 0.005 for 16 bits, 0.01 for int8",
    )
    proof.add_argument(
        "--num_calibration",
        type=int,
        default=300,
        metavar="N",
        help="pictures that int8 is calibrated on; default: 300",
    )
    proof.add_argument(
        "--images",
        nargs="+",
        metavar="PATH",
        help="pictures, folders or patterns to compare on; default: pictures of --data, or of the data the model was "
        "trained on where that is there, else made-up ones, which tell less",
    )
    proof.add_argument("--num_pictures", type=int, default=16, metavar="N", help="compare on so many; default: 16")


def run(parser: argparse.ArgumentParser, args: argparse.Namespace, folder: Path) -> None:
    """Export to `folder` and print what was done.

    Raises:
        HfDetrError: as `main`.
    """
    require_positive(
        parser,
        num_pictures=args.num_pictures,
        num_calibration=args.num_calibration,
        max_batch=args.max_batch,
        workspace_mib=args.workspace_mib,
    )
    image_size_hw = parse_image_size(parser, args.image_size)
    precision = TARGETS[args.to].precision(args.precision)

    from hf_detr.export.folder import export_detector, require_free
    from hf_detr.export.graph import GraphOptions

    require_free(folder, args.overwrite)
    data, calibration = _data(args, calibrated=precision == "int8")
    done = export_detector(
        args.model,
        folder,
        to=args.to,
        precision=precision,
        data=data,
        max_ap_drop=args.max_ap_drop,
        pictures=_pictures(args, data, folder),
        num_pictures=args.num_pictures,
        calibration=calibration,
        options=GraphOptions(
            with_postprocess=args.with_postprocess,
            uint8_input=args.uint8_input,
            dynamic_batch=not args.static_batch,
            dynamic_size=args.dynamic_size,
        ),
        image_size_hw=image_size_hw,
        opset=args.opset,
        external_data=args.external_data,
        max_batch=args.max_batch,
        workspace_mib=args.workspace_mib,
        overwrite=args.overwrite,
        revision=args.revision,
    )
    if args.json:
        report = {
            "file": str(done.file),
            "precision": done.precision,
            "agreement_with_pytorch": asdict(done.agreement),
            "average_precision": None if done.accuracy is None else asdict(done.accuracy),
        }
        print(json.dumps(report, indent=2))
        return
    size = sum(file.stat().st_size for file in done.folder.rglob("*") if file.is_file())
    print(f"{done.file}  {done.precision}, the folder has {size / 1e6:.1f} MB")
    print(f"Compared with PyTorch: {done.agreement.describe()}.")
    if done.agreement.made_up:
        print("Pictures that the model is made for tell more: give some with --images, or a data set with --data.")
    if done.agreement.undecided:
        print(
            f"{done.agreement.undecided} more detections depend on how the pixels are rounded, as in an untrained "
            "model, and were left out of the comparison."
        )
    if done.accuracy is not None:
        print(f"{done.accuracy.describe()}.")
    if done.hint is not None:
        print(done.hint)


def _data(
    args: argparse.Namespace, *, calibrated: bool
) -> "tuple[DetectionDataset | None, Sequence[np.ndarray] | None]":
    """The split to measure AP on, and the pictures to calibrate on: those of the training split where there is one."""
    if args.data is None:
        return None, None
    from hf_detr.cli.evaluate import find_split
    from hf_detr.data.dataset import DetectionDataset
    from hf_detr.data.splits import find_splits, load_index
    from hf_detr.export.pictures import PicturesOf

    measured = DetectionDataset(load_index(find_split(args.data, args.split, None, None)))
    if not calibrated:
        return measured, None
    splits = find_splits(args.data)
    seen = DetectionDataset(load_index(splits["train"])) if "train" in splits else measured
    return measured, PicturesOf(seen, args.num_calibration)


def _pictures(
    args: argparse.Namespace, data: "DetectionDataset | None", leave_out: Path
) -> "Sequence[np.ndarray] | None":
    """The pictures to compare on; None where there are none but made-up ones."""
    from hf_detr.cli.sources import find_pictures
    from hf_detr.data.images import read_image
    from hf_detr.export.pictures import PicturesOf

    if args.images:
        paths = find_pictures(args.images, leave_out=leave_out)
        chosen = paths[:: max(1, len(paths) // args.num_pictures)][: args.num_pictures]
        return [read_image(path) for path in chosen]
    data = data or _trained_on(args.model)
    return None if data is None else PicturesOf(data, args.num_pictures)


def _trained_on(model: str) -> "DetectionDataset | None":
    """What the model was evaluated on in training, where its folder says so and the data is still there."""
    recipe_file = Path(model) / "recipe.yaml"
    if not recipe_file.is_file():
        return None
    from hf_detr.cli.train_data import find_splits
    from hf_detr.data.dataset import DetectionDataset
    from hf_detr.data.splits import load_index
    from hf_detr.recipes import load_recipe

    try:
        recipe = load_recipe(recipe_file)
        if recipe.data.data is not None and not Path(recipe.data.data).is_dir():
            return None  # moved away, or on the Hub
        splits = find_splits(recipe)
        return DetectionDataset(load_index(splits.get("valid", splits["train"])))
    except HfDetrError as error:
        logger.info("Compared on made-up pictures: %s cannot be used any more. %s", recipe_file, error)
        return None


def default_output_dir(model: str, to: str) -> Path:
    """Within the model's folder where it is a local one, else here."""
    return Path(model) / to if Path(model).is_dir() else Path(f"{model.replace('/', '-')}-{to}")
