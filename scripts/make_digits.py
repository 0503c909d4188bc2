"""Make "digits in the wild", the data set of the demonstration, in a folder of your choice."""

import argparse
import sys
from dataclasses import fields

from hf_detr.data.digits import DigitsOptions, make_digits
from hf_detr.errors import HfDetrError


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("folder", help="where to put it: a COCO folder with train, valid and test")
    for option in fields(DigitsOptions):
        parser.add_argument(
            f"--{option.name}", type=type(option.default), default=option.default, help=option.metadata["help"]
        )
    values = vars(parser.parse_args(argv))
    folder = values.pop("folder")
    try:
        made = make_digits(folder, DigitsOptions(**values))
    except HfDetrError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{folder}: {'made' if made else 'is there already, made with the same options'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
