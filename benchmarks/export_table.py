"""All families and sizes, exported: time, nodes, size, agreement with PyTorch, and latency, as docs/export_table.md.

    python benchmarks/export_table.py --phase export --output OUT     # hours of one core, about 10 GB
    python benchmarks/export_table.py --phase latency --output OUT    # about 15 minutes, alone on the machine
    python benchmarks/export_table.py --phase table --output OUT      # writes the page

Every model has a folder in OUT with its exports and what was found, `export.json` and `latency.json`; a model that has
them is not done again, so that an interrupted command goes on where it stopped. `--only d_fine/s deimv2/atto` takes
these alone; without `--keep`, the latency phase deletes the exports of a model when it is done.

Weights are random (see benchmarks/random_models.py), shapes and image sizes are the true ones, 80 classes. Each model
is exported to ONNX and OpenVINO as `hf-detr export` does, at its default settings, and compared with PyTorch on
pictures. Beside it stands the stock export: `OnnxExporter` of Transformers on the nearest stock class
(benchmarks/differences.py), one picture at a time. Times of exports are of the processor, which other
programs on the machine hardly change; latencies are taken in turns, a few runs each, every runtime in its own process.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.differences import new_stock
from benchmarks.export_page import environment, refusals, render_page
from benchmarks.random_models import MODELS, build_random_model
from hf_detr import Detector, export_detector
from hf_detr.errors import HfDetrError
from hf_detr.evaluation.report import write_json
from hf_detr.export.onnx import quiet
from hf_detr.export.verify import made_up_pictures
from hf_detr.models.loading import no_progress_bars

PAGE = Path(__file__).parents[1] / "docs" / "export_table.md"
PICTURES = 4  # to compare on
FORMATS = {"onnx": "model.onnx", "openvino": "openvino_model.xml"}
EXPORT_FILE, LATENCY_FILE = "export.json", "latency.json"


def export_model(name: str, folder: Path) -> None:
    """Export one model in every way, into `folder`, and write down what is found."""
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    model, processor = build_random_model(name)
    pictures = made_up_pictures(PICTURES, (480, 640))
    found: dict[str, Any] = {"model": name, "parameters": sum(p.numel() for p in model.parameters())}
    with tempfile.TemporaryDirectory(dir=folder) as checkpoint:
        with no_progress_bars():
            model.save_pretrained(checkpoint)
            processor.save_pretrained(checkpoint)
        for to, file in FORMATS.items():
            start = time.process_time()
            try:
                export = export_detector(checkpoint, folder / to, pictures=pictures, to=to, overwrite=True)
            except HfDetrError as error:
                found[to] = {"error": str(error)}
                continue
            found[to] = {
                "seconds": time.process_time() - start,
                "bytes": _bytes(folder / to, Path(file).stem),
                "agreement": asdict(export.agreement),
            }
    if "error" not in found["onnx"]:
        found["onnx"]["nodes"] = _nodes(folder / "onnx" / FORMATS["onnx"])
    found["stock"] = _export_stock(model, processor, folder / "stock")
    write_json(folder / EXPORT_FILE, {**found, "environment": environment()})


def _export_stock(model: torch.nn.Module, processor: Any, folder: Path) -> dict[str, Any]:
    from transformers.exporters.exporter_onnx import OnnxConfig, OnnxExporter

    stock = new_stock(model).eval()
    pixels = torch.rand(1, 3, processor.size["height"], processor.size["width"])
    start = time.process_time()
    with quiet():
        export = OnnxExporter().export(stock, {"pixel_values": pixels}, config=OnnxConfig())
        export.save_pretrained(folder)
    return {
        "class": type(stock).__name__,
        "seconds": time.process_time() - start,
        "bytes": _bytes(folder, "model"),
        "nodes": _nodes(folder / "model.onnx"),
        "outputs": len(export.program.graph.outputs),
    }


def _bytes(folder: Path, stem: str) -> int:
    """The graph and its weights."""
    return sum(path.stat().st_size for path in folder.glob(f"{stem}.*"))


def _nodes(file: Path) -> int:
    import onnx

    return len(onnx.load(file, load_external_data=False).graph.node)


def time_model(name: str, folder: Path, threads: int, seconds: float, keep: bool) -> None:
    """Time one model at batch 1 on every runtime, in turns, and write the medians down; then delete its exports.

    Every runtime has a process of its own: threads of one that wait for work take time from another.
    """
    model, processor = build_random_model(name)
    detector = Detector.from_model(model, processor, device="cpu")
    pixels = detector.model_input(detector.prepare(made_up_pictures(1, (480, 640))[0])[None])
    runtimes = {runtime: _Runtime(load, name, folder, threads, pixels.numpy()) for runtime, load in _LOADERS.items()}
    with ExitStack() as stack:
        for runtime in runtimes.values():
            stack.enter_context(runtime)
        times: dict[str, list[float]] = {runtime: [] for runtime in runtimes}
        once = [min(runtime.times(2)) for runtime in runtimes.values()]
        runs_per_turn = max(1, round(seconds / 5 / sum(once)))
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or len(times["eager"]) < 3:
            for name_of_runtime, runtime in runtimes.items():
                times[name_of_runtime] += runtime.times(1 + runs_per_turn)[1:]  # the first fills the caches
    found = {
        "model": name,
        "threads": threads,
        "processes": len(runtimes),
        "runs": len(times["eager"]),
        "median_seconds": {runtime: statistics.median(values) for runtime, values in times.items()},
    }
    write_json(folder / LATENCY_FILE, {**found, "environment": environment()})
    if not keep:
        for way in (*FORMATS, "stock"):
            shutil.rmtree(folder / way)


class _Runtime:
    """A process that runs a model when it is told to.

    Args:
        load: gives the function to time.
        name, folder, threads, pixels: what `load` takes; pixels ``(1, 3, H, W)`` are prepared.
    """

    def __init__(self, load: "_Load", name: str, folder: Path, threads: int, pixels: np.ndarray):
        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, load, name, folder, threads, pixels), daemon=True)
        self._process.start()
        theirs.close()  # so that a process that dies is heard of

    def __enter__(self) -> "_Runtime":
        self._connection.recv()  # it is ready
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()
        self._process.join()

    def times(self, runs: int) -> list[float]:
        """Seconds of so many runs, one after the other."""
        self._connection.send(runs)
        return self._connection.recv()


def _serve(connection: Connection, load: "_Load", name: str, folder: Path, threads: int, pixels: np.ndarray) -> None:
    torch.set_num_threads(threads)
    run = load(name, folder, threads, pixels)
    connection.send(None)
    try:
        while True:
            connection.send([_seconds(run) for _ in range(connection.recv())])
    except EOFError:
        return


def _eager(name: str, folder: Path, threads: int, pixels: np.ndarray) -> Callable[[], object]:
    return _on_pixels(Detector.from_model(*build_random_model(name), device="cpu"), pixels)


def _exported(name: str, folder: Path, threads: int, pixels: np.ndarray, *, to: str) -> Callable[[], object]:
    return _on_pixels(Detector.from_pretrained(folder / to, device="cpu", num_threads=threads), pixels)


def _on_pixels(detector: Detector, pixels: np.ndarray) -> Callable[[], object]:
    return partial(detector.backend, torch.from_numpy(pixels), torch.tensor([pixels.shape[2:]]))


def _stock_onnxruntime(name: str, folder: Path, threads: int, pixels: np.ndarray) -> Callable[[], object]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(str(_stock_file(folder)), options, providers=["CPUExecutionProvider"])
    return partial(session.run, None, {"pixel_values": pixels})


def _stock_openvino(name: str, folder: Path, threads: int, pixels: np.ndarray) -> Callable[[], object]:
    import openvino

    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    return partial(openvino.compile_model(_stock_file(folder), "CPU", options), {"pixel_values": pixels})


def _stock_file(folder: Path) -> Path:
    return folder / "stock" / FORMATS["onnx"]


_Load = Callable[[str, Path, int, np.ndarray], Callable[[], object]]
_LOADERS: dict[str, _Load] = {
    "eager": _eager,
    **{to: partial(_exported, to=to) for to in FORMATS},
    "stock_onnx": _stock_onnxruntime,
    "stock_openvino": _stock_openvino,
}


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def do_models(
    names: Sequence[str], output: Path, result_file: str, work: Callable[[str, Path], None], workers: int = 1
) -> dict[str, BaseException]:
    """Do what is not done yet, each model in a process of its own, whose memory goes with it.

    Returns:
        What went wrong, by model.
    """
    left = [name for name in names if not _is_done(output / name / result_file)]
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), max_tasks_per_child=1)
    failed = {}
    try:
        futures = {pool.submit(work, name, output / name): name for name in left}
        for future in tqdm(as_completed(futures), total=len(futures), unit=" models"):
            if future.exception() is not None:
                failed[futures[future]] = future.exception()
    finally:
        pool.shutdown(cancel_futures=True)
    return failed


def _is_done(file: Path) -> bool:
    """A model that could not be exported is tried again."""
    found = _read(file)
    return found is not None and not refusals(found)


def _read(file: Path) -> dict[str, Any] | None:
    return json.loads(file.read_text()) if file.is_file() else None


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--phase", choices=["export", "latency", "table"], required=True)
    parser.add_argument("--output", type=Path, required=True, metavar="OUT", help="folder of exports and results")
    parser.add_argument("--only", nargs="+", choices=MODELS, default=MODELS, metavar="NAME", help="such as d_fine/s")
    parser.add_argument("--workers", type=int, default=1, help="models that are exported at once; default: 1")
    parser.add_argument("--threads", type=int, default=2, help="of every runtime, for latency; default: 2")
    parser.add_argument("--seconds", type=float, default=8, help="of timing for a model; default: 8")
    parser.add_argument("--keep", action="store_true", help="keep the exports after their latency is known")
    parser.add_argument("--page", type=Path, default=PAGE, help="what the table phase writes; default: in docs")
    args = parser.parse_args(argv)
    failed: dict[str, BaseException] = {}
    match args.phase:
        case "export":
            failed = do_models(args.only, args.output, EXPORT_FILE, export_model, args.workers)
        case "latency":
            exported = [name for name in args.only if _is_done(args.output / name / EXPORT_FILE)]
            work = partial(time_model, threads=args.threads, seconds=args.seconds, keep=args.keep)
            failed = do_models(exported, args.output, LATENCY_FILE, work)
        case "table":
            found = {
                name: (_read(args.output / name / EXPORT_FILE), _read(args.output / name / LATENCY_FILE))
                for name in args.only
            }
            args.page.write_text(render_page(found), encoding="utf-8")
            print(args.page)
    for name, error in failed.items():
        print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
