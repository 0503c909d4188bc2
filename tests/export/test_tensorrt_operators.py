"""Whether TensorRT can read our graphs, as far as its table of supported operators tells: there is none here."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hf_detr.export.graph import DetectorGraph, GraphOptions
from hf_detr.export.onnx import write_onnx
from hf_detr.export.targets import WriteOptions
from hf_detr.models.loading import load_detector
from tests.export.conftest import save_decided_detector
from tests.tiny import TINY_FAMILIES

_TABLE = json.loads((Path(__file__).parent / "tensorrt_operators.json").read_text())["types"]
TYPES_OF = {operator: set(types.split()) for types, operators in _TABLE.items() for operator in operators}
NAMES = {
    TensorProto.FLOAT: "FP32", TensorProto.FLOAT16: "FP16", TensorProto.BFLOAT16: "BF16", TensorProto.BOOL: "BOOL",
    TensorProto.INT32: "INT32", TensorProto.INT64: "INT64", TensorProto.UINT8: "UINT8", TensorProto.DOUBLE: "DOUBLE",
}  # fmt: skip
# The input that an operator computes on, where it is not the first.
_COMPUTED = {"Where": 1}
_MOST_TOP_K = 3839
# Discrete sampling clips whole coordinates; the table has only those of fractions. docs/tensorrt.md says so.
BEYOND_THE_TABLE = {"rt_detr_v2_dsp": {"Clip of INT64"}}
FAMILIES = ["d_fine", *(pytest.param(n, marks=pytest.mark.slow) for n in TINY_FAMILIES if n != "d_fine")]


def unsupported(model: onnx.ModelProto) -> list[str]:
    """What TensorRT's table does not have: operators, types, and the restrictions that concern detectors."""
    model = onnx.shape_inference.infer_shapes(model)
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    constants |= {
        node.output[0]: attribute.t
        for node in graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    }
    values = (*graph.input, *graph.value_info, *graph.output)
    types = {value.name: NAMES[value.type.tensor_type.elem_type] for value in values}
    types |= {name: NAMES[tensor.data_type] for name, tensor in constants.items()}
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in values}
    found = []
    for node in graph.node:
        attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        if node.domain not in ("", "ai.onnx") or node.op_type not in TYPES_OF:
            found.append(f"{node.op_type}: no such operator")
            continue
        computed = node.input[_COMPUTED.get(node.op_type, 0)] if node.input else node.output[0]
        if types[computed] not in TYPES_OF[node.op_type]:
            found.append(f"{node.op_type} of {types[computed]}")
        if "DOUBLE" in (types.get(name) for name in (*node.input, *node.output)):
            found.append(f"{node.op_type} has DOUBLE")
        if node.op_type == "TopK":
            k = constants.get(node.input[1])
            if attributes.get("sorted", 1) != 1 or k is None or numpy_helper.to_array(k).max() > _MOST_TOP_K:
                found.append("TopK: unsorted, of unknown or too large k")
        if node.op_type == "GridSample" and ranks[node.input[0]] != 4:
            found.append("GridSample of other than four axes")
        if node.op_type == "LayerNormalization" and len([name for name in node.output if name]) > 1:
            found.append("LayerNormalization with more than one output")
        if node.op_type.startswith("Reduce") and len(node.input) > 1 and node.input[1] not in constants:
            found.append(f"{node.op_type} over computed axes")
        if node.op_type == "ScatterND" and attributes.get("reduction", b"none") != b"none":
            found.append("ScatterND with a reduction")
        if node.op_type == "Resize" and (attributes["mode"] == b"cubic" or attributes.get("antialias")):
            found.append("Resize, cubic or antialiased")
    return found


def exported(name: str, folder: Path, options: GraphOptions, precision: str = "float32") -> onnx.ModelProto:
    model, processor = load_detector(save_decided_detector(folder / "model", name))
    writing = WriteOptions((64, 64), {}, precision=precision)
    write_onnx(DetectorGraph(model, processor, options), folder, writing)
    return onnx.load(folder / "model.onnx")


@pytest.mark.parametrize("name", FAMILIES)
def test_every_operator_is_one_that_tensorrt_documents(name: str, tmp_path: Path) -> None:
    model = exported(name, tmp_path, GraphOptions(with_postprocess=True, uint8_input=True), "float16")
    assert set(unsupported(model)) == BEYOND_THE_TABLE.get(name, set())
    assert 9 <= model.opset_import[0].version <= 24


@pytest.mark.parametrize("name", FAMILIES)
def test_graphs_of_any_size_too(name: str, tmp_path: Path) -> None:
    found = unsupported(exported(name, tmp_path, GraphOptions(dynamic_size=True)))
    assert set(found) == BEYOND_THE_TABLE.get(name, set())


def test_what_tensorrt_does_not_have_is_found() -> None:
    pixels = helper.make_tensor_value_info("x", TensorProto.INT64, ["batch", 4])
    doubles = helper.make_tensor_value_info("d", TensorProto.DOUBLE, ["batch", 4])
    k = numpy_helper.from_array(np.array([5000]), "k")
    nodes = [
        helper.make_node("BitwiseNot", ["x"], ["a"]),
        helper.make_node("CumSum", ["x", "k"], ["b"]),
        helper.make_node("Cast", ["x"], ["d"], to=TensorProto.DOUBLE),
        helper.make_node("TopK", ["x", "k"], ["e", "f"]),
    ]
    graph = helper.make_graph(nodes, "g", [pixels], [doubles], [k])
    assert unsupported(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])) == [
        "BitwiseNot: no such operator",
        "CumSum of INT64",
        "Cast has DOUBLE",
        "TopK: unsorted, of unknown or too large k",
    ]
