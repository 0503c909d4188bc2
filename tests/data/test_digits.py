"""The demonstration data set: an ordinary COCO folder of unseen handwriting in tight boxes."""

import json
import runpy
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("sklearn")

from hf_detr.data import digits
from hf_detr.data.coco import load_coco
from hf_detr.data.digits import WRITTEN_FOR, DigitsOptions, draw_ink, draw_picture, make_digits
from hf_detr.data.splits import find_splits
from hf_detr.errors import DatasetError

FEW = DigitsOptions(train=12, valid=4, test=5, empty_share=0.2)
SCRIPT = Path(__file__).parents[2] / "scripts" / "make_digits.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "digits"
    assert make_digits(path, FEW)
    return path


@pytest.fixture(scope="module")
def handwriting() -> tuple[np.ndarray, np.ndarray]:
    return digits.load_handwriting()


def annotations_of(folder: Path, split: str) -> dict:
    return json.loads((folder / split / "_annotations.coco.json").read_text())


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_it_is_an_ordinary_coco_folder(folder):
    splits = find_splits(folder)
    assert set(splits) == {"train", "valid", "test"}
    for name, split in splits.items():
        dataset = load_coco(split.images_dir, split.annotations_path)
        assert len(dataset) == getattr(FEW, name)
        assert list(dataset.id2label.values()) == [str(digit) for digit in range(10)]
        assert dataset.index.category_ids == tuple(range(1, 11))
        for position, sample in enumerate(dataset):
            assert tuple(dataset.index.sizes_hw[position]) == sample["image"].shape[:2]
            assert 160 <= min(sample["image"].shape[:2]) and max(sample["image"].shape[:2]) <= 224


def test_some_pictures_have_no_digits_and_none_too_many(handwriting):
    options = DigitsOptions(empty_share=0.2, max_digits=4)
    counts = Counter()
    for number in range(200):
        rng = np.random.default_rng(number)
        _, boxes_xywh, samples = draw_picture(handwriting[0], np.arange(1797), rng, options)
        assert len(boxes_xywh) == len(samples)
        counts[len(samples)] += 1
    assert set(counts) == {0, 1, 2, 3, 4} and counts[0] == pytest.approx(40, abs=15)


def test_boxes_lie_inside_and_apart(handwriting):
    for number in range(50):
        rng = np.random.default_rng(number)
        picture, boxes_xywh, _ = draw_picture(handwriting[0], np.arange(1797), rng, DigitsOptions())
        covered = np.zeros(picture.shape[:2], dtype=int)
        for x, y, w, h in boxes_xywh:
            assert min(x, y) >= 0 and w >= 3 and h >= 10
            assert y + h <= picture.shape[0] and x + w <= picture.shape[1]
            covered[y : y + h, x : x + w] += 1
        assert covered.max(initial=0) <= 1


def test_boxes_are_tight_around_ink_that_can_be_seen(handwriting, monkeypatch):
    """On a plain ground what differs from it is the ink."""
    monkeypatch.setattr(
        digits, "draw_ground", lambda size_hw, rng: np.full((*size_hw, 3), rng.uniform(25, 230), np.float32)
    )
    for number in range(30):
        rng = np.random.default_rng(number)
        picture, boxes_xywh, _ = draw_picture(handwriting[0], np.arange(1797), rng, DigitsOptions(max_digits=1))
        for x, y, w, h in boxes_xywh:
            grey = picture.astype(float) @ digits.LUMINANCE
            ground = np.median(np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]]))
            contrast = np.abs(grey - ground)
            assert np.percentile(contrast[y : y + h, x : x + w], 99) > 40
            ink = contrast > np.percentile(contrast[y : y + h, x : x + w], 97) / 2
            rows, columns = np.nonzero(ink)
            found = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            assert np.abs(found - [x, y, x + w, y + h]).max() <= 2


@pytest.mark.parametrize("height", [20, 40, 90])
def test_ink_has_about_the_height_that_was_asked_for(handwriting, height):
    rng = np.random.default_rng(0)
    drawn = [draw_ink(glyph, height, rng) for glyph in handwriting[0][:100]]
    assert np.mean([ink.shape[0] for ink in drawn]) == pytest.approx(height, rel=0.15)
    assert all(0 <= ink.min() and ink.max() == 1 for ink in drawn)


