"""`hf-detr export`: a trained model for another runtime, compared with the original before it is called done."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from hf_detr.cli.flags import parse_image_size, require_positive
from hf_detr.export.targets import TARGETS

_DESCRIPTION = """\
Export a detector to ONNX or OpenVINO. The file is run on pictures before it is called done, and has to find
what the model finds in PyTorch; if it does not, that is an error and nothing is written.

  hf-detr export runs/first --images my_data/valid
  hf-detr export runs/first --images my_data/valid --with-postprocess --uint8-input
  hf-detr export runs/first --to openvino --images my_data/valid
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
    graph.add_argument("--opset", type=int, metavar="N", help="ONNX operator set; default: the exporter's choice")
    graph.add_argument("--external_data", action="store_true", help="weights in model.onnx.data beside the graph")
    proof = parser.add_argument_group("comparison with PyTorch")
    proof.add_argument(
        "--images",
        nargs="+",
        metavar="PATH",
        help="pictures, folders or patterns to compare on; default: made-up pictures, which tell less",
    )
    proof.add_argument("--num_pictures", type=int, default=16, metavar="N", help="compare on so many; default: 16")


def run(parser: argparse.ArgumentParser, args: argparse.Namespace, folder: Path) -> None:
    """Export to `folder` and print what was done.

    Raises:
        HfDetrError: as `main`.
    """
    require_positive(parser, num_pictures=args.num_pictures)
    image_size_hw = parse_image_size(parser, args.image_size)

    from hf_detr.cli.predict import find_pictures
    from hf_detr.data.images import read_image
    from hf_detr.export.folder import export_detector, require_free
    from hf_detr.export.graph import GraphOptions
    from hf_detr.export.verify import made_up_pictures

    require_free(folder, args.overwrite)
    if args.images:
        paths = find_pictures(args.images, leave_out=folder)
        chosen = paths[:: max(1, len(paths) // args.num_pictures)][: args.num_pictures]
        pictures = [read_image(path) for path in chosen]
    else:
        pictures = made_up_pictures(args.num_pictures, (480, 640))
    done = export_detector(
        args.model,
        folder,
        pictures=pictures,
        to=args.to,
        options=GraphOptions(
            with_postprocess=args.with_postprocess,
            uint8_input=args.uint8_input,
            dynamic_batch=not args.static_batch,
            dynamic_size=args.dynamic_size,
        ),
        image_size_hw=image_size_hw,
        opset=args.opset,
        external_data=args.external_data,
        overwrite=args.overwrite,
        revision=args.revision,
    )
    if args.json:
        print(json.dumps({"file": str(done.file), "agreement_with_pytorch": asdict(done.agreement)}, indent=2))
    else:
        print(f"{done.file}  {done.file.stat().st_size / 1e6:.1f} MB")
        print(f"Compared with PyTorch: {done.agreement.describe()}.")
        if done.agreement.undecided:
            print(
                f"{done.agreement.undecided} more detections depend on the last bit of the pixels, as in an untrained "
                "model, and were left out of the comparison."
            )


def default_output_dir(model: str, to: str) -> Path:
    """Within the model's folder where it is a local one, else here."""
    return Path(model) / to if Path(model).is_dir() else Path(f"{model.replace('/', '-')}-{to}")
