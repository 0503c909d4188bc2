"""Two real processes share the pictures of every epoch, and augment them for that epoch, resumed or not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.synthetic import make_coco
from tests.tiny import IMAGE_SIZE_HW

WORKER = Path(__file__).parent / "epochs_worker.py"


@pytest.mark.slow
def test_pictures_are_shared_and_epochs_known_in_both_processes(tmp_path):
    data = make_coco(tmp_path / "data", images=8, size_hw=IMAGE_SIZE_HW, splits=("train",))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--rdzv_backend", "c10d"]
    command += ["--rdzv_endpoint", "localhost:0", WORKER, data, tmp_path]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-4000:]
    (first, first_resumed), (second, second_resumed) = (
        json.loads((tmp_path / f"epochs{rank}.json").read_text()) for rank in range(2)
    )
    # 8 pictures, batches of 2 in two processes: two steps an epoch
    assert [epoch for epoch, _, _ in first] == [epoch for epoch, _, _ in second] == [0] * 4 + [1] * 4 + [2] * 4
    orders = []
    for epoch in range(3):
        images = [[image for at, image, _ in seen if at == epoch] for seen in (first, second)]
        assert sorted(images[0] + images[1]) == list(range(8))
        orders.append(tuple(images[0]))
    assert len(set(orders)) == 3
    assert len({drawn for seen in (first, second) for _, _, drawn in seen}) == 24
    # after step 3 the second epoch is half over
    assert first_resumed == first[6:] and second_resumed == second[6:]
