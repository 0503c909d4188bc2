"""Float16 where a detector stands it, within an ONNX graph whose inputs and outputs stay as they are.

The converter of ONNX Runtime takes a list of nodes to leave in float32, but rounds every value that passes from one of
these to the next: the largest float32, with which anchors outside the picture are marked, would become infinite, and
coordinates would lose their digits. So the border between both types is drawn here.
"""

from typing import TYPE_CHECKING

import numpy as np

from hf_detr.export.precision.regions import stands_half

if TYPE_CHECKING:
    import onnx_ir

# Inputs that an operator wants in float32 whatever the others are: region and scales of Resize.
_ALWAYS_FLOAT = {"Resize": (1, 2)}


def convert_to_half(program: "onnx_ir.Model") -> None:
    """Compute in float16 what stands it, and convert at the border.

    Args:
        program: with nodes named by their modules, see `hf_detr.export.precision.regions`; changed in place.
    """
    import onnx_ir

    full, half = onnx_ir.DataType.FLOAT, onnx_ir.DataType.FLOAT16
    converted: dict[tuple[onnx_ir.Value, onnx_ir.DataType], onnx_ir.Value] = {}
    for node in list(program.graph):
        wanted = half if stands_half(node.name, node.op_type) and _constants_fit(node) else full
        for place, value in enumerate(node.inputs):
            if value is None or value.dtype not in (full, half) or value.dtype == wanted:
                continue
            if wanted == half and place in _ALWAYS_FLOAT.get(node.op_type, ()):
                continue
            if (value, wanted) not in converted:
                converted[value, wanted] = _converted(program, value, wanted)
            node.replace_input_with(place, converted[value, wanted])
        if wanted == half:
            for value in node.outputs:
                if value.dtype == full:
                    value.dtype = half
            if node.op_type == "Cast" and node.attributes["to"].as_int() == full:
                node.attributes["to"] = onnx_ir.AttrInt64("to", half)


def _constants_fit(node: "onnx_ir.Node") -> bool:
    """Whether no constant that goes in is beyond the range of float16."""
    constants = [value.const_value.numpy() for value in node.inputs if value is not None and value.is_initializer()]
    largest = np.finfo(np.float16).max
    return all(np.all((np.abs(c) <= largest) | ~np.isfinite(c)) for c in constants if c.dtype == np.float32)


def _converted(program: "onnx_ir.Model", value: "onnx_ir.Value", dtype: "onnx_ir.DataType") -> "onnx_ir.Value":
    """The same value in the other type: a new constant, or a conversion right behind the node that makes it."""
    import onnx_ir

    name = f"{value.name}/{dtype.name.lower()}"
    if value.is_initializer():  # all of them are float32
        tensor = onnx_ir.tensor(value.const_value.numpy().astype(np.float16), name=name)
        constant = onnx_ir.Value(name=name, shape=value.shape, type=onnx_ir.TensorType(dtype), const_value=tensor)
        program.graph.register_initializer(constant)
        return constant
    cast = onnx_ir.node("Cast", [value], {"to": dtype}, name=name)
    cast.outputs[0].name = name
    cast.outputs[0].type = onnx_ir.TensorType(dtype)
    if value.producer() is None:
        program.graph.insert_before(program.graph[0], cast)
    else:
        program.graph.insert_after(value.producer(), cast)
    return cast.outputs[0]
