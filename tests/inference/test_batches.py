"""`BatchDetector`: rows in, rows out, in one process or several."""

import io
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset, Image, concatenate_datasets
from PIL import Image as PilImage

from hf_detr import BatchDetector, Detector
from hf_detr.data.images import read_image
from tests.synthetic import make_coco
from tests.tiny import save_tiny_detector


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_detector(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return sorted(make_coco(tmp_path_factory.mktemp("data"), splits=("test",)).rglob("*.jpg"))


def encoded_png(path: Path) -> bytes:
    stream = io.BytesIO()
    PilImage.open(path).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    "as_source",
    [
        str,
        read_image,
        PilImage.open,
        encoded_png,
        lambda path: {"bytes": None, "path": str(path)},
        lambda path: {"bytes": path.read_bytes(), "path": None},
    ],
    ids=["path", "array", "PIL", "bytes", "undecoded", "undecoded bytes"],
)
def test_pictures_of_every_kind_give_what_the_detector_gives(model: Path, paths: list[Path], as_source) -> None:
    batch = {"image": [as_source(path) for path in paths], "id": np.arange(len(paths))}
    table = BatchDetector(model, keep=["id"], batch_size=3, threshold=0.2)(batch)
    assert table.column_names == ["id", "labels", "scores", "boxes_xyxy", "error"]
    expected = Detector.from_pretrained(model)(paths, threshold=0.2)
    assert sum(map(len, expected)) > 0
    for row, found in zip(table.to_pylist(), expected, strict=True):
        assert row["labels"] == list(found.labels) and row["error"] == ""
        np.testing.assert_allclose(row["scores"], found.scores, atol=1e-6)
        np.testing.assert_allclose(np.reshape(row["boxes_xyxy"], (-1, 4)), found.boxes_xyxy, atol=1e-3)


def test_a_damaged_picture_costs_its_row_alone(model: Path, paths: list[Path], tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.jpg"
    damaged.write_bytes(paths[0].read_bytes()[:200])
    detect = BatchDetector(model, column="path", threshold=0)
    rows = detect({"path": [str(damaged), str(paths[1]), str(tmp_path / "missing.jpg")]}).to_pylist()
    assert [bool(row["labels"]) for row in rows] == [False, True, False]
    assert "damaged.jpg" in rows[0]["error"] and "missing.jpg" in rows[2]["error"]


def test_only_settings_travel(model: Path, paths: list[Path]) -> None:
    detect = BatchDetector(model, threshold=0)
    batch = {"image": [str(paths[0])]}
    found = detect(batch)
    sent = pickle.dumps(detect)
    assert len(sent) < 1000
    assert pickle.loads(sent)(batch) == found


def test_datasets_map_in_two_processes(model: Path, paths: list[Path]) -> None:
    pictures = Dataset.from_dict({"image": [str(path) for path in paths], "name": [path.name for path in paths]})
    undecoded = pictures.cast_column("image", Image(decode=False))
    detect = BatchDetector(model, keep=["name"], batch_size=2, threshold=0.2)
    found = undecoded.map(detect, batched=True, batch_size=4, with_rank=True, num_proc=2)
    assert found.column_names == ["name", "labels", "scores", "boxes_xyxy", "error"]
    assert found["name"][:] == [path.name for path in paths]
    expected = Detector.from_pretrained(model)(paths, threshold=0.2)
    assert [row["labels"] for row in found] == [list(detections.labels) for detections in expected]


def test_batches_without_objects_have_the_types_of_others(model: Path, paths: list[Path]) -> None:
    nothing, something = (BatchDetector(model, threshold=t)({"image": [str(paths[0])]}) for t in (1.0, 0.0))
    assert nothing.schema == something.schema
    assert pa.concat_tables([nothing, something]).num_rows == 2
    both = concatenate_datasets([Dataset(nothing), Dataset(something)])
    assert both[0]["labels"] == [] and both[1]["labels"]
