"""A detector as a model of a Triton Inference Server: ONNX, how to run it, and the class names.

What is written follows Triton's documentation of model repositories and of the model configuration
(https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/model_configuration.html).
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hf_detr.errors import ExportError
from hf_detr.export.graph import DetectorGraph
from hf_detr.export.onnx import write_onnx
from hf_detr.export.targets import WriteOptions
from hf_detr.inference.exported import TRITON_FILE

if TYPE_CHECKING:
    import onnx

CONFIG_FILE, LABELS_FILE = "config.pbtxt", "labels.txt"

_TYPES = {"FLOAT": "TYPE_FP32", "FLOAT16": "TYPE_FP16", "UINT8": "TYPE_UINT8", "INT64": "TYPE_INT64"}

# There is no `name`: Triton takes that of the folder, which may be renamed. Preferred batch sizes are left to it as
# well, as its documentation advises for all but TensorRT.
_CONFIG = """\
# Written by hf-detr export. The model is called as this folder; start Triton with the folder above it.
backend: "onnxruntime"
max_batch_size: {max_batch}
input [
{inputs}
]
output [
{outputs}
]
# One instance on each GPU, or one on the CPU where there is none.
instance_group [ {{ kind: KIND_AUTO count: 1 }} ]
# Requests that arrive within this time go through the model together.
dynamic_batching {{ max_queue_delay_microseconds: {delay} }}
{parameters}
"""
_QUEUE_DELAY_MICROSECONDS = 2000


def write_triton(graph: DetectorGraph, folder: Path, options: WriteOptions) -> None:
    """Write ``config.pbtxt``, ``labels.txt`` and ``1/model.onnx`` into ``folder``, whose name will be the model's.

    Raises:
        ExportError: the graph takes one picture at a time, packages are missing, or it cannot be expressed.
    """
    if not graph.options.dynamic_batch:
        raise ExportError("Triton puts requests together, so the graph must take any batch: leave out --static_batch.")
    file = folder / TRITON_FILE
    file.parent.mkdir()
    write_onnx(graph, file.parent, replace(options, external_data=False))
    class_names = [graph.config.id2label[class_id] for class_id in range(graph.config.num_labels)]
    (folder / LABELS_FILE).write_text("".join(f"{name}\n" for name in class_names), encoding="utf-8")
    (folder / CONFIG_FILE).write_text(render_config(file, options), encoding="utf-8")


def render_config(file: Path, options: WriteOptions) -> str:
    """The model configuration of an ONNX file, as protobuf text.

    Args:
        file: the graph, whose first axes are the batch.
        options: what it was written with; its properties become parameters, which clients can ask the server for.
    """
    import onnx

    graph = onnx.load(file, load_external_data=False).graph
    return _CONFIG.format(
        max_batch=options.max_batch,
        inputs=",\n".join(map(_tensor, graph.input)),
        outputs=",\n".join(map(_tensor, graph.output)),
        delay=_QUEUE_DELAY_MICROSECONDS,
        parameters="\n".join(
            f"parameters {{ key: {_quoted(name)} value {{ string_value: {_quoted(value)} }} }}"
            for name, value in options.properties.items()
        ),
    )


def _tensor(value: "onnx.ValueInfoProto") -> str:
    """Name, type and dimensions without the batch; -1 for one that may vary."""
    import onnx

    tensor = value.type.tensor_type
    dims = [str(dim.dim_value) if dim.HasField("dim_value") else "-1" for dim in tensor.shape.dim[1:]]
    data_type = _TYPES[onnx.TensorProto.DataType.Name(tensor.elem_type)]
    return f"  {{ name: {_quoted(value.name)} data_type: {data_type} dims: [ {', '.join(dims)} ] }}"


def _quoted(text: str) -> str:
    """A string of protobuf's text format; its escapes are those of JSON, and more."""
    return json.dumps(text, ensure_ascii=False)
