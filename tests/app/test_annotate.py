from collections import Counter

import numpy as np
import pytest

from hf_detr.app.annotate import Counts, annotate_video
from hf_detr.app.limits import AppLimits
from hf_detr.app.service import Service
from hf_detr.app.uploads import UploadError
from hf_detr.errors import HfDetrError
from hf_detr.inference.video import VideoReader
from tests.video import make_video, moving_squares


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return make_video(tmp_path_factory.mktemp("video") / "street.mp4", moving_squares(12))


def run(detector, video, target, limits=None, **choice):
    """The counts at the end."""
    return list(annotate_video(Service(detector, limits or AppLimits(), batch_size=5), video, target, **choice))[-1]


def test_a_video_comes_back_with_boxes_and_counts(detector, video, tmp_path):
    target = tmp_path / "found.mp4"
    counts = run(detector, video, target, threshold=0.9)
    with VideoReader(video) as reader, VideoReader(target) as written:
        expected = Counter()
        for _, image in reader:
            expected += Counter(detector(image, threshold=0.9).class_ids.tolist())
        assert (written.size_hw, written.fps, written.num_frames) == ((480, 640), 10, 12)
    assert counts.objects == expected and counts.frames == counts.total == 12
    assert [row[0] for row in counts.rows(detector.id2label)] == [
        detector.id2label[k] for k, _ in expected.most_common()
    ]


def test_counts_of_two_frames():
    counts = Counts()
    counts.add(Counter({0: 3, 1: 1}))
    counts.add(Counter({0: 1}))
    assert counts.rows({0: "red", 1: "green"}) == [["red", 2, 3, 2.0], ["green", 1, 1, 0.5]]


def test_classes_and_number_are_chosen_beforehand(detector, video, tmp_path):
    counts = run(detector, video, tmp_path / "a.mp4", threshold=0.5, classes=["green"], max_detections=2)
    assert set(counts.objects) == {1} and counts.most[1] == 2
    with pytest.raises(HfDetrError, match=r"no class 'grean'\. Did you mean 'green'"):
        run(detector, video, tmp_path / "b.mp4", classes=["grean"])


def test_of_fast_videos_every_other_frame_is_looked_at(detector, tmp_path):
    fast = make_video(tmp_path / "fast.mp4", moving_squares(9), fps=60)
    counts = run(detector, fast, tmp_path / "found.mp4")
    with VideoReader(tmp_path / "found.mp4") as written:
        assert counts.frames == counts.total == written.num_frames == 5 and written.fps == 30


@pytest.mark.parametrize("container", ["mp4", "mpegts"])
def test_videos_that_are_too_long_are_refused(detector, container, tmp_path):
    long = make_video(tmp_path / "long.ts", moving_squares(25), container=container)
    with pytest.raises(UploadError, match=r"^long\.ts is longer than 2 seconds, which is what this page takes\.$"):
        run(detector, long, tmp_path / "found.mp4", AppLimits(max_video_seconds=2))
    assert not (tmp_path / "found.mp4").exists()


def test_frames_that_are_too_large_are_refused(detector, video, tmp_path):
    with pytest.raises(UploadError, match=r"street\.mp4 has 0 megapixels; this page takes up to 0\.001"):
        run(detector, video, tmp_path / "found.mp4", AppLimits(max_megapixels=0.001))


@pytest.mark.parametrize("content", [b"", b"no video at all"])
def test_what_is_no_video_is_refused_by_the_name_the_visitor_knows(detector, content, tmp_path):
    path = tmp_path / "holiday.mp4"
    path.write_bytes(content)
    with pytest.raises(UploadError, match=r"^holiday\.mp4: ") as refused:
        run(detector, path, tmp_path / "found.mp4")
    assert str(tmp_path) not in str(refused.value)


def test_nothing_is_left_of_a_video_that_nobody_waits_for(detector, video, tmp_path):
    steps = annotate_video(Service(detector, AppLimits()), video, tmp_path / "found.mp4")
    next(steps)
    steps.close()
    assert list(tmp_path.iterdir()) == []


def test_pictures_get_in_between_the_frames(detector, video, tmp_path, pictures):
    service = Service(detector, AppLimits(), batch_size=4)
    steps = annotate_video(service, video, tmp_path / "found.mp4")
    next(steps)
    np.testing.assert_array_equal(
        service.find(pictures[0]).everything.scores, detector(pictures[0], threshold=0).scores
    )
