"""Two real processes with gloo: launched once, looked at by every test."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hf_detr.distillation.teacher import load_teacher
from tests.distributed.worker import adaptive_run, first_gradients
from tests.synthetic import make_coco
from tests.teachers import save_tiny_dinov3
from tests.tiny import IMAGE_SIZE_HW

WORKER = Path(__file__).parent / "worker.py"


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    # 11 pictures: the last evaluation batch of 3 is uneven over two processes
    return make_coco(folder, images=11, size_hw=IMAGE_SIZE_HW, splits=("train",), empty_images=7)


@pytest.fixture(scope="module")
def out(data, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    save_tiny_dinov3(folder / "teacher")  # here: of several processes, only the first writes models
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "0"]
    command += ["--rdzv_backend", "c10d", "--rdzv_endpoint", "localhost:0", WORKER, data, folder]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.fixture(scope="module")
def ranks(out) -> list[dict]:
    return [json.loads((out / f"rank{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("taught", [False, True], ids=["without a teacher", "with one"])
def test_gradients_are_those_of_one_process_with_the_doubled_batch(out, ranks, data, tmp_path, taught):
    # The second process has no objects at all: counts over both processes are what makes this equal.
    teacher = load_teacher(str(out / "teacher")) if taught else None
    expected, loss = first_gradients(data, tmp_path, batch=8, teacher=teacher)
    gradients = torch.load(out / ("taught_gradients.pt" if taught else "gradients.pt"), weights_only=True)
    assert ("feature_projector.weight" in gradients) == taught
    assert gradients.keys() == expected.keys()
    norm = math.sqrt(sum(float(g.square().sum()) for g in expected.values()))
    difference = math.sqrt(sum(float((gradients[n] - expected[n]).square().sum()) for n in expected))
    assert difference < 1e-5 * norm
    assert ranks[0]["taught_loss" if taught else "loss"] == pytest.approx(loss, rel=1e-5)
    for name in ("feature_projector.weight", "feature_projector.bias") if taught else ():
        assert (gradients[name] - expected[name]).norm() < 1e-4 * expected[name].norm()


def test_the_adaptive_weight_is_that_of_one_process_on_both(out, ranks, data, tmp_path):
    alone = adaptive_run(data, tmp_path, batch=8, teacher=load_teacher(str(out / "teacher")))
    for rank in ranks:
        assert rank["adaptive"].keys() == alone.keys()
        for name, values in alone.items():
            assert rank["adaptive"][name] == pytest.approx(values, rel=1e-3), name
    for name in ("distill_weight", "distill_share", "last_weight", "projector"):
        assert ranks[0]["adaptive"][name] == ranks[1]["adaptive"][name], name
    assert alone["distill_weight"] != [5.0] * 3


def test_every_parameter_has_a_gradient_on_both_ranks(ranks):
    for rank in ranks:
        assert rank["missing_gradients"] == []


def test_both_processes_hold_the_same_weights_and_average(ranks):
    assert ranks[0]["weights"] == ranks[1]["weights"]
    assert ranks[0]["average"] == ranks[1]["average"]
    assert ranks[0]["steps"] == ranks[1]["steps"] == 3


def test_a_rank_without_objects_neither_hangs_nor_breaks_the_loss(ranks):
    assert all(math.isfinite(loss) for rank in ranks for loss in rank["losses"].values())


def test_evaluation_counts_every_image_once(ranks):
    for rank in ranks:
        assert rank["images"] == 11
        assert rank["AP"] == ranks[0]["AP"]


def test_the_checkpoint_is_written_once_and_whole(out):
    names = {path.name for path in (out / "run" / "run").iterdir()}
    assert not any(name.startswith(".") for name in names)
    checkpoint = out / "run" / "run" / "checkpoint-3"
    assert {"rng_state_0.pth", "rng_state_1.pth", "model.safetensors"} <= {p.name for p in checkpoint.iterdir()}
