"""The same data set in every format is the same data set: equal pictures, boxes and classes, and so equal training."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hf_detr.data.checks import check_dataset
from hf_detr.data.dataset import DetectionDataset
from hf_detr.data.splits import find_splits, load_index
from tests.formats import make_csv, make_voc, make_yolo
from tests.synthetic import make_coco
from tests.tiny import IMAGE_SIZE_HW
from tests.training.runs import losses, make_trainer

WRITERS: dict[str, Callable[[Path, Path], Path]] = {"yolo": make_yolo, "voc": make_voc, "csv": make_csv}
TOLERANCE_PIXELS = 1e-3


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("coco")
    return make_coco(
        folder, images=8, empty_images=2, size_hw=IMAGE_SIZE_HW, category_ids="unsorted", shuffle_annotations=True
    )


@pytest.fixture(scope="module")
def twins(coco: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The data set in every format."""
    made = {name: write(coco, tmp_path_factory.mktemp("twin") / name) for name, write in WRITERS.items()}
    return {"coco": coco} | made


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("split", ["train", "valid"])
def test_samples_are_those_of_the_coco_folder(twins: dict[str, Path], kind: str, split: str) -> None:
    expected = DetectionDataset(load_index(find_splits(twins["coco"])[split]))
    found = find_splits(twins[kind])[split]
    assert found.format == kind
    # Formats without a list of classes have them in alphabetical order; a model's classes make them agree.
    dataset = DetectionDataset(load_index(found, expected.index.class_names))
    assert dataset.index.class_names == expected.index.class_names
    assert len(dataset) == len(expected)
    np.testing.assert_array_equal(dataset.index.first, expected.index.first)
    np.testing.assert_allclose(dataset.index.areas, expected.index.areas, rtol=1e-4)
    for sample, same in zip(dataset, expected, strict=True):
        np.testing.assert_array_equal(sample["image"], same["image"])
        np.testing.assert_allclose(sample["boxes_xyxy"], same["boxes_xyxy"], atol=TOLERANCE_PIXELS)
        np.testing.assert_array_equal(sample["class_ids"], same["class_ids"])


@pytest.mark.parametrize("kind", WRITERS)
def test_the_doctor_finds_in_each_what_it_finds_in_coco(twins: dict[str, Path], kind: str) -> None:
    report, expected = check_dataset(twins[kind]), check_dataset(twins["coco"])
    assert [finding.check for finding in report.findings] == [finding.check for finding in expected.findings]
    for split, figures in expected.statistics.items():
        same = report.statistics[split]
        assert same["objects_per_image"] == figures["objects_per_image"]
        assert same["box_sizes"] == figures["box_sizes"]
        assert same["image_sizes"] == figures["image_sizes"]
        counts = {row["name"]: row["objects"] for row in figures["classes"]}
        assert {row["name"]: row["objects"] for row in same["classes"]} == counts


@pytest.mark.slow
def test_training_learns_the_same_from_every_format(twins: dict[str, Path], tmp_path: Path) -> None:
    for kind in ("voc", "csv"):
        (twins[kind] / "classes.txt").write_text("green\nblue\nred\n")  # by their ids in the COCO file: 2, 5, 7
    results = {}
    for kind, data in twins.items():
        trainer = make_trainer(tmp_path / kind, data=data, num_train_epochs=60)
        trainer.train()
        results[kind] = {"loss": list(losses(trainer).values()), "AP": [trainer.evaluate()["eval_AP"]]}
    assert results["coco"]["AP"][0] > 0.2
    for kind in WRITERS:
        np.testing.assert_allclose(results[kind]["loss"][:20], results["coco"]["loss"][:20], rtol=1e-3, err_msg=kind)
        assert results[kind]["AP"] == pytest.approx(results["coco"]["AP"], abs=0.02), kind
