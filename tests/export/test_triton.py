"""`--to triton`: a model of a Triton repository, whose configuration says what its graph takes and gives.

The text below was read by Triton's own parser and served by a Triton server, see docs/serving.md.
"""

import json
import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from hf_detr.cli.export import main
from hf_detr.errors import ExportError
from hf_detr.export.folder import export_detector
from hf_detr.export.graph import GraphOptions
from hf_detr.export.verify import made_up_pictures
from hf_detr.inference.detector import Detector

PICTURES = made_up_pictures(2, (96, 128))
TRITON_TYPES = {"tensor(float)": "TYPE_FP32", "tensor(uint8)": "TYPE_UINT8", "tensor(int64)": "TYPE_INT64"}

CONFIG = """\
# Written by hf-detr export. The model is called as this folder; start Triton with the folder above it.
backend: "onnxruntime"
max_batch_size: 8
input [
  { name: "pixel_values" data_type: TYPE_FP32 dims: [ 3, 64, 64 ] }
]
output [
  { name: "logits" data_type: TYPE_FP32 dims: [ 30, 3 ] },
  { name: "pred_boxes" data_type: TYPE_FP32 dims: [ 30, 4 ] }
]
# One instance on each GPU, or one on the CPU where there is none.
instance_group [ { kind: KIND_AUTO count: 1 } ]
# Requests that arrive within this time go through the model together.
dynamic_batching { max_queue_delay_microseconds: 2000 }
"""


@pytest.fixture(scope="module")
def exported(decided_detector: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository") / "shapes"
    export_detector(decided_detector, folder, pictures=PICTURES, to="triton")
    return folder


def tensors_of(config: str) -> dict[str, tuple[str, list[int]]]:
    """Type and dimensions of inputs and outputs, by name."""
    found = re.findall(r'\{ name: "(\w+)" data_type: (\w+) dims: \[ (.*?) \] \}', config)
    return {name: (data_type, [int(dim) for dim in dims.split(", ")]) for name, data_type, dims in found}


def tensors_of_graph(file: Path) -> dict[str, tuple[str, list[int]]]:
    """The same, as ONNX Runtime reports it, whose first axis is the batch."""
    session = onnxruntime.InferenceSession(file)
    values = [*session.get_inputs(), *session.get_outputs()]
    assert all(value.shape[0] == "batch" for value in values)
    return {
        value.name: (TRITON_TYPES[value.type], [dim if isinstance(dim, int) else -1 for dim in value.shape[1:]])
        for value in values
    }


def test_the_folder_is_a_model_of_a_repository(exported: Path) -> None:
    assert (exported / "config.pbtxt").read_text().startswith(CONFIG)
    assert (exported / "labels.txt").read_text() == "class 0\nclass 1\nclass 2\n"
    assert [path.name for path in (exported / "1").iterdir()] == ["model.onnx"]
    assert tensors_of(CONFIG) == tensors_of_graph(exported / "1/model.onnx")


def test_a_client_can_ask_the_server_for_class_names(exported: Path) -> None:
    (text,) = re.findall(
        r'^parameters \{ key: "class_names" value \{ string_value: (".*") \} \}$',
        (exported / "config.pbtxt").read_text(),
        re.MULTILINE,
    )
    assert json.loads(json.loads(text)) == ["class 0", "class 1", "class 2"]


def test_a_detector_runs_it_like_the_model(exported: Path, decided_detector: Path) -> None:
    expected = Detector.from_pretrained(decided_detector, device="cpu")(PICTURES[0], threshold=0)
    for source in (exported, exported / "1/model.onnx"):
        found = Detector.from_pretrained(source)(PICTURES[0], threshold=0)
        assert found.labels == expected.labels
        np.testing.assert_allclose(found.boxes_xyxy, expected.boxes_xyxy, atol=1e-2)


@pytest.mark.slow
def test_sizes_and_types_that_differ_are_in_the_configuration(decided_detector: Path, tmp_path: Path) -> None:
    options = GraphOptions(with_postprocess=True, uint8_input=True, dynamic_size=True)
    folder = tmp_path / "any"
    export_detector(decided_detector, folder, pictures=PICTURES, to="triton", options=options)
    tensors = tensors_of((folder / "config.pbtxt").read_text())
    assert tensors == tensors_of_graph(folder / "1/model.onnx")
    assert tensors["pixel_values"] == ("TYPE_UINT8", [3, -1, -1])
    assert tensors["target_sizes"] == ("TYPE_INT64", [2])


def test_one_picture_at_a_time_is_refused(decided_detector: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="leave out --static_batch"):
        main([str(decided_detector), "--to", "triton", "--static_batch", "--output_dir", str(tmp_path / "out")])
    assert not any(tmp_path.iterdir())
