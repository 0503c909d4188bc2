import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from hf_detr.cli.main import main
from hf_detr.evaluation.results import coco_results
from hf_detr.inference.detector import Detector
from tests.evaluation.problems import STATS, pycocotools_stats
from tests.synthetic import annotation_file, edit_json, images_folder, make_coco
from tests.tiny import save_tiny_detector

IDS = {"red": 7, "green": 2, "blue": 5}  # of make_coco's "unsorted"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A detector that knows the classes in another order than the data."""
    return str(save_tiny_detector(tmp_path_factory.mktemp("model"), ("blue", "red", "green")))


@pytest.fixture(scope="module")
def data(tmp_path_factory, model):
    """Pictures whose objects are some of what the model sees in them, a little displaced, so that it finds some."""
    folder = make_coco(tmp_path_factory.mktemp("data"), images=6, category_ids="unsorted", image_ids="unsorted")
    detector = Detector.from_pretrained(model, device="cpu")
    rng = np.random.default_rng(0)
    for split in ("train", "valid"):
        with edit_json(annotation_file(folder, split)) as content:
            content["annotations"] = []
            for image in content["images"]:
                found = detector(images_folder(folder, split) / image["file_name"], threshold=0.0)
                for number in rng.choice(len(found), 8, replace=False):
                    x, y, width, height = coco_results(
                        np.column_stack([found.scores, found.class_ids, found.boxes_xyxy])[[number]], 0
                    )[0]["bbox"]
                    content["annotations"].append(
                        {
                            "id": len(content["annotations"]),
                            "image_id": image["id"],
                            "category_id": IDS[found.labels[number]],
                            "bbox": [x + rng.uniform(0, 2), y, width, height],
                            "area": float(width * height * rng.uniform(1, 30)),
                            "iscrowd": int(rng.random() < 0.1),
                        }
                    )
    return folder


@pytest.fixture(scope="module")
def evaluated(model, data, tmp_path_factory):
    """The output folder of one plain evaluation."""
    folder = tmp_path_factory.mktemp("evaluations") / "first"
    assert main(["evaluate", model, "--data", str(data), "--output_dir", str(folder)]) == 0
    return folder


