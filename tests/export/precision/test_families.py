"""Lower precision for every family, and on OpenVINO: what is converted. What it finds, random weights do not tell."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from hf_detr.export.graph import DetectorGraph, GraphOptions
from hf_detr.export.onnx import write_onnx
from hf_detr.export.openvino import write_openvino
from hf_detr.export.targets import WriteOptions
from hf_detr.models.loading import load_detector
from tests.export.conftest import save_decided_detector
from tests.export.precision.conftest import PICTURES
from tests.tiny import IMAGE_SIZE_HW, TINY_FAMILIES


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float16", "int8"])
@pytest.mark.parametrize("name", TINY_FAMILIES)
def test_the_heavy_part_of_every_family_is_converted(name: str, precision: str, tmp_path: Path) -> None:
    model, processor = load_detector(save_decided_detector(tmp_path / "model", name))
    # Without asking whether it still finds the same: with weights drawn at random int8 does not.
    options = WriteOptions(IMAGE_SIZE_HW, {}, precision=precision, calibration=PICTURES)
    write_onnx(DetectorGraph(model, processor, GraphOptions()), tmp_path, options)
    graph = onnx.shape_inference.infer_shapes(onnx.load(tmp_path / "model.onnx")).graph
    types = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
    makers = {name: node.op_type for node in graph.node for name in node.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert convolutions
    if precision == "float16":
        assert all(types[node.output[0]] == onnx.TensorProto.FLOAT16 for node in convolutions)
    else:
        assert all(makers[node.input[0]] == "DequantizeLinear" for node in convolutions)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float16", "bfloat16", "int8"])
def test_openvino(precision: str, decided_detector: Path, tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    if precision == "int8":
        pytest.importorskip("nncf")
    model, processor = load_detector(decided_detector)
    options = WriteOptions(IMAGE_SIZE_HW, {"precision": precision}, precision=precision, calibration=PICTURES)
    write_openvino(DetectorGraph(model, processor, GraphOptions()), tmp_path, options)
    assert sorted(file.suffix for file in tmp_path.iterdir()) == [".bin", ".xml"]
    model = openvino.Core().read_model(tmp_path / "openvino_model.xml")
    assert model.get_rt_info(["hf_detr", "precision"]).value == precision
    weights = [node.get_data() for node in model.get_ops() if node.get_type_name() == "Constant"]
    largest = max((values for values in weights if values.dtype.kind in "fi"), key=np.size)
    assert largest.dtype == {"float16": np.float16, "bfloat16": np.float32, "int8": np.int8}[precision]
