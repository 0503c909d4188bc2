"""How long a COCO-sized annotation file takes to open, and what it costs in memory with data loader workers.

Writes a file like instances_train2017.json (118,287 images, 860,001 boxes, 80 classes, outlines of about 20 points),
opens it, forks workers that read every annotation once, and prints seconds and megabytes.

    python benchmarks/annotation_index.py --workers 8
"""

import argparse
import json
import multiprocessing
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from hf_detr.data.index import DetectionIndex
from hf_detr.data.splits import Split, load_index

IMAGES, BOXES, CLASSES, OUTLINE_POINTS = 118_287, 860_001, 80, 20


def write_coco(path: Path, seed: int = 0) -> None:
    """A COCO file with the counts of train2017 and random boxes."""
    rng = np.random.default_rng(seed)
    images = [
        {"id": 5 * i + 9, "file_name": f"{5 * i + 9:012d}.jpg", "height": 480, "width": 640} for i in range(IMAGES)
    ]
    owner, category = rng.integers(0, IMAGES, BOXES), rng.integers(0, CLASSES, BOXES)
    corners = np.round(rng.uniform(0, 300, (BOXES, 4)), 2)
    with path.open("w") as file:
        file.write('{"images": ' + json.dumps(images) + ', "annotations": [')
        for i in range(BOXES):
            box = corners[i].tolist()
            outline = np.round(rng.uniform(0, 300, 2 * OUTLINE_POINTS), 2).tolist()
            row = {
                "segmentation": [outline],
                "area": box[2] * box[3],
                "iscrowd": 0,
                "image_id": 5 * int(owner[i]) + 9,
                "bbox": box,
                "category_id": int(category[i]) + 1,
                "id": i + 1,
            }
            file.write(("," if i else "") + json.dumps(row))
        categories = [{"id": i + 1, "name": f"class {i + 1}"} for i in range(CLASSES)]
        file.write('], "categories": ' + json.dumps(categories) + "}")


def read_all(index: DetectionIndex, ready: multiprocessing.Barrier, done: multiprocessing.Barrier) -> None:
    """What a worker does with the index in one epoch, decoding left out; then wait to be measured."""
    total = 0.0
    for image in range(len(index)):
        rows = slice(index.first[image], index.first[image + 1])
        total += index.boxes_xywh[rows].sum() + index.class_ids[rows].sum() + len(index.file_names[image])
    ready.wait()
    done.wait()


def array_megabytes(index: DetectionIndex) -> float:
    """Megabytes of the arrays that hold one value per image or annotation."""
    arrays = (
        index.sizes_hw,
        index.first,
        index.boxes_xywh,
        index.class_ids,
        index.areas,
        index.is_crowd,
        index.image_ids,
    )
    return sum(array.nbytes for array in arrays) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=8, help="forked readers (default: 8)")
    arguments = parser.parse_args()
    context, process = multiprocessing.get_context("fork"), psutil.Process()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "instances_train2017.json"
        write_coco(path)
        before = process.memory_full_info().uss / 1e6
        start, cpu_start = time.perf_counter(), time.process_time()
        index = load_index(Split("train", folder, path))
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
        print(f"file                      {path.stat().st_size / 1e6:8.0f} MB")
    print(f"opened in                 {seconds:8.1f} s, {cpu_seconds:.1f} s of them on the processor")
    print(f"arrays                    {array_megabytes(index):8.0f} MB")
    after = process.memory_full_info().uss / 1e6
    print(f"process before, after     {before:8.0f} MB, {after:.0f} MB")
    ready, done = context.Barrier(arguments.workers + 1), context.Barrier(arguments.workers + 1)
    workers = [context.Process(target=read_all, args=(index, ready, done)) for _ in range(arguments.workers)]
    for worker in workers:
        worker.start()
    ready.wait()
    own = [psutil.Process(worker.pid).memory_full_info() for worker in workers]
    print(f"each worker's own memory  {max(info.uss for info in own) / 1e6:8.1f} MB after a full pass (largest)")
    together = process.memory_full_info().pss + sum(info.pss for info in own)
    print(f"all {arguments.workers + 1} processes together {together / 1e6:8.0f} MB")
    done.wait()
    for worker in workers:
        worker.join()
    print(
        f"Python {platform.python_version()}, numpy {np.__version__}, {platform.system()}, {psutil.cpu_count()} cores"
    )


if __name__ == "__main__":
    main()
