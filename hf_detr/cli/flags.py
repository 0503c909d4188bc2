"""Flags that several commands have, and checks of their values."""

import argparse
from typing import TYPE_CHECKING, Any

from hf_detr.fields import light_fields

if TYPE_CHECKING:
    from hf_detr.data.hub_sources import HubOptions

HUB_SETTINGS = ("data_config", "data_revision", "train_split", "valid_split", "box_format")


def add_model_options(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """The flags that every command with a model to run has; returns their group, for more of them."""
    running = parser.add_argument_group("running the model")
    running.add_argument("--revision", default="main", help="branch, tag or commit on the Hub")
    running.add_argument("--batch_size", type=int, default=8, metavar="N", help="images at once; default: 8")
    running.add_argument(
        "--image_size",
        type=int,
        nargs="+",
        metavar="PX",
        help="input size, one number or height and width; default: the one the model was trained with",
    )
    running.add_argument("--device", help="such as cpu, cuda:1, or tensorrt for ONNX; default: the best there is")
    return running


def add_dense_options(group: argparse._ArgumentGroup) -> None:
    """The flags for pictures with many or small objects; `Detector.from_pretrained` takes their values."""
    group.add_argument(
        "--num_queries",
        type=int,
        metavar="N",
        help="most objects found in one picture or tile; needs no training. Default: as many as in training",
    )
    group.add_argument(
        "--tile",
        type=int,
        nargs="+",
        metavar="PX",
        help="look at pictures in tiles of this side, or height and width, in pixels of the picture, and put what is "
        "found together; default: at whole pictures",
    )
    group.add_argument(
        "--tile_overlap",
        type=float,
        default=0.2,
        metavar="SHARE",
        help="of a tile that its neighbour repeats; objects up to that size are seen whole. Default: 0.2",
    )


def add_hub_options(parser: argparse._ActionsContainer) -> None:
    """The settings that say how to read a Hugging Face data set; `hub_options` gathers them."""
    fields = light_fields()
    for name in HUB_SETTINGS:
        field = fields[name]
        metavar = None if field.choices else "NAME"
        help_text = field.help.replace("%", "%%")
        parser.add_argument(f"--{name}", choices=field.choices or None, metavar=metavar, help=help_text)


def hub_options(settings: Any) -> "HubOptions":
    """The values of these settings, from a parsed command line or from the `data` section of a recipe."""
    from hf_detr.data.hub_sources import HubOptions

    return HubOptions(
        config=settings.data_config,
        revision=settings.data_revision,
        train_split=settings.train_split,
        valid_split=settings.valid_split,
        box_format=settings.box_format,
    )


def parse_image_size(parser: argparse.ArgumentParser, sizes: list[int] | None) -> tuple[int, int] | None:
    """Height and width from one number or two."""
    if sizes is None:
        return None
    if len(sizes) > 2:
        parser.error(f"--image_size takes one number, or height and width; got {' '.join(map(str, sizes))}")
    return sizes[0], sizes[-1]


def require_positive(parser: argparse.ArgumentParser, **values: int | None) -> None:
    """Refuse numbers below 1."""
    for name, value in values.items():
        if value is not None and value < 1:
            parser.error(f"--{name} must be 1 or more, got {value}")
