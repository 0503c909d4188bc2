"""A detector as an ONNX file, written by Transformers' own exporter and cleaned of what a runtime has no use for."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from hf_detr.errors import ExportError
from hf_detr.export.graph import PIXELS, DetectorGraph, symbolic_shapes
from hf_detr.export.targets import WriteOptions
from hf_detr.inference.exported import ONNX_FILE

if TYPE_CHECKING:
    import onnx_ir

logger = logging.getLogger(__name__)


def write_onnx(graph: DetectorGraph, folder: Path, options: WriteOptions) -> None:
    """Write ``model.onnx``, and with external data ``model.onnx.data``, into ``folder``.

    By default in the operator set that Transformers' exporter chooses. It has layer normalisation as one operator, so
    that half precision keeps its sums in float32.

    Raises:
        ExportError: the packages for ONNX are missing, or the graph cannot be expressed.
    """
    try:
        import onnx_ir
        from transformers.exporters.exporter_onnx import OnnxConfig, OnnxExporter

        with quiet():
            exporter = OnnxExporter()
    except ImportError as error:
        raise ExportError(f"Export to ONNX needs more packages: pip install 'hf_detr[onnx]'\n{error}") from error
    config = OnnxConfig(opset_version=options.opset, dynamic_shapes=graph.dynamic_shapes())
    with quiet(), symbolic_shapes(graph):
        program, _ = exporter.export_program(graph, graph.sample_inputs(options.image_size_hw), config)
    _name_dynamic_axes(program, graph)
    _clean(program)
    program.metadata_props.update(options.properties)
    path = folder / ONNX_FILE
    onnx_ir.save(program, path, external_data=f"{path.name}.data" if options.external_data else None)


def _name_dynamic_axes(program: "onnx_ir.Model", graph: DetectorGraph) -> None:
    """Call the axes that may vary batch, height and width; tracing numbers them."""
    import onnx_ir

    pixels = next(value for value in program.graph.inputs if value.name == PIXELS)
    names = {
        str(dim): name
        for dim, name in zip(pixels.shape, ("batch", "channels", "height", "width"), strict=True)
        if isinstance(dim, onnx_ir.SymbolicDim)
    }
    for value in (*program.graph.inputs, *program.graph.outputs):
        value.shape = onnx_ir.Shape(names.get(str(dim), dim) for dim in value.shape)
    # What is known of the shapes within still has the numbers; every runtime infers them anew.
    for node in program.graph.all_nodes():
        for value in node.outputs:
            if not value.is_graph_output():
                value.shape = None


def _clean(program: "onnx_ir.Model") -> None:
    """Drop where each node came from in Python (an eighth of a small file), and tensors that are there twice."""
    from onnx_ir.passes import Sequential
    from onnx_ir.passes import common as passes

    Sequential(
        passes.DeduplicateInitializersPass(size_limit=1 << 30),
        passes.ClearMetadataAndDocStringPass(),
        passes.RemoveUnusedNodesPass(),
        passes.RemoveUnusedOpsetsPass(),
    )(program)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what exporters print for the log: they report each stage, and warn of what does not concern a user."""
    printed = io.StringIO()
    disabled_below = logging.root.manager.disable
    with redirect_stdout(printed), warnings.catch_warnings(record=True) as warned:
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(disabled_below)
    for line in [*printed.getvalue().splitlines(), *(str(warning.message) for warning in warned)]:
        logger.debug("%s", line)
