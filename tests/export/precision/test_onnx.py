"""ONNX files in float16 and int8: what is converted, what is kept, and that a wrong file does not pass."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import pytest
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator

from hf_detr.errors import ExportError
from hf_detr.export.precision.half import convert_to_half
from hf_detr.export.precision.regions import stands_half, stands_int8
from hf_detr.export.verify import TOLERANCES, compare, require_agreement
from hf_detr.inference.detector import Detector
from tests.export.precision.conftest import PICTURES

PRECISIONS = ("float32", "float16", "int8")


def load(folder: Path) -> onnx.ModelProto:
    return onnx.shape_inference.infer_shapes(onnx.load(folder / "model.onnx"), strict_mode=True)


def types_of(model: onnx.ModelProto) -> dict[str, int]:
    """Element type of every value by name."""
    values = [*model.graph.value_info, *model.graph.input, *model.graph.output]
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {tensor.name: tensor.data_type for tensor in model.graph.initializer}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_file_holds_nothing_that_is_not_used(exports: dict[str, Path], precision: str) -> None:
    graph = onnx.load(exports[precision] / "model.onnx").graph
    wanted = {value.name for value in graph.output}
    for node in reversed(graph.node):
        assert wanted & set(node.output), f"{node.name} makes nothing that is used"
        wanted |= set(node.input)
    unused = [tensor.name for tensor in graph.initializer if tensor.name not in wanted]
    assert unused == []
    assert not [value.name for value in graph.input if value.name not in wanted]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_file_says_its_precision(exports: dict[str, Path], precision: str) -> None:
    model = onnx.load(exports[precision] / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert {entry.key: entry.value for entry in model.metadata_props}["precision"] == precision
    report = json.loads((exports[precision] / "export.json").read_text())
    assert report["precision"] == precision and report["average_precision"] is None
    assert sorted(file.name for file in exports[precision].iterdir()) == [
        "config.json", "export.json", "model.onnx", "preprocessor_config.json"
    ]  # fmt: skip


def test_inputs_and_outputs_stay_what_they_are(exports: dict[str, Path]) -> None:
    half, eight = load(exports["float16"]), load(exports["int8"])
    assert [value.type.tensor_type.elem_type for value in half.graph.input] == [TensorProto.UINT8, TensorProto.INT64]
    assert {value.name: value.type.tensor_type.elem_type for value in half.graph.output} == {
        "scores": TensorProto.FLOAT, "labels": TensorProto.INT64, "boxes": TensorProto.FLOAT
    }  # fmt: skip
    for value in (*eight.graph.input, *eight.graph.output):
        assert value.type.tensor_type.elem_type == TensorProto.FLOAT


def test_float16_is_where_the_rules_say(exports: dict[str, Path]) -> None:
    model = load(exports["float16"])
    types = types_of(model)
    counted = {True: 0, False: 0}
    for node in model.graph.node:
        found = {types[name] for name in (*node.input[:1], *node.output) if name}
        if node.op_type == "Cast" or not found & {TensorProto.FLOAT, TensorProto.FLOAT16}:
            continue
        half = stands_half(node.name, node.op_type)
        assert found <= {TensorProto.FLOAT16 if half else TensorProto.FLOAT, TensorProto.INT64}, node.name
        counted[half] += 1
    assert min(counted.values()) > 50


def test_what_needs_range_and_digits_stays_in_float32(exports: dict[str, Path]) -> None:
    model = load(exports["float16"])
    types = types_of(model)
    of = {kind: [node for node in model.graph.node if node.op_type == kind] for kind in ("GridSample", "Log", "TopK")}
    for kind, nodes in of.items():
        assert nodes and all(types[name] == TensorProto.FLOAT for node in nodes for name in node.input[:1]), kind
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            assert np.isfinite(numpy_helper.to_array(tensor)).all(), tensor.name


def test_values_between_nodes_that_stay_are_not_rounded() -> None:
    """The mark of anchors outside the picture is the largest float32, which float16 cannot hold."""
    program = onnx_ir.from_proto(onnx.shape_inference.infer_shapes(onnx.parser.parse_model(_MARKED)))
    for node, module in zip(program.graph, ("backbone", "backbone", "decoder", "decoder"), strict=True):
        node.name = f"model.model.{module}/{node.op_type}"
    convert_to_half(program)
    model = onnx_ir.to_proto(program)
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Cast", "Mul", "Add", "Cast", "Max", "Sub"]
    # ONNX Runtime computes float16 in float32 on a CPU; ONNX's own evaluator does not.
    with np.errstate(over="ignore"):
        (found,) = ReferenceEvaluator(model).run(None, {"x": np.array([1.5, 70000], np.float32)})
    assert found.tolist() == [0, np.inf]  # what was computed in float16 has its range, the mark has its own


_MARKED = """<ir_version: 8, opset_import: ["": 20]>
marked (float[2] x) => (float[2] y)
<float[1] two = {2}, float[1] large = {3.0e38}>
{
    doubled = Mul(x, two)
    moved = Add(doubled, two)
    marked = Max(moved, large)
    y = Sub(marked, large)
}"""


def test_layer_norms_are_one_operator_with_sums_in_float32(exports: dict[str, Path]) -> None:
    model = load(exports["float16"])
    types = types_of(model)
    norms = [node for node in model.graph.node if node.op_type == "LayerNormalization"]
    assert next(entry.version for entry in model.opset_import if entry.domain == "") >= 17
    assert TensorProto.FLOAT16 in {types[node.input[0]] for node in norms}
    for node in norms:
        stash = [attribute.i for attribute in node.attribute if attribute.name == "stash_type"]
        assert stash in ([], [TensorProto.FLOAT])  # float32 is also the default


def test_int8_is_where_the_rules_say(exports: dict[str, Path]) -> None:
    graph = load(exports["int8"]).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    counted = {True: 0, False: 0}
    for node in graph.node:
        if node.op_type in ("Conv", "MatMul", "Gemm"):
            quantised = [makers[name].op_type == "DequantizeLinear" for name in node.input[:2] if name in makers]
            assert quantised == ([True, True] if stands_int8(node.name) else [False] * len(quantised)), node.name
            counted[stands_int8(node.name)] += 1
    assert min(counted.values()) > 10
    for node in graph.node:
        if node.op_type == "QuantizeLinear":
            assert not constants[node.input[2]].any()  # symmetric around zero
    per_channel = [node for node in graph.node if node.op_type == "DequantizeLinear" and node.input[0] in constants]
    assert any(constants[node.input[1]].size > 1 for node in per_channel)


def test_lower_precision_makes_smaller_files(exports: dict[str, Path]) -> None:
    weights = {
        name: sum(len(tensor.raw_data) for tensor in onnx.load(folder / "model.onnx").graph.initializer)
        for name, folder in exports.items()
    }
    assert weights["float16"] < 0.7 * weights["float32"]
    assert weights["int8"] < 0.8 * weights["float32"]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_broken_weight_does_not_pass(
    exports: dict[str, Path], decided_detector: Path, tmp_path: Path, precision: str
) -> None:
    reference = Detector.from_pretrained(decided_detector, device="cpu")
    folder = shutil.copytree(exports[precision], tmp_path / precision)
    pictures, tolerance = PICTURES[:4], TOLERANCES[precision]
    good = Detector.from_pretrained(folder, device="cpu")
    require_agreement(compare(reference, good, pictures, tolerance), tolerance)

    model = onnx.load(folder / "model.onnx")
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    last = next(n for n in model.graph.node if n.op_type == "MatMul" and "class_embed.1/" in n.name)
    weight = constants[last.input[1]]
    weight.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(weight), weight.name))
    onnx.save(model, folder / "model.onnx")
    broken = Detector.from_pretrained(folder, device="cpu")
    with pytest.raises(ExportError, match="does not compute what the model computes in PyTorch"):
        require_agreement(compare(reference, broken, pictures, tolerance), tolerance)
