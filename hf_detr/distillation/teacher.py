"""Frozen vision models that a detector learns features from."""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hf_detr.distillation.dinov3_files import load_from_file
from hf_detr.distillation.geometry import MapGeometry, measure_geometry, to_map
from hf_detr.distillation.networks import LoadedNetwork, load_from_transformers
from hf_detr.distillation.timm_networks import PREFIX, is_timm_folder, load_from_timm
from hf_detr.errors import CheckpointError, reason_of

STUDENT_STRIDE = 32  # pixels of the student's image per place of the compared maps


class Teacher(nn.Module):
    """A frozen network that gives one feature vector per 32 x 32 pixels of a student's picture.

    It normalises pictures itself and scales them so that its grid is the student's: with patches of 16 px that is
    RT-DETRv4's average over 2 x 2 pixels, after the normalisation (https://huggingface.co/papers/2510.25257). It stays
    in evaluation mode whatever it is asked, computes no gradients, and takes no part in mixed precision.

    Args:
        network: maps normalised pictures to tokens ``(B, n, C)`` or a map.
        geometry: of its output, see `measure_geometry`.
        image_mean, image_std: of the pictures it was trained on, per channel.
        dtype: it computes in this.

    Attributes:
        feature_dim: channels of its features.
        stride: pixels of its own input per place.
    """

    def __init__(
        self,
        network: nn.Module,
        geometry: MapGeometry,
        image_mean: Sequence[float],
        image_std: Sequence[float],
        dtype: torch.dtype = torch.float32,
    ):
        super().__init__()
        self.network = network.to(dtype).requires_grad_(False)
        self.geometry = geometry
        self.dtype = dtype
        self.register_buffer("image_mean", torch.tensor(image_mean)[:, None, None], persistent=False)
        self.register_buffer("image_std", torch.tensor(image_std)[:, None, None], persistent=False)
        self.eval()

    @property
    def feature_dim(self) -> int:
        return self.geometry.feature_dim

    @property
    def stride(self) -> int:
        return self.geometry.stride

    def train(self, mode: bool = True) -> "Teacher":
        """Stay in evaluation mode: DINOv3 moves its positions at random otherwise."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Features of a batch.

        Args:
            images: ``(B, 3, H, W)`` RGB in [0, 1], sides multiples of 32; the very pictures the student sees, before
                its own normalisation.

        Returns:
            ``(B, feature_dim, H / 32, W / 32)`` in the teacher's precision.
        """
        grid_hw = (images.shape[-2] // STUDENT_STRIDE, images.shape[-1] // STUDENT_STRIDE)
        with torch.autocast(images.device.type, enabled=False):
            pixels = (images.float() - self.image_mean) / self.image_std
            output = self.network(scale_pixels(pixels, grid_hw, self.stride).to(self.dtype))
        return to_map(output, grid_hw, self.geometry)


def scale_pixels(pixels: Tensor, grid_hw: tuple[int, int], stride: int) -> Tensor:
    """Pictures of ``stride`` pixels per place of the grid: averaged where the factor is whole, else antialiased."""
    size_hw = (grid_hw[0] * stride, grid_hw[1] * stride)
    if pixels.shape[-2:] == size_hw:
        return pixels
    factor = pixels.shape[-2] // size_hw[0]
    if pixels.shape[-2:] == (size_hw[0] * factor, size_hw[1] * factor):
        return F.avg_pool2d(pixels, factor)
    return F.interpolate(pixels, size_hw, mode="bilinear", align_corners=False, antialias=True)


@torch.no_grad()
def check_teacher(teacher: nn.Module, image_size_hw: tuple[int, int], student_dim: int | None = None) -> None:
    """Try a teacher on a black and a random picture before the first step of training.

    Args:
        teacher: anything with `feature_dim` and a forward like `Teacher`'s.
        image_size_hw: of the student's pictures in pixels.
        student_dim: channels of the student's projector, where it has one.

    Raises:
        CheckpointError: the map has another shape than promised, fewer places than the student's, or values that are
            not finite.
    """
    if student_dim is not None and student_dim != teacher.feature_dim:
        raise CheckpointError(
            f"the teacher's features have {teacher.feature_dim} channels, but the student's projector has "
            f"{student_dim}. Use the teacher that the student was trained with, or a student without a projector."
        )
    height, width = image_size_hw
    buffer = next(teacher.parameters(), torch.empty(0))
    noise = torch.rand(3, height, width, generator=torch.Generator().manual_seed(0))
    features = teacher(torch.stack([torch.zeros_like(noise), noise]).to(buffer.device))
    wanted = (height // STUDENT_STRIDE, width // STUDENT_STRIDE)
    if features.ndim != 4 or features.shape[:2] != (2, teacher.feature_dim):
        raise CheckpointError(
            f"the teacher gives features of shape {list(features.shape)} for 2 pictures of {height} x {width} px; a "
            f"map [2, {teacher.feature_dim}, h, w] is needed."
        )
    rows, columns = features.shape[-2:]
    if rows < wanted[0] or columns < wanted[1]:
        raise CheckpointError(
            f"the teacher's map is too small: {rows} x {columns} places for a picture of {height} x {width} px, where "
            f"the student has {wanted[0]} x {wanted[1]}. Choose a teacher with smaller patches or strides; 16 px fit."
        )
    if not features.isfinite().all():
        raise CheckpointError(
            f"the teacher's features are not finite in {str(features.dtype).removeprefix('torch.')}. Try "
            "teacher_dtype: float32; if they still are not, its weights are damaged."
        )


def load_teacher(name: str, *, revision: str = "main", dtype: str = "auto", compile: bool = False) -> Teacher:
    """A frozen teacher, on the CPU.

    Args:
        name: Hub id, local folder of Transformers or timm, official DINOv3 ``.pth``, or timm model as ``timm/NAME``.
        revision: branch, tag or commit on the Hub.
        dtype: ``auto``, ``float32`` or ``bfloat16``; auto is bfloat16 on a GPU that has it.
        compile: run its network through `torch.compile`.

    Raises:
        CheckpointError: it cannot be found or read, or is no vision model that gives a map of features.
    """
    loaded = _load_network(name, revision)
    try:
        geometry = measure_geometry(loaded.network, patch_size=loaded.patch_size, feature_dim=loaded.feature_dim)
    except CheckpointError as error:
        raise CheckpointError(f"the teacher {name} gives no map of features: {error}.") from error
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        raise CheckpointError(
            f"the teacher {name} cannot be run on a picture of another size than its own: {reason_of(error)}"
        ) from error
    if geometry.stride > STUDENT_STRIDE:
        raise CheckpointError(
            f"the teacher {name} has one feature per {geometry.stride} x {geometry.stride} px, coarser than the "
            f"student's {STUDENT_STRIDE}. Choose a teacher with smaller patches or strides; 16 px fit."
        )
    teacher = Teacher(loaded.network, geometry, loaded.image_mean, loaded.image_std, choose_dtype(dtype))
    if compile:
        teacher.network.compile()
    return teacher


def _load_network(name: str, revision: str) -> LoadedNetwork:
    path = Path(name).expanduser()
    if path.is_file():
        return load_from_file(path)
    if path.is_dir():
        return load_from_timm(str(path), revision) if is_timm_folder(path) else _load_folder(path)
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") != 1 or path.suffix == ".pth":
        raise CheckpointError(
            f"there is no teacher {name}: neither a folder nor a file. Give a folder with a config.json, an official "
            "DINOv3 .pth file, a Hub id (user/name), or timm/NAME."
        )
    return load_from_timm(name, revision) if name.startswith(PREFIX) else load_from_transformers(name, revision)


def _load_folder(path: Path) -> LoadedNetwork:
    if not (path / "config.json").is_file():
        raise CheckpointError(f"the teacher {path} is a folder without config.json: it holds no model.")
    return load_from_transformers(str(path), "main")


def choose_dtype(dtype: str) -> torch.dtype:
    """The precision that a setting means on this machine."""
    if dtype == "auto":
        dtype = "bfloat16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "float32"
    return getattr(torch, dtype)
