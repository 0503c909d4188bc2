import dataclasses
import json
import tracemalloc

import numpy as np
import pytest
import torch

from hf_detr.data.index import PackedStrings
from hf_detr.errors import CheckpointError, DatasetError
from hf_detr.evaluation.coco import EVAL_BACKENDS, CocoEvaluator, suggest_threshold
from tests.evaluation.problems import (
    STATS,
    as_coco_json,
    as_coco_results,
    make_index,
    pycocotools_stats,
    random_problem,
)


def evaluate(index, detections, *, order=None, batch_size=5, **options):
    evaluator = CocoEvaluator(index, **options)
    order = np.arange(len(index)) if order is None else order
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        evaluator.update(batch, detections[batch])
    return evaluator.compute()


def rows(*detections, queries=4):
    padded = np.full((queries, 6), -1.0)
    padded[: len(detections)] = np.reshape(detections, (-1, 6))
    return padded[None]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("backend", EVAL_BACKENDS)
def test_the_twelve_numbers_are_those_of_pycocotools_to_the_last_digit(seed, backend):
    index, detections = random_problem(seed)
    metrics = evaluate(index, detections, backend=backend)
    reference = pycocotools_stats(as_coco_json(index), as_coco_results(index, detections))
    assert {name: metrics[name] for name in STATS} == {n: None if v == -1 else v for n, v in reference.items()}
    assert metrics["AP"] > 0


def test_both_backends_give_equal_dictionaries():
    index, detections = random_problem(11)
    assert evaluate(index, detections) == evaluate(index, detections, backend="pycocotools")


def test_the_order_of_pictures_does_not_matter():
    index, detections = random_problem(3)
    order = np.random.default_rng(0).permutation(len(index))
    assert evaluate(index, detections, order=order, batch_size=1) == evaluate(index, detections)


def test_dense_scenes_count_all_their_objects():
    index, detections = random_problem(5, images=2, most_objects=260, num_classes=2, queries=300)
    most = int(index.objects_per_image.max())
    assert most > 100
    metrics = evaluate(index, detections)
    assert metrics["max_detections"] == most
    reference = pycocotools_stats(as_coco_json(index), as_coco_results(index, detections), max_detections=most)
    assert metrics[f"AR{most}"] == reference["AR100"]
    assert metrics["AP50"] == reference["AP50"]
    assert "AR100" not in metrics
    fewer = evaluate(index, detections, max_detections=100)
    assert fewer["AR100"] == pycocotools_stats(as_coco_json(index), as_coco_results(index, detections))["AR100"]
    assert fewer["AR100"] < metrics[f"AR{most}"]


def test_limits_below_ten_are_named_after_themselves():
    index, detections = random_problem(0)
    metrics = evaluate(index, detections, max_detections=5)
    assert [name for name in metrics if name.startswith("AR")] == ["AR1", "AR5", "ARs", "ARm", "ARl"]


def test_one_picture_by_hand():
    """Two objects; the better-scored detection hits one with IoU 0.8, the second misses, the third finds the other.

    At IoU 0.5 precision is 1 up to recall 0.5 (51 of 101 levels) and 2/3 beyond (50 levels): AP50 = (51 + 50 * 2/3) /
    101. At IoU 0.75 the same, at 0.85 only the third detection counts, with precision 1/3 up to recall 0.5.
    """
    index = make_index([[{"bbox": [0, 0, 10, 10], "class_id": 0}, {"bbox": [50, 50, 40, 40], "class_id": 0}]], 1)
    metrics = evaluate(
        index, rows([0.9, 0, 0, 0, 10, 8], [0.8, 0, 200, 200, 210, 210], [0.7, 0, 50, 50, 90, 90]), batch_size=1
    )
    found_both, found_one = (51 + 50 * 2 / 3) / 101, 51 / 3 / 101
    assert metrics["AP50"] == pytest.approx(found_both)
    assert metrics["AP75"] == pytest.approx(found_both)
    assert metrics["AP"] == pytest.approx((7 * found_both + 3 * found_one) / 10)
    assert metrics["APs"] == pytest.approx((7 * 1 + 3 * 0) / 10)
    assert metrics["APl"] is None
    assert (metrics["AR1"], metrics["AR10"]) == pytest.approx((0.35, 0.85))
    assert metrics["objects"] == 2


