"""What two processes do together; `test_distributed.py` launches this once and reads the results.

    torchrun --nproc_per_node 2 tests/distributed/worker.py DATA OUT

DATA has 8 pictures of which the last four, and so all of the second process' first batch, are without objects. OUT
holds a tiny teacher; it gets one JSON file per process and the gradients of the first step.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from hf_detr.distillation.arguments import DistillationArguments
from hf_detr.distillation.teacher import Teacher, load_teacher
from tests.training.runs import KeepGradients, losses, make_trainer, quiet_model


def first_gradients(data: Path, out: Path, *, batch: int, **settings) -> tuple[dict[str, torch.Tensor], float]:
    """Gradients and loss of one step over the first pictures in the order of the file."""
    trainer = make_trainer(
        out,
        data=data,
        model=quiet_model(num_denoising=0),
        max_steps=1,
        per_device_train_batch_size=batch,
        train_sampling_strategy="sequential",
        max_grad_norm=0.0,
        **settings,
    )
    # DDF is a mean over the queries of one process, in the papers' code as well.
    trainer.criterion.options = replace(trainer.criterion.options, ddf_weight=0.0)
    keep = KeepGradients()
    trainer.add_callback(keep)
    trainer.train()
    return keep.gradients[0], losses(trainer)[1]


def adaptive_run(data: Path, out: Path, *, batch: int, teacher: Teacher) -> dict[str, list[float]]:
    """Three epochs of one step over the same pictures, with a teacher whose term's weight is adapted after each."""
    trainer = make_trainer(
        out,
        data=data,
        model=quiet_model(num_denoising=0),
        num_train_epochs=3,
        per_device_train_batch_size=batch,
        train_sampling_strategy="sequential",
        save_strategy="epoch",
        teacher=teacher,
        distillation=DistillationArguments(distill_target_share=50.0),
    )
    trainer.criterion.options = replace(trainer.criterion.options, ddf_weight=0.0)
    trainer.train()
    rows = trainer.state.log_history
    names = ("loss", "distill_weight", "distill_share")
    found = {name: [row[name] for row in rows if name in row] for name in names}
    projector = trainer.model.feature_projector
    return found | {
        "last_weight": [trainer.distillation.weight.weight],
        "projector": [projector.weight.double().norm().item(), projector.bias.double().norm().item()],
    }


def main(data: Path, out: Path) -> None:
    gradients, loss = first_gradients(data, out / "gradients", batch=4)
    rank = torch.distributed.get_rank()
    if rank == 0:
        torch.save(gradients, out / "gradients.pt")
    teacher = load_teacher(str(out / "teacher"))
    gradients, taught_loss = first_gradients(data, out / "taught", batch=4, teacher=teacher)
    if rank == 0:
        torch.save(gradients, out / "taught_gradients.pt")
    adaptive = adaptive_run(data, out / "adaptive", batch=4, teacher=teacher)

    # A whole run with denoising, where one process has pictures without objects only: nothing hangs.
    trainer = make_trainer(
        out / "run",
        data=data,
        num_train_epochs=3,
        train_sampling_strategy="sequential",
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        per_device_eval_batch_size=3,
    )
    keep = KeepGradients()
    trainer.add_callback(keep)
    trainer.train()
    trainable = {name for name, parameter in trainer.model.named_parameters() if parameter.requires_grad}
    weights = torch.cat([tensor.detach().flatten().double() for tensor in trainer.model.parameters()])
    with trainer.ema.applied():
        average = torch.cat([tensor.detach().flatten().double() for tensor in trainer.model.parameters()])
    metrics = trainer.evaluate()
    (out / f"rank{rank}.json").write_text(
        json.dumps(
            {
                "loss": loss,
                "taught_loss": taught_loss,
                "adaptive": adaptive,
                "missing_gradients": sorted(trainable - set(keep.gradients[0])),
                "weights": weights.sum().item(),
                "average": average.sum().item(),
                "AP": metrics["eval_AP"],
                "images": trainer.last_evaluation["images"],
                "objects": trainer.last_evaluation["objects"],
                "steps": trainer.state.global_step,
                "losses": losses(trainer),
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
