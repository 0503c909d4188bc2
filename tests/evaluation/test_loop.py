import numpy as np
import pytest

from hf_detr.errors import CheckpointError
from hf_detr.evaluation.loop import match_model_classes, rename_classes
from tests.evaluation.problems import make_index


@pytest.fixture
def index():
    """Objects of class 0 and 1 of three."""
    return make_index([[{"bbox": [0, 0, 1, 1], "class_id": class_id} for class_id in (0, 1)]], 3)


def test_classes_are_matched_by_name(index):
    id2label = {0: "class 2", 1: "class 0", 2: "Class_1"}
    assert match_model_classes(id2label, index).tolist() == [2, 0, 1]


def test_equal_classes_stay_as_they_are(index):
    assert match_model_classes(index.id2label, index).tolist() == [0, 1, 2]


def test_classes_without_objects_may_be_unknown_to_the_model(index):
    assert match_model_classes({0: "class 1", 1: "class 0"}, index).tolist() == [1, 0]


def test_other_names_are_matched_on_request(index):
    id2label = {0: "class 0", 1: "eins", 2: "class 2"}
    with pytest.raises(CheckpointError, match=r"(?s)only in the model: eins.*only in the data: class 1.*--class_map"):
        match_model_classes(id2label, index)
    assert match_model_classes(id2label, index, class_map=["eins:class 1"]).tolist() == [0, 1, 2]


def test_classes_only_the_model_knows_are_left_out_on_request(index):
    id2label = {0: "class 0", 1: "more", 2: "class 1", 3: "class 2"}
    with pytest.raises(CheckpointError, match=r"(?s)model, 4 classes.*data, 3 classes.*--ignore_extra_classes"):
        match_model_classes(id2label, index)
    assert match_model_classes(id2label, index, ignore_extra=True).tolist() == [0, -1, 1, 2]


def test_detections_of_left_out_classes_become_padding():
    detections = np.array([[[0.9, 0, 1, 2, 3, 4], [0.8, 1, 1, 2, 3, 4], [-1, 0, 0, 0, 0, 0]]])
    renamed = rename_classes(detections, np.array([2, -1]))
    assert renamed[0, :, :2].tolist() == [[0.9, 2], [-1, -1], [-1, 2]]
    assert detections[0, 1, 0] == 0.8
