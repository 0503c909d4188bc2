"""A small ResNet that learns what is where in the digits' pictures, to be the experiment's teacher.

It has what students have not: the program that draws the pictures knows what it drew, so that every step has new ones,
with the handwriting of the training split only. It learns places, not boxes: which digit lies in each cell of 32 x 32
pixels.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from tqdm import trange
from transformers import ConvNextImageProcessor, ResNetConfig, ResNetModel

from hf_detr.data.digits import WRITTEN_FOR, DigitsOptions, draw_picture, load_handwriting
from hf_detr.data.images import resize_image
from hf_detr.distillation.networks import IMAGENET_MEAN, IMAGENET_STD
from hf_detr.distillation.teacher import STUDENT_STRIDE, Teacher, load_teacher
from hf_detr.training.schedule import flat_cosine

NUM_DIGITS = 10
GROUND = NUM_DIGITS  # the class of a cell without digits
GROUND_WEIGHT = 0.25  # three of four cells are without
COVERED = 0.25  # a digit lies in a cell if it covers this share of it, or has this share of itself there
LEARNING_RATE, WEIGHT_DECAY, FLOOR = 3e-3, 0.05, 0.01


class TeacherPlan(NamedTuple):
    """How the teacher is made: its training, and pictures for the probe of its features."""

    steps: int = 800
    batch_size: int = 32
    hidden_sizes: tuple[int, ...] = (32, 64, 128, 256)
    probe_pictures: int = 400


class Drawings:
    """Pictures drawn for as long as somebody asks, and which digit lies in which cell of them.

    Args:
        split: whose handwriting.
        side: of the pictures in pixels.
        seed: of all of them.
    """

    def __init__(self, split: str, side: int, seed: int):
        self.glyphs, self.classes = load_handwriting()
        self.writing = np.array(WRITTEN_FOR[split])
        self.side = side
        self.rng = np.random.default_rng([seed, side])

    def batch(self, size: int) -> tuple[Tensor, Tensor]:
        """Images ``(B, 3, side, side)`` in [0, 1], and the digit or `GROUND` of each cell, ``(B, h, w)``."""
        images, answers = zip(*(self._draw() for _ in range(size)), strict=True)
        pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
        return pixels, torch.from_numpy(np.stack(answers))

    def _draw(self) -> tuple[np.ndarray, np.ndarray]:
        picture, boxes_xywh, samples = draw_picture(self.glyphs, self.writing, self.rng, DigitsOptions())
        height, width = picture.shape[:2]
        scale = self.side / np.array([width, height])
        boxes = np.array(boxes_xywh, dtype=np.float64).reshape(-1, 4)
        boxes_xyxy = np.hstack([boxes[:, :2] * scale, (boxes[:, :2] + boxes[:, 2:]) * scale])
        answers = digits_of_cells(boxes_xyxy, self.classes[samples], self.side // STUDENT_STRIDE)
        return resize_image(picture, (self.side, self.side)), answers


def digits_of_cells(boxes_xyxy: np.ndarray, digits: np.ndarray, cells: int) -> np.ndarray:
    """The digit that covers most of each cell, or lies in it with most of itself, whichever is more.

    Args:
        boxes_xyxy: ``(N, 4)`` in pixels.
        digits: ``(N,)`` what is in each box.
        cells: per side of the picture, of 32 pixels each.

    Returns:
        ``(cells, cells)`` int64; `GROUND` where no digit comes to `COVERED`.
    """
    edges = np.arange(cells + 1) * STUDENT_STRIDE
    largest = np.full((cells, cells), COVERED)
    answers = np.full((cells, cells), GROUND)
    for (x0, y0, x1, y1), digit in zip(boxes_xyxy, digits, strict=True):
        across = np.clip(np.minimum(x1, edges[1:]) - np.maximum(x0, edges[:-1]), 0, None)
        down = np.clip(np.minimum(y1, edges[1:]) - np.maximum(y0, edges[:-1]), 0, None)
        share = down[:, None] * across / min((x1 - x0) * (y1 - y0), STUDENT_STRIDE**2)
        answers[share >= largest] = digit
        largest = np.maximum(largest, share)
    return answers


def train_teacher(folder: Path, side: int, plan: TeacherPlan, device: str, seed: int = 0) -> None:
    """Train it and save it as a folder of Transformers, which appears when it is complete."""
    torch.manual_seed(seed)
    drawings, model = Drawings("train", side, seed), new_network(plan).to(device).train()
    head = nn.Linear(plan.hidden_sizes[-1], NUM_DIGITS + 1).to(device)
    mean, std = (torch.tensor(values, device=device)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    weights = torch.tensor([1.0] * NUM_DIGITS + [GROUND_WEIGHT], device=device)
    parameters = [*model.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    warmup = max(1, plan.steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: flat_cosine(step + 1, warmup=warmup, flat=warmup, stop=plan.steps, floor=FLOOR)
    )
    with trange(plan.steps, desc="teacher", unit=" steps", mininterval=1) as bar:
        for _ in bar:
            images, answers = (tensor.to(device) for tensor in drawings.batch(plan.batch_size))
            features = model((images - mean) / std).last_hidden_state.movedim(1, -1)
            loss = F.cross_entropy(head(features).flatten(0, 2), answers.flatten(), weight=weights)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
            bar.set_postfix(loss=f"{loss.item():.3f}")
    _save(model, folder)


def new_network(plan: TeacherPlan) -> ResNetModel:
    """The teacher's network with random weights: a block of two convolutions at each of the strides 4 to 32."""
    sizes = list(plan.hidden_sizes)
    return ResNetModel(ResNetConfig(embedding_size=sizes[0], hidden_sizes=sizes, depths=[1] * 4, layer_type="basic"))


