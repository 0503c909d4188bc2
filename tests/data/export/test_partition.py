"""Splits by ratio: every class in proportion, groups kept together, near-identical pictures found."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from hf_detr.data.export.duplicates import near_pairs, picture_groups, thumbnail
from hf_detr.data.export.gather import take_images
from hf_detr.data.export.partition import stratified_partition
from hf_detr.data.export.sourced import SourcedIndex
from hf_detr.data.index import PackedStrings
from hf_detr.data.table import Extras
from hf_detr.errors import DatasetError


def make_index(classes_of: list[list[int]], num_classes: int, names: list[str] | None = None) -> SourcedIndex:
    """An index of pictures with these classes; no files."""
    counts = [len(classes) for classes in classes_of]
    total = sum(counts)
    return SourcedIndex(
        name="all",
        images_dir=Path("nowhere"),
        annotations_path=Path("nowhere.json"),
        file_names=PackedStrings(names or [f"{number}.jpg" for number in range(len(classes_of))]),
        image_ids=np.arange(len(classes_of)),
        sizes_hw=np.full((len(classes_of), 2), 64, dtype=np.int32),
        first=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        boxes_xywh=np.tile([1.0, 2.0, 30.0, 40.0], (total, 1)),
        class_ids=np.array([number for classes in classes_of for number in classes], dtype=np.int32),
        areas=np.full(total, 1200.0),
        is_crowd=np.zeros(total, dtype=bool),
        category_ids=tuple(range(num_classes)),
        class_names=tuple(f"c{number}" for number in range(num_classes)),
        sources=(Extras(),),
        source_of=np.zeros(len(classes_of), dtype=np.int32),
        image_rows=np.arange(len(classes_of)),
        annotation_rows=np.arange(total),
        annotation_ids=np.arange(total),
        category_extras=({},) * num_classes,
        drawn_hw=np.zeros((len(classes_of), 2), dtype=np.int32),
        orientations=np.ones(len(classes_of), dtype=np.int8),
    )


def random_classes(num_images: int, num_classes: int, seed: int) -> list[list[int]]:
    """Of each picture 0 to 4 objects; each class is half as frequent as the one before it."""
    rng = np.random.default_rng(seed)
    chances = 0.5 ** np.arange(num_classes)
    return [
        rng.choice(num_classes, size=rng.integers(5), p=chances / chances.sum()).tolist() for _ in range(num_images)
    ]


def objects_per_split(index: SourcedIndex, split_of: np.ndarray, num_splits: int) -> np.ndarray:
    """``(S, K)``."""
    picks = [take_images(index, np.flatnonzero(split_of == split)) for split in range(num_splits)]
    return np.stack([np.bincount(pick.class_ids, minlength=len(index.class_names)) for pick in picks])


def test_every_class_is_shared_out_in_proportion() -> None:
    index, shares = make_index(random_classes(400, 6, seed=1), 6), np.array([0.7, 0.2, 0.1])
    split_of = stratified_partition(index, np.arange(400), shares, seed=0)
    assert np.bincount(split_of).tolist() == [280, 80, 40]
    objects = objects_per_split(index, split_of, 3)
    totals = objects.sum(0)
    assert totals.min() >= 10, "the rarest class is rare, but there"
    assert np.abs(objects - np.outer(shares, totals)).max() <= 2
    background = np.bincount(split_of[np.diff(index.first) == 0]) / (np.diff(index.first) == 0).sum()
    np.testing.assert_allclose(background, shares, atol=0.03)

    by_chance = np.random.default_rng(0).permutation(split_of)
    worst_by_chance = np.abs(objects_per_split(index, by_chance, 3) - np.outer(shares, totals)).max()
    assert worst_by_chance > 5, "what the test would see of a split at random"


def test_the_seed_decides() -> None:
    index = make_index(random_classes(60, 3, seed=2), 3)
    first, again, other = (stratified_partition(index, np.arange(60), (0.5, 0.5), seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@settings(max_examples=6)
@given(st.integers(0, 10**6), st.sampled_from([(0.8, 0.2), (0.6, 0.2, 0.2), (0.8, 0.1, 0.1)]))
def test_groups_stay_together_and_the_sizes_are_right(seed: int, shares: tuple[float, ...]) -> None:
    rng = np.random.default_rng(seed)
    num_images = int(rng.integers(60, 120))
    groups = np.unique(rng.integers(num_images // 2, size=num_images), return_inverse=True)[1]
    index = make_index(random_classes(num_images, 4, seed), 4)
    split_of = stratified_partition(index, groups, shares, seed=seed)
    assert all(len(set(split_of[groups == group])) == 1 for group in set(groups))
    expected = np.array(shares) * num_images
    assert np.abs(np.bincount(split_of, minlength=len(shares)) - expected).max() <= np.bincount(groups).max()


def test_too_few_groups_for_a_picture_in_each_split() -> None:
    index = make_index([[0], [1], [0], []], 2)
    with pytest.raises(DatasetError, match=r"4 pictures in 1 group .* 0.8/0.1/0.1: the share of 0.1 would have none"):
        stratified_partition(index, np.zeros(4, dtype=int), (0.8, 0.1, 0.1), seed=0)


def photo(seed: int) -> Image.Image:
    """Something smooth with a few objects, as photos have."""
    rng = np.random.default_rng(seed)
    ground = Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8))
    return ground.resize((280, 200), Image.Resampling.BICUBIC)


def recompressed(picture: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=30)
    return Image.open(buffer)


def test_near_identical_pictures_are_found_and_others_are_not() -> None:
    originals = [photo(seed) for seed in range(40)]
    changed = [
        *(recompressed(picture) for picture in originals[:10]),
        *(picture.resize((99, 71), Image.Resampling.BILINEAR) for picture in originals[10:20]),
        *(ImageEnhance.Brightness(picture).enhance(0.7) for picture in originals[20:30]),
        *(Image.fromarray(np.roll(np.asarray(picture), 3, axis=1)) for picture in originals[30:]),
    ]
    thumbnails = np.array([thumbnail(np.asarray(picture.convert("RGB"))) for picture in originals + changed])
    linked = {tuple(sorted(pair)) for pair in near_pairs(thumbnails).tolist() if pair[0] != pair[1]}
    assert linked == {(number, number + 40) for number in range(40)}


def test_a_film_is_one_group_however_long() -> None:
    rng = np.random.default_rng(0)
    scenes = [rng.normal(size=256) for _ in range(2)]
    frames = np.array([scene + rng.normal(size=256) * 0.05 for scene in scenes for _ in range(300)])
    frames -= frames.mean(1, keepdims=True)
    frames = (frames / np.linalg.norm(frames, axis=1, keepdims=True)).astype(np.float16)
    pairs = near_pairs(frames)
    assert (pairs[:, 0] // 300 == pairs[:, 1] // 300).all()
    reached = {0}
    for _ in range(20):
        reached |= {b for a, b in pairs.tolist() if a in reached} | {a for a, b in pairs.tolist() if b in reached}
    assert reached == set(range(300))


def test_groups_by_name_and_by_look(tmp_path: Path) -> None:
    names = ["cam1_f1.png", "cam1_f2.png", "cam2_f1.png", "other.png", "copy.jpg"]
    for seed, name in enumerate(names[:4]):
        photo(seed).save(tmp_path / name)
    photo(3).save(tmp_path / "copy.jpg", quality=40)
    index = make_index([[0]] * 5, 1, names)
    index = SourcedIndex(**{**vars(index), "images_dir": tmp_path})

    def groups(pattern: str | None, near_duplicates: bool) -> list[list[str]]:
        numbers = picture_groups(index, pattern=pattern and re.compile(pattern), near_duplicates=near_duplicates)
        found = [[name for name, number in zip(names, numbers, strict=True) if number == one] for one in set(numbers)]
        return sorted(group for group in found if len(group) > 1)

    assert groups(None, False) == []
    assert groups(None, True) == [["other.png", "copy.jpg"]]
    assert groups(r"^(cam\d+)_", False) == [["cam1_f1.png", "cam1_f2.png"]]
    assert groups("_f1", True) == [["cam1_f1.png", "cam2_f1.png"], ["other.png", "copy.jpg"]]
    with pytest.raises(DatasetError, match=r"--group_by 'film' is in no file name, such as 'cam1_f1.png'"):
        groups("film", False)
    (tmp_path / "other.png").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"other.png: cannot read this picture"):
        groups(None, True)


def test_one_picture_and_none() -> None:
    assert near_pairs(np.zeros((1, 256), dtype=np.float16)).shape == (0, 2)
    assert picture_groups(make_index([], 1), pattern=None, near_duplicates=True).tolist() == []
