"""What a detector can be exported to, a row per format; the command line and `export_detector` know no other list."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from hf_detr.export.graph import DetectorGraph


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
    """

    image_size_hw: tuple[int, int]
    properties: Mapping[str, str]
    opset: int | None = None
    external_data: bool = False
    precision: str = "float32"
    calibration: "Sequence[np.ndarray] | None" = None


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
    """

    name: str
    file: str
    precisions: tuple[str, ...]
    packages: tuple[str, ...]
    write: "Callable[[DetectorGraph, Path, WriteOptions], None]"


def _write_onnx(graph: "DetectorGraph", folder: Path, options: WriteOptions) -> None:
    from hf_detr.export.onnx import write_onnx

    write_onnx(graph, folder, options)


def _write_openvino(graph: "DetectorGraph", folder: Path, options: WriteOptions) -> None:
    from hf_detr.export.openvino import write_openvino

    write_openvino(graph, folder, options)


def _write_triton(graph: "DetectorGraph", folder: Path, options: WriteOptions) -> None:
    from hf_detr.export.triton import write_triton

    write_triton(graph, folder, options)


TARGETS = {
    target.name: target
    for target in (
        Target("onnx", "model.onnx", ("float32",), ("onnx", "onnxruntime"), _write_onnx),
        Target("openvino", "openvino_model.xml", ("float32",), ("onnx", "openvino"), _write_openvino),
        Target("triton", "1/model.onnx", ("float32",), ("onnx", "onnxruntime"), _write_triton),
    )
}