def _save(model: ResNetModel, folder: Path) -> None:
    unfinished = folder.with_name(f".{folder.name}-unfinished")
    model.eval().save_pretrained(unfinished)
    ConvNextImageProcessor(image_mean=IMAGENET_MEAN, image_std=IMAGENET_STD).save_pretrained(unfinished)
    unfinished.rename(folder)


def probe_features(folder: Path, side: int, plan: TeacherPlan, device: str, seed: int = 0) -> dict[str, float]:
    """How much a linear classifier of single cells finds in the teacher's features, on handwriting it never saw.

    Returns:
        Shares of right answers (which digit, or none) of the trained network and of one with random weights, over all
        cells and over those with a digit, and of always answering "none" for comparison.
    """
    untrained = folder.with_name(f"{folder.name}-untrained")
    if not untrained.is_dir():
        torch.manual_seed(seed + 1)
        _save(new_network(plan), untrained)
    figures = {}
    for name, path in (("trained", folder), ("untrained", untrained)):
        teacher = load_teacher(str(path)).to(device)
        (x, y), (x_new, y_new) = (
            _features_of_cells(teacher, Drawings(split, side, seed + 1000), plan.probe_pictures)
            for split in ("train", "valid")
        )
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(x, y)
        right = probe.predict(x_new) == y_new
        figures[f"{name}, all cells"] = float(right.mean())
        figures[f"{name}, cells with a digit"] = float(right[y_new != GROUND].mean())
        figures["always none, all cells"] = float((y_new == GROUND).mean())
    return figures


def _features_of_cells(teacher: Teacher, drawings: Drawings, pictures: int) -> tuple[np.ndarray, np.ndarray]:
    """Features ``(n, C)`` of single cells, and what is in each."""
    features, answers = [], []
    for start in range(0, pictures, 50):
        images, cells = drawings.batch(min(50, pictures - start))
        features.append(teacher(images.to(teacher.image_mean.device)).float().cpu().movedim(1, -1).flatten(0, 2))
        answers.append(cells.flatten())
    return torch.cat(features).numpy(), torch.cat(answers).numpy()
