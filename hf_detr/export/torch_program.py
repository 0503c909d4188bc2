"""A detector as a program of `torch.export`: one file that PyTorch runs without the code of the model."""

from pathlib import Path

import torch

from hf_detr.errors import ExportError
from hf_detr.export.graph import DetectorGraph, symbolic_shapes
from hf_detr.export.targets import WriteOptions
from hf_detr.inference.exported import TORCH_FILE
from hf_detr.noise import quiet

# Where each node came from in Python, with the paths of this machine: half of a small file.
_ORIGINS = ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node")


def write_torch(graph: DetectorGraph, folder: Path, options: WriteOptions) -> None:
    """Write ``model.pt2`` into ``folder``, with the properties as extra files in the archive.

    ``torch.export.load("model.pt2").module()`` is called with the graph's inputs by name and returns a dictionary of
    its outputs.

    Raises:
        ExportError: Transformers' exporter is not there, or PyTorch is too old for it.
    """
    try:
        with quiet():
            from transformers.exporters.exporter_dynamo import DynamoConfig, DynamoExporter

            exporter = DynamoExporter()
    except ImportError as error:
        raise ExportError(
            f"Export of a program needs another PyTorch: pip install --upgrade torch\n{error}"
        ) from error
    config = DynamoConfig(dynamic_shapes=graph.dynamic_shapes())
    with quiet(), symbolic_shapes(graph):
        program, _ = exporter.export_program(graph, graph.sample_inputs(options.image_size_hw), config)
    for node in program.graph.nodes:
        for key in _ORIGINS:
            node.meta.pop(key, None)
    torch.export.save(program, folder / TORCH_FILE, extra_files=dict(options.properties))
