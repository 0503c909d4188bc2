"""Multiplication in 8 bits: the ranges of values are measured on pictures, and what stands it is quantised.

Weights have a scale per channel and values one per tensor, both symmetric around zero, which all runtimes have fast
code for. Heads and decoder stay in floating point, see `hf_detr.export.precision.regions`.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from hf_detr.errors import ExportError
from hf_detr.export.precision.regions import stands_int8

if TYPE_CHECKING:
    from hf_detr.export.graph import DetectorGraph
    from hf_detr.export.targets import WriteOptions

# Ranges of fewer pictures say little of those to come.
FEWEST_PICTURES = 16

_QUANTISED = ("Conv", "MatMul", "Gemm")


def require_calibration(pictures: Sequence[np.ndarray] | None) -> None:
    """Refuse int8 without pictures that ranges can be measured on.

    Raises:
        ExportError: there are none, or too few.
    """
    if pictures is None:
        raise ExportError(
            "int8 measures the ranges of values on pictures of yours: name the data set with --data DIR."
        )
    if len(pictures) < FEWEST_PICTURES:
        raise ExportError(
            f"int8 has {len(pictures)} pictures to measure the ranges of values on; it takes {FEWEST_PICTURES} at "
            "least, and 300 are better: name a larger data set with --data, or a higher --num_calibration."
        )


def quantize_onnx(source: Path, path: Path, graph: "DetectorGraph", options: "WriteOptions") -> None:
    """Write an int8 ONNX file, with pairs of QuantizeLinear and DequantizeLinear around what is quantised.

    Args:
        source: the float32 file, its nodes named by their modules.
        path: the file to write.
        graph: what `source` was traced from.
        options: with the pictures to calibrate on.

    Raises:
        ExportError: ONNX Runtime is not installed.
    """
    import onnx

    try:
        from onnxruntime import quantization
    except ImportError as error:
        raise ExportError("int8 needs ONNX Runtime: pip install 'hf_detr[onnx]'") from error

    class Reader(quantization.CalibrationDataReader):
        inputs = _calibration_inputs(graph, options)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.inputs, None)

    nodes = onnx.load(source, load_external_data=False).graph.node
    quantization.quantize_static(
        source,
        path,
        Reader(),
        per_channel=True,
        op_types_to_quantize=list(_QUANTISED),
        nodes_to_quantize=[node.name for node in nodes if node.op_type in _QUANTISED and stands_int8(node.name)],
        extra_options={"ActivationSymmetric": True},
    )


def quantize_openvino(model: Any, graph: "DetectorGraph", options: "WriteOptions") -> Any:
    """An int8 model of an `openvino.Model` whose nodes are named by their modules.

    Raises:
        ExportError: NNCF is not installed.
    """
    try:
        import nncf
    except ImportError as error:
        raise ExportError("int8 for OpenVINO needs NNCF: pip install 'hf_detr[int8]'") from error
    ignored = [name for name in (node.get_friendly_name() for node in model.get_ops()) if not stands_int8(name)]
    inputs = list(_calibration_inputs(graph, options))  # NNCF goes through them several times
    return nncf.quantize(
        model,
        nncf.Dataset(inputs),
        subset_size=len(inputs),
        preset=nncf.QuantizationPreset.PERFORMANCE,
        ignored_scope=nncf.IgnoredScope(names=ignored),
    )


def _calibration_inputs(graph: "DetectorGraph", options: "WriteOptions") -> Iterator[dict[str, np.ndarray]]:
    """What the graph takes, picture by picture."""
    for picture in tqdm(options.calibration, desc="calibrating", unit=" images", disable=None):
        yield {name: value.numpy() for name, value in graph.inputs_of(picture, options.image_size_hw).items()}
