"""Augmentation of the user's own: boxes go with the pixels, draws with the sample, and mistakes are named."""

import pickle
import sys

import albumentations
import numpy as np
import pytest
from torch.utils.data import DataLoader

from hf_detr.data.augment import build_augmentation
from hf_detr.data.custom import AlbumentationsPipeline, load_albumentations
from hf_detr.data.dataset import DetectionDataset
from hf_detr.errors import RecipeError
from tests.data.test_augment import COLOURS, THREE_BOXES, found_box_xyxy, make_sample
from tests.data.test_memory import SIZES_HW, facts_of
from tests.data.test_memory import index as index  # a fixture

GEOMETRY = [{"Affine": {"translate_px": {"x": [-20, 20], "y": [-15, 15]}, "p": 1}}, {"Transpose": {"p": 0.5}}]
PLAIN = {"photometric_prob": 0, "zoom_out_prob": 0, "iou_crop_prob": 0, "flip_prob": 0}


def test_boxes_stay_with_their_pixels():
    pipeline = load_albumentations([*GEOMETRY, {"RandomCrop": {"height": 30, "width": 40}}])
    lost = 0
    for seed in range(60):
        changed = pipeline(make_sample(THREE_BOXES), np.random.default_rng(seed))
        assert changed["boxes_xyxy"].dtype == np.float32 and changed["class_ids"].dtype == np.int64
        assert changed["image"].shape == (30, 40, 3) and changed["image"].flags.c_contiguous
        lost += 3 - len(changed["class_ids"])
        for box_xyxy, class_id in zip(changed["boxes_xyxy"], changed["class_ids"], strict=True):
            if min(box_xyxy[2:] - box_xyxy[:2]) >= 1:
                np.testing.assert_allclose(found_box_xyxy(changed["image"], class_id), box_xyxy, atol=1e-3)
        for class_id in set(range(3)) - set(changed["class_ids"].tolist()):
            assert not (changed["image"] == COLOURS[class_id]).all(-1).any(), "a box was lost, its object was not"
    assert lost > 0


def test_pictures_without_boxes_survive():
    changed = load_albumentations(GEOMETRY)(make_sample([]), np.random.default_rng(0))
    assert changed["boxes_xyxy"].shape == (0, 4) and changed["class_ids"].shape == (0,)


def test_same_generator_same_sample_whatever_came_before():
    pipeline = load_albumentations([*GEOMETRY, "GaussNoise", {"OneOf": {"transforms": ["Blur", "CLAHE"], "p": 0.5}}])
    first = [pipeline(make_sample(THREE_BOXES), np.random.default_rng(seed))["image"] for seed in range(6)]
    copy = pickle.loads(pickle.dumps(pipeline))
    for seed in reversed(range(6)):
        again = copy(make_sample(THREE_BOXES), np.random.default_rng(seed))["image"]
        np.testing.assert_array_equal(again, first[seed])
    assert len({image.tobytes() for image in first}) == 6


def test_samples_are_the_same_in_any_worker(index):
    augmentation = build_augmentation(
        mosaic_prob=0.5, mosaic_side=32, custom=load_albumentations(["GaussNoise", *GEOMETRY])
    )
    dataset = DetectionDataset(index, transform=augmentation, seed=3)
    alone = [facts_of([sample])[0] for sample in dataset]
    loader = DataLoader(dataset, batch_size=1, num_workers=2, collate_fn=facts_of)
    assert [facts for batch in loader for facts in batch] == alone
    dataset.set_epoch(1)
    assert [facts for batch in loader for facts in batch] != alone


@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_a_saved_pipeline_is_the_same_from_its_file(tmp_path, suffix):
    saved = albumentations.Compose(
        [albumentations.Affine(rotate=(-20, 20), p=1), albumentations.OneOf([albumentations.Blur(p=1)], p=0.5)],
        bbox_params=albumentations.BboxParams("yolo", min_visibility=0.4, label_fields=["names"]),
        p=0.8,
    )
    path = tmp_path / f"pipeline.{suffix}"
    albumentations.save(saved, path, data_format=suffix)
    for seed in range(5):
        one = load_albumentations(str(path))(make_sample(THREE_BOXES), np.random.default_rng(seed))
        two = AlbumentationsPipeline(saved)(make_sample(THREE_BOXES), np.random.default_rng(seed))
        assert facts_of([one | {"unreadable": ()}]) == facts_of([two | {"unreadable": ()}])
    assert AlbumentationsPipeline(saved).pipeline.processors["bboxes"].params.min_visibility == 0.4


