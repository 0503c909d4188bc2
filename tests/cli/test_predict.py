import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hf_detr.cli.main import main
from hf_detr.cli.predict import find_pictures, picture_targets
from hf_detr.errors import DatasetError
from hf_detr.inference.detector import Detector
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
    assert predict(capsys, model, folder / "0001.jpg", "--output_dir", tmp_path, "--no_pictures")[0] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["detections.json"]


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
    assert "1 of 2 pictures cannot be read" in caplog.text and str(broken) in caplog.text
    results = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert {result["image_id"] for result in results} == {2}


def test_only_unreadable_pictures_are_an_error(capsys, model, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"not a picture")
    code, _, err = predict(capsys, model, broken, "--output_dir", tmp_path / "out")
    assert code == 2
    assert "None of the 1 pictures can be read" in err and str(broken) in err
    assert not (tmp_path / "out" / "detections.json").exists()


def test_sources_are_files_folders_and_patterns(folder, tmp_path):
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (below / "x.JPG").touch()
    (below / "notes.txt").touch()
    (tmp_path / "a" / "y.png").touch()
    out = tmp_path / "a" / "out"
    (out / "pictures").mkdir(parents=True)
    (out / "pictures" / "x.jpg").touch()
    found = find_pictures([f"{tmp_path}/**/*.png", str(tmp_path / "a"), str(folder / "0001.jpg")], leave_out=out)
    assert found == [tmp_path / "a" / "y.png", below / "x.JPG", folder / "0001.jpg"]


@pytest.mark.parametrize(
    ("source", "message"), [("none.jpg", "no such file or folder"), ("*.jpg", "no pictures there")]
)
def test_sources_without_pictures(source, message, tmp_path):
    with pytest.raises(DatasetError, match=message):
        find_pictures([str(tmp_path / source)], leave_out=tmp_path / "out")


def test_pictures_of_equal_name_go_to_different_places():
    paths = [Path(text) for text in ("a/x.png", "b/x.png", "b/x.jpg", "c/X.jpg", "/x.png", "../b/x.tif", "y.v2.jpg")]
    targets = picture_targets(paths)
    assert [str(targets[path]) for path in paths] == [
        "x.jpg",
        "b/x.jpg",
        "x-2.jpg",
        "c/X.jpg",
        "x-3.jpg",
        "x-4.jpg",
        "y.v2.jpg",
    ]


def test_a_model_that_is_not_there(capsys, folder, tmp_path):
    code, _, err = predict(capsys, tmp_path / "none", folder, "--output_dir", tmp_path / "out")
    assert code == 2
    assert "there is no folder" in err
