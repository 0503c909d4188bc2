"""Flags that several commands have, and checks of their values."""

import argparse


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
    running.add_argument("--device", help="such as cpu, cuda or cuda:1; default: the best there is")
    return running


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
