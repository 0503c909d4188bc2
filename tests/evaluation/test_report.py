from hf_detr.evaluation.coco import CocoEvaluator
from hf_detr.evaluation.report import render_metrics
from tests.evaluation.problems import make_index, random_problem


def metrics_of(index, detections):
    evaluator = CocoEvaluator(index)
    evaluator.update(list(range(len(index))), detections)
    return evaluator.compute()


def test_the_twelve_numbers_and_all_classes_are_shown():
    metrics = metrics_of(*random_problem(0))
    text = render_metrics(metrics)
    for name in ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"):
        assert f"\n  {name:<6} {metrics[name]:.3f}   " in text
    assert all(row["class"] in text for row in metrics["per_class"])
    assert f"Suggested threshold: {metrics['threshold']:.2f}" in text
    assert max(map(len, text.splitlines())) <= 100


def test_classes_without_objects_show_a_dash_and_come_last():
    text = render_metrics(metrics_of(*random_problem(0)))
    assert text.splitlines()[-1].split() == ["class", "3", "0", *"––––––"]


def test_of_many_classes_the_best_and_worst_are_shown():
    metrics = metrics_of(*random_problem(1, num_classes=80, images=40))
    lines = render_metrics(metrics, most_classes=10).splitlines()
    ranked = sorted((row["AP"] for row in metrics["per_class"] if row["AP"] is not None), reverse=True)
    assert f"{ranked[0]:.3f}" in lines[-11]
    assert "... 70 classes between; all are in metrics.json" in lines


def test_long_and_wide_names_keep_the_columns():
    index = make_index([[]], 3)
    metrics = metrics_of(index, [[[-1] * 6]])
    for row, name in zip(metrics["per_class"], ["x" * 200, "信号機" * 20, "cat"], strict=True):
        row["class"] = name
    wide, long, short = (render_metrics(metrics).splitlines()[-3 + k] for k in (1, 0, 2))
    assert len(long) == len(short) <= 100
    assert len(wide) == len(short) - wide.count("信") - wide.count("号") - wide.count("機")
