"""Annotations that are read once: for checks, and then for the index."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hf_detr.cli.main import main
from hf_detr.cli.train_data import refuse_bad_data
from hf_detr.data import formats
from hf_detr.data.checks import check_dataset, check_fast
from hf_detr.data.splits import Split, find_splits, load_index, read_splits
from hf_detr.errors import DatasetError
from hf_detr.recipes import load_recipe
from tests.formats import make_csv, make_voc, make_yolo
from tests.synthetic import make_coco

WRITERS: dict[str, Callable] = {"yolo": make_yolo, "voc": make_voc, "csv": make_csv}


@pytest.fixture(params=WRITERS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def data(kind: str, tmp_path: Path) -> Path:
    coco = make_coco(tmp_path / "coco", images=3)
    WRITERS[kind](coco, tmp_path / kind)
    return tmp_path / kind


@pytest.fixture
def reads(kind: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the splits whose annotations are read from here on."""
    seen, read = [], formats._READERS[kind]

    def spy(split: Split):
        seen.append(split.name)
        return read(split)

    monkeypatch.setitem(formats._READERS, kind, spy)
    return seen


def test_checks_and_index_share_one_reading(data: Path, reads: list[str]) -> None:
    plain = {name: load_index(split) for name, split in find_splits(data).items()}
    reads.clear()
    splits = read_splits(find_splits(data))
    assert check_fast(splits) == check_fast(splits) and check_dataset(splits, read_images=False).exit_code == 0
    for name, split in splits.items():
        index = load_index(split, plain["train"].class_names)
        np.testing.assert_array_equal(index.boxes_xywh, plain[name].boxes_xywh)
        np.testing.assert_array_equal(index.class_ids, plain[name].class_ids)
    assert reads == ["train", "valid"]
    np.testing.assert_array_equal(load_index(splits["train"]).boxes_xywh, plain["train"].boxes_xywh)
    assert reads == ["train", "valid", "train"], "what has been used is not kept"


def test_the_doctor_reads_once_for_report_and_sample(
    data: Path, reads: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["check", str(data), "--output_dir", str(tmp_path / "seen")]) == 0
    assert (tmp_path / "seen" / "sample.png").is_file()
    assert reads == ["train", "valid"]


def test_what_cannot_be_read_is_reported_for_all_splits(tmp_path: Path) -> None:
    nowhere = {name: Split(name, tmp_path / name, tmp_path / f"{name}.json") for name in ("train", "valid")}
    with pytest.raises(DatasetError, match=r"train: no such folder of pictures.*\n.*valid: no such folder"):
        read_splits(nowhere)


def test_a_run_reads_once_for_its_checks_and_its_data(data: Path, reads: list[str]) -> None:
    splits = refuse_bad_data(find_splits(data), load_recipe(None, {"data": str(data)}))
    for split in splits.values():
        load_index(split)
    assert reads == ["train", "valid"]
