"""What a teacher costs in training: time of a step and memory, against the same student without one.

    python benchmarks/distillation_cost.py                         # D-FINE-S at 640 px, ViT-S/16 and ViT-B/16
    python benchmarks/distillation_cost.py --size l --batch 8 --compile
    python benchmarks/distillation_cost.py --batch 2 --steps 4     # on a CPU

Student and teachers have their real shapes and random weights, so nothing is downloaded. A step is what `DetrTrainer`
does with a batch on the device: the teacher's forward without gradient, the student's forward, loss, backward and
AdamW, the student in bfloat16 where the GPU has it. The teacher in bfloat16 or float32, in every step or every n-th.
Loading and augmenting pictures is left out: a run that waits for its pictures pays less than this for a teacher.

Times are medians of rounds of `--steps` steps, memory is the most allocated on the GPU. The student alone is measured
first and last; the distance of the two is what the other figures are uncertain by.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version

import torch
from torch import Tensor, nn
from transformers import DINOv3ViTConfig, DINOv3ViTModel, PreTrainedModel

from hf_detr import attach_criterion, load_from_scratch
from hf_detr.distillation.geometry import measure_geometry
from hf_detr.distillation.loss import feature_distillation_loss
from hf_detr.distillation.networks import IMAGENET_MEAN, IMAGENET_STD, TransformersNetwork
from hf_detr.distillation.student import add_feature_projector
from hf_detr.distillation.teacher import Teacher

CLASSES, OBJECTS = 80, 7  # COCO has 7 objects in a picture
# Width, depth and heads of DINOv3's vision transformers with patches of 16 px.
TEACHERS = {"ViT-S/16": (384, 12, 6), "ViT-B/16": (768, 12, 12), "ViT-L/16": (1024, 24, 16)}


@dataclass(frozen=True)
class Case:
    """A way to teach: the teacher (None for the student alone), its precision, and in how many steps it runs."""

    teacher: str | None = None
    dtype: torch.dtype = torch.float32
    every: int = 1
    compiled: bool = False

    def __str__(self) -> str:
        if self.teacher is None:
            return "student alone"
        often = "" if self.every == 1 else f", every {self.every} steps"
        precision = str(self.dtype).removeprefix("torch.")
        return f"{self.teacher}, {precision}{', compiled' * self.compiled}{often}"


@dataclass(frozen=True)
class Measurement:
    """Seconds of a step, and the most memory in bytes, None without a GPU."""

    seconds: float
    memory: int | None


def cases(teachers: Sequence[str], compiled: bool) -> list[Case]:
    """Every teacher in both precisions; the last in every second and fourth step and compiled as well."""
    found = [Case(name, dtype) for name in teachers for dtype in (torch.float32, torch.bfloat16)]
    found += [Case(teachers[-1], torch.bfloat16, every) for every in (2, 4)]
    if compiled:
        found.append(Case(teachers[-1], torch.bfloat16, compiled=True))
    return [Case(), *found, Case()]


def build_teacher(case: Case, device: torch.device) -> Teacher:
    """A vision transformer of the case's shape with random weights."""
    width, depth, heads = TEACHERS[case.teacher]
    config = DINOv3ViTConfig(
        patch_size=16,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        num_register_tokens=4,
    )
    network = TransformersNetwork(DINOv3ViTModel(config).eval())
    teacher = Teacher(network, measure_geometry(network, patch_size=16), IMAGENET_MEAN, IMAGENET_STD, case.dtype)
    if case.compiled:
        teacher.network.compile()
    return teacher.to(device)


def build_student(family: str, size: str, side: int, device: torch.device) -> PreTrainedModel:
    """A detector with the papers' criterion, in training mode."""
    labels = {class_id: str(class_id) for class_id in range(CLASSES)}
    model, _ = load_from_scratch(family, size, id2label=labels, image_size_hw=(side, side))
    attach_criterion(model)
    return model.to(device, memory_format=torch.channels_last).train()