def test_handwriting_is_not_shared_between_splits(handwriting):
    shares = [set(samples) for samples in WRITTEN_FOR.values()]
    assert not shares[0] & shares[1] and not shares[0] & shares[2] and not shares[1] & shares[2]
    assert set().union(*shares) == set(range(len(handwriting[0])))
    for samples in WRITTEN_FOR.values():
        assert set(handwriting[1][list(samples)]) == set(range(10))


def test_annotated_class_is_what_was_written(folder, handwriting):
    """The annotations name the class of the sample: drawing the first test picture again gives the same ones."""
    rng = np.random.default_rng([FEW.seed, 2, 0])
    picture, boxes_xywh, samples = draw_picture(handwriting[0], np.array(WRITTEN_FOR["test"]), rng, FEW)
    rows = [row for row in annotations_of(folder, "test")["annotations"] if row["image_id"] == 1]
    assert [row["bbox"] for row in rows] == boxes_xywh
    assert [row["category_id"] - 1 for row in rows] == handwriting[1][samples].tolist()
    on_disk = np.asarray(Image.open(folder / "test" / "00000.jpg")).astype(int)
    assert np.abs(on_disk - picture).mean() < 8


def test_same_options_same_bytes(folder, tmp_path):
    make_digits(tmp_path / "again", FEW)
    assert content_of(tmp_path / "again") == content_of(folder)
    make_digits(tmp_path / "other", DigitsOptions(train=1, valid=1, test=1, seed=1))
    assert content_of(tmp_path / "other")["train/00000.jpg"] != content_of(folder)["train/00000.jpg"]


def test_more_pictures_keep_the_first_ones(folder, tmp_path):
    make_digits(tmp_path / "more", DigitsOptions(train=14, valid=1, test=1, empty_share=0.2))
    assert content_of(tmp_path / "more")["train/00011.jpg"] == content_of(folder)["train/00011.jpg"]


def test_a_set_that_is_there_is_left_alone(folder):
    before = content_of(folder)
    assert make_digits(folder, FEW) is False
    assert content_of(folder) == before


def test_an_empty_folder_is_filled(tmp_path):
    assert make_digits(tmp_path, DigitsOptions(train=1, valid=1, test=1))
    assert (tmp_path / "train" / "00000.jpg").is_file()


@pytest.mark.parametrize("what", ["other options", "a picture missing", "a stranger's file", "a file"])
def test_anything_else_is_never_overwritten(tmp_path, what):
    one = DigitsOptions(train=1, valid=1, test=1)
    target = tmp_path / "digits"
    match what:
        case "other options":
            make_digits(target, DigitsOptions(train=2, valid=1, test=1))
        case "a picture missing":
            make_digits(target, one)
            (target / "valid" / "00000.jpg").unlink()
        case "a stranger's file":
            target.mkdir()
            (target / "thesis.tex").write_text("mine")
        case "a file":
            target.write_text("mine")
    before = content_of(tmp_path)
    with pytest.raises(DatasetError, match=r"digits holds something other than this digits data set.*another folder"):
        make_digits(target, one)
    assert content_of(tmp_path) == before


def test_interrupted_it_leaves_nothing_behind(tmp_path, monkeypatch):
    calls = []

    def interrupted(*args, **kwargs):
        calls.append(args)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return draw_picture(*args, **kwargs)

    monkeypatch.setattr(digits, "draw_picture", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_digits(tmp_path / "digits", FEW)
    assert list(tmp_path.iterdir()) == []


def test_script(tmp_path, capsys):
    script = runpy.run_path(str(SCRIPT))
    command = [str(tmp_path / "digits"), "--train", "2", "--valid", "1", "--test", "1"]
    assert script["main"](command) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'digits'}: made\n"
    assert script["main"](command) == 0
    assert "is there already" in capsys.readouterr().out
    assert script["main"]([*command, "--seed", "4"]) == 2
    assert "holds something other" in capsys.readouterr().err
