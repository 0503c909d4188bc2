"""Models of every family and size with random weights that answer differently to different pictures.

As initialised, a detector scores thousands of places alike, and the last bit of a pixel decides which of them become
queries: two correct runtimes then disagree about most detections. Here weights keep the size of what goes through
them, and batch norms have the statistics of pictures. Their bias of 1 keeps activations out of the kink of the ReLU,
where a deep network of random weights doubles a difference every few layers.
"""

import torch
from torch import nn
from transformers import PreTrainedModel

from hf_detr.export.verify import made_up_pictures
from hf_detr.inference.detector import Detector
from hf_detr.models.decoding import prepare_pixels
from hf_detr.models.labels import default_labels
from hf_detr.models.loading import load_from_scratch
from hf_detr.models.variants import FAMILIES

CLASSES = 80
MODELS = tuple(f"{family}/{size}" for family, sizes in FAMILIES.items() for size in sizes)


@torch.no_grad()
def build_random_model(name: str, seed: int = 0) -> tuple[PreTrainedModel, object]:
    """A model in evaluation mode and its image processor, the same at every call.

    Args:
        name: one of `MODELS`, such as ``"d_fine/s"``; its true shape and image size.
        seed: of the weights.
    """
    family, size = name.split("/")
    side = FAMILIES[family][size].image_side
    model, processor = load_from_scratch(family, size, id2label=default_labels(CLASSES), image_size_hw=(side, side))
    torch.manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.ndim > 1:
            parameter.normal_(std=parameter[0].numel() ** -0.5)
    prepare = Detector.from_model(model, processor, device="cpu").prepare
    pictures = torch.stack([prepare(picture) for picture in made_up_pictures(2, (480, 640))])
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.bias.fill_(1)
        norm.momentum = None  # the statistics of one batch, as they are
        norm.reset_running_stats()
        norm.train()
    model(pixel_values=prepare_pixels(pictures, processor))
    return model.eval(), processor
