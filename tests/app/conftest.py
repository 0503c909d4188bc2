from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from hf_detr.app.limits import AppLimits
from hf_detr.app.serve import running_app
from hf_detr.inference.detector import Detector
from tests.synthetic import images_folder, make_coco
from tests.tiny import save_tiny_detector

LIMITS = AppLimits(max_upload_mb=2, max_megapixels=1, max_video_seconds=3, max_waiting=2)


@pytest.fixture(scope="session")
def model(tmp_path_factory, pictures) -> Path:
    """A tiny detector whose queries differ in class and confidence: its last layer is made to tell them apart."""
    folder = save_tiny_detector(tmp_path_factory.mktemp("app") / "squares")
    detector = Detector.from_pretrained(folder, device="cpu")
    network, seen = detector.backend.model, []
    last = network.model.decoder.class_embed[-1]
    hook = last.register_forward_hook(lambda layer, inputs, output: seen.append(inputs[0].flatten(0, -2)))
    detector(pictures[0])
    hook.remove()
    torch.manual_seed(0)
    with torch.no_grad():
        mean = seen[0].mean(0)
        last.weight.normal_()
        last.weight.mul_(2 / ((seen[0] - mean) @ last.weight.T).std())
        last.bias.copy_(-last.weight @ mean)
    network.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def detector(model) -> Detector:
    return Detector.from_pretrained(model, device="cpu")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> list[Path]:
    """Six pictures."""
    folder = make_coco(tmp_path_factory.mktemp("app_data"), images=6, splits=("valid",))
    return sorted(images_folder(folder, "valid").glob("*.jpg"))


@pytest.fixture(scope="session")
def address(detector, pictures) -> Iterator[str]:
    """Of a page that serves the tiny detector with small limits."""
    with running_app(detector, LIMITS, name="Squares", examples=pictures[:2]) as app:
        yield app.local_url
