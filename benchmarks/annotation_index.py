"""How long annotation files take to open, and what they cost in memory with data loader workers.

    python benchmarks/annotation_index.py --workers 8
    python benchmarks/annotation_index.py --workers 8 --images 1700000 --boxes 25000000 --outline_points 0
    python benchmarks/annotation_index.py --workers 8 --images 1700000 --boxes 25000000 --cached_only

Writes a file like instances_train2017.json (118,287 images, 860,001 boxes, 80 classes, outlines of about 20 points),
or with other numbers, opens it for the first time, in a process of its own, and then from the cache, forks workers
that read every annotation once, and prints seconds and megabytes.

The second line has the numbers of Objects365, in a file of 4 GB. `--cached_only` puts arrays in the cache that no file
was read for, and measures what comes after.
"""

import argparse
import json
import multiprocessing
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import psutil

from hf_detr.data.index import DetectionIndex, PackedStrings
from hf_detr.data.index_cache import LARGE_FILE_BYTES, cached_index
from hf_detr.data.splits import Split, load_index

CLASSES = 80
AT_ONCE = 100_000  # records

Result = TypeVar("Result")


def write_coco(path: Path, images: int, boxes: int, outline_points: int, seed: int = 0) -> None:
    """A COCO file with these counts and random boxes; without outlines its records are like those of Objects365."""
    rng = np.random.default_rng(seed)
    with path.open("w") as file:
        file.write('{"images": [')
        for begin in range(0, images, AT_ONCE):
            rows = [
                {"id": 5 * i + 9, "file_name": _file_name(i), "height": 480, "width": 640, "license": 5}
                for i in range(begin, min(begin + AT_ONCE, images))
            ]
            file.write(("," if begin else "") + json.dumps(rows)[1:-1])
        file.write('], "annotations": [')
        for begin in range(0, boxes, AT_ONCE):
            rows = _annotations(rng, begin, min(AT_ONCE, boxes - begin), images, outline_points)
            file.write(("," if begin else "") + json.dumps(rows)[1:-1])
        categories = [{"id": i + 1, "name": f"class {i + 1}"} for i in range(CLASSES)]
        file.write('], "categories": ' + json.dumps(categories) + "}")


def _annotations(rng: np.random.Generator, begin: int, count: int, images: int, outline_points: int) -> list[dict]:
    owners, classes = rng.integers(0, images, count).tolist(), rng.integers(0, CLASSES, count).tolist()
    corners = np.round(rng.uniform(0, 300, (count, 4)), 2)
    outlines = np.round(rng.uniform(0, 300, (count, 2 * outline_points)), 2).tolist()
    rows = []
    for i, (box, area) in enumerate(zip(corners.tolist(), (corners[:, 2] * corners[:, 3]).tolist(), strict=True)):
        more = {"segmentation": [outlines[i]]} if outline_points else {"isfake": 0, "isreflected": 0}
        row = more | {"area": area, "iscrowd": 0, "image_id": 5 * owners[i] + 9, "bbox": box}
        rows.append(row | {"category_id": classes[i] + 1, "id": begin + i + 1})
    return rows


def _file_name(image: int) -> str:
    return f"{5 * image + 9:012d}.jpg"


def random_index(split: Split, images: int, boxes: int, seed: int = 0) -> DetectionIndex:
    """What reading such a file gives."""
    rng = np.random.default_rng(seed)
    sides = rng.uniform(0, 300, (boxes, 4))
    return DetectionIndex(
        name=split.name,
        images_dir=split.images_dir,
        annotations_path=split.annotations_path,
        file_names=PackedStrings(_file_name(i) for i in range(images)),
        image_ids=5 * np.arange(images) + 9,
        sizes_hw=np.tile(np.array([[480, 640]], dtype=np.int32), (images, 1)),
        first=np.concatenate([[0], np.sort(rng.integers(0, boxes, images - 1)), [boxes]]).astype(np.int64),
        boxes_xywh=sides,
        class_ids=rng.integers(0, CLASSES, boxes).astype(np.int32),
        areas=sides[:, 2] * sides[:, 3],
        is_crowd=np.zeros(boxes, dtype=bool),
        category_ids=tuple(range(1, CLASSES + 1)),
        class_names=tuple(f"class {i + 1}" for i in range(CLASSES)),
    )


