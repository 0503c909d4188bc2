import numpy as np

from hf_detr.evaluation.pictures import ErrorCounts, find_hits
from tests.evaluation.problems import make_index

BOX = [0, 0, 10, 10]


def test_each_object_is_found_once_and_by_its_class_only():
    boxes_xyxy = np.array(
        [[0, 0, 10, 9], [0, 0, 10, 10], [50, 50, 60, 60], [50, 50, 60, 60], [0, 0, 3, 3]], np.float32
    )
    hits = find_hits(boxes_xyxy, np.array([0, 0, 1, 0, 0]), boxes_xyxy[[1, 2]], np.array([0, 1]))
    assert hits.tolist() == [True, False, True, False, False]


def test_nothing_to_find_and_nothing_found():
    none = np.zeros((0, 4))
    assert find_hits(none, np.zeros(0), np.array([BOX]), np.zeros(1)).tolist() == []
    assert find_hits(np.array([BOX]), np.zeros(1), none, np.zeros(0)).tolist() == [False]


def test_errors_are_counted_at_each_confidence():
    index = make_index([[{"bbox": BOX, "class_id": 0}], [{"bbox": BOX, "class_id": 0}], []], 1)
    hit, miss, padding = [0.62, 0, 0, 0, 10, 10], [0.31, 0, 50, 50, 60, 60], [-1, 0, 0, 0, 0, 0]
    errors = ErrorCounts(index)
    errors.add(np.array([0, -2]), np.array([[miss, hit], [hit, padding]], dtype=np.float32))
    for threshold, missed, false in ((0.1, 0, 1), (0.5, 0, 0), (0.8, 1, 0)):
        assert [counts[0] for counts in errors.at(threshold)] == [missed, false]
    assert errors.at(0.5)[0].tolist() == [0, -1, -1]  # unreadable, and not seen


def test_half_of_the_pictures_are_the_worst():
    objects = [[{"bbox": BOX, "class_id": 0}] * number for number in (0, 3, 0, 1, 0, 2, 0, 0)]
    index = make_index(objects, 1)
    errors = ErrorCounts(index)
    errors.add(np.arange(8), np.full((8, 1, 6), -1.0))
    at_random, worst = errors.choose(0.5, 4)
    assert worst == [1, 5]
    assert len(at_random) == 2 and not set(at_random) & set(worst)
    assert errors.choose(0.5, 4) == (at_random, worst)


def test_a_perfect_model_has_no_worst_pictures():
    errors = ErrorCounts(make_index([[], [], []], 1))
    errors.add(np.arange(3), np.full((3, 1, 6), -1.0))
    assert errors.choose(0.5, 12) == ([0, 1, 2], [])