def test_a_crowd_excuses_detections_and_is_no_object():
    crowd = {"bbox": [100, 100, 80, 80], "class_id": 0, "crowd": True}
    index = make_index([[{"bbox": [0, 0, 10, 10], "class_id": 0}, crowd]], 1)
    hit, inside_crowd = [0.5, 0, 0, 0, 10, 10], [0.9, 0, 110, 110, 130, 130]
    metrics = evaluate(index, rows(hit, inside_crowd))
    assert metrics["AP"] == pytest.approx(1)
    assert metrics["objects"] == metrics["per_class"][0]["objects"] == 1


def test_sizes_are_the_annotated_areas():
    """A mask of 900 px² in a box of 2500 px² is a small object."""
    index = make_index([[{"bbox": [0, 0, 50, 50], "class_id": 0, "area": 900}]], 1)
    metrics = evaluate(index, rows([0.5, 0, 0, 0, 50, 50]))
    assert metrics["APs"] == pytest.approx(1)
    assert metrics["APm"] is None


def test_classes_without_objects_have_no_number():
    index, detections = random_problem(1)
    absent = evaluate(index, detections)["per_class"][-1]
    assert absent["objects"] == 0
    assert {absent[name] for name in ("AP", "AP50", "AP75", "AR", "F1", "threshold")} == {None}
    assert json.dumps(absent)


def test_per_class_numbers_average_to_the_overall_ones():
    index, detections = random_problem(2)
    metrics = evaluate(index, detections)
    with_objects = [row for row in metrics["per_class"] if row["objects"]]
    for name in ("AP", "AP50", "AP75"):
        assert np.mean([row[name] for row in with_objects]) == pytest.approx(metrics[name])
    assert np.mean([row["AR"] for row in with_objects]) == pytest.approx(metrics["AR100"])
    assert [row["category_id"] for row in metrics["per_class"]] == [90, 87, 84, 81]


def test_pictures_seen_twice_count_once():
    index, detections = random_problem(4)
    once = evaluate(index, detections)
    repeated = np.concatenate([np.arange(len(index)), [0, 1, 2]])
    assert evaluate(index, detections, order=repeated) == once
    assert evaluate(index, detections, order=np.repeat(np.arange(len(index)), 2), batch_size=4) == once


def test_unreadable_pictures_are_left_out_with_their_objects():
    index, detections = random_problem(6)
    order = np.arange(len(index))
    order[[2, 5]] = [-1 - 2, -1 - 5]
    evaluator = CocoEvaluator(index)
    evaluator.update(order, detections)
    metrics = evaluator.compute()
    assert evaluator.unreadable == [2, 5]
    assert (metrics["images"], metrics["skipped_images"]) == (len(index) - 2, 2)
    coco_json = as_coco_json(index)
    left_out = {index.image_id(2), index.image_id(5)}
    coco_json["images"] = [image for image in coco_json["images"] if image["id"] not in left_out]
    coco_json["annotations"] = [a for a in coco_json["annotations"] if a["image_id"] not in left_out]
    results = [r for r in as_coco_results(index, detections) if r["image_id"] not in left_out]
    assert metrics["AP"] == pycocotools_stats(coco_json, results)["AP"]


def test_no_readable_picture_is_an_error():
    index, detections = random_problem(6, images=2)
    evaluator = CocoEvaluator(index)
    evaluator.update([-1, -2], detections)
    with pytest.raises(DatasetError, match="none of the 2 pictures of split 'valid' could be read"):
        evaluator.compute()


@pytest.mark.parametrize("backend", EVAL_BACKENDS)
def test_nothing_detected_is_zero(backend):
    index, detections = random_problem(7)
    metrics = evaluate(index, np.full_like(detections, -1), backend=backend)
    assert metrics["AP"] == metrics["AR100"] == 0
    assert metrics["threshold"] is None


@pytest.mark.parametrize("backend", EVAL_BACKENDS)
def test_a_split_without_objects_has_no_numbers(backend):
    index = make_index([[], []], 2)
    metrics = evaluate(index, np.concatenate([rows([0.5, 0, 0, 0, 10, 10]), rows()]), backend=backend)
    assert metrics["AP"] is metrics["ARl"] is metrics["threshold"] is None
    assert metrics["images"] == 2


