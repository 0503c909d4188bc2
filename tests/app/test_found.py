import io

import numpy as np
from PIL import Image

from hf_detr.app.found import Found, coco_list, drawn_jpeg, nothing_html, select, summary_html, table_rows
from hf_detr.app.limits import AppLimits
from hf_detr.app.service import Service
from hf_detr.inference.detections import Detections

ID2LABEL = {0: "red", 1: "green", 2: "<b>"}
ROWS = np.array(
    [[0.9, 0, 10, 20, 30, 40], [0.8, 1, 0, 0, 5.26, 5], [0.3, 0, 1, 2, 3, 4], [0.2, 2, 0, 0, 9, 9]], np.float32
)


def everything(size_hw=(50, 100)):
    return Detections.from_rows(ROWS, ID2LABEL, size_hw)


def test_what_is_shown_follows_threshold_classes_and_number():
    def labels(*args, **kwargs):
        return list(select(everything(), *args, **kwargs).labels)

    assert labels(np.zeros(3)) == ["red", "green", "red", "<b>"]
    assert labels(np.full(3, 0.5)) == ["red", "green"]
    assert labels(np.array([0.85, 0.1, 0.1])) == ["red", "green", "<b>"]
    assert labels(np.zeros(3), ["red"]) == ["red", "red"]
    assert labels(np.zeros(3), ["green", "<b>"], 1) == ["green"]
    assert labels(np.ones(3)) == []


def test_the_table_and_the_json_say_the_same():
    kept = select(everything(), np.full(3, 0.5))
    assert table_rows(kept) == [["red", "0.900", 10, 20, 30, 40], ["green", "0.800", 0, 0, 5.3, 5]]
    first, second = coco_list("photo.jpg", kept)
    assert first["bbox"] == [10, 20, 20, 20] and first["file_name"] == "photo.jpg" and first["category_id"] == 0
    assert second["category_name"] == "green"


def test_the_drawn_picture_has_the_boxes_where_they_are():
    grey = np.full((50, 100, 3), 128, np.uint8)
    found = Found.of("photo.png", grey, everything())
    assert found.shown.shape == (512, 1024, 3)
    drawn = np.asarray(
        Image.open(io.BytesIO(drawn_jpeg(found, select(everything(), np.full(3, 0.85)), captions=False)))
    )
    changed = np.argwhere(np.abs(drawn.astype(int) - 128).max(2) > 40)
    top, left = changed.min(0)
    bottom, right = changed.max(0)
    np.testing.assert_allclose([left, top, right, bottom], np.array([10, 20, 30, 40]) * 10.24, atol=6)


def test_names_of_classes_are_text_not_html():
    told = summary_html({2: 3, 0: 1}, ID2LABEL)
    assert "&lt;b&gt; <b>× 3</b>" in told and told.index("&lt;b&gt;") < told.index("red")
    assert "4 objects" in told and "1 object<" in summary_html({0: 1}, ID2LABEL)


def test_an_empty_view_names_the_best_there_is():
    assert "red with a confidence of 0.90" in nothing_html(everything())
    assert "found nothing" in nothing_html(Detections.from_rows(ROWS[:0], ID2LABEL, (50, 100)))


def test_a_picture_is_found_once_and_shown_as_the_detector_would(detector, pictures):
    service = Service(detector, AppLimits())
    found = service.find(pictures[0])
    for threshold in (0.3, 0.9, 0.97):
        kept, expected = service.select(found.everything, threshold), detector(pictures[0], threshold=threshold)
        np.testing.assert_array_equal(kept.scores, expected.scores)
        np.testing.assert_array_equal(kept.boxes_xyxy, expected.boxes_xyxy)
