"""An exported detector as OpenVINO's own files."""

import dataclasses
from pathlib import Path

from hf_detr.errors import ExportError
from hf_detr.export.graph import DetectorGraph
from hf_detr.export.onnx import write_onnx
from hf_detr.export.targets import WriteOptions
from hf_detr.inference.exported import ONNX_FILE, OPENVINO_FILE


def write_openvino(graph: DetectorGraph, folder: Path, options: WriteOptions) -> None:
    """Write ``openvino_model.xml`` and its weights, ``openvino_model.bin``, into ``folder``, by way of ONNX.

    Raises:
        ExportError: OpenVINO is not installed, or the graph cannot be expressed.
    """
    try:
        import openvino
    except ImportError as error:
        raise ExportError("Export to OpenVINO needs OpenVINO: pip install 'hf_detr[openvino]'") from error
    onnx_file = folder / ONNX_FILE
    write_onnx(graph, folder, dataclasses.replace(options, external_data=False))
    model = openvino.convert_model(onnx_file)
    for name, value in {**options.properties, "precision": options.precision}.items():
        model.set_rt_info(value, ["hf_detr", name])
    openvino.save_model(model, folder / OPENVINO_FILE, compress_to_fp16=options.precision == "float16")
    del model  # it has the file open
    onnx_file.unlink()
