"""Inputs that are not square: trained, saved, evaluated and used, and boxes lie where the objects are."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import pipeline

from hf_detr.cli.train_augmentation import build_collator
from hf_detr.cli.train_data import load_train_set
from hf_detr.cli.train_setup import training_arguments
from hf_detr.data.splits import find_splits
from hf_detr.evaluation.coco import CocoEvaluator
from hf_detr.evaluation.loop import evaluate_detector
from hf_detr.evaluation.pictures import find_hits
from hf_detr.inference.detector import Detector
from hf_detr.recipes import load_recipe
from tests.synthetic import COLOURS, make_coco
from tests.tiny import tiny_model
from tests.training.runs import make_trainer

WIDE, HIGH = (64, 128), (128, 64)  # height, width


def learn(folder: Path, name: str, image_size_hw: tuple[int, int], steps: int):
    """A tiny detector that has learnt eight pictures of the shape of its input, saved in ``folder/run``."""
    data = make_coco(folder / "data", images=8, size_hw=tuple(side + 32 for side in image_size_hw), splits=("train",))
    torch.manual_seed(0)
    trainer = make_trainer(
        folder,
        data=data,
        model=tiny_model(name),
        image_size_hw=image_size_hw,
        max_steps=steps,
        per_device_train_batch_size=8,
        learning_rate=4e-3,
        logging_steps=100,
    )
    trainer.train()
    trainer.save_model()
    return trainer


@pytest.mark.parametrize(
    ("name", "image_size_hw", "steps"),
    [
        ("d_fine", WIDE, 150),
        pytest.param("d_fine", HIGH, 200, marks=pytest.mark.slow),
        pytest.param("rt_detr_v2", WIDE, 300, marks=pytest.mark.slow),
        pytest.param("deimv2_s", WIDE, 300, marks=pytest.mark.slow),
    ],
)
def test_a_rectangle_is_learnt_saved_and_used(tmp_path, name, image_size_hw, steps):
    trainer = learn(tmp_path, name, image_size_hw, steps)
    assert trainer.evaluate()["eval_AP"] > 0.8
    dataset = trainer.eval_dataset
    detector = Detector.from_pretrained(tmp_path / "run", device="cpu")
    assert detector.image_size_hw == image_size_hw
    metrics = evaluate_detector(detector, dataset, CocoEvaluator(dataset.index), progress=False)
    assert metrics["AP"] == pytest.approx(trainer.last_evaluation["AP"], abs=1e-6)

    found = detector(Image.fromarray(dataset[0]["image"]), threshold=0.3)
    true_boxes_xyxy, true_class_ids = dataset.index.objects(0)
    assert find_hits(found.boxes_xyxy, found.class_ids, true_boxes_xyxy, true_class_ids).sum() == len(true_boxes_xyxy)
    if name == "d_fine":  # saved as a stock type, which Transformers loads without us
        results = pipeline("object-detection", model=str(tmp_path / "run"), device="cpu")(
            Image.fromarray(dataset[0]["image"]), threshold=0.3
        )
        boxes_xyxy = [[result["box"][side] for side in ("xmin", "ymin", "xmax", "ymax")] for result in results]
        assert np.array(boxes_xyxy) == pytest.approx(found.boxes_xyxy, abs=1)


def test_positions_in_a_rectangle_are_rows_and_columns():
    # The authors' code goes through the columns first, which in anything but a square mixes positions up.
    embed = tiny_model("d_fine").model.encoder.aifi[0].position_embedding
    grid = embed(width=5, height=3, device=torch.device("cpu"), dtype=torch.float32).view(3, 5, -1)
    of_row = (grid == grid[:, :1]).all(dim=(0, 1))
    of_column = (grid == grid[:1]).all(dim=(0, 1))
    assert (of_row ^ of_column).all() and of_row.sum() == of_column.sum()


@pytest.mark.parametrize("image_size_hw", [WIDE, HIGH])
def test_augmented_boxes_stay_with_their_colours(tmp_path, image_size_hw):
    data = make_coco(tmp_path, images=12, size_hw=(100, 160), splits=("train",))
    settings = {"image_size": list(image_size_hw), "mosaic_prob": 0.5, "photometric_prob": 0.0, "min_box_side": 6}
    settings |= {"num_train_epochs": 20, "mosaic_epochs": [0, 20], "augment_epochs": [0, 20], "use_cpu": True}
    recipe = load_recipe("d_fine/s_finetune", settings)
    args, _ = training_arguments(recipe)
    dataset = load_train_set(find_splits(data)["train"], recipe, args)
    collator = build_collator(recipe, args, dataset.epoch_length)
    sizes, right = set(), []
    for epoch in range(3):
        dataset.set_epoch(epoch)
        for first in range(0, 12, 4):
            batch = collator([dataset[image] for image in range(first, first + 4)])
            height, width = batch["pixel_values"].shape[2:]
            sizes.add((height, width))
            for pixels, label in zip(batch["pixel_values"].numpy(), batch["labels"], strict=True):
                for (x, y, _, _), class_id in zip(label["boxes"].numpy(), label["class_labels"], strict=True):
                    seen = pixels[:, min(int(y * height), height - 1), min(int(x * width), width - 1)]
                    colour = tuple(COLOURS.values())[int(class_id)]
                    right.append(np.abs(seen.astype(int) - colour).max() < 60)
    assert len(sizes) > 1 and all((height > width) == (image_size_hw == HIGH) for height, width in sizes)
    # turned by up to 10 degrees and cut at a border, a rectangle need not have its box' centre
    assert len(right) > 40 and np.mean(right) > 0.95
