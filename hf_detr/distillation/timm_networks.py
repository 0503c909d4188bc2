"""Vision networks of timm that can teach. timm's copies of DINOv3's weights need no form."""

import json
from pathlib import Path

from torch import Tensor, nn

from hf_detr.distillation.access import unreadable_teacher
from hf_detr.distillation.networks import LoadedNetwork
from hf_detr.errors import CheckpointError, did_you_mean

PREFIX = "timm/"

_SIZE_OPTION = "dynamic_img_size"


class TimmNetwork(nn.Module):
    """A timm model that returns what its head would get: tokens after the final norm, or the last map."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        return self.model.forward_features(pixels)


def is_timm_folder(folder: Path) -> bool:
    """Whether a folder holds a model as timm saves it: its ``config.json`` names an architecture."""
    config = folder / "config.json"
    return config.is_file() and "architecture" in json.loads(config.read_text(encoding="utf-8"))


def load_from_timm(name: str, revision: str) -> LoadedNetwork:
    """A timm model with its pretrained weights.

    Args:
        name: ``timm/NAME``, or a folder that timm saved.
        revision: branch, tag or commit on the Hub.

    Raises:
        CheckpointError: timm is not installed, has no such model or no weights for it, or cannot read them.
    """
    try:
        import timm
    except ImportError as error:
        raise CheckpointError(f"the teacher {name} needs the timm package: pip install hf_detr[timm]") from error
    if name.startswith(PREFIX):
        short = name.removeprefix(PREFIX)
        architecture = short.split(".")[0]
        if not timm.is_model(architecture):
            known = [*timm.list_pretrained(), *timm.list_models()]
            raise CheckpointError(f"timm has no model {architecture!r}.{did_you_mean(short, known)}")
        source = short if revision == "main" else f"hf-hub:{name}@{revision}"
    else:
        source = f"local-dir:{name}"
    try:
        model = _create(timm, source)
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise unreadable_teacher(name, revision, error) from error
    data = model.pretrained_cfg
    patch_size = getattr(getattr(model, "patch_embed", None), "patch_size", (4, 4))
    return LoadedNetwork(
        TimmNetwork(model.eval()), max(patch_size), tuple(data["mean"]), tuple(data["std"]), model.num_features
    )


def _create(timm, source: str) -> nn.Module:
    try:
        return timm.create_model(source, pretrained=True, num_classes=0, **{_SIZE_OPTION: True})
    except TypeError as error:  # convolutional networks take any size, and do not know the option
        if _SIZE_OPTION not in str(error):
            raise
    return timm.create_model(source, pretrained=True, num_classes=0)
