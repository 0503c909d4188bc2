import dataclasses

import pytest

from hf_detr.app.controls import checked
from hf_detr.app.limits import AppLimits
from hf_detr.app.page import build_app
from hf_detr.app.uploads import UploadError
from hf_detr.inference.detector import Detector


def components(app):
    """The settings of the components that have an id."""
    settings = (each["props"] for each in app.get_config_file()["components"])
    return {each["elem_id"]: each for each in settings if each.get("elem_id")}


def test_without_stored_thresholds_there_is_one_for_all(detector):
    page = components(build_app(detector, threshold=0.7))
    assert page["picture-threshold"]["value"] == 0.7 and page["picture-threshold"]["interactive"]
    assert not page["picture-stored"]["visible"]
    assert components(build_app(detector))["video-threshold"]["value"] == 0.5


def test_stored_thresholds_count_until_somebody_says_otherwise(detector):
    stored = Detector(detector.backend, detector.processor, detector.id2label, thresholds={"red": 0.8})
    page = components(build_app(stored))
    assert page["picture-stored"]["visible"] and page["picture-stored"]["value"]
    assert not page["picture-threshold"]["interactive"]
    asked = components(build_app(stored, threshold=0.7))
    assert asked["picture-stored"]["visible"] and not asked["picture-stored"]["value"]


def test_the_limits_are_those_of_the_queue_and_the_texts(detector):
    limits = dataclasses.replace(AppLimits(), max_waiting=7, max_upload_mb=12, max_video_seconds=9)
    app = build_app(detector, limits)
    page = components(app)
    assert app._queue.max_size == 7
    assert "up to 12 MB" in page["picture"]["placeholder"] and "up to 9 seconds and 12 MB" in page["video"]["label"]
    assert "deleted after 60 minutes" in page["foot"]["value"]


def test_examples_go_to_their_tabs(detector, pictures, tmp_path):
    (tmp_path / "street.mp4").write_bytes(b"")
    page = components(build_app(detector, examples=[*pictures[:2], tmp_path / "street.mp4"]))
    assert len(page["picture-examples"]["samples"]) == 2 and len(page["video-examples"]["samples"]) == 1
    assert "picture-examples" not in components(build_app(detector))


def test_names_are_text_not_html(detector):
    hostile = Detector(detector.backend, detector.processor, {0: "<img src=x>", 1: "b", 2: "c"})
    head = components(build_app(hostile, name="<script>"))["head"]["value"]
    assert "<script>" not in head and "<img" not in head and "3 classes: &lt;img" in head


def test_what_programs_send_is_checked():
    assert checked(None, None, None) == (None, [], None)
    assert checked(0.5, ["red"], 3.0) == (0.5, ["red"], 3)
    for wrong in ((True, [], None), ("0.5", [], None), (0.5, "red", None), (0.5, [1], None), (0.5, [], -1)):
        with pytest.raises(UploadError, match=r"^\w+ is a (number|list) "):
            checked(*wrong)
