"""`hf-detr benchmark`: how fast models are on their runtimes, and how good they are at that speed."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_detr.cli.env import environment
from hf_detr.cli.flags import parse_image_size, require_positive
from hf_detr.errors import HfDetrError

if TYPE_CHECKING:
    from hf_detr.inference.detector import Detector

_DESCRIPTION = """\
Measure latency and throughput of models side by side, each on its own runtime: folders of
`hf-detr train` in PyTorch, folders of `hf-detr export` in ONNX Runtime, OpenVINO, TensorRT or ExecuTorch.

  hf-detr benchmark runs/first runs/first/onnx runs/first/openvino
  hf-detr benchmark runs/*/onnx --batch_sizes 1 8 --num_threads 2
  hf-detr benchmark runs/small runs/large --data my_data --output_dir speed

"model" is the model alone, from prepared pixels to its output; "total" adds resizing, copying and
decoding, from pictures in memory to detections in memory. Models take turns, so that a machine
that slows down does so for all of them. With --data, COCO AP is measured too and drawn over
latency. The models should have the machine to themselves.
"""


def main(argv: list[str] | None = None) -> int:
    """Benchmark as the command line says. Returns 0.

    Raises:
        HfDetrError: a model cannot be loaded, or there are no pictures.
    """
    parser = _build_parser()
    args = parser.parse_args(argv)
    require_positive(parser, **{"batch_sizes": min(args.batch_sizes), "num_threads": args.num_threads})
    if args.seconds <= 0:
        parser.error(f"--seconds must be more than 0, got {args.seconds}")
    image_size_hw = parse_image_size(parser, args.image_size)
    if args.output_dir is not None and args.output_dir.exists() and any(args.output_dir.iterdir()):
        raise HfDetrError(f"{args.output_dir} is not empty; name a new folder for the results.")

    from hf_detr.inference.detector import Detector
    from hf_detr.inference.latency import time_detectors

    pictures = _pictures(args.images)
    detectors = {
        name: Detector.from_pretrained(
            name, device=args.device, image_size_hw=image_size_hw, num_threads=args.num_threads
        )
        for name in dict.fromkeys(args.models)
    }
    rows = []
    for batch_size in args.batch_sizes:
        timed = time_detectors(detectors, pictures, batch_size=batch_size, seconds=args.seconds)
        rows += [{"model": name, "batch_size": batch_size, **summary} for name, summary in timed.items()]
    accuracy = {}
    if args.data is not None:
        accuracy = {name: _average_precision(detector, args) for name, detector in detectors.items()}
    for row in rows:
        row["runtime"] = type(detectors[row["model"]].backend).__name__.removesuffix("Backend")
        row["device"] = str(detectors[row["model"]].backend.device)
        row["image_size_hw"] = list(detectors[row["model"]].image_size_hw)
        if accuracy:
            row["AP"] = accuracy[row["model"]]
    results = {"environment": environment(), "num_threads": args.num_threads, "results": rows}
    print(json.dumps(results, indent=2) if args.json else render(results))
    if args.output_dir is not None:
        args.output_dir.mkdir(parents=True, exist_ok=True)
        (args.output_dir / "benchmark.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
        if accuracy:
            draw(rows, args.output_dir / "benchmark.png")
    return 0


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hf-detr benchmark", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", help="folders of `hf-detr train` or `hf-detr export`, or Hub ids")
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[1], metavar="N", help="default: 1")
    parser.add_argument("--seconds", type=float, default=5.0, help="per model and batch size; default: 5")
    parser.add_argument("--num_threads", type=int, metavar="N", help="on the CPU; default: each runtime's choice")
    parser.add_argument("--device", help="such as cpu or cuda; default: the best each runtime has")
    parser.add_argument("--image_size", type=int, nargs="+", metavar="PX", help="default: each model's own")
    parser.add_argument("--images", nargs="+", metavar="PATH", help="pictures to run on; default: made-up ones")
    parser.add_argument("--data", metavar="DIR", help="measure COCO AP on this data set too")
    parser.add_argument("--split", choices=["valid", "test", "train"], default="valid", help="default: valid")
    parser.add_argument("--output_dir", type=Path, metavar="DIR", help="write benchmark.json, with --data a picture")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    return parser


def _pictures(sources: list[str] | None) -> list[Any]:
    from hf_detr.cli.sources import find_pictures
    from hf_detr.data.images import read_image
    from hf_detr.export.verify import made_up_pictures

    if sources is None:
        return made_up_pictures(8, (480, 640))
    return [read_image(path) for path in find_pictures(sources)[:32]]


def _average_precision(detector: "Detector", args: argparse.Namespace) -> float | None:
    from hf_detr.cli.evaluate import find_split
    from hf_detr.data.dataset import DetectionDataset
    from hf_detr.data.splits import load_index
    from hf_detr.evaluation.loop import average_precision

    dataset = DetectionDataset(load_index(find_split(args.data, args.split, None, None)))
    return average_precision(detector, dataset)


def render(results: dict[str, Any]) -> str:
    """The results as a table for people; speeds as ratios to the first model at the same batch size."""
    rows = results["results"]
    header = ["model", "runtime", "batch", "p50 ms", "p90 ms", "p99 ms", "total ms", "images/s", "speed", "AP"]
    first = {}
    for row in rows:
        first.setdefault(row["batch_size"], row["model_p50_ms"])
    table = [
        [
            row["model"],
            f"{row['runtime']} {row['device']}",
            str(row["batch_size"]),
            *(f"{row[key]:.1f}" for key in ("model_p50_ms", "model_p90_ms", "model_p99_ms", "total_p50_ms")),
            f"{row['total_images_per_second']:.1f}",
            f"x{first[row['batch_size']] / row['model_p50_ms']:.2f}",
            "" if row.get("AP") is None else f"{row['AP']:.3f}",
        ]
        for row in rows
    ]
    if not any(row[-1] for row in table):
        header, table = header[:-1], [row[:-1] for row in table]
    widths = [max(map(len, column)) for column in zip(header, *table, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)) for row in [header, *table]]
    facts = results["environment"]
    threads = results["num_threads"] or "default"
    lines += ["", f"torch {facts['torch']}, GPU {facts['gpu']}, {facts['platform']}; threads: {threads}"]
    return "\n".join(lines)


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """AP over latency at the smallest batch size, a dot per model."""
    try:
        import matplotlib
    except ImportError as error:
        raise HfDetrError("The picture of AP over latency needs matplotlib: pip install matplotlib") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    smallest = min(row["batch_size"] for row in rows)
    for row in rows:
        if row["batch_size"] == smallest and row["AP"] is not None:
            axes.scatter(row["model_p50_ms"], row["AP"])
            axes.annotate(row["model"], (row["model_p50_ms"], row["AP"]), xytext=(5, 5), textcoords="offset points")
    axes.set(xlabel=f"latency at batch {smallest}, median, ms", ylabel="COCO AP", xlim=(0, None))
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
