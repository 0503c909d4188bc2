"""OpenVINO as the runtime of a `Detector`."""

import logging
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hf_detr.errors import CheckpointError, HfDetrError, reason_of
from hf_detr.inference.backends import choose_device
from hf_detr.inference.graph_backend import GraphBackend

logger = logging.getLogger(__name__)

# OpenVINO's name of the arithmetic, and of the processor's ability, by our name. On processors that have bfloat16 it
# would use that for any model, and for float16 where they do not have that.
_ARITHMETIC = {"bfloat16": ("bf16", "BF16"), "float16": ("f16", "FP16")}


class OpenVinoBackend(GraphBackend):
    """An OpenVINO model that `hf-detr export` wrote, on the CPU.

    Args:
        path: the ``.xml`` file; its weights lie beside it.
        device: ``"cpu"``, or None.
        num_threads: by default OpenVINO's choice.

    Raises:
        CheckpointError: the files cannot be read, or are not a detector.
        HfDetrError: OpenVINO is not installed, or another device is asked for.
    """

    def __init__(self, path: Path, device: str | torch.device | None = None, num_threads: int | None = None):
        try:
            import openvino
        except ImportError as error:
            raise HfDetrError("Running an OpenVINO model needs OpenVINO: pip install openvino.") from error
        if device is not None and choose_device(device).type != "cpu":
            raise HfDetrError(f"OpenVINO runs on the CPU here, not on {device}.")
        try:
            model = openvino.Core().read_model(path)
        except RuntimeError as error:
            reason = reason_of(error, line=-1)  # the lines before say where in OpenVINO
            raise CheckpointError(f"{path}: OpenVINO cannot load this file: {reason}\nExport it again.") from error
        inputs = {value.any_name: value for value in model.inputs}
        outputs = {value.any_name: value for value in model.outputs}
        super().__init__(
            path,
            torch.device("cpu"),
            input_shapes={name: _shape(value) for name, value in inputs.items()},
            outputs=tuple(outputs),
            takes_uint8="pixel_values" in inputs and inputs["pixel_values"].element_type == openvino.Type.u8,
            num_classes=_shape(outputs["logits"])[2] if "logits" in outputs else None,
        )
        precision = model.get_rt_info(["hf_detr", "precision"]).value if _is_ours(model) else "float32"
        options: dict[str, str | int] = {"INFERENCE_PRECISION_HINT": _hint(precision)}
        if num_threads is not None:
            options["INFERENCE_NUM_THREADS"] = num_threads
        self.compiled = openvino.compile_model(model, "CPU", options)

    def infer(self, feed: dict[str, Tensor]) -> list[Tensor]:
        outputs = self.compiled({name: tensor.numpy() for name, tensor in feed.items()}).values()
        # Its buffers are written over at the next call.
        return [torch.from_numpy(np.array(output)) for output in outputs]


def _hint(precision: str) -> str:
    """What OpenVINO is asked to compute in; float32, and a line in the log, where the processor has nothing less."""
    import openvino

    hint, ability = _ARITHMETIC.get(precision, ("f32", "FP32"))
    if ability in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return hint
    logger.info("This processor does not compute in %s; OpenVINO uses float32 for this model.", precision)
    return "f32"


def _is_ours(model) -> bool:
    return model.has_rt_info(["hf_detr", "precision"])


def _shape(value) -> list[int | None]:
    return [None if axis.is_dynamic else axis.get_length() for axis in value.partial_shape]
