import json
import shutil

import numpy as np
import pytest
from transformers import AutoConfig

import hf_detr
from hf_detr.errors import CheckpointError, HfDetrError
from hf_detr.inference.detector import Detector
from hf_detr.inference.thresholds import class_mask, class_thresholds
from hf_detr.models.loading import load_detector, load_for_finetuning

ID2LABEL = {0: "red", 1: "green", 2: "blue"}


def with_thresholds(model_folder, folder, thresholds):
    shutil.copytree(model_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "detection_thresholds": thresholds}))
    return folder


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        (None, [0.3, 0.5, 0.5]),
        (0.7, [0.7, 0.7, 0.7]),
        (0, [0, 0, 0]),
        ({"blue": 0.9}, [0.3, 0.5, 0.9]),
        ({"red": 0.1}, [0.1, 0.5, 0.5]),
        ({}, [0.3, 0.5, 0.5]),
    ],
)
def test_asked_for_comes_before_stored_before_a_half(threshold, expected):
    np.testing.assert_array_equal(class_thresholds(threshold, ID2LABEL, {"red": 0.3}), np.float32(expected))


@pytest.mark.parametrize(
    ("threshold", "message"),
    [
        ({"gren": 0.4}, r"no class 'gren'\. Did you mean 'green'\? Its 3 classes: red, green, blue\."),
        ({"red": 40}, "confidence from 0 to 1, not 40"),
        (-0.1, "confidence from 0 to 1, not -0.1"),
    ],
)
def test_thresholds_that_cannot_be(threshold, message):
    with pytest.raises(HfDetrError, match=message):
        class_thresholds(threshold, ID2LABEL, {})


def test_many_classes_are_not_all_listed():
    with pytest.raises(HfDetrError, match=r"Its 80 classes: c0, .*, c19 and 60 more\.$"):
        class_mask(["x"], {number: f"c{number}" for number in range(80)})


def test_classes_are_chosen_by_name(model_folder, pictures):
    detector = Detector.from_pretrained(model_folder, device="cpu")
    for path in pictures:
        everything = detector(path, threshold=0, max_detections=90)
        chosen = detector(path, threshold=0, max_detections=90, classes=["blue", "red"])
        assert set(chosen.labels) == {"red", "blue"} and set(everything.labels) == {"red", "green", "blue"}
        np.testing.assert_array_equal(chosen.boxes_xyxy, everything.of_classes(["red", "blue"]).boxes_xyxy)
    with pytest.raises(HfDetrError, match=r"no class 'rad'\. Did you mean 'red'\?"):
        detector(pictures[0], classes=["rad"])


def test_stored_thresholds_are_used_and_kept(model_folder, pictures, tmp_path):
    plain = Detector.from_pretrained(model_folder, device="cpu")
    everything = plain(pictures[0], threshold=0.0)
    label, middle = everything.labels[0], float(everything.scores[14])
    folder = with_thresholds(model_folder, tmp_path / "model", {label: middle})
    detector = Detector.from_pretrained(folder, device="cpu")
    assert len(plain(pictures[0])) == 30 and len(detector(pictures[0])) == 14
    assert len(detector(pictures[0], threshold=0.5)) == 30
    assert len(detector(pictures[0], threshold={label: 0.5})) == 30
    model, _ = load_detector(folder)
    model.save_pretrained(tmp_path / "again")
    assert AutoConfig.from_pretrained(tmp_path / "again").detection_thresholds == {label: middle}


@pytest.mark.slow
def test_exports_keep_them(model_folder, pictures, tmp_path):
    folder = with_thresholds(model_folder, tmp_path / "model", {"red": 0.9, "blue": 0.25})
    picture = np.zeros((64, 64, 3), np.uint8)
    hf_detr.export_detector(folder, tmp_path / "onnx", pictures=[picture])
    exported = Detector.from_pretrained(tmp_path / "onnx", device="cpu")
    np.testing.assert_array_equal(exported.thresholds(), np.float32([0.9, 0.5, 0.25]))


def test_they_do_not_carry_over_to_a_new_training(model_folder, tmp_path):
    folder = with_thresholds(model_folder, tmp_path / "model", {"red": 0.9})
    model, _ = load_for_finetuning(folder, id2label={0: "red", 1: "cat"})
    assert Detector.from_model(model, load_detector(folder)[1], device="cpu").stored_thresholds == {}


@pytest.mark.parametrize("thresholds", [{"pink": 0.4}, {"red": "high"}, {"red": 2}])
def test_stored_thresholds_that_cannot_be(thresholds, model_folder, tmp_path):
    folder = with_thresholds(model_folder, tmp_path / "model", thresholds)
    with pytest.raises(CheckpointError, match=r"detection_thresholds in the model's config\.json must map"):
        Detector.from_pretrained(folder, device="cpu")
