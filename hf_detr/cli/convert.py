"""`hf-detr convert`: official checkpoints to folders that Transformers loads, and back."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from hf_detr.errors import CheckpointError
from hf_detr.models.variants import FAMILIES

_DESCRIPTION = """\
Convert an official checkpoint of D-FINE, DEIM, RT-DETRv2, RT-DETRv4 or DEIMv2 to a folder with model, image processor
and card. Family and size are found from the tensors; averaged weights (EMA) win. Nothing in the file is executed.

  hf-detr convert dfine_s_coco.pth models/dfine-s
  hf-detr convert my_last.pth models/mine --family deim --labels classes.txt
  hf-detr convert models/dfine-s dfine_s.pth --to-original
"""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="hf-detr convert", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", metavar="FILE", type=Path, help="a .pth or .safetensors file; a folder to go back")
    parser.add_argument("target", metavar="OUT", type=Path, help="the new folder; a file to go back")
    parser.add_argument("--family", choices=list(FAMILIES), help="where the tensors fit more than one")
    parser.add_argument("--size", help="likewise")
    parser.add_argument(
        "--labels", metavar="FILE", type=Path, help="class names, one a line; default: COCO, Objects365"
    )
    parser.add_argument("--to-original", "--to_original", action="store_true", help="write the authors' state dict")
    parser.add_argument("--json", action="store_true", help="print what was done as JSON")
    args = parser.parse_args(argv)
    _check_target(args.target)
    report = to_original_file(args.source, args.target) if args.to_original else to_folder(args)
    print(json.dumps(report, indent=2) if args.json else report["summary"])
    return 0


def _check_target(target: Path) -> None:
    if target.is_dir() and any(target.iterdir()):
        raise CheckpointError(f"{target} is not empty; choose another place, or delete it first.")
    if target.is_file():
        raise CheckpointError(f"{target} exists; choose another name, or delete it first.")


def to_folder(args: argparse.Namespace) -> dict:
    """Convert and save; returns what the command prints."""
    from hf_detr.hub.card import write_model_card
    from hf_detr.models.conversion.convert import convert_state_dict
    from hf_detr.models.families import build_processor

    id2label = read_labels(args.labels) if args.labels is not None else None
    model, report = convert_state_dict(args.source, family=args.family, size=args.size, id2label=id2label)
    side = FAMILIES[report.family][report.size].image_side
    # RT-DETRv4's projector is part of the file, and the way back is to give the same file.
    keep = {"keep_projector": True} if model.config.model_type == "rt_detr_v4" else {}
    model.save_pretrained(args.target, **keep)
    build_processor(model.config, (side, side)).save_pretrained(args.target)
    write_model_card(args.target)
    classes = model.config.num_labels
    return {**asdict(report), "summary": f"{report.describe()} {classes} classes. Written: {args.target}"}


def to_original_file(folder: Path, target: Path) -> dict:
    """Write the authors' state dict; returns what the command prints."""
    import torch
    from safetensors.torch import save_file

    from hf_detr.models.conversion.convert import to_original
    from hf_detr.models.loading import load_detector

    model, processor = load_detector(folder)
    state = to_original(model, (processor.size.height, processor.size.width))
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.suffix == ".safetensors":
        save_file({name: tensor.contiguous().clone() for name, tensor in state.items()}, target)
    else:
        torch.save({"model": state}, target)
    return {"num_converted": len(state), "summary": f"{len(state)} tensors in the authors' names. Written: {target}"}


def read_labels(path: Path) -> dict[int, str]:
    """Class names of a text file, one a line, in the order of the class ids."""
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"cannot read the labels in {path}: {error}.") from error
    if not names:
        raise CheckpointError(f"{path} has no class names; write one a line.")
    return dict(enumerate(names))
