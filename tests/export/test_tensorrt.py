"""Engines of TensorRT: their shapes, the `trtexec` line, our calls of its API, and what happens without it."""

import contextlib
import dataclasses
import importlib.util
import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from hf_detr.errors import CheckpointError, ExportError, HfDetrError
from hf_detr.export import tensorrt as export_tensorrt
from hf_detr.export.folder import export_detector
from hf_detr.export.graph import GraphOptions
from hf_detr.export.targets import TARGETS, WriteOptions
from hf_detr.export.tensorrt_shapes import shape_ranges, trtexec_command
from hf_detr.export.verify import made_up_pictures
from hf_detr.inference import tensorrt_backend
from hf_detr.inference.detector import Detector
from hf_detr.inference.tensorrt_runtime import ENGINE_INFO_FILE

PICTURES = made_up_pictures(2, (96, 128))
without_tensorrt = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt") is not None, reason="what happens without TensorRT"
)


def test_shapes_of_a_graph_that_takes_any_batch() -> None:
    ranges = shape_ranges(GraphOptions(with_postprocess=True), (480, 640), max_batch=4)
    pixels, sizes = ranges["pixel_values"], ranges["target_sizes"]
    assert (pixels.smallest, pixels.tuned, pixels.largest) == ((1, 3, 480, 640), (4, 3, 480, 640), (4, 3, 480, 640))
    assert (sizes.smallest, sizes.tuned, sizes.largest) == ((1, 2), (4, 2), (4, 2))


def test_shapes_of_a_graph_that_takes_any_size() -> None:
    options = GraphOptions(dynamic_batch=False, dynamic_size=True)
    pixels = shape_ranges(options, (96, 640), max_batch=4)["pixel_values"]
    assert (pixels.smallest, pixels.tuned, pixels.largest) == ((1, 3, 64, 320), (1, 3, 96, 640), (1, 3, 192, 1280))
    assert all(side % 32 == 0 for side in shape_ranges(options, (672, 480), 1)["pixel_values"].smallest[2:])


def test_a_fixed_graph_has_one_shape() -> None:
    assert not shape_ranges(GraphOptions(dynamic_batch=False), (64, 64), max_batch=8)["pixel_values"].varies


def test_the_trtexec_line() -> None:
    ranges = shape_ranges(GraphOptions(with_postprocess=True), (640, 640), max_batch=8)
    assert trtexec_command(ranges, "model.onnx", "model.engine", 4096) == (
        "trtexec --onnx=model.onnx --saveEngine=model.engine --stronglyTyped --noTF32 "
        "--minShapes=pixel_values:1x3x640x640,target_sizes:1x2 "
        "--optShapes=pixel_values:8x3x640x640,target_sizes:8x2 "
        "--maxShapes=pixel_values:8x3x640x640,target_sizes:8x2 --memPoolSize=workspace:4096"
    )
    fixed = shape_ranges(GraphOptions(dynamic_batch=False), (640, 640), max_batch=8)
    assert trtexec_command(fixed, "my model.onnx", "out.engine", None) == (
        "trtexec '--onnx=my model.onnx' --saveEngine=out.engine --stronglyTyped --noTF32"
    )


@pytest.mark.parametrize("name", ["onnx", "tensorrt"])
def test_exports_that_trtexec_can_take_up_say_how(name: str) -> None:
    hint = TARGETS[name].hint(GraphOptions(dynamic_batch=False), WriteOptions((64, 64), {}, workspace_mib=64))
    assert hint == (
        "TensorRT from ONNX: trtexec --onnx=model.onnx --saveEngine=model.engine --stronglyTyped --noTF32 "
        "--memPoolSize=workspace:64"
    )


