"""`hf-detr data preview`: what a model will be trained on, drawn."""

import argparse
import math
from pathlib import Path

from hf_detr.cli.drawn import save_beside
from hf_detr.cli.flags import HUB_SETTINGS, require_positive
from hf_detr.cli.train_command import overrides_from_flags
from hf_detr.cli.train_help import GROUPS, own_training_entries
from hf_detr.errors import DatasetError
from hf_detr.fields import all_fields, light_fields
from hf_detr.recipes import load_recipe

_DESCRIPTION = """\
Draw pictures of an epoch with their boxes, exactly as `hf-detr train` would give them to the model.

  hf-detr data preview my_data d_fine/s_finetune
  hf-detr data preview my_data my_recipe.yaml --epoch 20 --mosaic_prob 1 --output mosaics.png
"""

# Settings that decide what pictures look like, beside those of the group Augmentation.
_SETTINGS = (
    *HUB_SETTINGS,
    *("streaming", "image_size", "tile_size", "tile_overlap", "tile_min_visible", "num_train_epochs", "flat_epochs"),
)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hf-detr data preview",
        usage="hf-detr data preview DIR RECIPE [options] [--setting value ...]",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", metavar="DIR", help="folder with the data set, or USER/NAME on the Hub")
    parser.add_argument("recipe", metavar="RECIPE", help="a name from `hf-detr recipe list`, or a YAML file")
    parser.add_argument("--epoch", type=int, metavar="N", help="counted from 0; default: the first augmented one")
    parser.add_argument("--count", type=int, default=12, metavar="N", help="pictures to draw; default: 12")
    parser.add_argument("--seed", metavar="N", help="another seed, other pictures; default: the recipe's")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("preview.png"),
        metavar="FILE",
        help="default: preview.png; where there is such a file, preview-2.png",
    )
    settings = parser.add_argument_group("settings of the recipe, as for `hf-detr train`")
    helps = {name: field.help for name, field in light_fields().items()}
    helps |= {name: entry.help for name, entry in own_training_entries().items()}
    for name in (*_SETTINGS, *GROUPS["Augmentation"].split()):
        settings.add_argument(f"--{name}", nargs="*", metavar="VALUE", help=helps[name].replace("%", "%%"))
    return parser


def main(argv: list[str] | None = None) -> int:
    """Draw as the command line says.

    Raises:
        HfDetrError: no such data, recipe or setting, or no picture with objects.
    """
    parser = build_parser()
    args = parser.parse_args(argv)
    require_positive(parser, count=args.count)
    if args.epoch is not None and args.epoch < 0:
        parser.error(f"--epoch counts from 0, got {args.epoch}")

    from PIL import Image

    if args.output.suffix.lower() not in Image.registered_extensions():
        parser.error(f"--output: {args.output.suffix or 'no suffix'} is no kind of picture; use .png or .jpg")

    from hf_detr.cli import train_augmentation, train_data, train_setup
    from hf_detr.cli.train_summary import describe_policy
    from hf_detr.data.preview import training_grid

    names = (*_SETTINGS, *GROUPS["Augmentation"].split())
    flags = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    flags |= {"data": [args.data]} | ({} if args.seed is None else {"seed": [args.seed]})
    recipe = load_recipe(args.recipe, overrides_from_flags(flags, all_fields()))
    training_args, _ = train_setup.training_arguments(recipe)
    dataset = train_data.load_train_set(train_data.find_splits(recipe)["train"], recipe, training_args)
    policy = train_augmentation.augmentation_policy(recipe, training_args, dataset.epoch_length)
    epoch = math.ceil(policy.augment[0]) if args.epoch is None else args.epoch
    collator = train_augmentation.build_collator(recipe, training_args, dataset.epoch_length)
    grid = training_grid(dataset, collator, epoch=epoch, count=args.count)
    if grid is None:
        raise DatasetError(f"{dataset.index.annotations_path}: no picture has objects, there is nothing to draw.")
    output = save_beside(grid, args.output, way_out="Choose another --output.")
    total = training_args.stages(dataset.epoch_length).total
    print(f"{output}: epoch {epoch} of {total:.4g}. {recipe.name}: {describe_policy(recipe.augment, policy)}")
    return 0
