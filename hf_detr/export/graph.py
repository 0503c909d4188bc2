"""A detector as the graph that is exported: pictures in, predictions out, and nothing that only training needs."""

import builtins
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim
from transformers import pytorch_utils

from hf_detr.data.images import resize_image
from hf_detr.models.decoding import EVALUATED_DETECTIONS, decode_detections, prepare_pixels
from hf_detr.models.families import SIZE_MULTIPLE

PIXELS, SIZES = "pixel_values", "target_sizes"
PREDICTIONS = ("logits", "pred_boxes")
DETECTIONS = ("scores", "labels", "boxes")


@dataclass(frozen=True)
class GraphOptions:
    """What goes into the graph, and what may vary when it runs.

    Attributes:
        with_postprocess: detections in pixels of the original picture come out, not logits and normalised boxes.
        uint8_input: resized pictures go in as they are; rescaling and normalisation are part of the graph.
        dynamic_batch: any number of pictures at once; else one.
        dynamic_size: any height and width that 32 divides, from 64 pixels; else the model's own.
    """

    with_postprocess: bool = False
    uint8_input: bool = False
    dynamic_batch: bool = True
    dynamic_size: bool = False

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the graph's inputs, in order."""
        return (PIXELS, SIZES) if self.with_postprocess else (PIXELS,)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the graph's outputs, in order."""
        return DETECTIONS if self.with_postprocess else PREDICTIONS


class DetectorGraph(nn.Module):
    """A detector with as much of its pre- and post-processing as the exported file shall do itself.

    Called with ``pixel_values``, float32 ``(B, 3, H, W)`` prepared like the image processor does, or uint8 RGB of the
    same shape. Returns ``logits (B, Q, K)`` and ``pred_boxes (B, Q, 4)``, cxcywh normalised.

    With post-processing it is called with ``target_sizes`` as well, int64 ``(B, 2)`` height and width of the original
    pictures in pixels, and returns the best D detections of each picture: ``scores (B, D)``, ``labels (B, D)`` int64
    class ids and ``boxes (B, D, 4)``, xyxy in these pixels. D is the number of queries, but at least 300 as in the
    papers' evaluation, where the classes allow for as many.
    """

    def __init__(self, model: nn.Module, processor: Any, options: GraphOptions):
        super().__init__()
        self.model = model.eval()
        self.config = model.config  # the exporters of Transformers write it down
        self.options = options
        self.processor = processor
        # The image processor's own method keeps tensors in a cache, which tracing would fill with its stand-ins.
        mean, std = (processor.image_mean, processor.image_std) if processor.do_normalize else ([0.0] * 3, [1.0] * 3)
        unit = 1 / processor.rescale_factor if processor.do_rescale else 1.0
        self.register_buffer("mean", torch.tensor(mean)[:, None, None] * unit)
        self.register_buffer("std", torch.tensor(std)[:, None, None] * unit)

    def forward(self, pixel_values: Tensor, target_sizes: Tensor | None = None) -> dict[str, Tensor]:
        if self.options.uint8_input:
            pixel_values = (pixel_values.float() - self.mean) / self.std
        outputs = self.model(pixel_values=pixel_values)
        if not self.options.with_postprocess:
            return {"logits": outputs.logits, "pred_boxes": outputs.pred_boxes}
        top_k = max(EVALUATED_DETECTIONS, outputs.logits.shape[1])
        rows = decode_detections(outputs.logits, outputs.pred_boxes, target_sizes, top_k)
        return {"scores": rows[..., 0], "labels": rows[..., 1].long(), "boxes": rows[..., 2:]}

    def sample_inputs(self, image_size_hw: tuple[int, int]) -> dict[str, Tensor]:
        """Inputs to trace the graph with; two pictures where their number may vary: 1 is taken for a constant."""
        batch = 2 if self.options.dynamic_batch else 1
        shape = (batch, 3, *image_size_hw)
        generator = torch.Generator().manual_seed(0)
        if self.options.uint8_input:
            pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        else:
            pixels = torch.rand(shape, generator=generator)
        inputs = {PIXELS: pixels}
        if self.options.with_postprocess:
            inputs[SIZES] = torch.tensor([[480, 640]] * batch)
        return inputs

    def inputs_of(self, picture: np.ndarray, image_size_hw: tuple[int, int]) -> dict[str, Tensor]:
        """What goes in for one picture, ``uint8 (H, W, 3)`` RGB, at an input of this height and width in pixels."""
        prepared = torch.from_numpy(resize_image(picture, image_size_hw)).permute(2, 0, 1)[None]
        pixels = prepared if self.options.uint8_input else prepare_pixels(prepared, self.processor)
        inputs = {PIXELS: pixels}
        if self.options.with_postprocess:
            inputs[SIZES] = torch.tensor([picture.shape[:2]])
        return inputs

    def dynamic_shapes(self) -> dict[str, dict[int, Any]]:
        """Which axes may vary, by input, as `torch.export` wants it; sides in steps of 32 pixels."""
        batch = {0: Dim("batch", min=1)} if self.options.dynamic_batch else {}
        size = {}
        if self.options.dynamic_size:
            size = {2: SIZE_MULTIPLE * Dim("rows", min=2), 3: SIZE_MULTIPLE * Dim("columns", min=2)}
        shapes = {PIXELS: {**batch, **size}}
        if self.options.with_postprocess:
            shapes[SIZES] = dict(batch)
        return shapes


@contextmanager
def symbolic_shapes(model: nn.Module) -> Iterator[None]:
    """Within the block, Transformers' modeling files take sizes that vary for what they are.

    They write ``len(tensor)`` for the batch, ``int(height)`` for a side, and keep what follows from the sides in
    caches that have them as keys. Each needs a number, so that tracing would fix it at the sample's; the caches would
    moreover keep the stand-ins that tracing works with. (Transformers 5.23: `DFineModel.forward`,
    `DFineSinePositionEmbedding.forward`, `get_patches_center_coordinates` and their relatives.)
    """

    def length(value: Any) -> Any:
        return value.shape[0] if isinstance(value, Tensor) else builtins.len(value)

    names = {type(module).__module__ for module in model.modules()}
    with ExitStack() as replaced:
        for source in [sys.modules[name] for name in names if name.startswith("transformers.models.")]:
            for name, function in (("len", length), ("int", torch.sym_int), ("torch_int", torch.sym_int)):
                replaced.enter_context(patch.object(source, name, function, create=True))
        # Their caches ask this before they look something up.
        replaced.enter_context(patch.object(pytorch_utils, "is_torchdynamo_compiling", lambda: True))
        yield
