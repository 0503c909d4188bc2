"""ONNX Runtime as the runtime of a `Detector`."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hf_detr.errors import CheckpointError, HfDetrError
from hf_detr.inference.backends import choose_device

_PREDICTIONS = ("logits", "pred_boxes")
_DETECTIONS = ("scores", "labels", "boxes")


class OnnxBackend:
    """An ONNX file that `hf-detr export` wrote, on the CPU or on a CUDA device.

    Args:
        path: the ``.onnx`` file.
        device: ``"cpu"`` or such as ``"cuda:0"``; by default CUDA where both torch and ONNX Runtime have it.
        num_threads: on the CPU; by default ONNX Runtime's choice, one per core.

    Raises:
        CheckpointError: the file cannot be read, or is not a detector.
        HfDetrError: ONNX Runtime is not installed, or not for this device.
    """

    def __init__(self, path: Path, device: str | torch.device | None = None, num_threads: int | None = None):
        try:
            import onnxruntime
        except ImportError as error:
            raise HfDetrError(
                "Running an ONNX file needs ONNX Runtime: pip install onnxruntime, or onnxruntime-gpu for CUDA."
            ) from error
        self.device, providers = _choose_provider(device, onnxruntime.get_available_providers())
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors
        if num_threads is not None:
            options.intra_op_num_threads = num_threads
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # its errors have no common base of their own
            reason = str(error).strip().splitlines()[0]
            raise CheckpointError(f"{path}: ONNX Runtime cannot load this file: {reason}\nExport it again.") from error
        self.properties: dict[str, str] = self.session.get_modelmeta().custom_metadata_map
        inputs = {value.name: value for value in self.session.get_inputs()}
        outputs = tuple(value.name for value in self.session.get_outputs())
        if "pixel_values" not in inputs or outputs not in (_PREDICTIONS, _DETECTIONS):
            raise CheckpointError(
                f"{path} is not a detector of `hf-detr export`: its inputs are {', '.join(inputs)} and its outputs "
                f"{', '.join(outputs)}; expected pixel_values, and {' and '.join(_PREDICTIONS)}."
            )
        self.takes_uint8 = inputs["pixel_values"].type == "tensor(uint8)"
        self.gives_detections = outputs == _DETECTIONS
        logits = next((value for value in self.session.get_outputs() if value.name == "logits"), None)
        self.num_classes: int | None = logits.shape[2] if logits is not None else None
        batch, _, height, width = inputs["pixel_values"].shape
        self.batch_size: int | None = batch if isinstance(batch, int) else None
        self.image_size_hw = (height, width) if isinstance(height, int) and isinstance(width, int) else None

    def __call__(self, pixel_values: Tensor, target_sizes: Tensor) -> tuple[Tensor, ...]:
        if self.batch_size not in (None, len(pixel_values)):
            parts = zip(pixel_values.split(self.batch_size), target_sizes.split(self.batch_size), strict=True)
            return tuple(torch.cat(outputs) for outputs in zip(*(self._run(*part) for part in parts), strict=True))
        return self._run(pixel_values, target_sizes)

    def _run(self, pixel_values: Tensor, target_sizes: Tensor) -> tuple[Tensor, ...]:
        feed = {"pixel_values": np.ascontiguousarray(pixel_values.cpu().numpy())}
        if self.gives_detections:
            feed["target_sizes"] = target_sizes.cpu().numpy().astype(np.int64)
        return tuple(torch.from_numpy(output).to(self.device) for output in self.session.run(None, feed))


def _choose_provider(
    device: str | torch.device | None, available: list[str]
) -> tuple[torch.device, list[str | tuple[str, dict[str, int]]]]:
    """The device, and what ONNX Runtime calls it."""
    has_cuda = "CUDAExecutionProvider" in available
    if device is None and not has_cuda:
        device = "cpu"
    chosen = choose_device(device)
    if chosen.type == "cuda":
        if not has_cuda:
            raise HfDetrError("This ONNX Runtime has no CUDA: pip uninstall onnxruntime, pip install onnxruntime-gpu.")
        cuda = ("CUDAExecutionProvider", {"device_id": chosen.index or 0})
        return chosen, [cuda, "CPUExecutionProvider"]
    return torch.device("cpu"), ["CPUExecutionProvider"]
