"""What is written is read back by others: pycocotools, pandas, supervision; FiftyOne's layout by its description."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import supervision
from PIL import Image
from pycocotools.coco import COCO

from hf_detr.errors import HfDetrError
from hf_detr.inference.detections import Detections
from hf_detr.inference.outputs.folder import OUTPUTS, open_outputs, require_free
from hf_detr.inference.outputs.seen import Seen
from hf_detr.inference.video import VideoReader
from tests.video import make_video, moving_squares, square_boxes_xyxy

ID2LABEL = {0: "red", 1: "green", 2: "blue, light"}
SIZE_HW = (48, 64)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """What was seen, two pictures and six frames of a video, and the folder with all kinds of output of it."""
    folder = tmp_path_factory.mktemp("written")
    picture, image = folder / "a.v2.png", moving_squares(1)[0]
    Image.fromarray(image).save(picture)
    rows = np.column_stack([[0.91, 0.52, 0.3], [2, 0, 1], square_boxes_xyxy(0)]).astype(np.float32)
    rows[0, 2:4] -= 5  # beyond the border
    found = Detections.from_rows(rows, ID2LABEL, SIZE_HW)
    seen = [
        Seen(image, dataclasses.replace(found, path=picture), 1, Path("a.v2")),
        Seen(image, dataclasses.replace(found.above(1), path="http://example.org/b.jpg"), 2, Path("b")),
    ]
    video = make_video(folder / "clip.mp4", moving_squares(6), fps=5, sound="aac")
    with (
        VideoReader(video) as reader,
        open_outputs(folder / "out", list(OUTPUTS), ID2LABEL, {"model": "m"}) as outputs,
    ):
        for frame in reader.frames():
            tracked = dataclasses.replace(
                found, path=video, frame=frame.number, seconds=frame.seconds, track_ids=np.array([4, -1, 0])
            )
            seen.append(
                Seen(frame.image, tracked, 3 + frame.number, video.relative_to(folder).with_suffix(""), reader)
            )
        for one in seen:
            for output in outputs:
                output.write(one)
    return seen, folder / "out"


def test_all_is_there(written):
    _, out = written
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [*(kind.name for kind in OUTPUTS.values()), "prediction.json"]
    )
    assert json.loads((out / "prediction.json").read_text())["model"] == "m"
    assert sorted(path.name for path in (out / "pictures").iterdir()) == ["a.v2.jpg", "b.jpg"]
    assert sorted(path.name for path in (out / "frames" / "clip").iterdir()) == [f"{n:06d}.jpg" for n in range(6)]


def test_pycocotools_reads_the_coco_results(written, tmp_path):
    seen, out = written
    truth = {
        "info": {},
        "images": [{"id": one.image_id, "height": 48, "width": 64} for one in seen],
        "categories": [{"id": class_id, "name": name} for class_id, name in ID2LABEL.items()],
        "annotations": [],
    }
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    results = COCO(str(tmp_path / "truth.json")).loadRes(str(out / "detections.json"))
    for one in seen:
        rows = results.loadAnns(results.getAnnIds(imgIds=[one.image_id]))
        assert [row["score"] for row in rows] == one.found.scores.tolist()
        assert [row["category_name"] for row in rows] == list(one.found.labels)
        assert {row["file_name"] for row in rows} <= {str(one.found.path)}
        assert [row.get("track_id") for row in rows] == one.found.tracks()
        assert all(row.get("frame") == one.found.frame for row in rows)


def test_pandas_reads_the_table(written):
    seen, out = written
    table = pd.read_csv(out / "detections.csv")
    assert len(table) == 21 and table["frame"].isna().sum() == 3
    for one in seen[2:]:
        rows = table[table["frame"] == one.found.frame]
        assert rows["class"].tolist() == list(one.found.labels) and set(rows["file"]) == {str(one.found.path)}
        np.testing.assert_array_equal(rows["score"].astype(np.float32), one.found.scores)
        boxes_xyxy = rows[["left", "top", "right", "bottom"]].to_numpy(np.float32)
        np.testing.assert_array_equal(boxes_xyxy, one.found.boxes_xyxy)
        np.testing.assert_allclose(rows["seconds"], one.found.frame / 5)
        assert rows["track_id"].fillna(-1).tolist() == one.found.track_ids.tolist()


def test_supervision_reads_the_yolo_labels(written, tmp_path):
    seen, out = written
    frames = tmp_path / "frames"
    frames.mkdir()
    for one in seen[2:]:
        Image.fromarray(one.image).save(frames / f"{one.frame_name.name}.png")
    labels = out / "yolo" / "labels"
    read = supervision.DetectionDataset.from_yolo(
        images_directory_path=str(frames),
        annotations_directory_path=str(labels / "clip"),
        data_yaml_path=str(out / "yolo" / "data.yaml"),
    )
    assert read.classes == list(ID2LABEL.values()) and len(read) == 6
    for _, _, objects in read:
        expected = seen[2].found.boxes_xyxy.clip(0, [64, 48, 64, 48])
        np.testing.assert_allclose(objects.xyxy, expected, atol=0.51)  # it rounds to pixels
        assert objects.class_id.tolist() == [2, 0, 1]
    assert (labels / "b.txt").read_text() == ""
    scores = [float(line.split()[5]) for line in (labels / "a.v2.txt").read_text().splitlines()]
    np.testing.assert_allclose(scores, seen[0].found.scores, atol=1e-6)


def test_fiftyone_finds_pictures_and_relative_boxes(written):
    seen, out = written
    files = json.loads((out / "fiftyone" / "data.json").read_text())
    content = json.loads((out / "fiftyone" / "labels.json").read_text())
    assert content["classes"] == list(ID2LABEL.values())
    assert list(files) == list(content["labels"]) == ["a.v2", "b", *(f"clip/{number:06d}" for number in range(6))]
    for one, (name, file) in zip(seen, files.items(), strict=True):
        with Image.open(out / "fiftyone" / file) as picture:
            assert picture.size == (64, 48)
        labels = content["labels"][name]
        assert [label["label"] for label in labels] == list(one.found.labels)
        boxes = np.array([label["bounding_box"] for label in labels]).reshape(-1, 4) * [64, 48, 64, 48]
        np.testing.assert_allclose(boxes[:, :2], one.found.boxes_xyxy[:, :2], atol=1e-5)
        np.testing.assert_allclose(boxes[:, 2:], one.found.boxes_xyxy[:, 2:] - one.found.boxes_xyxy[:, :2], atol=1e-5)
        assert [label.get("attributes", {}).get("track_id") for label in labels] == one.found.tracks()


def test_videos_have_boxes_times_and_sound(written):
    import av

    seen, out = written
    with VideoReader(out / "videos" / "clip.mp4") as reader:
        frames = list(reader.frames())
    assert [round(frame.seconds, 3) for frame in frames] == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    for one, frame in zip(seen[2:], frames, strict=True):
        shown = frame.image.astype(int)  # letters of a few pixels are blurred
        assert np.abs(shown - one.found.draw(one.image)).mean() < np.abs(shown - one.image).mean() / 2
    with av.open(str(out / "videos" / "clip.mp4")) as container:
        samples = sum(frame.samples for frame in container.decode(audio=0))
    assert abs(samples - 1.2 * 8000) <= 2048


def test_sound_that_mp4_does_not_take_is_left_out(tmp_path, caplog):
    video = make_video(tmp_path / "clip.avi", moving_squares(3), container="avi", sound="pcm_mulaw")
    with VideoReader(video) as reader, open_outputs(tmp_path / "out", ["video"], ID2LABEL, {}) as (output,):
        empty = Detections.from_rows(np.empty((0, 6), np.float32), ID2LABEL, SIZE_HW, path=video)
        for frame in reader.frames():
            found = dataclasses.replace(empty, frame=frame.number, seconds=frame.seconds)
            output.write(
                Seen(frame.image, found, 1 + frame.number, video.relative_to(tmp_path).with_suffix(""), reader)
            )
    assert "clip.mp4: has no sound" in caplog.text and "pcm_mulaw" in caplog.text
    with VideoReader(tmp_path / "out" / "videos" / "clip.mp4") as reader:
        assert len(list(reader)) == 3
    assert [path.name for path in (tmp_path / "out" / "videos").iterdir()] == ["clip.mp4"]


def test_an_error_leaves_the_folder_as_it_was(written, tmp_path):
    seen, _ = written
    with open_outputs(tmp_path, ["csv"], ID2LABEL, {}) as (output,):
        output.write(seen[0])
    before = (tmp_path / "detections.csv").read_bytes()
    with pytest.raises(RuntimeError), open_outputs(tmp_path, list(OUTPUTS), ID2LABEL, {}) as outputs:
        for output in outputs:
            output.write(seen[2])
        raise RuntimeError
    assert sorted(path.name for path in tmp_path.iterdir()) == ["detections.csv", "prediction.json"]
    assert (tmp_path / "detections.csv").read_bytes() == before


def test_a_report_of_something_else_is_not_taken_for_one(tmp_path):
    (tmp_path / "prediction.json").write_text("[]")
    with pytest.raises(HfDetrError, match=r"prediction\.json: is not the report of a prediction"):
        require_free(tmp_path, ["csv"], overwrite=True)
