"""`export_detector`: a folder that another runtime can use, or nothing at all."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from hf_detr.errors import CheckpointError, ExportError
from hf_detr.export.folder import export_detector
from hf_detr.export.graph import GraphOptions
from hf_detr.export.targets import TARGETS
from hf_detr.export.verify import made_up_pictures
from hf_detr.inference.detector import Detector
from hf_detr.models.loading import load_detector
from tests.export.conftest import save_decided_detector
from tests.tiny import TINY_FAMILIES

PICTURES = made_up_pictures(2, (96, 128))


@pytest.fixture(scope="module")
def exported(decided_detector: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "onnx"
    export_detector(decided_detector, folder, pictures=PICTURES)
    return folder


def test_the_graph_is_valid_and_its_names_are_stable(exported: Path) -> None:
    model = onnx.load(exported / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(exported / "model.onnx")
    assert [(value.name, value.shape) for value in session.get_inputs()] == [("pixel_values", ["batch", 3, 64, 64])]
    assert [(value.name, value.shape) for value in session.get_outputs()] == [
        ("logits", ["batch", 30, 3]),
        ("pred_boxes", ["batch", 30, 4]),
    ]


@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_zeros_around_the_picture_are_larger_than_negative_values(to: str, tmp_path: Path) -> None:
    """As in trained models: ONNX Runtime drops the padding before a maximum if it knows its form."""
    folder = save_decided_detector(tmp_path / "model")
    model, _ = load_detector(folder)
    shifts = [value for name, value in model.named_parameters() if name.endswith("lab.bias")]
    assert shifts
    with torch.no_grad():
        for shift in shifts:
            shift.fill_(-1.0)
    model.save_pretrained(folder)
    done = export_detector(folder, tmp_path / to, to=to, pictures=PICTURES)
    assert done.agreement.decided > 0 and done.agreement.missing == 0 and done.agreement.score < 1e-4


def test_an_operator_set_that_the_exporter_does_not_write(decided_detector: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="operator set 13 cannot be written for this model; 18 can"):
        export_detector(decided_detector, tmp_path / "onnx", pictures=PICTURES, opset=13)
    assert not (tmp_path / "onnx").exists()


def test_class_names_and_preprocessing_are_in_the_file(exported: Path) -> None:
    properties = {entry.key: entry.value for entry in onnx.load(exported / "model.onnx").metadata_props}
    assert json.loads(properties["class_names"]) == ["class 0", "class 1", "class 2"]
    preprocessing = json.loads(properties["preprocessing"])
    assert preprocessing["image_size_hw"] == [64, 64]
    assert preprocessing["rescale_factor"] == pytest.approx(1 / 255)
    assert preprocessing["mean"] is None  # D-FINE's pictures are only scaled


def test_nothing_of_python_is_left_in_the_file(exported: Path) -> None:
    model = onnx.load(exported / "model.onnx")
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    assert str(Path.cwd()).encode() not in (exported / "model.onnx").read_bytes()


def test_a_detector_runs_the_folder_like_the_model(exported: Path, decided_detector: Path) -> None:
    ours, theirs = Detector.from_pretrained(decided_detector, device="cpu"), Detector.from_pretrained(exported)
    for found, expected in zip(theirs(PICTURES, threshold=0), ours(PICTURES, threshold=0), strict=True):
        assert found.labels == expected.labels
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
        np.testing.assert_allclose(found.boxes_xyxy, expected.boxes_xyxy, atol=1e-2)


@pytest.mark.parametrize("name", ["d_fine", pytest.param("deimv2_s", marks=pytest.mark.slow)])
def test_a_graph_with_everything_in_it(name: str, tmp_path: Path) -> None:
    model = save_decided_detector(tmp_path / "model", name)
    options = GraphOptions(with_postprocess=True, uint8_input=True)
    done = export_detector(model, tmp_path / "onnx", pictures=PICTURES, options=options)
    assert done.agreement.decided > 0 and done.agreement.missing == 0

    session = onnxruntime.InferenceSession(done.file)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, 64, 64), dtype=np.uint8)
    sizes_hw = np.array([[480, 640], [64, 64], [1000, 10]])
    scores, labels, boxes = session.run(None, {"pixel_values": pixels, "target_sizes": sizes_hw})
    expected = Detector.from_pretrained(model, device="cpu").detect(
        torch.from_numpy(pixels), torch.from_numpy(sizes_hw), at_least=300
    )
    np.testing.assert_allclose(scores, expected[..., 0], atol=1e-5)
    assert (labels == expected[..., 1].long().numpy()).mean() > 0.99  # equal scores may change places
    assert np.abs(boxes[:, :5] - expected[:, :5, 2:].numpy()).max() < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY_FAMILIES)
def test_every_family_at_any_size(name: str, tmp_path: Path) -> None:
    model = save_decided_detector(tmp_path / "model", name)
    done = export_detector(
        model, tmp_path / "onnx", pictures=PICTURES, options=GraphOptions(dynamic_size=True), image_size_hw=(64, 96)
    )
    detectors = [
        Detector.from_pretrained(folder, device="cpu", image_size_hw=(128, 64)) for folder in (model, done.folder)
    ]
    ours, theirs = (detector(PICTURES, threshold=0) for detector in detectors)
    for found, expected in zip(theirs, ours, strict=True):
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)


def test_openvino_finds_the_same(decided_detector: Path, tmp_path: Path) -> None:
    done = export_detector(decided_detector, tmp_path / "openvino", pictures=PICTURES, to="openvino")
    assert sorted(file.suffix for file in done.folder.iterdir()) == [".bin", ".json", ".json", ".json", ".xml"]
    ours = Detector.from_pretrained(decided_detector, device="cpu")(PICTURES, threshold=0)
    theirs = Detector.from_pretrained(done.folder)(PICTURES, threshold=0)
    for found, expected in zip(theirs, ours, strict=True):
        assert found.labels == expected.labels
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)


def test_a_broken_openvino_model_is_a_clear_error(exported: Path, tmp_path: Path) -> None:
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((exported / name).read_bytes())
    (tmp_path / "openvino_model.xml").write_text("<net")
    with pytest.raises(CheckpointError, match=r"openvino_model.xml: OpenVINO cannot load this file"):
        Detector.from_pretrained(tmp_path)


def test_a_graph_of_one_size_says_so(exported: Path) -> None:
    with pytest.raises(CheckpointError, match=r"takes pictures of 64 x 64 pixels .* not 64 x 96.*--dynamic_size"):
        Detector.from_pretrained(exported, image_size_hw=(64, 96))


def test_another_model_beside_the_graph_is_noticed(exported: Path, tmp_path: Path) -> None:
    for file in exported.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config["id2label"] = {"0": "only one"}
    config["label2id"] = {"only one": 0}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"tells 3 classes apart, the config.json beside it names 1"):
        Detector.from_pretrained(tmp_path)


def test_a_broken_file_is_a_clear_error(exported: Path, tmp_path: Path) -> None:
    for file in exported.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model.onnx").write_bytes(b"no protobuf")
    with pytest.raises(CheckpointError, match=r"model.onnx: ONNX Runtime cannot load this file.*\nExport it again"):
        Detector.from_pretrained(tmp_path)


def test_a_graph_alone_is_not_enough(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes((exported / "model.onnx").read_bytes())
    with pytest.raises(CheckpointError, match=r"no config.json and no preprocessor_config.json in "):
        Detector.from_pretrained(tmp_path / "model.onnx")


def test_only_an_export_is_replaced(exported: Path, decided_detector: Path) -> None:
    with pytest.raises(ExportError, match="not an export that could be replaced"):
        export_detector(decided_detector, decided_detector, pictures=PICTURES, overwrite=True)
    with pytest.raises(ExportError, match=r"holds an export already\. Replace it with --overwrite"):
        export_detector(decided_detector, exported, pictures=PICTURES)


def test_a_graph_that_computes_something_else_is_refused(
    decided_detector: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_another_model(graph, folder, options):
        with torch.no_grad():
            graph.model.class_embed[-1].weight.mul_(1.5)
        onnx_target.write(graph, folder, options)
        with torch.no_grad():
            graph.model.class_embed[-1].weight.div_(1.5)

    onnx_target = TARGETS["onnx"]
    monkeypatch.setitem(TARGETS, "onnx", dataclasses.replace(onnx_target, write=write_another_model))
    with pytest.raises(ExportError, match=r"does not compute what the model computes in PyTorch"):
        export_detector(decided_detector, tmp_path / "onnx", pictures=PICTURES)
    assert list(tmp_path.iterdir()) == []