def random_batch(batch: int, side: int, device: torch.device) -> tuple[Tensor, list[dict[str, Tensor]]]:
    """Pictures in [0, 1] and labels."""
    draw = torch.Generator().manual_seed(0)
    labels = []
    for _ in range(batch):
        sides = 0.05 + 0.4 * torch.rand(OBJECTS, 2, generator=draw)
        centres = sides / 2 + (1 - sides) * torch.rand(OBJECTS, 2, generator=draw)
        class_labels = torch.randint(0, CLASSES, (OBJECTS,), generator=draw)
        labels.append({"class_labels": class_labels.to(device), "boxes": torch.cat([centres, sides], 1).to(device)})
    return torch.rand(batch, 3, side, side, generator=draw).to(device), labels


def training_steps(student: PreTrainedModel, teacher: nn.Module | None, every: int, batch: tuple) -> Iterator[None]:
    """One step each time it is asked for the next."""
    images, labels = batch
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-5)
    mixed = images.device.type == "cuda" and torch.cuda.is_bf16_supported()
    step = 0
    while True:
        features = teacher(images) if teacher is not None and step % every == 0 else None
        with torch.autocast(images.device.type, torch.bfloat16, enabled=mixed):
            outputs = student(images, labels=labels)
        loss = outputs.loss
        if features is not None:
            loss = loss + 5 * feature_distillation_loss(outputs.distillation_features, features)
        elif teacher is not None:
            loss = loss + 0 * outputs.distillation_features.sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        yield


def measure(case: Case, args: argparse.Namespace, device: torch.device) -> Measurement:
    """Time and memory of a case, on its own on the device."""
    torch.manual_seed(0)
    student = build_student(args.family, args.size, args.image_size, device)
    teacher = None
    if case.teacher is not None:
        teacher = build_teacher(case, device)
        add_feature_projector(student, teacher.feature_dim)
    steps = training_steps(student, teacher, case.every, random_batch(args.batch, args.image_size, device))
    on_gpu = device.type == "cuda"
    for _ in range(args.warmup):
        next(steps)
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    rounds = []
    for _ in range(args.rounds):
        wait_for(device)
        start = time.perf_counter()
        for _ in range(args.steps):
            next(steps)
        wait_for(device)
        rounds.append((time.perf_counter() - start) / args.steps)
    memory = torch.cuda.max_memory_allocated() if on_gpu else None
    return Measurement(statistics.median(rounds), memory)


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def table(measured: Sequence[tuple[Case, Measurement]]) -> Iterator[str]:
    """A row for each case, against the mean of the student alone."""
    alone = [measurement for case, measurement in measured if case.teacher is None]
    seconds = statistics.mean(measurement.seconds for measurement in alone)
    yield "| teacher | ms a step | times the student alone | share of the step | memory, times |"
    yield "|---|---|---|---|---|"
    for case, measurement in measured:
        ratio = measurement.seconds / seconds
        memory = "–" if measurement.memory is None else f"{measurement.memory / alone[0].memory:.2f}"
        share = "–" if case.teacher is None else f"{max(0.0, 1 - 1 / ratio):.0%}"
        yield f"| {case} | {1000 * measurement.seconds:.0f} | {ratio:.2f} | {share} | {memory} |"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--family", default="d_fine", help="of the student")
    parser.add_argument("--size", default="s", help="of the student")
    parser.add_argument("--teachers", nargs="+", default=["ViT-S/16", "ViT-B/16"], choices=list(TEACHERS))
    parser.add_argument("--image_size", type=int, default=640, metavar="PX")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=12, help="of a round; a multiple of 4, so that all have teachers")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=4, help="steps before the first round")
    parser.add_argument("--compile", action="store_true", help="measure a compiled teacher as well")
    args = parser.parse_args(argv)
    if args.steps % 4 or args.warmup % 4:
        parser.error("--steps and --warmup must be multiples of 4, as one teacher runs in every fourth step")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"{platform.machine()} CPU"
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers"))
    print(f"{args.family} {args.size} at {args.image_size} px, batch {args.batch}; {where}, "
          f"{torch.get_num_threads()} threads; {packages}; {date.today()}\n")  # fmt: skip
    measured = [(case, measure(case, args, device)) for case in cases(args.teachers, args.compile)]
    print("\n".join(table(measured)))


if __name__ == "__main__":
    main()
