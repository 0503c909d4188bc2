"""A detector of rectangles, exported: the same boxes, in whole pictures and in tiles."""

import numpy as np
import pytest

from hf_detr.cli.main import main
from hf_detr.inference.detector import Detector
from tests.export.conftest import save_decided_detector

pytest.importorskip("onnxruntime")


@pytest.mark.slow
def test_a_rectangle_finds_the_same_exported(tmp_path):
    model = save_decided_detector(tmp_path / "model", image_size_hw=(64, 128))
    assert main(["export", str(model), "--output_dir", str(tmp_path / "onnx")]) == 0
    picture = np.random.default_rng(0).integers(0, 256, (150, 300, 3), dtype=np.uint8)
    for settings in ({}, {"tile": (64, 128), "tile_overlap": 0.3}):
        in_torch = Detector.from_pretrained(model, device="cpu", **settings)
        exported = Detector.from_pretrained(tmp_path / "onnx", device="cpu", **settings)
        assert exported.image_size_hw == (64, 128)
        expected, found = (d(picture, threshold=0, max_detections=20) for d in (in_torch, exported))
        assert len(expected) == 20 and found.labels == expected.labels
        assert found.scores == pytest.approx(expected.scores, abs=1e-4)
        assert found.boxes_xyxy == pytest.approx(expected.boxes_xyxy, abs=0.05)