def in_a_process(task: Callable[[], Result]) -> Result:
    """What a task gives, run in a process of its own, whose memory is given back with it."""
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=lambda: queue.put(task()))
    process.start()
    result = queue.get()
    process.join()
    return result


def measure_opening(open_index: Callable[[], DetectionIndex]) -> tuple[float, float, float]:
    """Seconds in all, seconds on the processor, and the most megabytes the process had."""
    start, cpu_start = time.perf_counter(), time.process_time()
    open_index()
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    rows = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return seconds, cpu_seconds, int(rows["VmHWM"].split()[0]) / 1e3


def read_all(index: DetectionIndex, ready: multiprocessing.Barrier, done: multiprocessing.Barrier) -> None:
    """What a worker does with the index in one epoch, decoding left out; then wait to be measured."""
    total = 0.0
    for image in range(len(index)):
        rows = slice(index.first[image], index.first[image + 1])
        total += index.boxes_xywh[rows].sum() + index.class_ids[rows].sum() + len(index.file_names[image])
    ready.wait()
    done.wait()


def array_megabytes(index: DetectionIndex) -> float:
    """Megabytes of all arrays."""
    numbers = (index.sizes_hw, index.first, index.boxes_xywh, index.class_ids, index.areas, index.is_crowd)
    return sum(array.nbytes for array in (*numbers, index.image_ids, *index.file_names.arrays)) / 1e6


def measure_workers(index: DetectionIndex, workers: int) -> None:
    """Print what processes that read all of an index have in memory."""
    context, process = multiprocessing.get_context("fork"), psutil.Process()
    ready, done = context.Barrier(workers + 1), context.Barrier(workers + 1)
    readers = [context.Process(target=read_all, args=(index, ready, done)) for _ in range(workers)]
    for reader in readers:
        reader.start()
    ready.wait()
    infos = [psutil.Process(reader.pid).memory_full_info() for reader in readers]
    print(f"each worker's own memory  {max(info.uss for info in infos) / 1e6:8.1f} MB after a full pass (largest)")
    together = process.memory_full_info().pss + sum(info.pss for info in infos)
    print(f"all {workers + 1} processes together {together / 1e6:8.0f} MB, the mapped arrays counted once")
    done.wait()
    for reader in readers:
        reader.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=8, help="forked readers (default: 8)")
    parser.add_argument("--images", type=int, default=118_287)
    parser.add_argument("--boxes", type=int, default=860_001)
    parser.add_argument("--outline_points", type=int, default=20, help="of each object, 0 for none (default: 20)")
    parser.add_argument("--cached_only", action="store_true", help="leave out the reading of a file")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HF_DETR_CACHE"] = f"{folder}/cache"
        split = Split("train", Path(folder), Path(folder) / "annotations.json")
        if args.cached_only:
            with split.annotations_path.open("wb") as file:
                file.truncate(LARGE_FILE_BYTES)
            made = lambda: random_index(split, args.images, args.boxes)  # noqa: E731
            in_a_process(lambda: len(cached_index(split, None, made)))
        else:
            write_coco(split.annotations_path, args.images, args.boxes, args.outline_points)
            print(f"file                      {split.annotations_path.stat().st_size / 1e6:8.0f} MB")
            seconds, cpu_seconds, most = in_a_process(lambda: measure_opening(lambda: load_index(split)))
            print(f"opened for the first time {seconds:8.1f} s, {cpu_seconds:.1f} s of them on the processor")
            print(f"most memory meanwhile     {most:8.0f} MB")
        seconds, cpu_seconds, most = in_a_process(lambda: measure_opening(lambda: load_index(split)))
        print(f"opened from the cache     {seconds:8.2f} s, {cpu_seconds:.2f} s of them on the processor")
        index = load_index(split)
        print(f"arrays, mapped            {array_megabytes(index):8.0f} MB")
        measure_workers(index, args.workers)
    versions = f"Python {platform.python_version()}, numpy {np.__version__}, {platform.system()}"
    print(f"{versions}, {psutil.cpu_count()} cores")


if __name__ == "__main__":
    main()