@without_tensorrt
def test_without_tensorrt_nothing_heavy_is_begun(decided_detector: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(export_tensorrt, "write_onnx", None)
    with pytest.raises(ExportError, match=r"TensorRT is not installed here.*\n?.*pip install 'hf_detr\[tensorrt\]'"):
        export_detector(decided_detector, tmp_path / "out", pictures=PICTURES, to="tensorrt")
    assert list(tmp_path.iterdir()) == []


@without_tensorrt
def test_an_engine_without_tensorrt(decided_detector: Path, tmp_path: Path) -> None:
    copy_model_files(decided_detector, tmp_path)
    (tmp_path / "model.engine").write_bytes(b"engine")
    with pytest.raises(HfDetrError, match=r"TensorRT is not installed here"):
        Detector.from_pretrained(tmp_path)


def copy_model_files(source: Path, target: Path) -> None:
    for name in ("config.json", "preprocessor_config.json"):
        (target / name).write_bytes((source / name).read_bytes())


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> types.ModuleType:
    """TensorRT and a GPU, both made up; what an engine computes is computed on the CPU."""
    from tests.export import tensorrt_stand_in

    stream = types.SimpleNamespace(wait_stream=lambda other: None, cuda_stream=0)
    for name, value in {
        "get_device_name": lambda device: "Made-up GPU",
        "get_device_capability": lambda device: (8, 9),
        "device": lambda device: contextlib.nullcontext(),
        "Stream": lambda device: stream,
        "current_stream": lambda device: stream,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(tensorrt_backend, "_choose_cuda", lambda device: torch.device("cpu"))
    monkeypatch.setattr(export_tensorrt, "find_gpu", lambda: torch.device("cpu"))
    monkeypatch.setattr(export_tensorrt, "timing_cache_file", lambda info: tmp_path / "cache" / "timing.cache")
    monkeypatch.setitem(sys.modules, "tensorrt", tensorrt_stand_in)
    monkeypatch.setattr(tensorrt_stand_in.Builder, "configs", [])
    # the rest of an export moves nothing to the made-up GPU
    monkeypatch.setattr("hf_detr.export.folder.find_target", lambda name: _on_cpu(name))
    return tensorrt_stand_in


def _on_cpu(name: str):
    return dataclasses.replace(TARGETS[name], device="cpu")


@pytest.mark.slow
def test_an_engine_is_built_and_run_through_the_recorded_api(
    stand_in: types.ModuleType, decided_detector: Path, tmp_path: Path
) -> None:
    options = GraphOptions(with_postprocess=True, uint8_input=True)
    out = tmp_path / "out"
    done = export_detector(
        decided_detector, out, pictures=PICTURES, to="tensorrt", options=options, max_batch=2, workspace_mib=512
    )
    assert done.agreement.decided > 0 and done.agreement.missing == 0
    assert sorted(file.name for file in out.iterdir()) == [
        "config.json", "engine.json", "export.json", "model.engine", "preprocessor_config.json"
    ]  # fmt: skip
    (config,) = stand_in.Builder.configs
    assert config._limits == {stand_in.MemoryPoolType.WORKSPACE: 512 << 20}
    assert stand_in.BuilderFlag.TF32 not in config._flags
    assert (tmp_path / "cache" / "timing.cache").read_bytes() == b"measured;"

    engine = Detector.from_pretrained(out, device="cpu")
    assert engine.backend.max_batch == 2 and engine.backend.takes_uint8
    ours = Detector.from_pretrained(decided_detector, device="cpu")(PICTURES * 3, threshold=0)
    theirs = engine(PICTURES * 3, threshold=0)  # six pictures: three calls of the engine
    for found, expected in zip(theirs, ours, strict=True):
        assert found.labels[:5] == expected.labels[:5]
        np.testing.assert_allclose(found.boxes_xyxy[:5], expected.boxes_xyxy[:5], atol=1e-2)

    info = json.loads((out / ENGINE_INFO_FILE).read_text())
    assert (info["gpu"], info["compute_capability"], info["tensorrt"]) == ("Made-up GPU", "8.9", "11.4.0.106")
    assert json.loads(info["properties"]["class_names"]) == ["class 0", "class 1", "class 2"]
    info |= {"gpu": "Another GPU", "tensorrt": "10.9.0"}
    (out / ENGINE_INFO_FILE).write_text(json.dumps(info))
    with pytest.raises(
        CheckpointError, match=r"another machine: TensorRT 10.9.0, here is 11.4.0.106; GPU Another GPU"
    ):
        Detector.from_pretrained(out)
    (out / ENGINE_INFO_FILE).write_text("{")
    with pytest.raises(CheckpointError, match=r"engine.json is damaged"):
        Detector.from_pretrained(out)
    (out / ENGINE_INFO_FILE).unlink()
    (out / "model.engine").write_bytes((out / "model.engine").read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"cannot load this engine: Serialization assertion failed"):
        Detector.from_pretrained(out)


def test_an_engine_of_some_sizes_refuses_others(stand_in: types.ModuleType, tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    pixels = helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["batch", 3, "height", "width"])
    widths = {"logits": 2, "pred_boxes": 4}
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 1, k]) for n, k in widths.items()]
    weights = [numpy_helper.from_array(np.ones((3, k), np.float32), f"{n}_weight") for n, k in widths.items()]
    nodes = [
        helper.make_node("GlobalAveragePool", ["pixel_values"], ["means"]),
        helper.make_node("Reshape", ["means", "shape"], ["rows"]),
        *(helper.make_node("MatMul", ["rows", f"{name}_weight"], [name]) for name in widths),
    ]
    constants = [*weights, numpy_helper.from_array(np.array([-1, 1, 3]), "shape")]
    graph = helper.make_graph(nodes, "detector", [pixels], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    ranges = shape_ranges(GraphOptions(dynamic_size=True), (128, 128), max_batch=4)
    engine_file = tmp_path / "model.engine"
    engine_file.write_bytes(export_tensorrt.build_engine(stand_in, path, ranges, tmp_path / "t.cache"))
    backend = tensorrt_backend.TensorRtBackend(engine_file)
    backend.check_image_size((64, 256))
    with pytest.raises(CheckpointError, match=r"takes pictures of 64 x 64 to 256 x 256 pixels .* not 320 x 64"):
        backend.check_image_size((320, 64))

    path.write_bytes(b"no graph")
    with pytest.raises(ExportError, match=r"TensorRT 11.4.0.106 cannot read the graph"):
        export_tensorrt.build_engine(stand_in, path, ranges, tmp_path / "t.cache")
    onnx.save(model, path)
    with pytest.raises(ExportError, match=r"cannot build the engine: Could not find any implementation for a node\.$"):
        export_tensorrt.build_engine(stand_in, path, ranges, tmp_path / "t.cache", workspace_mib=1)


def test_a_machine_without_gpu_builds_nothing(monkeypatch: pytest.MonkeyPatch, decided_detector, tmp_path) -> None:
    from tests.export import tensorrt_stand_in

    monkeypatch.setitem(sys.modules, "tensorrt", tensorrt_stand_in)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # also where there is one
    with pytest.raises(ExportError, match=r"built on the GPU that will run it, and torch finds none"):
        export_detector(decided_detector, tmp_path / "out", pictures=PICTURES, to="tensorrt")


def test_an_old_tensorrt_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from hf_detr.inference.tensorrt_runtime import import_tensorrt

    monkeypatch.setitem(sys.modules, "tensorrt", types.SimpleNamespace(__version__="8.6.1"))
    with pytest.raises(HfDetrError, match=r"TensorRT 8.6.1 is too old; 10 or newer is needed"):
        import_tensorrt()


def test_a_driver_that_does_not_suit_is_named(stand_in: types.ModuleType) -> None:
    from hf_detr.inference.tensorrt_runtime import make_log, start

    def refuse(log):
        log.log(stand_in.ILogger.ERROR, "CUDA initialization failure with error: 35")
        raise TypeError("pybind11::init(): factory function returned nullptr")

    with pytest.raises(HfDetrError, match=r"cannot start on this machine: CUDA initialization failure with error: 35"):
        start(refuse, make_log(stand_in))
