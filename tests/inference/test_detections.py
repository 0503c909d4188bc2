import json
import re
from pathlib import Path

import numpy as np
import pytest

from hf_detr.boxes import xywh_to_xyxy
from hf_detr.inference.detections import Detections

ROWS = np.array(
    [[0.9, 1, 10, 20, 30, 60], [0.5, 0, 0, 0, 8, 8], [0.2, 1, 5, 5, 6, 6], [-1, 0, 0, 0, 0, 0]], dtype=np.float32
)
ID2LABEL = {0: "cat", 1: "dog"}


@pytest.fixture
def detections():
    return Detections.from_rows(ROWS, ID2LABEL, (80, 100), threshold=0.1, path=Path("a.jpg"))


def test_rows_become_detections(detections):
    assert len(detections) == 3
    assert detections.labels == ("dog", "cat", "dog")
    assert detections.class_ids.dtype == np.int64
    assert detections.boxes_xyxy.dtype == np.float32
    assert detections.boxes_xyxy[0].tolist() == [10, 20, 30, 60]


def test_above_keeps_what_is_strictly_better(detections):
    better = detections.above(0.5)
    assert better.labels == ("dog",)
    assert (better.image_size_hw, better.path) == ((80, 100), Path("a.jpg"))


def test_coco_results_keep_every_digit(detections):
    results = detections.to_coco(7, category_ids=(3, "dog-id"))
    assert [result["category_id"] for result in results] == ["dog-id", 3, "dog-id"]
    assert results[0]["bbox"] == [10, 20, 20, 40]
    assert {result["image_id"] for result in results} == {7}
    scores = np.array([result["score"] for result in json.loads(json.dumps(results))], dtype=np.float32)
    assert (scores == detections.scores).all()
    boxes = xywh_to_xyxy(np.array([result["bbox"] for result in results]))
    assert (boxes == detections.boxes_xyxy).all()


def test_class_ids_stand_in_for_category_ids(detections):
    assert [result["category_id"] for result in detections.to_coco("a")] == [1, 0, 1]


def test_supervision_is_optional(detections, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "supervision", None)
    with pytest.raises(ImportError, match=re.escape("pip install supervision")):
        detections.to_supervision()
