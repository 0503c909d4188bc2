"""One picture through every runtime, and what each says of files that it cannot run."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import pipeline

from hf_detr import ExportedModel
from hf_detr.cli.main import main
from hf_detr.errors import CheckpointError, HfDetrError
from hf_detr.export.folder import export_detector
from hf_detr.export.graph import GraphOptions
from hf_detr.export.verify import made_up_pictures
from hf_detr.inference.detections import Detections
from hf_detr.inference.detector import Detector
from hf_detr.inference.onnx_backend import _choose_provider

PICTURES = made_up_pictures(3, (96, 128))


@pytest.fixture(scope="module")
def torch_program(decided_detector: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("programs") / "torch"
    export_detector(decided_detector, folder, pictures=PICTURES, to="torch")
    return folder


def require_equal(found: list[Detections], expected: list[Detections]) -> None:
    """Every object in its place; boxes in pixels."""
    for ours, theirs in zip(found, expected, strict=True):
        assert len(theirs) > 0 and ours.labels == theirs.labels
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-5)
        np.testing.assert_allclose(ours.boxes_xyxy, theirs.boxes_xyxy, atol=1e-2)


def require_pipeline_equal(folder: Path, model: Path) -> None:
    """Transformers' own pipeline, on the export and on the model."""
    exported = ExportedModel.from_pretrained(folder)
    pictures = [Image.fromarray(picture) for picture in PICTURES]
    ours = pipeline("object-detection", model=exported, image_processor=exported.image_processor)
    theirs = pipeline("object-detection", model=str(model), device="cpu")
    found, expected = (detect(pictures, threshold=0.01, batch_size=2) for detect in (ours, theirs))
    for objects, wanted in zip(found, expected, strict=True):
        assert [entry["label"] for entry in objects] == [entry["label"] for entry in wanted] != []
        for entry, other in zip(objects, wanted, strict=True):
            assert entry["score"] == pytest.approx(other["score"], abs=1e-5)
            assert all(abs(entry["box"][side] - other["box"][side]) <= 1 for side in other["box"])  # whole pixels


@pytest.mark.slow
@pytest.mark.parametrize("to", ["onnx", "openvino", "torch", "executorch", "triton"])
def test_every_runtime_finds_the_same(to: str, decided_detector: Path, tmp_path: Path) -> None:
    done = export_detector(decided_detector, tmp_path / to, pictures=PICTURES, to=to)
    assert str(Path.cwd()).encode() not in done.file.read_bytes()
    ours = Detector.from_pretrained(done.folder, device="cpu", num_threads=1)(PICTURES, threshold=0, batch_size=2)
    require_equal(ours, Detector.from_pretrained(decided_detector, device="cpu")(PICTURES, threshold=0))
    require_pipeline_equal(done.folder, decided_detector)


def test_a_program_of_torch_finds_the_same(torch_program: Path, decided_detector: Path) -> None:
    detector = Detector.from_pretrained(torch_program, device="cpu")
    assert detector.backend.num_classes == 3 and detector.backend.max_batch is None
    theirs = Detector.from_pretrained(decided_detector, device="cpu")(PICTURES, threshold=0)
    require_equal(detector(PICTURES, threshold=0), theirs)
    require_pipeline_equal(torch_program, decided_detector)


