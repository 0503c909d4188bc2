"""Teachers of timm, which are the same as those of Transformers."""

import sys
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F

from hf_detr.distillation.geometry import MapGeometry
from hf_detr.distillation.teacher import check_teacher, load_teacher
from hf_detr.errors import CheckpointError
from tests.teachers import save_tiny_timm_vit


def test_a_folder_of_timm(tmp_path):
    folder = save_tiny_timm_vit(tmp_path / "vit")
    teacher = load_teacher(str(folder))
    assert teacher.geometry == MapGeometry(16, 16, 1)
    assert teacher.image_mean.flatten().tolist() == [0.5, 0.5, 0.5]
    check_teacher(teacher, (64, 96))
    model = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0).eval()
    images = torch.rand(2, 3, 128, 128)  # 64 px for the teacher, the size that the model has positions for
    with torch.no_grad():
        expected = model.forward_features((F.avg_pool2d(images, 2) - 0.5) / 0.5)[:, 1:]
    assert torch.allclose(teacher(images), expected.transpose(1, 2).reshape(2, 16, 4, 4), atol=1e-5)


def save_timm(folder: Path, architecture: str, **options) -> str:
    torch.manual_seed(0)
    model = timm.create_model(architecture, num_classes=0, **options)
    timm.models.save_for_hf(model, folder, model_args=options, safe_serialization=True)
    return str(folder)


def test_convolutional_networks_of_timm(tmp_path):
    teacher = load_teacher(save_timm(tmp_path, "convnext_tiny", depths=[1, 1, 1, 1], dims=[4, 8, 8, 16]))
    assert teacher.geometry == MapGeometry(16, 32)
    assert torch.allclose(teacher.image_mean.flatten(), torch.tensor([0.485, 0.456, 0.406]))
    check_teacher(teacher, (64, 96))


def test_dinov3_is_the_same_in_timm_and_transformers(tmp_path):
    options = {"embed_dim": 32, "depth": 2, "num_heads": 2, "mlp_ratio": 1.5}
    theirs = save_timm(tmp_path / "timm", "vit_small_patch16_dinov3", **options)
    teacher = load_teacher(theirs)
    assert teacher.geometry == MapGeometry(32, 16, 5)

    state = {}
    for name, tensor in teacher.network.model.state_dict().items():
        name = name.replace("reg_token", "storage_tokens")
        for part in ("1", "2"):
            name = name.replace(f"gamma_{part}", f"ls{part}.gamma")
        state[name] = tensor
    state |= {"mask_token": torch.zeros(1, 32), "rope_embed.periods": torch.ones(4)}
    torch.save(state, tmp_path / "converted.pth")
    images = torch.rand(2, 3, 64, 96)
    assert torch.allclose(load_teacher(str(tmp_path / "converted.pth"))(images), teacher(images), atol=1e-5)


def test_models_that_timm_does_not_have():
    with pytest.raises(CheckpointError, match=r"no model 'vit_smal_patch16_dinov3'\. Did you mean 'vit_small"):
        load_teacher("timm/vit_smal_patch16_dinov3.lvd1689m")


def test_without_timm(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(CheckpointError, match=r"needs the timm package: pip install hf_detr\[timm\]"):
        load_teacher("timm/vit_small_patch16_dinov3.lvd1689m")
