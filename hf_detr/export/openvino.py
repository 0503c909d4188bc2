"""An exported detector as OpenVINO's own files."""

from collections.abc import Mapping
from pathlib import Path

from hf_detr.errors import ExportError


def export_openvino(onnx_file: Path, path: Path, *, properties: Mapping[str, str], precision: str) -> None:
    """Convert an ONNX file that `export_onnx` wrote.

    Args:
        onnx_file: the graph.
        path: the ``.xml`` file; weights go to ``.bin`` beside it.
        properties: metadata stored in the file.
        precision: of the arithmetic, ``"float32"``, ``"bfloat16"`` or ``"float16"``; weights of the latter are halved
            on disk.

    Raises:
        ExportError: OpenVINO is not installed.
    """
    try:
        import openvino
    except ImportError as error:
        raise ExportError("Export to OpenVINO needs OpenVINO: pip install 'hf_detr[openvino]'") from error
    model = openvino.convert_model(onnx_file)
    for name, value in {**properties, "precision": precision}.items():
        model.set_rt_info(value, ["hf_detr", name])
    openvino.save_model(model, path, compress_to_fp16=precision == "float16")
