"""ONNX Runtime as the runtime of a `Detector`."""

from pathlib import Path

import torch
from torch import Tensor

from hf_detr.errors import CheckpointError, HfDetrError
from hf_detr.inference.backends import choose_device
from hf_detr.inference.graph_backend import GraphBackend


class OnnxBackend(GraphBackend):
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
        chosen, providers = _choose_provider(device, onnxruntime.get_available_providers())
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors
        if num_threads is not None:
            options.intra_op_num_threads = num_threads
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # its errors have no common base of their own
            reason = str(error).strip().splitlines()[0]
            raise CheckpointError(f"{path}: ONNX Runtime cannot load this file: {reason}\nExport it again.") from error
        inputs = {value.name: value for value in self.session.get_inputs()}
        outputs = {value.name: value for value in self.session.get_outputs()}
        super().__init__(
            path,
            chosen,
            input_shapes={
                name: [axis if isinstance(axis, int) else None for axis in value.shape]
                for name, value in inputs.items()
            },
            outputs=tuple(outputs),
            takes_uint8="pixel_values" in inputs and inputs["pixel_values"].type == "tensor(uint8)",
            num_classes=outputs["logits"].shape[2] if "logits" in outputs else None,
        )

    def infer(self, feed: dict[str, Tensor]) -> list[Tensor]:
        outputs = self.session.run(None, {name: tensor.cpu().numpy() for name, tensor in feed.items()})
        return [torch.from_numpy(output).to(self.device) for output in outputs]


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
