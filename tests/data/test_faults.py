"""Faults on the way from the disk to the trainer: named, tried again, and never a picture made of nothing."""

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import DataLoader
from torch.utils.data._utils import signal_handling

from hf_detr.data import files
from hf_detr.data.augment import Augmentation
from hf_detr.data.collate import DetectionCollator
from hf_detr.data.dataset import DetectionDataset
from hf_detr.data.faults import explain_fault, explained_faults
from hf_detr.data.files import StorageError, read_file
from hf_detr.data.images import UnreadableImageError
from hf_detr.data.index import DetectionIndex
from hf_detr.errors import DatasetError, TrainingError
from tests.data.test_dataset import folder as folder  # fixtures
from tests.data.test_dataset import index as index
from tests.training.runs import make_trainer


@pytest.fixture
def no_waiting(monkeypatch) -> list[float]:
    """How long was waited between tries; nobody really waits."""
    waited: list[float] = []
    monkeypatch.setattr(files.time, "sleep", waited.append)
    return waited


def failing(times: int, number: int):
    """What reads a file, but not the first so many times."""
    left = [times]

    def read(path: Path) -> bytes:
        if left[0]:
            left[0] -= 1
            raise OSError(number, os.strerror(number))
        return path.read_bytes()

    return read


# --- disks that fail for a moment, or for good


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
def test_a_disk_that_fails_for_a_moment_is_asked_again(folder, no_waiting, caplog, number):
    path = folder / "0.png"
    assert read_file(path, failing(2, number)) == path.read_bytes()
    assert no_waiting == [1, 4]
    assert caplog.text.count(f"{path}: {os.strerror(number)}; another try in") == 2


def test_a_disk_that_goes_on_failing_stops_the_run(index, folder, no_waiting, monkeypatch):
    monkeypatch.setattr(Path, "read_bytes", failing(99, errno.EIO))
    monkeypatch.setattr(read_file, "__defaults__", (Path.read_bytes,))
    dataset = DetectionDataset(index, transform=Augmentation())  # also where unreadable pictures are skipped
    with pytest.raises(StorageError, match=r"0\.png: cannot be read: Input/output error, 4 tries within 21 seconds"):
        dataset[0]
    assert no_waiting == [1, 4, 16]


def test_what_another_try_does_not_mend_is_not_tried_again(folder, no_waiting):
    with pytest.raises(FileNotFoundError):
        read_file(folder / "gone.png")
    with pytest.raises(
        StorageError, match=r"0\.png: cannot be opened: Too many open files\. Raise the limit \(`ulimit"
    ):
        read_file(folder / "0.png", failing(1, errno.EMFILE))
    assert no_waiting == []


# --- loader processes


@pytest.fixture(autouse=True)
def as_in_a_new_process():
    """Torch sets its signal handler once; after a killed process we take it away."""
    yield
    signal_handling._SIGCHLD_handler_set = False


class Kill:
    """An operation during which the process ends as if the kernel had killed it."""

    def __init__(self, image: int):
        self.image = image

    def __call__(self, sample, rng):
        if sample["image_index"] == self.image:
            os.kill(os.getpid(), signal.SIGKILL)
        return sample


class Stall:
    """An operation that takes so many seconds at one picture."""

    def __init__(self, image: int, seconds: float):
        self.image, self.seconds = image, seconds

    def __call__(self, sample, rng):
        if sample["image_index"] == self.image:
            time.sleep(self.seconds)
        return sample


def training(index: DetectionIndex, *operations) -> DetectionDataset:
    return DetectionDataset(index, transform=Augmentation(always=operations))


def read_all(dataset: DetectionDataset, workers: int = 1, timeout: float = 0) -> int:
    loader = DataLoader(
        dataset, batch_size=1, num_workers=workers, collate_fn=DetectionCollator((32, 32)), timeout=timeout
    )
    return sum(len(batch["labels"]) for batch in loader)


def test_a_killed_process_is_named_with_its_picture(index):
    dataset = training(index, Kill(2))
    with (
        pytest.raises(
            TrainingError,
            match=r"Loader process \d+ was killed \((Killed|without a word)\) at .*2\.png \(\d+ s\)\. .*--resume",
        ),
        explained_faults(dataset),
    ):
        read_all(dataset)


def test_a_training_run_says_so_too(tmp_path):
    trainer = make_trainer(tmp_path, dataloader_num_workers=1, num_train_epochs=1)
    trainer.train_dataset.transform = Augmentation(always=[Kill(3)])
    with pytest.raises(TrainingError, match=r"Loader process \d+ was killed"):
        trainer.train()


def test_a_stalled_picture_is_named_in_the_log_and_then_stops_the_run(index, caplog):
    dataset = training(index, Stall(1, 4))
    with (
        pytest.raises(
            TrainingError, match=r"No batch came .* for 2 seconds\. They are at .*1\.png .*--loader_timeout"
        ),
        explained_faults(dataset, report_after=0.4),
    ):
        read_all(dataset, timeout=2)
    assert f"has been at {index.image_path(1)} for" in caplog.text
    assert 1 <= caplog.text.count("1.png") <= 3, "twice as long before it is said again"


def test_without_processes_a_stall_is_named_as_well(index, caplog):
    dataset = training(index, Stall(1, 0.5))
    with explained_faults(dataset, report_after=0.2):
        assert read_all(dataset, workers=0) == 6
    assert f"Process {os.getpid()} has been at {index.image_path(1)}" in caplog.text