def test_a_list_may_be_in_a_file(tmp_path):
    path = tmp_path / "pipeline.yaml"
    path.write_text("- Transpose: {p: 1}\n")
    assert load_albumentations(str(path))(make_sample([]), np.random.default_rng(0))["image"].shape == (64, 48, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["GausNoise"],
            r"augment\.albumentations: albumentations has no transform 'GausNoise'\. Did you mean 'GaussNoise'",
        ),
        ([{"OneOf": {"transforms": ["Blurr"]}}], r"no transform 'Blurr'\. Did you mean 'Blur'"),
        ([{"Blur": {"blurlimit": 3}}], "Argument\\(s\\) 'blurlimit' are not valid for transform Blur"),
        ([{"Blur": {"blur_limit": "wide"}}], "Blur: .*blur_limit"),
        ([{"Blur": {}, "CLAHE": {}}], "each entry is a name"),
        ([], "expected a list of transforms"),
        ("gone.yaml", r"gone\.yaml: cannot be read as a pipeline of albumentations: No such file"),
        (["OverlayElements"], "OverlayElements of albumentations moves pixels but not boxes"),
    ],
)
def test_mistakes_are_named(settings, message):
    with pytest.raises(RecipeError, match=message):
        load_albumentations(settings)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("transform: {__class_fullname__: Compose, transforms: [{__class_fullname__: Blurr}]}", "Did you mean 'Blur'"),
        ("[unfinished", "cannot be read as a pipeline"),
        ("just text", "expected a list of transforms"),
    ],
)
def test_mistakes_in_files_are_named_with_the_file(tmp_path, content, message):
    path = tmp_path / "pipeline.yaml"
    path.write_text(content)
    with pytest.raises(RecipeError, match=f"pipeline.yaml: .*{message}"):
        load_albumentations(str(path))


def test_without_albumentations_the_way_out_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "albumentations", None)
    with pytest.raises(RecipeError, match=r"pip install 'hf_detr\[albumentations\]'"):
        load_albumentations(["Blur"])


# --- where it runs, and what any operation has to return


def test_it_runs_after_the_others_and_in_their_epochs(index):
    seen = []

    def own(sample, rng):
        seen.append(sample["image"].shape)
        assert (sample["boxes_xyxy"][:, 2:] - sample["boxes_xyxy"][:, :2] >= 1).all(), "thin boxes are gone by then"
        return sample

    augmentation = build_augmentation(**PLAIN | {"zoom_out_prob": 1}, start_epoch=1, stop_epoch=2, custom=own)
    for epoch in range(3):
        augmentation(make_sample(THREE_BOXES), np.random.default_rng(4), epoch)
    assert len(seen) == 1 and seen[0] > (48, 64, 3)
    mosaics = DetectionDataset(index, transform=build_augmentation(mosaic_prob=1, mosaic_side=20, custom=own))
    mosaics[0]
    assert len(seen) == 2 and seen[1][:2] not in SIZES_HW


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda sample: sample["image"], "a dict with image, boxes_xyxy, class_ids; it returned a ndarray"),
        (
            lambda sample: sample | {"image": sample["image"] / 255},
            r"became float64 \(48, 64, 3\).*leave out Normalize",
        ),
        (lambda sample: sample | {"image": sample["image"].transpose(2, 0, 1)}, r"became uint8 \(3, 48, 64\)"),
        (lambda sample: sample | {"boxes_xyxy": sample["boxes_xyxy"][:1]}, r"\(1, 4\) and class_ids of \(3,\)"),
        (
            lambda sample: sample | {"boxes_xyxy": sample["boxes_xyxy"] + 30},
            r"\[33\.0, 34\.0, 50\.0, 70\.0\].*of 64 x 48",
        ),
        (lambda sample: sample | {"boxes_xyxy": sample["boxes_xyxy"] * np.nan}, "is not inside its picture"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(change, message):
    def own(sample, rng):
        return change(sample)

    augmentation = build_augmentation(**PLAIN, custom=own)
    with pytest.raises(RecipeError, match=rf"Your augmentation own cannot be used: .*{message}"):
        augmentation(make_sample(THREE_BOXES), np.random.default_rng(0), 0)


def test_pictures_that_a_transform_cannot_take_are_named():
    augmentation = build_augmentation(
        **PLAIN, custom=load_albumentations([{"RandomCrop": {"height": 90, "width": 90}}])
    )
    with pytest.raises(RecipeError, match=r"albumentations stopped at a picture of 64 x 48: .*Crop"):
        augmentation(make_sample(THREE_BOXES), np.random.default_rng(0), 0)
    with pytest.raises(RecipeError, match="leave out Normalize"):
        build_augmentation(**PLAIN, custom=load_albumentations(["Normalize"]))(
            make_sample(THREE_BOXES), np.random.default_rng(0), 0
        )
