"""What a detector can be exported to, a row per format; the command line and `export_detector` know no other list."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hf_detr.errors import ExportError, did_you_mean

if TYPE_CHECKING:
    import numpy as np

    from hf_detr.export.graph import DetectorGraph, GraphOptions

# Pictures that are put together in one call, at most, where a format has to know.
MAX_BATCH = 8

# What a model can compute in, with the short name that is understood too.
PRECISIONS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "int8": "int8"}


@dataclass(frozen=True)
class WriteOptions:
    """How a graph is written.

    Attributes:
        image_size_hw: height and width of the input in pixels; where they may vary, of the sample that is traced.
        properties: metadata to store in the file.
        opset: ONNX operator set; by default the exporter's choice.
        external_data: weights in a file beside the graph, where the format has both ways.
        precision: of the arithmetic, one of the target's `precisions`.
        calibration: ``uint8 (H, W, 3)`` RGB pictures, of which the ranges of int8 are taken.
        max_batch: most pictures at once, where the format is tuned for it.
        workspace_mib: most memory that a layer of an engine may use on the GPU, in MiB; by default all there is.
    """

    image_size_hw: tuple[int, int]
    properties: Mapping[str, str]
    opset: int | None = None
    external_data: bool = False
    precision: str = "float32"
    calibration: "Sequence[np.ndarray] | None" = None
    max_batch: int = MAX_BATCH
    workspace_mib: int | None = None


@dataclass(frozen=True)
class Target:
    """A format.

    Attributes:
        name: as `--to` has it.
        file: what the runtime opens, relative to the folder.
        precisions: what it can compute in, the default first.
        packages: those whose versions tell how the file was made.
        write: puts everything of the format into a folder that is there and empty. Raises ExportError where packages
            are missing or this machine cannot do it, before anything that takes long.
        one_picture: a graph of this format takes one picture at a time, whatever is asked for.
        device: where what was written runs, to compare it.
        hint: a line for people on what else can be done with it.
    """

    name: str
    file: str
    precisions: tuple[str, ...]
    packages: tuple[str, ...]
    write: "Callable[[DetectorGraph, Path, WriteOptions], None]"
    one_picture: bool = False
    device: str = "cpu"
    hint: "Callable[[GraphOptions, WriteOptions], str] | None" = None

    def precision(self, name: str) -> str:
        """The precision called ``name``, or by its short name.

        Raises:
            ExportError: there is no such precision, or this format does not have it.
        """
        full_names = dict(zip(PRECISIONS.values(), PRECISIONS, strict=True))
        precision = full_names.get(name, name)
        if precision not in PRECISIONS:
            raise ExportError(
                f"There is no precision {name!r}.{did_you_mean(name, [*PRECISIONS, *full_names])} "
                f"{self.name} has: {', '.join(self.precisions)}."
            )
        if precision not in self.precisions:
            others = [target.name for target in TARGETS.values() if precision in target.precisions]
            raise ExportError(
                f"There is no {precision} with --to {self.name}, which has {', '.join(self.precisions)}. "
                f"{precision} goes with --to {' or '.join(others)}."
            )
        return precision


def _write_onnx(graph: "DetectorGraph", folder: Path, options: WriteOptions) -> None:
    from hf_detr.export.onnx import write_onnx

    write_onnx(graph, folder, options)


def _trtexec_hint(graph: "GraphOptions", options: WriteOptions) -> str:
    from hf_detr.export.tensorrt_shapes import shape_ranges, trtexec_command

    ranges = shape_ranges(graph, options.image_size_hw, options.max_batch)
    return f"TensorRT from ONNX: {trtexec_command(ranges, 'model.onnx', 'model.engine', options.workspace_mib)}"


def _write_openvino(graph: "DetectorGraph", folder: Path, options: WriteOptions) -> None:
    from hf_detr.export.openvino import write_openvino

    write_openvino(graph, folder, options)


def _write_triton(graph: "DetectorGraph", folder: Path, options: WriteOptions) -> None:
    from hf_detr.export.triton import write_triton

    write_triton(graph, folder, options)


def _write_torch(graph: "DetectorGraph", folder: Path, options: WriteOptions) -> None:
    from hf_detr.export.torch_program import write_torch

    write_torch(graph, folder, options)


def _write_executorch(graph: "DetectorGraph", folder: Path, options: WriteOptions) -> None:
    from hf_detr.export.executorch import write_executorch

    write_executorch(graph, folder, options)


def _write_tensorrt(graph: "DetectorGraph", folder: Path, options: WriteOptions) -> None:
    from hf_detr.export.tensorrt import write_tensorrt

    write_tensorrt(graph, folder, options)


TARGETS = {
    target.name: target
    for target in (
        Target(
            "onnx",
            "model.onnx",
            ("float32", "float16", "int8"),
            ("onnx", "onnxruntime"),
            _write_onnx,
            hint=_trtexec_hint,
        ),
        Target("openvino", "openvino_model.xml", tuple(PRECISIONS), ("onnx", "openvino"), _write_openvino),
        Target("triton", "1/model.onnx", ("float32", "float16", "int8"), ("onnx", "onnxruntime"), _write_triton),
        Target("torch", "model.pt2", ("float32",), (), _write_torch),
        Target("executorch", "model.pte", ("float32",), ("executorch",), _write_executorch, one_picture=True),
        Target(
            "tensorrt",
            "model.engine",
            ("float32", "float16"),
            ("onnx",),
            _write_tensorrt,
            device="cuda",
            hint=_trtexec_hint,
        ),
    )
}


def find_target(name: str) -> Target:
    """The format of this name.

    Raises:
        ExportError: there is none.
    """
    if name not in TARGETS:
        raise ExportError(
            f"There is no format {name!r} to export to.{did_you_mean(name, TARGETS)} There are: {', '.join(TARGETS)}."
        )
    return TARGETS[name]
