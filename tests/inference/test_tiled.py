"""Large pictures: what is found in tiles that the whole picture, resized, does not show."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from hf_detr.cli.main import main
from hf_detr.data.dataset import DetectionDataset
from hf_detr.data.splits import Split, load_index
from hf_detr.data.tiles import TiledDataset, tile_index
from hf_detr.errors import CheckpointError, HfDetrError
from hf_detr.evaluation.coco import CocoEvaluator
from hf_detr.evaluation.loop import evaluate_detector
from hf_detr.evaluation.report import evaluate_to_folder, render_metrics
from hf_detr.evaluation.tiled import evaluator_for
from hf_detr.inference.detector import Detector
from hf_detr.models.families import build_processor
from hf_detr.tiles import Tiling
from tests.synthetic import COLOURS, make_coco, make_field
from tests.tiny import tiny_config

TILING = Tiling((640, 640), 0.2)


class ColourFinder:
    """A runtime that finds patches of colour of at least 6 x 6 px of its input, with 300 queries as a model has."""

    device = torch.device("cpu")
    takes_uint8 = True
    gives_detections = False

    def __call__(self, pixel_values, target_sizes):
        logits, boxes = torch.full((len(pixel_values), 300, 3), -20.0), torch.zeros(len(pixel_values), 300, 4)
        height, width = pixel_values.shape[2:]
        for picture, pixels in enumerate(pixel_values.permute(0, 2, 3, 1).numpy()):
            query = 0
            for class_id, colour in enumerate(COLOURS.values()):
                mask = (np.abs(pixels.astype(int) - colour).max(-1) < 40).astype(np.uint8)
                for x, y, w, h, _ in cv2.connectedComponentsWithStats(mask)[2][1:]:
                    if min(w, h) >= 6 and query < 300:
                        boxes[picture, query] = torch.tensor(
                            [(x + w / 2) / width, (y + h / 2) / height, w / width, h / height]
                        )
                        logits[picture, query, class_id] = 3 + w * h / 1e3
                        query += 1
        return logits, boxes


@pytest.fixture(scope="module")
def field(tmp_path_factory) -> Path:
    return make_field(tmp_path_factory.mktemp("field"))


@pytest.fixture(scope="module")
def dataset(field) -> DetectionDataset:
    return DetectionDataset(load_index(Split("field", field, field / "field.json")))


def finder(tiling: Tiling | None) -> Detector:
    processor = build_processor(tiny_config(), (640, 640))
    return Detector(ColourFinder(), processor, dict(enumerate(COLOURS)), tiling=tiling)


def test_tiles_find_each_of_600_objects_once_where_the_whole_picture_shows_none(field, dataset, tmp_path):
    whole = evaluate_detector(finder(None), dataset, CocoEvaluator(dataset.index), progress=False)
    assert whole["AP50"] < 0.05
    metrics = evaluate_to_folder(finder(TILING), dataset, tmp_path, model_name="finder", progress=False)
    assert metrics["AP50"] == 1 and metrics["AP"] > 0.8
    # COCO's limit of 100 a picture and class would leave half of them out
    assert metrics["objects"] == metrics["max_detections"] == 600 and metrics["AR600"] > 0.8
    results = json.loads((tmp_path / "predictions.json").read_text())
    assert sum(row["score"] > 0.5 for row in results) == 600 and {row["image_id"] for row in results} == {1}
    assert (tmp_path / "predictions.png").is_file()
    assert json.loads((tmp_path / "metrics.json").read_text())["tile_size_hw"] == [640, 640]

    found = finder(TILING)(field / "field.jpg")
    assert len(found) == 600 and found.image_size_hw == (2000, 3000)
    boxes_xyxy, _ = dataset.index.objects(0)
    nearest = np.abs(found.boxes_xyxy[:, None] - boxes_xyxy[None]).max(-1)
    assert nearest.min(axis=1).max() <= 2 and len(set(nearest.argmin(axis=1))) == 600


def test_tiles_scored_one_by_one_give_the_numbers_of_the_picture(dataset):
    tiled = TiledDataset(tile_index(dataset.index, TILING))
    evaluator = evaluator_for(tiled)
    detector = finder(None)
    order = np.random.default_rng(0).permutation(len(tiled))
    for numbers in np.array_split(np.append(order, order[:3]), 5):  # some come twice, as from uneven processes
        samples = [tiled[int(number)] for number in numbers]
        prepared = torch.stack([detector.prepare(sample["image"]) for sample in samples])
        sizes_hw = torch.tensor([sample["orig_size_hw"] for sample in samples])
        evaluator.update(numbers, detector.detect(prepared, sizes_hw, at_least=evaluator.max_detections))
    one_by_one = evaluator.compute()
    together = evaluate_detector(finder(TILING), dataset, CocoEvaluator(dataset.index), progress=False)
    assert one_by_one == together
    evaluator.reset()
    evaluator.update(np.array([-1 - int(order[0])]), np.zeros((1, 0, 6)))
    evaluator.update(order[1:], np.full((len(order) - 1, 1, 6), -1.0))
    assert evaluator.unreadable == [0]


def test_a_limit_below_what_pictures_hold_is_stated(dataset):
    evaluator = CocoEvaluator(dataset.index, max_detections=100)
    metrics = evaluate_detector(finder(TILING), dataset, evaluator, progress=False)
    of_class = np.bincount(dataset.index.class_ids)
    assert metrics["objects_beyond_limit"] == (of_class - 100).sum() and metrics["AR100"] < 0.6
    assert f"{metrics['objects_beyond_limit']} objects cannot be found" in render_metrics(metrics)
    enough = evaluate_detector(finder(TILING), dataset, CocoEvaluator(dataset.index), progress=False)
    assert enough["objects_beyond_limit"] == 0 and "cannot be found" not in render_metrics(enough)


def test_small_pictures_and_unreadable_ones(tmp_path, model_folder):
    tiled = Detector.from_pretrained(model_folder, device="cpu", tile=(64, 96))
    assert tiled.tiling == Tiling((64, 96), 0.2)
    image = np.full((40, 50, 3), 90, dtype=np.uint8)
    found = tiled(image, threshold=0.0)
    assert found.image_size_hw == (40, 50) and len(found)
    assert found.boxes_xyxy[:, 2].max() <= 50 and found.boxes_xyxy[:, 3].max() <= 40
    with pytest.raises(HfDetrError, match="tile_overlap is a share"):
        Detector.from_pretrained(model_folder, tile=64, tile_overlap=1.5)


def test_the_commands_look_tile_by_tile(model_folder, tmp_path, capsys):
    data = make_coco(tmp_path / "data", images=2, splits=("valid",), size_hw=(100, 150))
    tile = ["--tile", "64", "--tile_overlap", "0.3", "--device", "cpu"]
    assert main(["evaluate", str(model_folder), "--data", str(data), "--output_dir", str(tmp_path / "e"), *tile]) == 0
    metrics = json.loads((tmp_path / "e" / "metrics.json").read_text())
    assert metrics["images"] == 2 and (metrics["tile_size_hw"], metrics["tile_overlap"]) == ([64, 64], 0.3)
    picture = str(data / "valid" / "0000.jpg")
    out = ["--output_dir", str(tmp_path / "p"), "--threshold", "0", "--num_queries", "40", "--max_detections", "90"]
    assert main(["predict", str(model_folder), picture, *out, *tile]) == 0
    boxes = np.array([row["bbox"] for row in json.loads((tmp_path / "p" / "detections.json").read_text())])
    assert len(boxes) == 90
    assert (boxes[:, 0] + boxes[:, 2]).max() > 64 and (boxes[:, :2] >= 0).all()
    capsys.readouterr()
    refused = ["predict", str(model_folder), picture, "--output_dir", str(tmp_path / "q"), "--tile", "1", "2", "3"]
    assert main(refused) == 2
    assert "one number, or height and width; got 1 2 3" in capsys.readouterr().err


def test_queries_and_detections_can_be_other_than_in_training(model_folder, pictures):
    def found(threshold=0.0, max_detections=None, **settings):
        detector = Detector.from_pretrained(model_folder, device="cpu", **settings)
        return detector(pictures[0], threshold=threshold, max_detections=max_detections)

    trained, more = found(), found(num_queries=60)
    assert (len(trained), len(more)) == (30, 60)
    assert len(found(max_detections=50)) == 50  # a query can stand for several classes
    assert found(max_detections=3).scores.tolist() == trained.scores[:3].tolist()
    assert len(found(tile=32, max_detections=7)) == 7
    with pytest.raises(CheckpointError, match=r"num_queries is 100, .* The largest num_queries that works is 80"):
        found(num_queries=100)


def test_more_objects_than_queries_are_stated(model_folder, dataset, tmp_path, caplog):
    detector = Detector.from_pretrained(model_folder, device="cpu", num_queries=40)
    evaluate_to_folder(detector, dataset, tmp_path, model_name="tiny", num_pictures=0, progress=False)
    stated = "1 pictures have more objects (up to 600) than the model finds in one picture, 40"
    assert stated in caplog.text
    caplog.clear()
    detector.tiling = Tiling((1000, 1000))
    evaluate_to_folder(detector, dataset, tmp_path, model_name="tiny", num_pictures=0, progress=False)
    assert "more objects" not in caplog.text


def test_an_exported_model_keeps_its_queries(tmp_path):
    (tmp_path / "model.onnx").touch()
    with pytest.raises(CheckpointError, match="has the queries it was exported with"):
        Detector.from_pretrained(tmp_path, num_queries=10)


def test_numbers_that_are_none_are_reported_not_dropped(dataset):
    tiled = TiledDataset(tile_index(dataset.index, TILING))
    evaluator = evaluator_for(tiled)
    detections = np.zeros((len(tiled), 1, 6))
    detections[3] = np.nan
    with pytest.raises(CheckpointError, match="not finite numbers"):
        evaluator.update(np.arange(len(tiled)), detections)