def test_processes_that_wait_for_work_are_not_stalled(index, caplog):
    dataset = training(index)
    loader = iter(DataLoader(dataset, batch_size=1, num_workers=1, collate_fn=DetectionCollator((32, 32))))
    caplog.clear()  # of what the data set says of its boxes
    with explained_faults(dataset, report_after=0.1):
        next(loader)
        time.sleep(0.5)
    assert caplog.text == "" and dataset.readers.all() == []


def test_a_picture_that_disappears_is_replaced_and_named_or_ends_the_run(index, folder):
    dataset = training(index)
    collator = DetectionCollator((32, 32))
    before = collator([dataset[2]])
    (folder / "2.png").unlink()
    loader = DataLoader(dataset, batch_size=6, num_workers=1, collate_fn=collator)
    (batch,) = list(loader)
    assert batch["unreadable"] == [(str(folder / "2.png"), "No such file or directory")]
    assert [int(label["image_index"]) for label in batch["labels"]] == [0, 1, 3, 3, 4, 5]
    assert "unreadable" not in before
    strict = DetectionDataset(index, transform=Augmentation(), on_unreadable="raise")
    with pytest.raises(UnreadableImageError) as caught, explained_faults(strict):
        read_all(strict)
    assert str(caught.value) == f"{folder / '2.png'}: cannot read this picture: No such file or directory"


FULL_SHARED_MEMORY = """
import sys
from torch.utils.data import DataLoader
from hf_detr.data.augment import Augmentation
from hf_detr.data.coco import load_coco
from hf_detr.data.collate import DetectionCollator
from hf_detr.data.faults import explained_faults
from hf_detr.errors import TrainingError

dataset = load_coco(sys.argv[1], transform=Augmentation())
loader = DataLoader(dataset, batch_size=8, num_workers=2, collate_fn=DetectionCollator((640, 640)), timeout=60)
try:
    with explained_faults(dataset):
        list(loader)
except TrainingError as error:
    print(error)
"""


def may_mount() -> bool:
    command = ["unshare", "-m", "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", "/dev/shm"]
    return bool(shutil.which("unshare")) and subprocess.run(command, capture_output=True).returncode == 0


@pytest.mark.slow  # imports torch once more
@pytest.mark.skipif(not may_mount(), reason="needs the right to mount a small /dev/shm")
def test_full_shared_memory_is_said_to_be_full(tmp_path):
    from tests.synthetic import images_folder, make_coco

    make_coco(tmp_path, images=16, splits=("train",))
    script = tmp_path / "read.py"
    script.write_text(FULL_SHARED_MEMORY)
    run = f"mount -t tmpfs -o size=4m tmpfs /dev/shm && exec {sys.executable} {script} {images_folder(tmp_path)}"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    result = subprocess.run(
        ["unshare", "-m", "sh", "-c", run], capture_output=True, text=True, timeout=120, env=environment
    )
    assert result.stdout.startswith("Shared memory is full"), result.stdout + result.stderr


# --- what is said of what torch says


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "DataLoader worker (pid 7) is killed by signal: Killed. ",
            r"Loader process 7 was killed \(Killed\) between two",
        ),
        ("DataLoader worker (pid(s) 7, 8) exited unexpectedly", r"process 7, 8 was killed \(without a word\)"),
        (
            "DataLoader worker (pid 7) exited unexpectedly with exit code 1. Details are lost due to multiprocessing.",
            r"Loader process 7 was killed \(without a word\)",
        ),
        (
            "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers are "
            "out of shared memory. Please try to raise your shared memory limit.",
            "Shared memory is full",
        ),
        (
            "unable to allocate shared memory(shm) for file </torch_1_2_0>: No space left on device (28)",
            "Shared memory",
        ),
        ("unable to write to file </torch_1_2_0>: No space left on device (28)", "Shared memory is full"),
        ("DataLoader timed out after 600 seconds", "No batch came from the loader processes for 600 seconds"),
        ("Too many open files. Communication with the workers is no longer possible.", "ulimit -n"),
    ],
)
def test_what_torch_says_is_explained(index, text, said):
    explained = explain_fault(RuntimeError(text), DetectionDataset(index))
    assert isinstance(explained, TrainingError)
    assert re.search(said, str(explained))


def test_other_errors_pass(index):
    dataset = DetectionDataset(index)
    for error in (RuntimeError("CUDA out of memory"), DatasetError("mine"), OSError(errno.ENOENT, "gone")):
        assert explain_fault(error, dataset) is None
        with pytest.raises(type(error)) as caught, explained_faults(dataset):
            raise error
        assert caught.value is error
    with explained_faults([1, 2]):  # a data set of another kind
        pass


def test_batches_of_processes_are_in_shared_memory(index):
    loader = DataLoader(DetectionDataset(index), batch_size=6, num_workers=1, collate_fn=DetectionCollator((32, 32)))
    (batch,) = list(loader)
    alone = DetectionCollator((32, 32))([DetectionDataset(index)[image] for image in range(6)])
    assert batch["pixel_values"].is_shared() and not alone["pixel_values"].is_shared()
    np.testing.assert_array_equal(batch["pixel_values"], alone["pixel_values"])
