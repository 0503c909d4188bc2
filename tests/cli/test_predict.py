import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from hf_detr.cli.main import main
from hf_detr.cli.predict import SAVED, TRACKED
from hf_detr.inference.detector import Detector
from hf_detr.inference.outputs.folder import OUTPUTS
from hf_detr.inference.tracking import TRACKERS
from tests.synthetic import images_folder, make_coco
from tests.tiny import save_tiny_detector


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_detector(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with 5 pictures."""
    return images_folder(make_coco(tmp_path_factory.mktemp("data"), images=5, splits=("valid",)), "valid")


def predict(capsys, *flags):
    """Exit code, and what was printed."""
    code = main(["predict", *map(str, flags)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_folder_becomes_pictures_and_coco_results(capsys, model, folder, tmp_path):
    out = tmp_path / "out"
    code, printed, _ = predict(capsys, model, folder, "--output_dir", out, "--threshold", 0.97, "--batch_size", 2)
    assert code == 0
    results = json.loads((out / "detections.json").read_text())
    paths = sorted(folder.glob("*.jpg"))
    expected = Detector.from_pretrained(model, device="cpu")(paths, threshold=0.97)
    assert f"5 pictures, {sum(map(len, expected))} objects" in printed
    for image_id, (path, found) in enumerate(zip(paths, expected, strict=True), start=1):
        here = [result for result in results if result["file_name"] == str(path)]
        assert [result["category_name"] for result in here] == list(found.labels)
        assert [result["category_id"] for result in here] == found.class_ids.tolist()
        assert {result["image_id"] for result in here} <= {image_id}
        np.testing.assert_allclose([result["score"] for result in here], found.scores, atol=1e-6)
        with Image.open(out / "pictures" / path.name) as drawn, Image.open(path) as original:
            assert drawn.size == original.size
            assert (np.asarray(drawn) != np.asarray(original)).any()


def test_pictures_may_be_left_out(capsys, model, folder, tmp_path):
    assert predict(capsys, model, folder / "0001.jpg", "--output_dir", tmp_path, "--save", "coco")[0] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["detections.json", "prediction.json"]


def test_earlier_results_are_not_replaced_silently(capsys, model, folder, tmp_path):
    flags = (model, folder / "0001.jpg", "--output_dir", tmp_path)
    assert predict(capsys, *flags)[0] == 0
    before = (tmp_path / "detections.json").read_bytes()
    code, _, err = predict(capsys, *flags, "--threshold", 0.1)
    assert code == 2
    assert "already holds results" in err and "--overwrite" in err
    assert (tmp_path / "detections.json").read_bytes() == before
    assert predict(capsys, *flags, "--threshold", 0.98, "--overwrite")[0] == 0
    assert (tmp_path / "detections.json").read_bytes() != before


def test_unreadable_pictures_are_named_and_left_out(capsys, caplog, model, folder, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"not a picture")
    code, out, _ = predict(capsys, model, broken, folder / "0000.jpg", "--output_dir", tmp_path / "out")
    assert code == 0
    assert "1 pictures" in out
    assert "1 of 2 cannot be read" in caplog.text and str(broken) in caplog.text
    results = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert {result["image_id"] for result in results} == {2}


def test_only_unreadable_pictures_are_an_error(capsys, model, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"not a picture")
    code, _, err = predict(capsys, model, broken, "--output_dir", tmp_path / "out")
    assert code == 2
    assert err.startswith(f"hf-detr predict: {broken}: cannot read this picture")
    again = tmp_path / "again.png"
    again.write_bytes(b"nor is this")
    code, _, err = predict(capsys, model, broken, again, "--output_dir", tmp_path / "out")
    assert code == 2
    assert "None of the 2 pictures and videos can be read" in err and str(broken) in err and str(again) in err
    assert list((tmp_path / "out").iterdir()) == []


def test_what_no_prediction_wrote_is_never_replaced(capsys, model, folder, tmp_path):
    (tmp_path / "pictures").mkdir()
    mine = tmp_path / "pictures" / "mine.txt"
    mine.write_text("precious")
    flags = (model, folder / "0001.jpg", "--output_dir", tmp_path)
    code, _, err = predict(capsys, *flags)
    assert code == 2 and "already holds results: pictures" in err
    code, _, err = predict(capsys, *flags, "--overwrite")
    assert code == 2 and f"{tmp_path} has pictures, which no earlier prediction wrote" in err
    assert mine.read_text() == "precious" and [path.name for path in tmp_path.iterdir()] == ["pictures"]


def test_overwriting_leaves_nothing_of_the_earlier_results(capsys, model, folder, tmp_path):
    out = tmp_path / "out"
    assert predict(capsys, model, folder, "--output_dir", out, "--save", "csv", "yolo", "pictures")[0] == 0
    assert len(list((out / "yolo" / "labels").iterdir())) == 5
    (out / "notes.txt").write_text("mine")
    flags = ("--output_dir", out, "--save", "yolo", "coco")
    code, _, err = predict(capsys, model, folder / "0001.jpg", *flags)
    assert code == 2 and "detections.csv, pictures, prediction.json, yolo" in err
    assert predict(capsys, model, folder / "0001.jpg", *flags, "--overwrite")[0] == 0
    assert sorted(path.name for path in out.iterdir()) == ["detections.json", "notes.txt", "prediction.json", "yolo"]
    assert [path.name for path in (out / "yolo" / "labels").iterdir()] == ["0001.txt"]


def test_the_report_says_how_it_was_made(capsys, model, folder, tmp_path):
    flags = ("--threshold", 0.3, "green=0.6", "--classes", "green", "red", "--max_detections", 4)
    assert predict(capsys, model, folder, "--output_dir", tmp_path, "--save", "coco", *flags)[0] == 0
    report = json.loads((tmp_path / "prediction.json").read_text())
    results = json.loads((tmp_path / "detections.json").read_text())
    assert report["thresholds"] == {"red": 0.3, "green": 0.6, "blue": 0.3}
    assert (report["pictures"], report["frames"], report["complete"]) == (5, 0, True)
    assert report["objects"] == dict(Counter(result["category_name"] for result in results))
    assert 0 < len(results) <= 20 and report["results"] == ["detections.json"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--classes", "gren"), "no class 'gren'. Did you mean 'green'? Its 3 classes: red, green, blue."),
        (("--threshold", "gren=0.3"), "no class 'gren'. Did you mean 'green'?"),
        (("--threshold", "40"), "a confidence from 0 to 1, not 40"),
    ],
)
def test_classes_and_thresholds_that_cannot_be(flags, message, capsys, model, folder, tmp_path):
    code, _, err = predict(capsys, model, folder, "--output_dir", tmp_path / "out", *flags)
    assert code == 2 and message in err
    assert list((tmp_path / "out").glob("*")) == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--threshold", "high"), "--threshold takes a number, or CLASS=NUMBER; got 'high'"),
        (("--every", "0"), "--every must be 1 or more"),
        (("--save", "xml"), "invalid choice: 'xml'"),
    ],
)
def test_flags_that_cannot_be(flags, message, capsys, model, folder, tmp_path):
    with pytest.raises(SystemExit, match="2"):
        predict(capsys, model, folder, "--output_dir", tmp_path / "out", *flags)
    assert message in capsys.readouterr().err


def test_the_help_lists_what_there_is():
    assert SAVED == tuple(OUTPUTS) and TRACKED == TRACKERS


def test_a_model_that_is_not_there(capsys, folder, tmp_path):
    code, _, err = predict(capsys, tmp_path / "none", folder, "--output_dir", tmp_path / "out")
    assert code == 2
    assert "there is no folder" in err
