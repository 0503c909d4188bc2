"""A detector as an ONNX file, written by Transformers' own exporter and cleaned of what a runtime has no use for."""

import ast
from pathlib import Path
from typing import TYPE_CHECKING

from hf_detr.errors import ExportError
from hf_detr.export.graph import PIXELS, DetectorGraph, symbolic_shapes
from hf_detr.export.precision.half import convert_to_half
from hf_detr.export.precision.int8 import quantize_onnx
from hf_detr.export.targets import WriteOptions
from hf_detr.inference.exported import ONNX_FILE
from hf_detr.noise import quiet

if TYPE_CHECKING:
    import onnx_ir

# Where torch's exporter notes the modules a node is within, the outermost first; the last entry is the node itself.
_MODULE_SCOPES = "pkg.torch.onnx.name_scopes"


def write_onnx(graph: DetectorGraph, folder: Path, options: WriteOptions) -> None:
    """Write ``model.onnx``, and with external data ``model.onnx.data``, into ``folder``.

    By default in the operator set that Transformers' exporter chooses. It has layer normalisation as one operator, so
    that half precision keeps its sums in float32.

    Raises:
        ExportError: the packages for ONNX are missing, or the graph cannot be expressed in this operator set.
    """
    program = _trace(graph, options)
    path = folder / ONNX_FILE
    if options.precision == "float16":
        convert_to_half(program)
    elif options.precision == "int8":
        program = _quantized(program, path, graph, options)
    _save(program, path, options)


def _trace(graph: DetectorGraph, options: WriteOptions) -> "onnx_ir.Model":
    """The graph as an ONNX model in memory, each node named by the module it comes from."""
    try:
        with quiet():
            from transformers.exporters.exporter_onnx import OnnxConfig, OnnxExporter

            exporter = OnnxExporter()
    except ImportError as error:
        raise ExportError(f"Export to ONNX needs more packages: pip install 'hf_detr[onnx]'\n{error}") from error
    config = OnnxConfig(opset_version=options.opset, dynamic_shapes=graph.dynamic_shapes())
    with quiet(), symbolic_shapes(graph):
        program, _ = exporter.export_program(graph, graph.sample_inputs(options.image_size_hw), config)
    # The exporter keeps to the set it knows where it cannot write the one that is asked for, and does not say so.
    written = program.opset_imports[""]
    if options.opset not in (None, written):
        raise ExportError(
            f"ONNX operator set {options.opset} cannot be written for this model; {written} can. Leave --opset out, "
            "or name one that the installed onnxscript converts to."
        )
    _name_nodes(program)
    _name_dynamic_axes(program, graph)
    _keep_zeros_around_pooling(program)
    _compute_in_single_precision(program)
    _clean(program)
    return program


def _quantized(program: "onnx_ir.Model", path: Path, graph: DetectorGraph, options: WriteOptions) -> "onnx_ir.Model":
    """The graph in int8; `path` is where it may keep files meanwhile."""
    import onnx_ir

    source, quantized = path.with_name("float32.onnx"), path.with_name("int8.onnx")
    onnx_ir.save(program, source)
    with quiet():
        quantize_onnx(source, quantized, graph, options)
    source.unlink()
    result = onnx_ir.load(quantized)
    onnx_ir.external_data.load_to_model(result)
    quantized.unlink()
    return result


def _save(program: "onnx_ir.Model", path: Path, options: WriteOptions) -> None:
    import onnx_ir

    _clean(program)
    program.metadata_props.update(options.properties)
    onnx_ir.save(program, path, external_data=f"{path.name}.data" if options.external_data else None)


def _name_nodes(program: "onnx_ir.Model") -> None:
    """Call each node by the module it comes from, its operator and its number.

    What the exporter's optimiser has put between others belongs to the module of what it takes.
    """
    modules: dict[onnx_ir.Node, str] = {}
    for number, node in enumerate(program.graph):
        scopes = node.metadata_props.get(_MODULE_SCOPES)
        makers = [value.producer() for value in node.inputs if value is not None and value.producer() is not None]
        module = ast.literal_eval(scopes)[-2] if scopes else next((modules[maker] for maker in makers), "")
        modules[node] = module
        node.name = f"{module or 'graph'}/{node.op_type}_{number}"


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


def _keep_zeros_around_pooling(program: "onnx_ir.Model") -> None:
    """Write padding before a maximum (the stem of HGNetv2) in the form that says which axes it is along.

    ONNX Runtime makes the usual form a part of the pooling (its rule ``Pad_Fusion``, seen in 1.31), which then ignores
    what is around the picture instead of taking it for 0: another result wherever values are negative, as in trained
    models. All axes are named, in order: its optimiser of transposes reorders the amounts alone, and fails on fewer.
    """
    import numpy as np
    import onnx_ir

    for node in program.graph:
        if node.op_type != "Pad" or not any(user.op_type == "MaxPool" for user in node.outputs[0].consumers()):
            continue
        pads = None if len(node.inputs) > 3 else onnx_ir.convenience.get_const_tensor(node.inputs[1])
        if pads is not None:
            name = f"{node.name}/axes"
            axes = onnx_ir.Value(name=name, const_value=onnx_ir.tensor(np.arange(pads.size // 2), name=name))
            program.graph.register_initializer(axes)
            node.resize_inputs(4)
            node.replace_input_with(3, axes)


def _compute_in_single_precision(program: "onnx_ir.Model") -> None:
    """Make float32 of float64, which TensorRT has not.

    Position embeddings of pictures of any size are computed in the graph, by Transformers in float64 where the papers'
    code has float32.
    """
    import numpy as np
    import onnx_ir

    double, single = onnx_ir.DataType.DOUBLE, onnx_ir.DataType.FLOAT
    for value in program.graph.initializers.values():
        if value.const_value.dtype == double:
            value.const_value = onnx_ir.tensor(value.const_value.numpy().astype(np.float32), name=value.name)
            value.dtype = single
    for node in program.graph.all_nodes():
        if node.op_type == "Cast" and node.attributes.get_int("to") == double:
            node.attributes["to"] = onnx_ir.AttrInt64("to", single)
        for value in node.outputs:
            if value.dtype == double:
                value.dtype = single


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
