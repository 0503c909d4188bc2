"""An exported detector as OpenVINO's own files."""

import dataclasses
from pathlib import Path

from hf_detr.errors import ExportError
from hf_detr.export.graph import DetectorGraph
from hf_detr.export.onnx import write_onnx
from hf_detr.export.precision.int8 import quantize_openvino
from hf_detr.export.targets import WriteOptions
from hf_detr.inference.exported import ONNX_FILE, OPENVINO_FILE
from hf_detr.noise import quiet


def write_openvino(graph: DetectorGraph, folder: Path, options: WriteOptions) -> None:
    """Write ``openvino_model.xml`` and its weights, ``openvino_model.bin``, into ``folder``, by way of ONNX.

    In float16 the weights are stored in half precision, and the runtime chooses what it computes in; in bfloat16 the
    file asks the runtime for that.

    Raises:
        ExportError: OpenVINO, or NNCF for int8, is not installed, or the graph cannot be expressed.
    """
    try:
        import openvino
    except ImportError as error:
        raise ExportError("Export to OpenVINO needs OpenVINO: pip install 'hf_detr[openvino]'") from error
    onnx_file = folder / ONNX_FILE
    write_onnx(graph, folder, dataclasses.replace(options, external_data=False, precision="float32"))
    model = openvino.convert_model(onnx_file)
    if options.precision == "int8":
        with quiet():
            model = quantize_openvino(model, graph, options)
    for name, value in options.properties.items():
        model.set_rt_info(value, ["hf_detr", name])
    openvino.save_model(model, folder / OPENVINO_FILE, compress_to_fp16=options.precision == "float16")
    del model  # it has the file open
    onnx_file.unlink()
