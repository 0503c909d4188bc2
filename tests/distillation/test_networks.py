"""Any vision model of Transformers, from a folder; and what is none."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertModel,
    BitImageProcessor,
    CLIPConfig,
    CLIPModel,
    ConvNextConfig,
    ConvNextModel,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    PreTrainedModel,
    Siglip2Config,
    Siglip2ImageProcessor,
    Siglip2Model,
    SiglipConfig,
    SiglipModel,
    ViTConfig,
    ViTModel,
)

from hf_detr.distillation.geometry import MapGeometry
from hf_detr.distillation.networks import NaflexNetwork
from hf_detr.distillation.teacher import check_teacher, load_teacher
from hf_detr.errors import CheckpointError
from hf_detr.models.loading import no_progress_bars
from tests.teachers import save_tiny_convnext, save_tiny_dinov3
from tests.tiny import save_tiny_detector

TRANSFORMER = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
TEXT = TRANSFORMER | {"vocab_size": 20, "max_position_embeddings": 8, "projection_size": 16}
HALF = BitImageProcessor(image_mean=[0.5] * 3, image_std=[0.5] * 3)
IMAGENET = BitImageProcessor(image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225])


def save(folder: Path, model: PreTrainedModel, processor=None) -> str:
    """A model as Transformers saves it, with a little of everything in its weights."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    with no_progress_bars():
        model.eval().save_pretrained(folder)
    if processor is not None:
        processor.save_pretrained(folder)
    return str(folder)


def normalised(images: Tensor, processor: BitImageProcessor) -> Tensor:
    mean, std = torch.tensor(processor.image_mean), torch.tensor(processor.image_std)
    return (images - mean[:, None, None]) / std[:, None, None]


def dinov2(folder: Path) -> tuple[str, MapGeometry, nn.Module]:
    model = Dinov2Model(Dinov2Config(**TRANSFORMER, mlp_ratio=2, image_size=56, patch_size=14))
    return save(folder, model, IMAGENET), MapGeometry(16, 14, 1), model


def dinov2_with_registers(folder: Path) -> tuple[str, MapGeometry, nn.Module]:
    config = Dinov2WithRegistersConfig(**TRANSFORMER, mlp_ratio=2, image_size=56, patch_size=14, num_register_tokens=3)
    model = Dinov2WithRegistersModel(config)
    return save(folder, model, IMAGENET), MapGeometry(16, 14, 4), model


def convnext(folder: Path) -> tuple[str, MapGeometry, nn.Module]:
    model = ConvNextModel(ConvNextConfig(hidden_sizes=[4, 8, 8, 16], depths=[1, 1, 1, 1]))
    return save(folder, model, IMAGENET), MapGeometry(16, 32), model


def siglip(folder: Path) -> tuple[str, MapGeometry, nn.Module]:
    """The kind of model that most SigLIP 2 checkpoints are: a picture tower and a text tower, sizes fixed."""
    config = SiglipConfig(text_config=TEXT, vision_config=TRANSFORMER | {"image_size": 64, "patch_size": 16})
    model = SiglipModel(config)
    return save(folder, model, HALF), MapGeometry(16, 16), model.vision_model


def clip(folder: Path) -> tuple[str, MapGeometry, nn.Module]:
    config = CLIPConfig(text_config=TEXT, vision_config=TRANSFORMER | {"image_size": 64, "patch_size": 32})
    model = CLIPModel(config)
    return save(folder, model, HALF), MapGeometry(16, 32, 1), model.vision_model


def vit(folder: Path) -> tuple[str, MapGeometry, nn.Module]:
    model = ViTModel(ViTConfig(**TRANSFORMER, image_size=32, patch_size=8), add_pooling_layer=False)
    return save(folder, model, HALF), MapGeometry(16, 8, 1), model


