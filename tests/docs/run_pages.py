"""Run the Python of pages, each in a folder and namespace of its own: `run_pages.py RESULTS.json FOLDER PAGE...`.

What the pages speak of lies in the folder: data sets, pictures, a trained model, and a small model and a data set in
local folders named like ids on the Hub.
"""

import json
import os
import shutil
import sys
import traceback
from pathlib import Path

import torch

from hf_detr.models.conversion.convert import to_original
from hf_detr.models.labels import default_labels
from hf_detr.models.loading import load_from_scratch
from tests.docs.pages import blocks_of, name_of
from tests.hub_data import write_imagefolder
from tests.synthetic import annotation_file, make_coco
from tests.teachers import save_tiny_dinov3
from tests.tiny import save_tiny_detector
from tests.video import make_video, moving_squares

# Sizes that would take minutes on a CPU; a page must contain what is replaced here, or nobody notices that it changed.
SMALLER = {"num_train_epochs=30": "num_train_epochs=1", "(640, 640)": "(64, 64)"}


def furnish(folder: Path) -> None:
    """What the pages take for granted."""
    make_coco(folder / "my_data", splits=("train", "valid", "test"))
    pictures = sorted((folder / "my_data" / "test").glob("*.jpg"))
    for name in ("photo.jpg", "a.jpg", "b.jpg", "my_data/test/00000.jpg"):
        shutil.copy(pictures[0], folder / name)
    make_video(folder / "street.mp4", moving_squares(6))
    make_coco(folder / "data")
    for split in ("train", "valid"):
        annotation_file(folder / "data", split).rename(folder / "data" / f"{split}.json")
    for split in ("train", "valid"):
        write_imagefolder(make_coco(folder / "USER" / "NAME", splits=(split,)), split)
    for model in ("runs/first", "ustc-community/dfine-small-coco"):
        save_tiny_detector(folder / model)
    save_tiny_dinov3(folder / "facebook/dinov3-vitb16-pretrain-lvd1689m")
    official, _ = load_from_scratch("d_fine", "s", id2label=default_labels(80))
    torch.save({"model": to_original(official)}, folder / "dfine_s_coco.pth")


def run_page(page: Path) -> str | None:
    """The traceback of the first block that fails, None if none does."""
    namespace: dict = {"__name__": "__main__"}
    try:
        for block in blocks_of(page):
            if block.language == "python":
                text = block.text
                for size, smaller in SMALLER.items():
                    text = text.replace(size, smaller)
                exec(compile("\n" * (block.line - 1) + text, name_of(page), "exec"), namespace)
    except Exception:
        return traceback.format_exc()
    return None


def main(results: Path, folder: Path, pages: list[Path]) -> None:
    torch.set_num_threads(1)
    furnish(folder / "furnished")
    outcome = {}
    for page in pages:
        workplace = folder / page.stem
        shutil.copytree(folder / "furnished", workplace)
        os.chdir(workplace)
        outcome[name_of(page)] = run_page(page)
    results.write_text(json.dumps(outcome))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), [Path(page) for page in sys.argv[3:]])
