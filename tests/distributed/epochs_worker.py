"""Which pictures two processes augment in which epoch; `test_epochs.py` launches this and reads the results.

torchrun --nproc_per_node 2 tests/distributed/epochs_worker.py DATA OUT
"""

import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.training.runs import make_trainer


def main(data: Path, out: Path) -> None:
    runs = []
    for name in ("straight", "resumed"):
        seen: list[tuple[int, int, float]] = []

        def note(sample, rng, epoch, seen=seen):
            seen.append((epoch, sample["image_index"], rng.random()))
            return sample

        trainer = make_trainer(
            out / name,
            data=data,
            num_train_epochs=3,
            per_device_train_batch_size=2,
            save_strategy="steps",
            save_steps=3,
            save_total_limit=None,
        )
        trainer.train_dataset.transform = note
        checkpoint = str(out / "straight" / "run" / "checkpoint-3") if name == "resumed" else None
        trainer.train(resume_from_checkpoint=checkpoint)
        runs.append(seen)
    (out / f"epochs{torch.distributed.get_rank()}.json").write_text(json.dumps(runs))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
