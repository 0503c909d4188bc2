"""What a teacher does with pictures, what stays as it is, and which teachers are refused before the first step."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import DINOv3ViTModel

from hf_detr.distillation.geometry import MapGeometry, measure_geometry, to_map
from hf_detr.distillation.teacher import Teacher, check_teacher, choose_dtype, load_teacher, scale_pixels
from hf_detr.errors import CheckpointError
from tests.teachers import TEACHER_DIM, save_tiny_dinov3

MEAN, STD = torch.tensor([0.485, 0.456, 0.406])[:, None, None], torch.tensor([0.229, 0.224, 0.225])[:, None, None]


@pytest.fixture(scope="module")
def dinov3(tmp_path_factory) -> str:
    return str(save_tiny_dinov3(tmp_path_factory.mktemp("teachers") / "dinov3"))


@pytest.fixture(scope="module")
def teacher(dinov3) -> Teacher:
    return load_teacher(dinov3)


def test_rt_detr_v4s_features_of_dinov3(dinov3, teacher):
    """The definition: ImageNet's statistics, averages of 2 x 2 px, the patch tokens after the final norm."""
    images = torch.rand(2, 3, 64, 160)
    model = DINOv3ViTModel.from_pretrained(dinov3).eval()
    with torch.no_grad():
        tokens = model(F.avg_pool2d((images - MEAN) / STD, 2)).last_hidden_state[:, 5:]
    expected = tokens.transpose(1, 2).reshape(2, TEACHER_DIM, 2, 5)
    assert (teacher.feature_dim, teacher.stride) == (TEACHER_DIM, 16)
    assert torch.equal(teacher(images), expected)
    normed = F.layer_norm(tokens, (TEACHER_DIM,))
    assert torch.allclose(tokens, normed, atol=1e-3)  # of random weights, the final norm's are 1 and 0


def test_it_stays_frozen_in_evaluation_mode_and_out_of_mixed_precision(teacher):
    images = torch.rand(1, 3, 64, 64)
    expected = teacher(images)
    holder = nn.ModuleList([teacher]).train()
    assert not any(module.training for module in teacher.modules()) and holder.training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = teacher(images.requires_grad_())
    assert torch.equal(features, expected) and not features.requires_grad and features.dtype == torch.float32


def test_bfloat16_is_near_float32(dinov3, teacher):
    images = torch.rand(2, 3, 64, 64)
    half = load_teacher(dinov3, dtype="bfloat16")
    features = half(images)
    assert features.dtype == torch.bfloat16
    assert F.cosine_similarity(features.float(), teacher(images)).min() > 0.99
    assert half.image_mean.dtype == torch.float32  # pictures are normalised before they are rounded


def test_auto_is_float32_without_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_dtype("auto") == torch.float32
    assert (choose_dtype("bfloat16"), choose_dtype("float32")) == (torch.bfloat16, torch.float32)


@pytest.mark.slow
def test_a_compiled_teacher_gives_the_same(dinov3, teacher):
    images = torch.rand(2, 3, 64, 96)
    assert torch.allclose(load_teacher(dinov3, compile=True)(images), teacher(images), atol=1e-5)


def test_pictures_are_averaged_where_the_factor_is_whole():
    pixels = torch.rand(1, 3, 64, 96)
    assert scale_pixels(pixels, (2, 3), 32) is pixels
    assert torch.equal(scale_pixels(pixels, (2, 3), 16), F.avg_pool2d(pixels, 2))
    assert torch.equal(scale_pixels(pixels, (2, 3), 8), F.avg_pool2d(pixels, 4))
    halved = F.interpolate(pixels, (32, 48), mode="bilinear", align_corners=False)
    assert torch.allclose(scale_pixels(pixels, (2, 3), 16), halved, atol=1e-6)  # another way to say the same


def test_patches_of_14_pixels_get_an_antialiased_picture():
    pixels = torch.rand(1, 3, 64, 96)
    scaled = scale_pixels(pixels, (2, 3), 14)
    assert scaled.shape[-2:] == (28, 42)
    assert scaled.std() < 0.8 * F.interpolate(pixels, (28, 42)).std()  # noise averages out
    ramp = torch.linspace(0, 1, 96).expand(1, 3, 64, 96)
    middles = (torch.arange(42) + 0.5) * 96 / 42 - 0.5  # where the new pixels are, in old ones
    inner = slice(2, -2)
    assert torch.allclose(scale_pixels(ramp, (2, 3), 14)[0, 0, 0, inner], middles[inner] / 95, atol=1e-3)


def test_tokens_become_a_map_in_rows():
    tokens = torch.arange(2 + 6).float()[None, :, None]
    found = to_map(tokens, (2, 3), MapGeometry(1, 16, prefix_tokens=2))
    assert found.tolist() == [[[[2.0, 3.0, 4.0], [5.0, 6.0, 7.0]]]]


