"""ONNX Runtime as the runtime of a `Detector`."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hf_detr.cache import cache_folder
from hf_detr.errors import CheckpointError, HfDetrError, reason_of
from hf_detr.inference.backends import choose_device
from hf_detr.inference.graph_backend import GraphBackend

_CPU, _CUDA, _TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"


class OnnxBackend(GraphBackend):
    """An ONNX file that `hf-detr export` wrote, on the CPU, on a CUDA device, or through TensorRT on one.

    Through TensorRT each part of the graph becomes an engine when it is run with new shapes for the first time, which
    takes minutes; the engines are kept in the cache folder. They compute in the types that the file has.

    Args:
        path: the ``.onnx`` file.
        device: ``"cpu"``, or such as ``"cuda:0"`` or ``"tensorrt:0"``; by default CUDA where both torch and ONNX
            Runtime have it.
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
            raise CheckpointError(
                f"{path}: ONNX Runtime cannot load this file: {reason_of(error)}\nExport it again."
            ) from error
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
) -> tuple[torch.device, list[str | tuple[str, dict[str, Any]]]]:
    """The device, and what ONNX Runtime calls it: providers in the order in which they may take parts of the graph."""
    kind, _, index = str(device).partition(":")
    through_tensorrt = kind == "tensorrt"
    if through_tensorrt:
        device = f"cuda:{index or 0}"
    if device is None and _CUDA not in available:
        device = "cpu"
    for provider, wanted in ((_CUDA, str(device).startswith("cuda")), (_TENSORRT, through_tensorrt)):
        if wanted and provider not in available:
            raise HfDetrError(
                f"This ONNX Runtime has no {provider}: pip uninstall onnxruntime, pip install onnxruntime-gpu. "
                f"It has: {', '.join(available)}."
            )
    chosen = choose_device(device)
    if chosen.type != "cuda":
        return torch.device("cpu"), [_CPU]
    providers: list[str | tuple[str, dict[str, Any]]] = [(_CUDA, {"device_id": chosen.index or 0}), _CPU]
    if through_tensorrt:
        providers.insert(0, (_TENSORRT, {"device_id": chosen.index or 0, **_engine_cache()}))
    return chosen, providers


def _engine_cache() -> dict[str, Any]:
    """Where TensorRT keeps engines and measurements; their names tell graph, version and GPU."""
    folder = cache_folder() / "onnxruntime-tensorrt"
    folder.mkdir(parents=True, exist_ok=True)
    return {
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": True,
        "trt_timing_cache_path": str(folder),
    }
