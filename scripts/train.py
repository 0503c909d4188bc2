"""`hf-detr train` as a file, which `accelerate launch` needs: accelerate launch scripts/train.py RECIPE --data DIR."""

import sys

from hf_detr.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