class Tokens(nn.Module):
    """A network that gives `prefix` tokens and one for every `stride` x `stride` px."""

    def __init__(self, stride: int, prefix: int = 0, channels: int = 4):
        super().__init__()
        self.stride, self.prefix = stride, prefix
        self.weight = nn.Parameter(torch.zeros(channels))

    def forward(self, pixels: Tensor) -> Tensor:
        places = (pixels.shape[-2] // self.stride) * (pixels.shape[-1] // self.stride)
        return self.weight.expand(len(pixels), self.prefix + places, -1)


class Map(nn.Module):
    """A network that gives a map with one place for every `stride` x `stride` px."""

    def __init__(self, stride: int, channels_last: bool = False, channels: int = 5):
        super().__init__()
        self.stride, self.channels_last = stride, channels_last
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, pixels: Tensor) -> Tensor:
        features = self.weight[:, None, None] * F.avg_pool2d(pixels[:, :1], self.stride)
        return features.movedim(1, -1) if self.channels_last else features


@pytest.mark.parametrize(
    ("network", "options", "expected"),
    [
        (Tokens(16, prefix=5), {"patch_size": 16}, MapGeometry(4, 16, prefix_tokens=5)),
        (Tokens(14, prefix=1), {"patch_size": 14}, MapGeometry(4, 14, prefix_tokens=1)),
        (Tokens(16), {"patch_size": 4}, MapGeometry(4, 16)),  # patches are merged on the way
        (Map(32), {}, MapGeometry(5, 32)),
        (Map(16, channels_last=True), {"feature_dim": 5}, MapGeometry(5, 16, channels_last=True)),
    ],
    ids=["registers", "class-token", "merged", "map", "channels-last"],
)
def test_the_geometry_is_measured(network, options, expected):
    assert measure_geometry(network, **options) == expected


class Changed(nn.Module):
    """A tokens network with a change to its output."""

    def __init__(self, change):
        super().__init__()
        self.network, self.change = Tokens(16), change

    def forward(self, pixels: Tensor) -> Tensor:
        return self.change(self.network(pixels))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Changed(lambda tokens: tokens[:, :7]), "give 7 and 7 tokens, which is no grid of patches of 16 px"),
        (Tokens(12), "give 100 and 210 tokens, which is no grid of patches of 16 px"),  # 128 px are 10.7 patches
        (Changed(lambda tokens: tokens.mean(1)), r"features of shape \[1, 4\], which is no map"),
        (Changed(lambda tokens: tokens.mean(1)[..., None, None]), "which do not grow with the picture"),
    ],
    ids=["pooled-to-seven", "patches-of-12", "one-vector", "one-place"],
)
def test_what_is_no_map_is_refused(network, message):
    with pytest.raises(CheckpointError, match=message):
        measure_geometry(network, patch_size=16)


def wrapped(network: nn.Module, stride: int, feature_dim: int = 4) -> Teacher:
    return Teacher(network, MapGeometry(feature_dim, stride), (0.0,) * 3, (1.0,) * 3)


def test_good_teachers_pass(teacher):
    check_teacher(teacher, (64, 96))
    check_teacher(teacher, (64, 96), TEACHER_DIM)
    check_teacher(wrapped(Map(16), 32, 5), (64, 96))  # a finer map than the student's is resized in the loss


@pytest.mark.parametrize(
    ("network", "stride", "dim", "message"),
    [
        (Map(64), 32, 5, r"map is too small: 1 x 2 places for a picture of 64 x 128 px, where the student has 2 x 4"),
        (Map(32), 32, 6, r"shape \[2, 5, 2, 4\] for 2 pictures of 64 x 128 px; a map \[2, 6, h, w\] is needed"),
        (Map(32, channels_last=True), 32, 5, r"shape \[2, 2, 4, 5\]"),
    ],
    ids=["coarse", "channels", "channels-last"],
)
def test_bad_maps_are_refused_before_the_first_step(network, stride, dim, message):
    with pytest.raises(CheckpointError, match=message):
        check_teacher(wrapped(network, stride, dim), (64, 128))


def test_features_that_are_not_finite_are_refused():
    network = Map(32)
    nn.init.constant_(network.weight, torch.nan)
    with pytest.raises(CheckpointError, match=r"features are not finite in float32\. Try teacher_dtype: float32"):
        check_teacher(wrapped(network, 32, 5), (64, 64))


def test_a_projector_for_another_teacher_is_refused(teacher):
    with pytest.raises(CheckpointError, match="have 24 channels, but the student's projector has 32"):
        check_teacher(teacher, (64, 64), 32)


def test_patches_coarser_than_the_students_grid_are_refused(tmp_path):
    save_tiny_dinov3(tmp_path / "coarse", patch_size=64)
    with pytest.raises(CheckpointError, match="one feature per 64 x 64 px, coarser than the student's 32"):
        load_teacher(str(tmp_path / "coarse"))
