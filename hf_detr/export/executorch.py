"""A detector as an ExecuTorch program, for phones and small devices."""

from pathlib import Path

from hf_detr.errors import ExportError
from hf_detr.export.graph import DetectorGraph, symbolic_shapes
from hf_detr.export.targets import WriteOptions
from hf_detr.inference.exported import EXECUTORCH_FILE
from hf_detr.noise import quiet


def write_executorch(graph: DetectorGraph, folder: Path, options: WriteOptions) -> None:
    """Write ``model.pte`` into ``folder``: what XNNPACK can compute is lowered to it, the rest to portable kernels.

    ExecuTorch plans its memory when the program is written, and XNNPACK takes no other batch than it was lowered for
    (ExecuTorch 1.5). So a program has one input size, and one picture at a time.

    Raises:
        ExportError: ExecuTorch is not installed, or the graph shall take any size.
    """
    if graph.options.dynamic_size:
        raise ExportError(
            "An ExecuTorch program takes pictures of one size: leave out --dynamic_size, and name another size with "
            "--image_size."
        )
    try:
        with quiet():
            import executorch.exir  # noqa: F401
            from transformers.exporters.exporter_executorch import ExecutorchConfig, ExecutorchExporter

            exporter = ExecutorchExporter()
    except ImportError as error:
        raise ExportError(f"Export to ExecuTorch needs it: pip install 'hf_detr[executorch]'\n{error}") from error
    with quiet(), symbolic_shapes(graph):
        program, _ = exporter.export_program(
            graph, graph.sample_inputs(options.image_size_hw), ExecutorchConfig(dynamic_shapes=graph.dynamic_shapes())
        )
        exporter.save_program(program, folder / EXECUTORCH_FILE)
