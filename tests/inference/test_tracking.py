import dataclasses
import re

import numpy as np
import pytest

from hf_detr.errors import HfDetrError
from hf_detr.inference.detections import Detections
from hf_detr.inference.detector import Detector
from hf_detr.inference.tracking import TRACKERS, Tracker
from hf_detr.inference.video import VideoReader, detect_video
from tests.video import make_video, moving_squares, square_boxes_xyxy

SIZE_HW = (240, 320)
ID2LABEL = {0: "red", 1: "green", 2: "blue"}


def seen(frame: int, scores=(0.9, 0.8, 0.7), order=(0, 1, 2)) -> Detections:
    """What a perfect detector finds in a frame of `moving_squares`."""
    boxes_xyxy = square_boxes_xyxy(frame, SIZE_HW)
    rows = np.column_stack([scores, np.arange(3), boxes_xyxy]).astype(np.float32)[list(order)]
    return Detections.from_rows(rows, ID2LABEL, SIZE_HW, path="a.mp4")


def number_by_label(found: Detections) -> dict[str, int | None]:
    return dict(zip(found.labels, found.tracks(), strict=True))


@pytest.mark.parametrize("name", TRACKERS)
def test_numbers_stay_with_objects(name):
    tracker = Tracker(name, fps=30)
    rng = np.random.default_rng(0)
    number_of: dict[str, set[int]] = {label: set() for label in ID2LABEL.values()}
    images = moving_squares(25, SIZE_HW)
    for frame in range(25):
        found = tracker.update(seen(frame, order=rng.permutation(3)), images[frame])
        assert len(found) == 3 and found.boxes_xyxy.shape == (3, 4)
        for label, track in zip(found.labels, found.tracks(), strict=True):
            if track is not None:
                number_of[label].add(track)
            assert frame < 4 or track is not None
    assert [len(numbers) for numbers in number_of.values()] == [1, 1, 1]
    assert len(set.union(*number_of.values())) == 3


@pytest.mark.parametrize(("name", "goes_on"), [("bytetrack", True), ("botsort", True), ("sort", False)])
def test_weak_detections_go_on_with_a_track_but_begin_none(name, goes_on):
    tracker = Tracker(name, fps=30, threshold=np.array([0.5, 0.5, 0.8]))
    for frame in range(6):
        tracker.update(seen(frame, scores=(0.9, 0.3, 0.9)))
    found = tracker.update(seen(6, scores=(0.4, 0.3, 0.9)))
    # red has faded below its threshold; green was never above its own
    assert found.labels == (("blue", "red") if goes_on else ("blue",))
    assert None not in found.tracks()
    # 0.7 is above one threshold and below the other
    found = tracker.update(seen(7, scores=(0.7, 0.3, 0.7)))
    assert "red" in found.labels and ("blue" in found.labels) == goes_on


def test_an_object_that_is_hidden_for_a_moment_keeps_its_number():
    tracker = Tracker("bytetrack", fps=10)
    for frame in range(5):
        before = tracker.update(seen(frame))
    for frame in range(5, 8):
        tracker.update(seen(frame, scores=(0.9, 0.8, 0.05)).above(0.1))
    after = tracker.update(seen(8))
    assert dict(zip(after.labels, after.tracks(), strict=True)) == dict(
        zip(before.labels, before.tracks(), strict=True)
    )


def test_frames_without_objects():
    tracker = Tracker(fps=30)
    found = tracker.update(seen(0).above(1))
    assert len(found) == 0 and found.track_ids.shape == (0,)


def test_results_carry_the_number():
    found = dataclasses.replace(seen(0), track_ids=np.array([7, -1, 2]))
    assert found.captions() == ["red 0.90 #7", "green 0.80", "blue 0.70 #2"]
    assert found.to_supervision().tracker_id.tolist() == [7, -1, 2]
    assert found.above(0.75).track_ids.tolist() == [7, -1]
    assert found.of_classes(["blue"]).tracks() == [2]


def test_videos_are_tracked(model_folder, tmp_path):
    detector = Detector.from_pretrained(model_folder, device="cpu")
    path = make_video(tmp_path / "a.mp4", moving_squares(8), fps=10)
    with VideoReader(path) as reader:
        untracked = [found for _, _, found in detect_video(detector, reader, threshold=0.6)]
    with VideoReader(path) as reader:
        tracked = [found for _, _, found in detect_video(detector, reader, threshold=0.6, track="bytetrack")]
    assert all(found.track_ids is None for found in untracked)
    assert (tracked[-1].track_ids >= 0).any()
    for plain, found in zip(untracked, tracked, strict=True):
        assert (found.path, found.frame, found.seconds) == (path, plain.frame, plain.seconds)
        # what is above the threshold is there with and without a tracker, but each object once
        boxes, all_boxes = (set(map(tuple, one.above(0.6).boxes_xyxy.tolist())) for one in (found, plain))
        assert boxes and boxes <= all_boxes


def test_one_object_with_several_classes_and_queries_is_one_track():
    tracker = Tracker(fps=30)
    for _ in range(4):
        rows = [[0.9, 0, 10, 10, 60, 60], [0.8, 1, 10, 10, 60, 60], [0.7, 0, 11, 9, 61, 60], [0.6, 0, 30, 30, 90, 90]]
        found = tracker.update(Detections.from_rows(np.float32(rows), ID2LABEL, SIZE_HW))
    assert found.labels == ("red", "red") and sorted(found.tracks()) == [0, 1]
    np.testing.assert_allclose(found.scores, [0.9, 0.6])


def test_unknown_trackers_and_missing_packages_are_named(monkeypatch):
    with pytest.raises(HfDetrError, match=r"no tracker 'deepsort'\. There are: bytetrack, sort"):
        Tracker("deepsort")
    monkeypatch.setitem(__import__("sys").modules, "trackers", None)
    with pytest.raises(HfDetrError, match=re.escape("pip install 'hf_detr[track]'")):
        Tracker()
