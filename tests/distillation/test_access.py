"""Teachers of the Hub, over HTTP, and what to do about those that cannot be read."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch

from hf_detr.distillation.geometry import MapGeometry
from hf_detr.distillation.teacher import load_teacher
from hf_detr.errors import CheckpointError
from tests.fake_hub import FakeHub, Repository, read_from_hub
from tests.teachers import save_tiny_dinov3


@pytest.fixture
def hub(tmp_path) -> Iterator[FakeHub]:
    with read_from_hub(tmp_path / "cache") as server:
        yield server


def publish(hub: FakeHub, repo_id: str, folder: Path) -> None:
    hub.repositories[repo_id] = Repository(False, {path.name: path.read_bytes() for path in folder.iterdir()})


def test_a_teacher_of_the_hub(hub, tmp_path):
    folder = save_tiny_dinov3(tmp_path / "dinov3")
    publish(hub, "me/dinov3", folder)
    images = torch.rand(1, 3, 64, 64)
    assert torch.equal(load_teacher("me/dinov3")(images), load_teacher(str(folder))(images))
    with pytest.raises(CheckpointError, match="me/dinov3 has no branch, tag or commit 'v2'"):
        load_teacher("me/dinov3", revision="v2")


def test_a_teacher_of_timm_of_the_hub(hub, tmp_path):
    name = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    model = timm.create_model("vit_tiny_patch16_224")
    timm.models.save_for_hf(model, tmp_path / "vit", safe_serialization=True)
    publish(hub, f"timm/{name}", tmp_path / "vit")
    teacher = load_teacher(f"timm/{name}")
    assert teacher.geometry == MapGeometry(192, 16, 1)
    assert torch.equal(teacher.network.model.cls_token, model.cls_token)


@pytest.mark.parametrize("name", ["facebook/dinov3-vitb16-pretrain-lvd1689m", "timm/vit_tiny_patch16_224"])
def test_a_gated_teacher_says_where_to_accept_its_licence(hub, name):
    hub.gated |= {name, "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k"}
    with pytest.raises(CheckpointError) as caught:
        load_teacher(name)
    message = str(caught.value)
    assert f"accept it at https://huggingface.co/{name}" in message
    assert "hf auth login" in message and "HF_TOKEN" in message
    assert "a local folder" in message and "timm/vit_small_patch16_dinov3.lvd1689m" in message
    assert len(message.splitlines()) <= 6


def test_a_teacher_that_is_not_there(hub):
    with pytest.raises(CheckpointError, match="there is no teacher me/nothing on the Hub, or it is private"):
        load_teacher("me/nothing")


def test_without_a_network():
    for name in ("facebook/dinov3-vitb16-pretrain-lvd1689m", "timm/vit_small_patch16_dinov3.lvd1689m"):
        with pytest.raises(CheckpointError, match=r"Without a network, give a local folder[\s\S]*timm/vit_small"):
            load_teacher(name)


def test_the_named_alternatives_exist_in_timm():
    known = timm.list_pretrained()
    for name in ("vit_small", "vit_base", "vit_large"):
        assert f"{name}_patch16_dinov3.lvd1689m" in known
    assert "convnext_tiny.dinov3_lvd1689m" in known


def test_a_half_copied_folder(tmp_path):
    folder = save_tiny_dinov3(tmp_path / "dinov3")
    shutil.copytree(folder, tmp_path / "copy", ignore=shutil.ignore_patterns("*.safetensors"))
    with pytest.raises(CheckpointError, match=r"cannot read the teacher[\s\S]*The folder may be half-copied"):
        load_teacher(str(tmp_path / "copy"))
