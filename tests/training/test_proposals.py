import dataclasses
import doctest
from types import SimpleNamespace

import numpy as np
import pytest

from hf_detr.data import annotation_checks
from hf_detr.data.annotation_checks import other_shape
from hf_detr.data.dataset import DetectionDataset
from hf_detr.data.sampling import plan_repeats
from hf_detr.training.arguments import DetrTrainingArguments
from hf_detr.training.proposals import (
    propose,
    propose_denoising,
    propose_image_size,
    propose_length,
    propose_queries,
    propose_sampling,
    propose_tiles,
)
from tests.data.test_sampling import UNBALANCED, index_of

CONFIG = SimpleNamespace(num_queries=300, num_denoising=100, feat_strides=[8, 16, 32])
ORDINARY = index_of([[0, 1, 2] * 3] * 200 + [[]] * 20)


def arguments(**settings) -> DetrTrainingArguments:
    settings = {"num_train_epochs": 60, "per_device_train_batch_size": 16, "use_cpu": True} | settings
    return DetrTrainingArguments("out", **settings)


def test_examples_in_docstrings():
    assert doctest.testmod(annotation_checks).failed == 0


def test_an_ordinary_run_is_left_alone():
    args = arguments(num_train_epochs=100)
    assert propose(DetectionDataset(ORDINARY), args, CONFIG, (640, 640)) == []


def test_what_is_sampled_by_wish_is_not_proposed_again():
    args = arguments(num_train_epochs=400)
    plain = propose(DetectionDataset(UNBALANCED), args, CONFIG, (640, 640))
    assert any("--repeat_factor_threshold" in line for line in plain)
    sampled = DetectionDataset(UNBALANCED, repeats=plan_repeats(UNBALANCED, repeat_factor_threshold=0.1))
    assert not any("--repeat_factor_threshold" in line for line in propose(sampled, args, CONFIG, (640, 640)))


@pytest.mark.parametrize("reference", [None, 16])
def test_a_short_run_gets_smaller_batches_and_then_more_epochs(reference):
    # 20 pictures, batches of 16: one step an epoch. Batches of 4 make five, 200 epochs make 1,000 steps of them.
    args = arguments(learning_rate=4e-4, reference_batch_size=reference)
    (line,) = propose_length(args, 20)
    assert line.startswith("60 steps are few: --per_device_train_batch_size 4 --num_train_epochs 200 ")
    assert "makes about 1,000" in line
    assert ("; the learning rate is 0.0001 then" in line) == (reference is not None)
    assert ("--learning_rate 0.0001" in line) == (reference is None)
    # what it proposes is what it says
    proposed = arguments(
        learning_rate=4e-4 if reference else 1e-4,
        reference_batch_size=reference,
        per_device_train_batch_size=4,
        num_train_epochs=200,
    )
    assert proposed.total_steps(20) == 1000 and proposed.rates().learning_rate == pytest.approx(1e-4)
    assert list(propose_length(proposed, 20)) == []


def test_smaller_batches_alone_are_proposed_where_they_suffice():
    (line,) = propose_length(arguments(), 200)
    assert line.startswith(
        "720 steps are few: --per_device_train_batch_size 8 --learning_rate 0.0001 makes about 1,500"
    )


def test_steps_that_are_given_are_not_argued_with():
    assert list(propose_length(arguments(max_steps=10), 20)) == []


def test_pictures_that_every_epoch_leaves_out_are_counted():
    (line,) = propose_length(arguments(num_train_epochs=1000), 30)
    assert line.startswith("every epoch leaves out 14 of 30 pictures")


def test_more_objects_than_queries():
    crowded = index_of([[0] * 420, [0] * 301, [0]])
    (line,) = propose_queries(crowded, CONFIG, (640, 640))
    assert "2 pictures have more objects (up to 420)" in line and line.endswith("--num_queries 450")
    (line,) = propose_queries(crowded, CONFIG, (128, 128))
    assert "an input of this size allows 336 at most" in line
    assert list(propose_queries(index_of([[0] * 300]), CONFIG, (640, 640))) == []


def test_rare_classes_and_much_background():
    (line,) = propose_sampling(UNBALANCED)
    assert "'c' is in 1 of 100 pictures, 'a' in 90: --repeat_factor_threshold 0.09 shows it 3.0 times" in line
    (line,) = propose_sampling(index_of([[0]] * 2 + [[]] * 5))
    assert line.startswith("5 of 7 pictures are without objects: --background_share 0.2")


def test_a_class_in_many_pictures_is_not_rare_however_frequent_others_are():
    assert list(propose_sampling(index_of([[0]] * 2000 + [[1]] * 101))) == []


def test_few_objects_and_many_denoising_queries():
    (line,) = propose_denoising(index_of([[0, 1], [0]]), CONFIG)
    assert "with 2 objects a picture at most, each is denoised 50 times" in line
    assert "'{\"num_denoising\": 20}' makes it 10 times, by 40 queries" in line
    assert list(propose_denoising(ORDINARY, CONFIG)) == []
    assert list(propose_denoising(index_of([[]]), CONFIG)) == []


def test_large_pictures_of_small_objects():
    # objects of 5 x 5 px in pictures of 2000 x 3000 px: 1.3 px at the input's size
    aerial = dataclasses.replace(ORDINARY, sizes_hw=np.tile([[2000, 3000]], (220, 1)).astype(np.int32))
    (line,) = propose_tiles(aerial, (640, 640))
    assert line.startswith("100% of the objects are smaller than 8 px") and "--tile_size 640 640" in line
    large = dataclasses.replace(aerial, boxes_xywh=aerial.boxes_xywh * [1, 1, 40, 40])
    assert list(propose_tiles(large, (640, 640))) == list(propose_tiles(ORDINARY, (64, 64))) == []


def test_the_shape_of_the_pictures():
    wide = dataclasses.replace(ORDINARY, sizes_hw=np.tile([[1080, 1920]], (220, 1)).astype(np.int32))
    (line,) = propose_image_size(wide, (640, 640))
    assert line.startswith("pictures are 1080 x 1920 px (median): --image_size 480 864 keeps")
    assert list(propose_image_size(wide, (480, 864))) == []
    assert other_shape(np.zeros((3, 2)), (640, 640)) is None
    assert other_shape(np.array([[0, 0], [2000, 400]]), (64, 64)) == (128, 32)
