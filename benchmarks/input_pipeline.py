"""Pictures per second and core of the input pipeline, against the papers' composition of torchvision's operations.

    python benchmarks/input_pipeline.py
    python benchmarks/input_pipeline.py --rounds 9 --workers 0 4 8 16     # and through data loaders, in wall time

Both read the same generated JPEGs (640 x 480, quality 90, parts of scikit-learn's two photographs with a little noise)
and do the same operations in the same order with the same chances: mosaic in half of the samples, else zoom-out and
IoU crop, colours, flip, and a resize to `--size`. The papers' comes as float32 in [0, 1], ours as uint8, which the
device makes floats of; the row "float32 on the CPU" does that here as well.

Times of single processes are CPU seconds of one thread. The pipelines take turns, `--samples` samples each; shown is
the median over the rounds, and the ratio to the papers' median.
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch.utils.data import DataLoader, Dataset
from torchvision_pipeline import TorchvisionDataset, TorchvisionPipeline
from tqdm import tqdm

from hf_detr.data.augment import build_augmentation
from hf_detr.data.collate import DetectionCollator
from hf_detr.data.dataset import DetectionDataset
from hf_detr.data.index import DetectionIndex, PackedStrings
from hf_detr.data.memory import cache_pictures

HEIGHT, WIDTH = 480, 640
NOISE = 2.0  # makes the files as large as COCO's
OBJECTS = (1, 14)
PAPERS = "torchvision, as in the papers"


def write_pictures(folder: Path, count: int, seed: int = 0) -> DetectionIndex:
    """JPEGs of parts of two photographs, and boxes at random places."""
    rng = np.random.default_rng(seed)
    photographs = load_sample_images().images
    boxes_xywh, first = [], [0]
    for picture in range(count):
        photograph = photographs[picture % len(photographs)]
        side = int(photograph.shape[0] * rng.uniform(0.75, 1.0))
        top = int(rng.integers(photograph.shape[0] - side + 1))
        left = int(rng.integers(photograph.shape[1] - side * WIDTH // HEIGHT + 1))
        part = photograph[top : top + side, left : left + side * WIDTH // HEIGHT]
        pixels = cv2.resize(part, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC).astype(np.float32)
        pixels += rng.normal(0, NOISE, (HEIGHT, WIDTH, 1))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{picture}.jpg", quality=90)
        objects = int(rng.integers(*OBJECTS, endpoint=True))
        sides = np.exp(rng.uniform(np.log(20), np.log(300), (objects, 2)))
        corners = rng.random((objects, 2)) * ((WIDTH, HEIGHT) - sides)
        boxes_xywh.append(np.concatenate([corners, sides], axis=1))
        first.append(first[-1] + objects)
    boxes = np.concatenate(boxes_xywh)
    return DetectionIndex(
        name="generated",
        images_dir=folder,
        annotations_path=folder,
        file_names=PackedStrings(f"{picture}.jpg" for picture in range(count)),
        image_ids=np.arange(count),
        sizes_hw=np.tile(np.array([[HEIGHT, WIDTH]], dtype=np.int32), (count, 1)),
        first=np.array(first),
        boxes_xywh=boxes,
        class_ids=rng.integers(0, 80, len(boxes)).astype(np.int32),
        areas=boxes[:, 2] * boxes[:, 3],
        is_crowd=np.zeros(len(boxes), dtype=bool),
        category_ids=tuple(range(1, 81)),
        class_names=tuple(f"class {k}" for k in range(80)),
    )


def build_pipelines(index: DetectionIndex, size: int) -> dict[str, Callable[[int], None]]:
    """By name, what makes one sample ready for the model; a number is given that counts samples."""
    papers = TorchvisionDataset(index, TorchvisionPipeline(size))
    collator = DetectionCollator((size, size))

    def ours(dataset: DetectionDataset, finish: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[int], None]:
        def make(count: int) -> None:
            dataset.set_epoch(count // len(dataset))
            finish(collator([dataset[count % len(dataset)]])["pixel_values"])

        return make

    plain, cached = our_dataset(index, size), our_dataset(index, size, cache=True)
    return {
        PAPERS: lambda count: papers[count % len(papers)],
        "ours": ours(plain, lambda pixels: pixels),
        "ours, float32 on the CPU": ours(plain, lambda pixels: pixels.float() / 255),
        "ours, pictures in memory": ours(cached, lambda pixels: pixels),
    }


def our_dataset(index: DetectionIndex, size: int, cache: bool = False) -> DetectionDataset:
    """With the same chances as `TorchvisionPipeline`."""
    transform = build_augmentation(mosaic_prob=0.5, mosaic_side=size // 2, largest_hw=(size, size))
    return DetectionDataset(index, transform=transform, cache=cache_pictures(index) if cache else None)


def measure(pipelines: dict[str, Callable[[int], None]], rounds: int, samples: int) -> dict[str, list[float]]:
    """CPU seconds per sample of each pipeline, by round."""
    seconds: dict[str, list[float]] = {name: [] for name in pipelines}
    for run in tqdm(range(rounds + 1), desc="rounds"):
        for name, make in pipelines.items():
            start = time.process_time()
            for count in range(run * samples, (run + 1) * samples):
                make(count)
            if run:  # the first one warms up
                seconds[name].append((time.process_time() - start) / samples)
    return seconds


def measure_workers(index: DetectionIndex, size: int, workers: int, samples: int, batch: int = 16) -> dict[str, float]:
    """Samples per second of wall time through a data loader, after its first two batches per worker."""
    repeated = range(samples)
    loaders = {
        PAPERS: (TorchvisionDataset(index, TorchvisionPipeline(size)), None),
        "ours": (our_dataset(index, size), DetectionCollator((size, size))),
        "ours, pictures in memory": (our_dataset(index, size, cache=True), DetectionCollator((size, size))),
    }
    rates = {}
    for name, (dataset, collate) in loaders.items():
        loader = DataLoader(
            Repeated(dataset, repeated),
            batch_size=batch,
            num_workers=workers,
            collate_fn=collate or _stack,
            drop_last=True,
        )
        warm_up, start = 2 * max(workers, 1), 0.0
        for count, _ in enumerate(loader):
            if count == warm_up:
                start = time.perf_counter()
        rates[name] = (count - warm_up) * batch / (time.perf_counter() - start)
    return rates


class Repeated(Dataset):
    """A data set's samples over and over, so that a few files make a long epoch."""

    def __init__(self, dataset: Dataset, positions: range):
        self.dataset, self.positions = dataset, positions

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, position: int):
        return self.dataset[position % len(self.dataset)]


