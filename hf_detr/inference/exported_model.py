"""An exported detector for `transformers.pipeline("object-detection")`."""

import os
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import BaseImageProcessor, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES
from transformers.utils import ModelOutput

from hf_detr.errors import CheckpointError, HfDetrError
from hf_detr.inference.backends import choose_device
from hf_detr.inference.exported import find_exported, load_exported
from hf_detr.inference.graph_backend import GraphBackend


@dataclass
class ExportedModelOutput(ModelOutput):
    """What the pipeline reads.

    Attributes:
        logits: ``(B, Q, K)``, before the sigmoid.
        pred_boxes: ``(B, Q, 4)`` cxcywh, normalised.
    """

    logits: Tensor | None = None
    pred_boxes: Tensor | None = None


class ExportedModel(PreTrainedModel):
    """A folder of `hf-detr export`, called as the model it was made of.

        from transformers import pipeline

        model = ExportedModel.from_pretrained("runs/first/onnx")
        detect = pipeline("object-detection", model=model, image_processor=model.image_processor)
        print(detect("photo.jpg"))

    The runtime is that of the folder: ONNX Runtime, OpenVINO, TensorRT, ExecuTorch, or PyTorch for a ``.pt2`` program.
    """

    main_input_name = "pixel_values"

    def __init__(self, config, backend: GraphBackend, image_processor: BaseImageProcessor):
        super().__init__(config)
        self.backend = backend
        self.image_processor = image_processor

    @classmethod
    def from_pretrained(
        cls, model_name_or_path: str | os.PathLike, *, device: str | torch.device | None = None
    ) -> "ExportedModel":
        """Load a folder that `hf-detr export` wrote, or the file in it.

        Args:
            model_name_or_path: the folder or file.
            device: by default the best that torch and the runtime have.

        Raises:
            CheckpointError: it is no exported model, cannot be read, or does pre- or post-processing by itself.
        """
        file = find_exported(model_name_or_path)
        if file is None:
            raise CheckpointError(f"{model_name_or_path} is no exported model: `hf-detr export MODEL` writes one.")
        backend, image_processor, config = load_exported(file, device, None)
        flags = {"--with-postprocess": backend.gives_detections, "--uint8-input": backend.takes_uint8}
        if any(flags.values()):
            raise CheckpointError(
                f"{file} was exported with {' and '.join(flag for flag, given in flags.items() if given)}, and the "
                "pipeline would do the same once more. Export without, or use hf_detr.Detector."
            )
        return cls(config, backend, image_processor)

    @property
    def device(self) -> torch.device:
        return self.backend.device

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32

    def to(self, device: str | torch.device) -> "ExportedModel":
        """Stay where it is.

        Raises:
            HfDetrError: another device is asked for.
        """
        if choose_device(device) != self.device:
            raise HfDetrError(
                f"An exported model stays on the device it was loaded on, {self.device}: "
                f"ExportedModel.from_pretrained(..., device={str(device)!r})."
            )
        return self

    def forward(self, pixel_values: Tensor) -> ExportedModelOutput:
        sizes_hw = torch.zeros((len(pixel_values), 2), dtype=torch.int64)  # only post-processing would use them
        logits, pred_boxes = self.backend(pixel_values, sizes_hw)
        return ExportedModelOutput(logits=logits, pred_boxes=pred_boxes)


# The pipeline compares with this table of names, and would log an error for one that is not in it.
MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES[ExportedModel.__name__] = ExportedModel.__name__
