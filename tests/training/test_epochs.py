"""Which pictures a step sees, and how they are augmented, whatever accelerate wraps around the sampler."""

import numpy as np
from accelerate.data_loader import BatchSamplerShard, SkipBatchSampler
from torch.utils.data import BatchSampler

from hf_detr.data.dataset import DetectionDataset
from hf_detr.data.sampling import EpochSampler, plan_repeats
from tests.data.test_sampling import UNBALANCED
from tests.training.runs import losses, make_trainer


def noisy(sample, rng, epoch):
    """A transform whose result depends on seed, epoch and picture."""
    noise = rng.integers(0, 60, sample["image"].shape, dtype=np.uint8)
    return sample | {"image": sample["image"] // 2 + noise}


def test_a_run_resumed_within_an_epoch_is_augmented_as_the_one_that_went_on(tmp_path):
    settings = {"num_train_epochs": 3, "per_device_train_batch_size": 2, "save_strategy": "steps", "save_steps": 6}
    settings["save_total_limit"] = None
    trainers = []
    for name, checkpoint in (("straight", None), ("resumed", str(tmp_path / "straight" / "run" / "checkpoint-6"))):
        trainer = make_trainer(tmp_path / name, **settings)
        trainer.train_dataset.transform = noisy
        trainer.train_dataset.repeats = plan_repeats(trainer.train_dataset.index, repeat_factor_threshold=0.9)
        trainer.train(resume_from_checkpoint=checkpoint)
        trainers.append(trainer)
    straight, resumed = trainers
    assert straight.state.global_step == resumed.state.global_step > 7
    assert losses(resumed) == losses(straight)


def test_two_processes_share_an_epoch_also_after_skipped_batches():
    dataset = DetectionDataset(UNBALANCED, repeats=plan_repeats(UNBALANCED, repeat_factor_threshold=0.2))
    dataset.set_epoch(3)
    whole = list(BatchSampler(EpochSampler(dataset), 4, drop_last=True))
    shards = [BatchSamplerShard(BatchSampler(EpochSampler(dataset), 4, drop_last=True), 2, rank) for rank in (0, 1)]
    steps = len(whole) // 2
    assert len(shards[0]) == len(shards[1]) == steps
    assert [batch for pair in zip(*shards, strict=True) for batch in pair] == whole[: 2 * steps]
    resumed = [list(SkipBatchSampler(shard, skip_batches=3)) for shard in shards]
    assert [batch for pair in zip(*resumed, strict=True) for batch in pair] == whole[6 : 2 * steps]
