import dataclasses
from pathlib import Path

import numpy as np
import pytest

from hf_detr.data.coco import load_coco
from hf_detr.data.dataset import DetectionDataset
from hf_detr.data.index import DetectionIndex, PackedStrings
from hf_detr.data.sampling import EpochSampler, class_shares, draw_counts, epoch_length, plan_repeats, repeat_factors
from hf_detr.errors import DatasetError
from tests.synthetic import annotation_file, images_folder, make_coco


def index_of(classes_of_images: list[list[int]], num_classes: int = 3) -> DetectionIndex:
    """An index of pictures that nobody opens, with these classes in each."""
    counts = [len(classes) for classes in classes_of_images]
    total = sum(counts)
    return DetectionIndex(
        name="train",
        images_dir=Path("pictures"),
        annotations_path=Path("train.json"),
        file_names=PackedStrings(f"{i}.jpg" for i in range(len(counts))),
        image_ids=np.arange(len(counts)),
        sizes_hw=np.full((len(counts), 2), 100, dtype=np.int32),
        first=np.concatenate([[0], np.cumsum(counts)]),
        boxes_xywh=np.tile([10.0, 10.0, 5.0, 5.0], (total, 1)),
        class_ids=np.array([c for classes in classes_of_images for c in classes], dtype=np.int32),
        areas=np.full(total, 25.0),
        is_crowd=np.zeros(total, dtype=bool),
        category_ids=tuple(range(num_classes)),
        class_names=tuple("abcdef"[:num_classes]),
    )


# 100 pictures: class 0 in 90, class 1 in 4, class 2 in 1 (twice there), 9 without objects.
UNBALANCED = index_of([[0]] * 86 + [[0, 1]] * 4 + [[2, 2]] + [[]] * 9)


def drawn(dataset: DetectionDataset, epoch: int, seed: int = 0) -> list:
    dataset.set_epoch(epoch)
    return list(EpochSampler(dataset, seed=seed))


def position(key: int | tuple[int, int]) -> int:
    return key[0] if isinstance(key, tuple) else key


def test_shares_count_pictures_not_objects_and_no_crowds():
    assert class_shares(UNBALANCED).tolist() == [0.9, 0.04, 0.01]
    crowds = dataclasses.replace(UNBALANCED, is_crowd=UNBALANCED.class_ids == 1)
    assert class_shares(crowds).tolist() == [0.9, 0, 0.01]


def test_repeat_factors_are_those_of_lvis():
    # r(c) = max(1, sqrt(t / f(c))), a picture's is the largest of its classes'
    factors = repeat_factors(UNBALANCED, 0.16)
    assert factors[:86] == pytest.approx(1) and factors[86:90] == pytest.approx(2)
    assert factors[90] == pytest.approx(4) and factors[91:] == pytest.approx(1)
    assert repeat_factors(UNBALANCED, 0.001) == pytest.approx(1)


@pytest.mark.parametrize("share", [0, 0.05, 0.2, 0.5])
def test_background_takes_its_share_of_every_epoch(share):
    dataset = DetectionDataset(UNBALANCED, repeats=plan_repeats(UNBALANCED, background_share=share))
    for epoch in range(3):
        background = sum(position(key) >= 91 for key in drawn(dataset, epoch))
        assert background == pytest.approx(share * dataset.epoch_length, abs=1.5)
    objects = sum(position(key) < 91 for key in drawn(dataset, 0))
    assert objects >= 91


def test_few_background_pictures_of_many_take_turns():
    dataset = DetectionDataset(UNBALANCED, repeats=plan_repeats(UNBALANCED, background_share=0.03))
    seen = {position(key) for epoch in range(40) for key in drawn(dataset, epoch)}
    assert seen == set(range(100))


def test_epochs_are_equally_long_and_repeats_hold_in_the_mean():
    repeats = plan_repeats(UNBALANCED, repeat_factor_threshold=0.09, background_share=0.25)
    rng = np.random.default_rng(0)
    counts = np.array([draw_counts(repeats, 100, rng) for _ in range(2000)])
    length = epoch_length(repeats, 100)
    assert (counts.sum(axis=1) == length).all()
    exact = repeats * length / repeats.sum()
    assert ((counts >= np.floor(exact - 1e-9)) & (counts <= np.ceil(exact + 1e-9))).all()
    assert counts.mean(axis=0) == pytest.approx(exact, abs=0.06)


def test_without_repeats_an_epoch_is_every_picture_once():
    dataset = DetectionDataset(UNBALANCED)
    assert plan_repeats(UNBALANCED) is None and dataset.epoch_length == 100
    assert sorted(drawn(dataset, 0)) == list(range(100)) != drawn(dataset, 0)


def test_the_order_depends_on_seed_and_epoch_alone():
    dataset = DetectionDataset(UNBALANCED, repeats=plan_repeats(UNBALANCED, repeat_factor_threshold=0.16))
    drawn(dataset, 7)
    first = drawn(dataset, 2)
    other = DetectionDataset(UNBALANCED, repeats=dataset.repeats)
    assert first == drawn(other, 2)
    assert first != drawn(other, 3) and first != drawn(other, 2, seed=1)


def test_a_repeated_picture_is_augmented_otherwise_each_time(tmp_path):
    folder = make_coco(tmp_path, images=2, splits=("train",))
    dataset = load_coco(
        images_folder(folder),
        annotation_file(folder),
        transform=lambda sample, rng, epoch: sample | {"drawn": rng.random()},
    )
    keys = [0, (0, 1), (0, 2), 1, (1, 1)]
    assert len({dataset[key]["drawn"] for key in keys}) == 5
    assert dataset[0, 1]["drawn"] == dataset[0, 1]["drawn"]
    assert dataset[0, 1]["image_index"] == 0 and (dataset[0, 1]["image"] == dataset[0]["image"]).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"repeat_factor_threshold": 0}, "above 0 and up to 1; got 0"),
        ({"repeat_factor_threshold": 30}, "above 0 and up to 1; got 30"),
        ({"background_share": 1}, "from 0 to below 1; got 1"),
        ({"background_share": -0.1}, "from 0 to below 1; got -0.1"),
    ],
)
def test_shares_out_of_range_are_refused(settings, message):
    with pytest.raises(DatasetError, match=message):
        plan_repeats(UNBALANCED, **settings)


def test_background_that_is_not_there_is_refused():
    with pytest.raises(DatasetError, match=r"train\.json: background_share is 0\.1, but every picture has objects"):
        plan_repeats(index_of([[0], [1]]), background_share=0.1)