def _stack(samples: list) -> tuple[torch.Tensor, list]:
    pixels, targets = zip(*samples, strict=True)
    return torch.stack(pixels), list(targets)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=640, help="sides of the input in pixels (default: 640)")
    parser.add_argument("--pictures", type=int, default=256, help="files to make (default: 256)")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each pipeline (default: 7)")
    parser.add_argument("--samples", type=int, default=100, help="samples of each turn (default: 100)")
    parser.add_argument("--workers", type=int, nargs="+", default=[], help="also through so many loader processes")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        index = write_pictures(Path(folder), args.pictures)
        sizes = [path.stat().st_size for path in Path(folder).glob("*.jpg")]
        print(f"{args.pictures} pictures of {WIDTH} x {HEIGHT}, median {statistics.median(sizes) / 1e3:.0f} kB\n")
        seconds = measure(build_pipelines(index, args.size), args.rounds, args.samples)
        medians = {name: statistics.median(values) for name, values in seconds.items()}
        print("| one process | CPU ms per sample | range | samples a second | ratio |\n|---|---|---|---|---|")
        for name, median in medians.items():
            span = f"{min(seconds[name]) * 1e3:.1f} to {max(seconds[name]) * 1e3:.1f}"
            ratio = medians[PAPERS] / median
            print(f"| {name} | {median * 1e3:.2f} | {span} | {1 / median:.0f} | {ratio:.2f} |")
        if args.workers:
            print("\n| workers | pipeline | samples a second, wall time | ratio |\n|---|---|---|---|")
        for workers in args.workers:
            rates = measure_workers(index, args.size, workers, args.samples * max(workers, 1))
            for name, rate in rates.items():
                print(f"| {workers} | {name} | {rate:.0f} | {rate / rates[PAPERS]:.2f} |")
    packages = {
        name: version(name) for name in ("torch", "torchvision", "pillow", "opencv-python-headless", "simplejpeg")
    }
    print(
        f"\n{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    )
    print(", ".join(f"{name} {number}" for name, number in packages.items()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