def evaluate(capsys, *flags):
    """Exit code, and what was printed."""
    code = main(["evaluate", *map(str, flags)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def copy_of(data, folder):
    copied = folder / "data"
    for path in data.rglob("*"):
        if path.is_file():
            (copied / path.relative_to(data)).parent.mkdir(parents=True, exist_ok=True)
            (copied / path.relative_to(data)).write_bytes(path.read_bytes())
    return copied


def test_pycocotools_gives_the_same_numbers_for_the_files_written(data, evaluated):
    truth = json.loads(annotation_file(data, "valid").read_text())
    for annotation in truth["annotations"]:
        annotation["id"] += 1  # pycocotools overlooks matches with annotation 0
    results = json.loads((evaluated / "predictions.json").read_text())
    metrics = json.loads((evaluated / "metrics.json").read_text())
    reference = pycocotools_stats(truth, results)
    assert {name: metrics[name] for name in STATS} == {n: None if v == -1 else v for n, v in reference.items()}
    assert metrics["AP50"] > 0.05
    assert {row["class"]: row["category_id"] for row in metrics["per_class"]} == IDS


def test_metrics_say_how_they_came_about(model, data, evaluated):
    metrics = json.loads((evaluated / "metrics.json").read_text())
    assert (metrics["images"], metrics["skipped_images"], metrics["max_detections"]) == (6, 0, 100)
    assert metrics["model"] == model
    assert (metrics["split"], metrics["annotations"]) == ("valid", str(annotation_file(data, "valid")))
    assert metrics["image_size_hw"] == [64, 64]
    assert {"hf_detr", "torch", "transformers", "hotcoco"} == set(metrics["versions"])
    assert metrics["date"].endswith("+00:00")


def test_predictions_are_drawn(evaluated):
    with Image.open(evaluated / "predictions.png") as grid:
        assert grid.width > 1000 and grid.height > 500


def test_tables_are_printed(capsys, model, data, tmp_path):
    code, out, _ = evaluate(capsys, model, "--data", data, "--output_dir", tmp_path, "--split", "train")
    assert code == 0
    assert "train/_annotations.coco.json (train)" in out
    assert "AP50 " in out and "class" in out and "green" in out
    assert f"{tmp_path}/metrics.json" in out


def test_json_is_printed_and_equals_the_file(capsys, model, data, tmp_path):
    flags = ("--json", "--max_detections", 5, "--eval_backend", "pycocotools", "--image_size", 64, 96)
    code, out, _ = evaluate(capsys, model, "--data", data, "--output_dir", tmp_path, *flags)
    assert code == 0
    metrics = json.loads(out)
    assert metrics == json.loads((tmp_path / "metrics.json").read_text())
    assert {"AR1", "AR5"} < set(metrics) and "AR100" not in metrics
    assert metrics["image_size_hw"] == [64, 96]
    assert "pycocotools" in metrics["versions"]


def test_the_best_threshold_of_each_class_is_stored_with_the_model(capsys, data, model, tmp_path):
    folder = shutil.copytree(model, tmp_path / "model")
    flags = (folder, "--data", data, "--output_dir", tmp_path / "results")
    code, out, _ = evaluate(capsys, *flags, "--save_thresholds")
    assert code == 0
    of_class = {
        row["class"]: row for row in json.loads((tmp_path / "results" / "metrics.json").read_text())["per_class"]
    }
    best = {name: row["threshold"] for name, row in of_class.items() if row["threshold"] is not None}
    stored = json.loads((folder / "config.json").read_text())["detection_thresholds"]
    assert stored == best and 0 < len(best) < 3
    detector = Detector.from_pretrained(folder, device="cpu")
    for class_id, name in detector.id2label.items():
        np.testing.assert_allclose(detector.thresholds()[class_id], best.get(name, 0.5), atol=1e-6)
        assert re.search(rf"  {name} +{best[name]:.2f}" if name in best else rf"  {name} +0\.50, not found", out)
    # they are no part of an evaluation: it counts detections of any confidence
    before = (tmp_path / "results" / "predictions.json").read_bytes()
    assert evaluate(capsys, *flags)[0] == 0
    assert (tmp_path / "results" / "predictions.json").read_bytes() == before


def test_thresholds_are_stored_in_folders_only(capsys, data):
    code, _, err = evaluate(capsys, "someone/model", "--data", data, "--save_thresholds")
    assert code == 2 and "there is no someone/model/config.json" in err and "download it to a folder first" in err


def test_results_go_beside_the_model_by_default(capsys, data, tmp_path):
    model = save_tiny_detector(tmp_path / "run", ("blue", "red", "green"))
    images, annotations = images_folder(data, "valid"), annotation_file(data, "valid")
    assert evaluate(capsys, model, "--data", data)[0] == 0
    assert (model / "evaluation-valid" / "metrics.json").is_file()
    assert evaluate(capsys, model, "--images", images, "--annotations", annotations)[0] == 0
    assert (model / "evaluation-_annotations.coco" / "metrics.json").is_file()


def test_the_same_evaluation_may_be_repeated_but_not_replaced_by_another(capsys, model, data, tmp_path):
    here = ("--output_dir", tmp_path)
    assert evaluate(capsys, model, "--data", data, *here)[0] == 0
    assert evaluate(capsys, model, "--data", data, *here, "--batch_size", 2, "--num_workers", 1)[0] == 0
    before = (tmp_path / "metrics.json").read_bytes()
    code, _, err = evaluate(capsys, model, "--data", data, *here, "--split", "train")
    assert code == 2
    assert "already holds another evaluation (split valid, not train" in err
    assert (tmp_path / "metrics.json").read_bytes() == before
    assert evaluate(capsys, model, "--data", data, *here, "--split", "train", "--overwrite")[0] == 0


def test_a_foreign_metrics_file_is_not_replaced(capsys, model, data, tmp_path):
    (tmp_path / "metrics.json").write_text("[]")
    code, _, err = evaluate(capsys, model, "--data", data, "--output_dir", tmp_path)
    assert code == 2
    assert "its origin is not known" in err


def test_unreadable_pictures_are_counted_and_named(capsys, caplog, model, data, tmp_path):
    copied = copy_of(data, tmp_path)
    broken = images_folder(copied, "valid") / "0002.jpg"
    broken.write_bytes(b"")
    assert evaluate(capsys, model, "--data", copied, "--output_dir", tmp_path / "out")[0] == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (metrics["images"], metrics["skipped_images"]) == (5, 1)
    assert metrics["unreadable"] == [str(broken)]
    assert str(broken) in caplog.text
    predicted = {result["image_id"] for result in json.loads((tmp_path / "out" / "predictions.json").read_text())}
    assert len(predicted) == 5


def test_no_readable_picture_leaves_nothing_behind(capsys, model, data, tmp_path):
    copied = copy_of(data, tmp_path)
    for picture in images_folder(copied, "valid").glob("*.jpg"):
        picture.write_bytes(b"")
    code, _, err = evaluate(capsys, model, "--data", copied, "--output_dir", tmp_path / "out")
    assert code == 2
    assert "none of the 6 pictures of split 'valid' could be read" in err
    assert not list((tmp_path / "out").iterdir())


def test_other_classes_are_an_error_that_lists_both(capsys, data, tmp_path):
    model = save_tiny_detector(tmp_path / "model", ("blue", "crimson", "green", "white"))
    here = ("--data", data, "--output_dir", tmp_path / "out")
    code, _, err = evaluate(capsys, model, *here)
    assert code == 2
    assert "model, 4 classes: blue, crimson, green, white" in err
    assert "data, 3 classes: green, blue, red" in err
    assert "only in the model: crimson, white" in err
    assert "only in the data: red" in err
    assert not (tmp_path / "out").exists()
    assert evaluate(capsys, model, *here, "--class_map", "crimson:red", "--ignore_extra_classes")[0] == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "Evaluate on what? Give either --data DIR, or --images DIR and --annotations FILE."),
        (("--images", "here"), "--images and --annotations go together"),
        (("--data", "{data}", "--split", "test"), "has no test split. It has: train, valid. Choose one with --split."),
        (("--data", "{data}/nowhere"), "no such folder"),
        (("--data", "{data}", "--device", "cuda:77"), "is not available; this machine has: "),
        (("--data", "{data}", "--image_size", "50"), "multiples of 32"),
    ],
)
def test_bad_input_exits_with_2_and_says_why(capsys, model, data, tmp_path, flags, message):
    flags = [flag.format(data=data) for flag in flags]
    code, out, err = evaluate(capsys, model, *flags, "--output_dir", tmp_path / "out")
    assert (code, out) == (2, "")
    assert message in err
    assert not (tmp_path / "out").exists()


def test_a_model_that_is_not_there(capsys, data, tmp_path):
    code, _, err = evaluate(capsys, tmp_path / "none", "--data", data, "--output_dir", tmp_path / "out")
    assert code == 2
    assert "there is no folder" in err


@pytest.mark.parametrize("flags", [("--batch_size", "0"), ("--max_detections", "0"), ("--image_size", "1", "2", "3")])
def test_flags_out_of_range(capsys, model, data, flags):
    with pytest.raises(SystemExit, match="2"):
        main(["evaluate", model, "--data", str(data), *flags])
    assert flags[0] in capsys.readouterr().err
