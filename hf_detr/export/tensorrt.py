"""A detector as an engine of TensorRT, built from its ONNX graph on the GPU that will run it."""

import dataclasses
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from tqdm import tqdm

from hf_detr.cache import cache_folder
from hf_detr.errors import ExportError, HfDetrError
from hf_detr.export.graph import DetectorGraph
from hf_detr.export.onnx import write_onnx
from hf_detr.export.targets import WriteOptions
from hf_detr.export.tensorrt_shapes import ShapeRange, shape_ranges
from hf_detr.inference.exported import ENGINE_FILE, ONNX_FILE
from hf_detr.inference.tensorrt_runtime import EngineInfo, import_tensorrt, last_error, make_log, start

logger = logging.getLogger(__name__)


def write_tensorrt(graph: DetectorGraph, folder: Path, options: WriteOptions) -> None:
    """Write ``model.engine``, and ``engine.json`` with the machine it is for, into ``folder``.

    Each layer computes in the type that the graph says: in float16 what needs more digits stays in float32, see
    `hf_detr.export.precision.half`.

    Raises:
        ExportError: TensorRT is not installed, there is no CUDA device, or TensorRT cannot build the engine.
    """
    try:
        tensorrt = import_tensorrt()
    except HfDetrError as error:
        raise ExportError(str(error)) from error
    info = EngineInfo.of_this_machine(tensorrt, find_gpu(), dict(options.properties))
    onnx_file, engine_file = folder / ONNX_FILE, folder / ENGINE_FILE
    write_onnx(graph, folder, dataclasses.replace(options, external_data=False))
    ranges = shape_ranges(graph.options, options.image_size_hw, options.max_batch)
    engine = build_engine(tensorrt, onnx_file, ranges, timing_cache_file(info), options.workspace_mib)
    engine_file.write_bytes(engine)
    info.write_beside(engine_file)
    onnx_file.unlink()


def find_gpu() -> torch.device:
    """The GPU that TensorRT builds for.

    Raises:
        ExportError: there is none.
    """
    if not torch.cuda.is_available():
        raise ExportError("An engine of TensorRT is built on the GPU that will run it, and torch finds none here.")
    return torch.device("cuda", torch.cuda.current_device())


def timing_cache_file(info: EngineInfo) -> Path:
    """Where measurements of kernels are kept from build to build: one file for each version and GPU."""
    name = re.sub(r"[^\w.]+", "-", f"timing-{info.tensorrt}-{info.gpu}-{info.compute_capability}.cache")
    return cache_folder() / "tensorrt" / name


def build_engine(
    tensorrt: ModuleType,
    onnx_file: Path,
    ranges: Mapping[str, ShapeRange],
    timing_cache: Path,
    workspace_mib: int | None = None,
) -> Any:
    """Build an engine; takes minutes, less where the timing cache knows the kernels.

    Args:
        tensorrt: the package.
        onnx_file: the graph, with its weights inside.
        ranges: the shapes of each input.
        timing_cache: a file to read and write measurements of kernels; it need not be there.
        workspace_mib: most memory that a layer may use on the GPU, in MiB; by default all there is.

    Returns:
        The engine, as a buffer.

    Raises:
        ExportError: TensorRT cannot read the graph, or not build it.
    """
    log = make_log(tensorrt)
    builder = start(tensorrt.Builder, log)
    network = builder.create_network(1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = tensorrt.OnnxParser(network, log)
    if not parser.parse_from_file(str(onnx_file)):
        reasons = "\n".join(f"  {parser.get_error(index).desc()}" for index in range(min(3, parser.num_errors)))
        raise ExportError(f"TensorRT {tensorrt.__version__} cannot read the graph:\n{reasons}")

    config = builder.create_builder_config()
    # Float32 shall be float32: TF32 has ten bits, and detections would differ from those in PyTorch.
    config.clear_flag(tensorrt.BuilderFlag.TF32)
    if workspace_mib is not None:
        config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, workspace_mib << 20)
    if any(shapes.varies for shapes in ranges.values()):
        profile = builder.create_optimization_profile()
        for name, shapes in ranges.items():
            profile.set_shape(name, shapes.smallest, shapes.tuned, shapes.largest)
        config.add_optimization_profile(profile)
    known = timing_cache.read_bytes() if timing_cache.is_file() else b""
    cache = config.create_timing_cache(known)
    config.set_timing_cache(cache, ignore_mismatch=False)
    with _progress(tensorrt, config):
        engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise ExportError(f"TensorRT {tensorrt.__version__} cannot build the engine: {last_error(log)}")
    _write_timing_cache(config, timing_cache)
    return engine


def _write_timing_cache(config: Any, file: Path) -> None:
    """Written aside and renamed: other builds may read it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".part")
    unfinished.write_bytes(config.get_timing_cache().serialize())
    unfinished.replace(file)


@contextmanager
def _progress(tensorrt: ModuleType, config: Any) -> Iterator[None]:
    """Show a bar for the outermost phase of the build; Ctrl-C stops TensorRT at its next step."""
    bars: dict[str, tqdm] = {}

    class Monitor(tensorrt.IProgressMonitor):
        def __init__(self):
            tensorrt.IProgressMonitor.__init__(self)
            self.interrupted = False

        @contextmanager
        def noticing_ctrl_c(self) -> Iterator[None]:
            try:  # an exception must not pass through TensorRT
                yield
            except KeyboardInterrupt:
                self.interrupted = True

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            with self.noticing_ctrl_c():
                if parent_phase is None:
                    bars[phase_name] = tqdm(total=num_steps, desc=phase_name, unit=" steps", disable=None)

        def step_complete(self, phase_name: str, step: int) -> bool:
            with self.noticing_ctrl_c():
                if phase_name in bars:
                    bars[phase_name].update()
            return not self.interrupted

        def phase_finish(self, phase_name: str) -> None:
            with self.noticing_ctrl_c():
                if phase_name in bars:
                    bars.pop(phase_name).close()

    monitor = Monitor()
    config.progress_monitor = monitor
    try:
        yield
    finally:
        for bar in bars.values():
            bar.close()
    if monitor.interrupted:
        raise KeyboardInterrupt