def test_a_program_of_torch_needs_nothing_else(torch_program: Path, tmp_path: Path) -> None:
    program = """
import sys, torch
extra = {"class_names": "", "precision": ""}
detector = torch.export.load(sys.argv[1], extra_files=extra).module()
outputs = detector(pixel_values=torch.zeros(5, 3, 64, 64))
print({name: tuple(value.shape) for name, value in outputs.items()}, extra)
assert not {"hf_detr", "transformers"} & set(sys.modules)
"""
    file = torch_program / "model.pt2"
    assert str(Path.cwd()).encode() not in file.read_bytes()
    result = subprocess.run(
        [sys.executable, "-I", "-c", program, str(file)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "{'logits': (5, 30, 3), 'pred_boxes': (5, 30, 4)}" in result.stdout
    assert """'precision': 'float32'""" in result.stdout and "class 2" in result.stdout


def test_commands_take_a_program(torch_program: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    Image.fromarray(PICTURES[0]).save(tmp_path / "picture.png")
    out = tmp_path / "found"
    arguments = [str(tmp_path / "picture.png"), "--output_dir", str(out), "--threshold", "0.01"]
    assert main(["predict", str(torch_program), *arguments]) == 0
    assert json.loads((out / "detections.json").read_text())
    capsys.readouterr()
    assert main(["benchmark", str(torch_program), "--seconds", "0.1", "--device", "cpu", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["results"]
    assert row["runtime"] == "TorchProgram"


class SmallDetector(nn.Module):
    """Inputs and outputs as those of a detector; lowered in a second."""

    def __init__(self):
        super().__init__()
        self.scores, self.boxes = nn.Conv2d(3, 5, 16, stride=16), nn.Conv2d(3, 4, 16, stride=16)

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        return (
            self.scores(pixel_values).flatten(2).transpose(1, 2),
            self.boxes(pixel_values).sigmoid().flatten(2).transpose(1, 2),
        )


@pytest.fixture(scope="module")
def small_executorch(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SmallDetector]:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    torch.manual_seed(0)
    model = SmallDetector().eval()
    program = torch.export.export(model, (torch.zeros(1, 3, 64, 64),))
    file = tmp_path_factory.mktemp("executorch") / "model.pte"
    file.write_bytes(to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch().buffer)
    return file, model


def test_executorch_takes_any_batch_one_by_one(small_executorch: tuple[Path, SmallDetector]) -> None:
    from hf_detr.inference.executorch_backend import ExecuTorchBackend

    file, model = small_executorch
    backend = ExecuTorchBackend(file, num_threads=1)
    assert (backend.max_batch, backend.num_classes, backend.image_size_hw) == (1, 5, (64, 64))
    assert not backend.takes_uint8 and not backend.gives_detections
    pixels = torch.rand(3, 3, 64, 64)
    for ours, theirs in zip(backend(pixels, torch.zeros(3, 2)), model(pixels), strict=True):
        torch.testing.assert_close(ours, theirs)
    with pytest.raises(HfDetrError, match=r"Device 'mps' is not available; this machine has: "):
        ExecuTorchBackend(file, "mps")


def test_executorch_has_one_size(decided_detector: Path, tmp_path: Path) -> None:
    with pytest.raises(HfDetrError, match=r"An ExecuTorch program takes pictures of one size: leave out"):
        export_detector(
            decided_detector,
            tmp_path / "out",
            pictures=PICTURES,
            to="executorch",
            options=GraphOptions(dynamic_size=True),
        )
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def folder(decided_detector: Path, tmp_path: Path) -> Path:
    """What lies beside a graph."""
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((decided_detector / name).read_bytes())
    return tmp_path


@pytest.mark.parametrize("damage", ["half", "empty", "another file"])
@pytest.mark.parametrize("name", ["model.pt2", "model.pte"])
def test_damaged_programs(
    name: str, damage: str, folder: Path, torch_program: Path, small_executorch: tuple[Path, SmallDetector]
) -> None:
    content = (torch_program / name if name == "model.pt2" else small_executorch[0]).read_bytes()
    damaged = {"half": content[: len(content) // 2], "empty": b"", "another file": b"PNG nothing of the kind" * 100}
    (folder / name).write_bytes(damaged[damage])
    with pytest.raises(CheckpointError, match=rf"{name}: \w+(\.export)? cannot load this file: \w.*\nExport it again"):
        Detector.from_pretrained(folder)


@pytest.mark.parametrize("damage", ["half", "empty"])
def test_damaged_weights_of_openvino(damage: str, folder: Path) -> None:
    import openvino

    model = openvino.convert_model(SmallDetector(), example_input=torch.zeros(1, 3, 64, 64))
    openvino.save_model(model, folder / "openvino_model.xml")
    weights = (folder / "openvino_model.bin").read_bytes()
    (folder / "openvino_model.bin").write_bytes(weights[: len(weights) // 2] if damage == "half" else b"")
    with pytest.raises(CheckpointError, match=r"openvino_model.xml: OpenVINO cannot load this file: \w"):
        Detector.from_pretrained(folder)


def test_a_program_of_something_else(folder: Path) -> None:
    program = torch.export.export(nn.Linear(2, 3), (torch.zeros(1, 2),))
    torch.export.save(program, folder / "model.pt2")
    with pytest.raises(CheckpointError, match=r"model.pt2 is not a detector of `hf-detr export`"):
        Detector.from_pretrained(folder)


def test_a_file_of_another_format(folder: Path) -> None:
    (folder / "model.tflite").write_bytes(b"TFL3")
    with pytest.raises(CheckpointError, match=r"model.tflite.*\.onnx, \.xml, \.pt2, \.pte, \.engine, \.plan"):
        Detector.from_pretrained(folder / "model.tflite")


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "tensorrt", "tensorrt:1"])
def test_onnx_runtime_without_a_provider_names_the_package(device: str) -> None:
    provider = "CUDAExecutionProvider"
    with pytest.raises(HfDetrError, match=rf"no {provider}: pip uninstall onnxruntime, pip install onnxruntime-gpu"):
        _choose_provider(device, ["CPUExecutionProvider"])


def test_providers_in_their_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_DETR_CACHE", str(tmp_path))
    monkeypatch.setattr("hf_detr.inference.onnx_backend.choose_device", lambda device: torch.device(device))
    available = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    assert _choose_provider("cpu", available) == (torch.device("cpu"), ["CPUExecutionProvider"])
    chosen, providers = _choose_provider("cuda:1", available)
    assert chosen == torch.device("cuda:1")
    assert providers == [("CUDAExecutionProvider", {"device_id": 1}), "CPUExecutionProvider"]
    chosen, providers = _choose_provider("tensorrt:1", available)
    assert chosen == torch.device("cuda:1")
    (name, options), *others = providers
    assert name == "TensorrtExecutionProvider" and options["device_id"] == 1
    assert Path(options["trt_engine_cache_path"]).is_dir() and options["trt_engine_cache_enable"]
    assert others == [("CUDAExecutionProvider", {"device_id": 1}), "CPUExecutionProvider"]


def test_the_pipeline_does_not_do_things_twice(folder: Path, decided_detector: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is no exported model: `hf-detr export MODEL` writes one"):
        ExportedModel.from_pretrained(decided_detector)


def test_an_exported_model_stays_where_it_is(torch_program: Path) -> None:
    model = ExportedModel.from_pretrained(torch_program, device="cpu")
    assert model.to("cpu") is model
    with pytest.raises(HfDetrError, match=r"Device 'mps' is not available|stays on the device it was loaded on"):
        model.to("mps")