@pytest.mark.parametrize("kind", [dinov2, dinov2_with_registers, convnext, siglip, clip, vit])
def test_any_vision_model_of_transformers(tmp_path, kind):
    folder, geometry, model = kind(tmp_path)
    teacher = load_teacher(folder)
    assert teacher.geometry == geometry
    check_teacher(teacher, (64, 96))

    images, stride = torch.rand(2, 3, 64, 96), geometry.stride
    pixels = normalised(images, IMAGENET if kind in (dinov2, dinov2_with_registers, convnext) else HALF)
    if stride == 14:
        pixels = F.interpolate(pixels, (28, 42), mode="bilinear", antialias=True)
    elif stride < 32:
        pixels = F.avg_pool2d(pixels, 32 // stride)
    options = {} if kind in (dinov2, dinov2_with_registers, convnext) else {"interpolate_pos_encoding": True}
    with torch.no_grad():
        features = model.eval()(pixels, **options).last_hidden_state
    if features.ndim == 3:
        features = features[:, geometry.prefix_tokens :].transpose(1, 2).reshape(2, 16, 2, 3)
    assert torch.allclose(teacher(images), features, atol=1e-5)


def test_convnexts_of_dinov3_lose_the_pooled_token_that_transformers_puts_first(tmp_path):
    teacher = load_teacher(str(save_tiny_convnext(tmp_path / "convnext")))
    assert teacher.geometry == MapGeometry(16, 32, 1)
    images = torch.rand(1, 3, 64, 96)
    assert not torch.allclose(teacher(images), teacher(images.flip(-1)), atol=1e-4)
    check_teacher(teacher, (64, 96))


def test_siglip_2_for_pictures_of_any_shape(tmp_path):
    vision = TRANSFORMER | {"num_patches": 16, "patch_size": 16}
    model = Siglip2Model(Siglip2Config(text_config=TEXT, vision_config=vision))
    processor = Siglip2ImageProcessor(patch_size=16, max_num_patches=6)
    teacher = load_teacher(save(tmp_path, model, processor))
    assert teacher.geometry == MapGeometry(16, 16)
    images = torch.rand(2, 3, 64, 96)
    features = teacher(images)

    small = F.avg_pool2d(images, 2)  # 2 x 3 patches, as many as the image processor is to make
    inputs = processor(list(small), do_rescale=False, return_tensors="pt")
    with torch.no_grad():
        expected = model.vision_model.eval()(**inputs).last_hidden_state
    assert inputs["spatial_shapes"].tolist() == [[2, 3], [2, 3]]
    assert torch.allclose(features, expected.transpose(1, 2).reshape(2, 16, 2, 3), atol=1e-5)
    assert isinstance(teacher.network, NaflexNetwork)


def test_weights_that_a_checkpoint_lacks_are_not_drawn_at_random(tmp_path):
    folder = save(tmp_path, Dinov2Model(Dinov2Config(**TRANSFORMER, mlp_ratio=2, image_size=56)), IMAGENET)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 2}))
    with pytest.raises(CheckpointError, match=r"lacks \d+ of its tensors, for example .*random weights teaches"):
        load_teacher(folder)


def test_a_wrong_patch_size_is_refused(tmp_path):
    save_tiny_dinov3(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"patch_size": 8}))
    message = r"patch_embeddings\.weight has the shape \[24, 3, 16, 16\], but by its config\.json \[24, 3, 8, 8\]"
    with pytest.raises(CheckpointError, match=message):
        load_teacher(str(tmp_path))


def test_a_model_whose_pictures_are_normalised_nobody_knows_how(tmp_path):
    folder = save(tmp_path, ViTModel(ViTConfig(**TRANSFORMER, image_size=32), add_pooling_layer=False))
    with pytest.raises(CheckpointError, match=r"has no preprocessor_config\.json, which says how its pictures"):
        load_teacher(folder)


def test_a_model_that_takes_pictures_as_they_are(tmp_path):
    processor = BitImageProcessor(do_normalize=False)
    folder = save(tmp_path, ViTModel(ViTConfig(**TRANSFORMER, image_size=32), add_pooling_layer=False), processor)
    teacher = load_teacher(folder)
    assert teacher.image_mean.flatten().tolist() == [0, 0, 0] and teacher.image_std.flatten().tolist() == [1, 1, 1]


def test_what_is_no_vision_model_is_refused(tmp_path):
    detector = save_tiny_detector(tmp_path / "detector")
    with pytest.raises(CheckpointError, match=r"is a detector \(d_fine\).*goes into model_name_or_path"):
        load_teacher(str(detector))
    text = save(tmp_path / "text", BertModel(BertConfig(**TRANSFORMER, vocab_size=20)))
    with pytest.raises(CheckpointError, match="is no model of pictures: bert reads input_ids"):
        load_teacher(text)


def test_paths_that_lead_nowhere(tmp_path):
    for name in (str(tmp_path / "nothing"), "./nothing", "teachers/dinov3.pth", "dinov3"):
        with pytest.raises(CheckpointError, match=r"there is no teacher .*neither a folder nor a file"):
            load_teacher(name)
    with pytest.raises(CheckpointError, match=r"is a folder without config\.json"):
        load_teacher(str(tmp_path))