def test_a_part_of_the_split_is_evaluated_with_a_warning(caplog):
    index, detections = random_problem(8)
    metrics = evaluate(index, detections, order=np.arange(4))
    assert metrics["images"] == 4
    assert "8 pictures that were not evaluated" in caplog.text


def test_reset_starts_again():
    index, detections = random_problem(9)
    evaluator = CocoEvaluator(index)
    results = []
    for _ in range(2):
        evaluator.reset()
        evaluator.update(torch.arange(len(index)), torch.from_numpy(detections).to(torch.float32))
        results.append(evaluator.compute())
        assert evaluator.compute() is results[-1]
    assert results[0] == results[1]
    with pytest.raises(RuntimeError, match="reset"):
        evaluator.update([0], detections[:1])


def test_scores_that_are_not_numbers_are_an_error():
    index, detections = random_problem(10)
    detections[0, 0] = [np.nan, 0, 0, 0, 1, 1]
    with pytest.raises(CheckpointError, match="not finite"):
        CocoEvaluator(index).update(np.arange(len(index)), detections)


def test_classes_the_data_does_not_have_are_an_error():
    index, detections = random_problem(10)
    detections[0, 0] = [0.5, 4, 0, 0, 1, 1]
    with pytest.raises(CheckpointError, match=r"predicts class 4, but valid.json has 4 classes, 0 to 3"):
        CocoEvaluator(index).update(np.arange(len(index)), detections)


@pytest.mark.parametrize("options", [{"max_detections": 0}, {"backend": "torchmetrics"}])
def test_options_are_checked(options):
    with pytest.raises(DatasetError, match=r"max_detections|hotcoco, pycocotools"):
        CocoEvaluator(make_index([[]], 1), **options)


def test_suggested_threshold_separates_hits_from_misses():
    """Ten hits above 0.6, ten misses below 0.3."""
    objects = [[{"bbox": [0, 0, 10, 10], "class_id": 0}] for _ in range(10)]
    detections = np.concatenate(
        [rows([0.6 + 0.01 * i, 0, 0, 0, 10, 10], [0.1 + 0.02 * i, 0, 50, 50, 60, 60]) for i in range(10)]
    )
    metrics = evaluate(make_index(objects, 1), detections)
    assert metrics["F1"] == metrics["per_class"][0]["F1"] == 1
    assert metrics["threshold"] < 0.6
    kept = detections[..., 0] > metrics["threshold"]
    assert kept[:, 0].all()


@pytest.mark.parametrize(("later_precision", "f1", "highest"), [(0.6, 0.75, 0.25), (0.4, 2 / 3, 0.85)])
def test_suggested_threshold_balances_precision_and_recall(later_precision, f1, highest):
    """Precision 1 up to recall 0.5 at scores of 0.85, then less of it up to recall 1 at scores of 0.25."""
    levels = np.arange(101)
    precision = np.where(levels <= 50, 1.0, later_precision)[:, None]
    scores = np.where(levels <= 50, 0.85, 0.25)[:, None]
    best_f1, threshold = suggest_threshold(precision, scores)
    assert best_f1 == pytest.approx(f1)
    assert highest - 0.6 <= threshold < highest


def test_ids_may_be_text():
    index, detections = random_problem(12)
    as_text = dataclasses.replace(
        index, image_ids=PackedStrings(f"image-{i}" for i in range(len(index))), category_ids=("d", "a", "c", "b")
    )
    metrics = evaluate(as_text, detections)
    reference = pycocotools_stats(as_coco_json(as_text), as_coco_results(as_text, detections))
    assert {name: metrics[name] for name in STATS} == reference
    assert [row["category_id"] for row in metrics["per_class"]] == ["d", "a", "c", "b"]


def test_memory_does_not_grow_with_the_boxes():
    """300 detections of 8 numbers per picture would be 1.5 MB per 100 pictures."""
    index, detections = random_problem(0, images=400, most_objects=3, queries=300)
    evaluator = CocoEvaluator(index)
    evaluator.update(np.arange(100), detections[:100])
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for start in range(100, 400, 20):
        evaluator.update(np.arange(start, start + 20), detections[start : start + 20])
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 100_000
