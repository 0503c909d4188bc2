"""Folders that `hf-detr export` wrote: which runtime they are for, and what a `Detector` needs from them."""

import os
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoImageProcessor

from hf_detr.errors import CheckpointError
from hf_detr.inference.backends import Backend
from hf_detr.inference.executorch_backend import ExecuTorchBackend
from hf_detr.inference.onnx_backend import OnnxBackend
from hf_detr.inference.openvino_backend import OpenVinoBackend
from hf_detr.inference.tensorrt_backend import TensorRtBackend
from hf_detr.inference.torch_program_backend import TorchProgramBackend
from hf_detr.registration import register

# The file with the graph, by runtime.
ONNX_FILE = "model.onnx"
OPENVINO_FILE = "openvino_model.xml"
TRITON_FILE = "1/model.onnx"  # the first version of a model in a Triton repository
TORCH_FILE = "model.pt2"
EXECUTORCH_FILE = "model.pte"
ENGINE_FILE = "model.engine"
_FILES = (ONNX_FILE, OPENVINO_FILE, TRITON_FILE, TORCH_FILE, EXECUTORCH_FILE, ENGINE_FILE)
_BACKENDS = {
    ".onnx": OnnxBackend,
    ".xml": OpenVinoBackend,
    ".pt2": TorchProgramBackend,
    ".pte": ExecuTorchBackend,
    ".engine": TensorRtBackend,
    ".plan": TensorRtBackend,
}
# Files of weights: whoever loads models says what to do with them.
_WEIGHTS = (".pth", ".pt", ".safetensors", ".bin")


def find_exported(model_name_or_path: str | os.PathLike) -> Path | None:
    """The exported file that is meant: the file itself, or that of a folder without weights for PyTorch.

    Raises:
        CheckpointError: a file that no runtime is for.
    """
    path = Path(model_name_or_path).expanduser()
    if path.is_file() and path.suffix in _BACKENDS:
        return path
    if path.is_file() and path.suffix not in _WEIGHTS:
        raise CheckpointError(
            f"{path}: there is no runtime for {path.suffix or 'a file without ending'}. Exported models end in "
            f"{', '.join(_BACKENDS)}; other models are folders."
        )
    if not path.is_dir() or any(path.glob("model*.safetensors")):
        return None
    return next((path / name for name in _FILES if (path / name).is_file()), None)


def load_exported(
    file: Path,
    device: str | torch.device | None,
    image_size_hw: tuple[int, int] | None,
    num_threads: int | None = None,
) -> tuple[Backend, Any, Any]:
    """The backend, the image processor and the configuration of an exported model.

    Args:
        file: what `find_exported` found; the model's configuration and preprocessing lie beside it, or beside the
            folder of its version in a Triton repository.
        device: by default the best that torch and the runtime have.
        image_size_hw: height and width of the input in pixels, where the graph takes another than its own.
        num_threads: on the CPU, by default the runtime's choice.

    Raises:
        CheckpointError: a file is missing or cannot be read, the number of classes differs, or the graph does not take
            this size.
    """
    folder = file.parent.parent if file.parent.name.isdecimal() else file.parent
    missing = [name for name in ("config.json", "preprocessor_config.json") if not (folder / name).is_file()]
    if missing:
        raise CheckpointError(
            f"{file}: no {' and no '.join(missing)} in {folder}. `hf-detr export` writes them; copy the whole folder."
        )
    register()
    config = AutoConfig.from_pretrained(folder)
    processor = AutoImageProcessor.from_pretrained(folder)
    backend = _BACKENDS[file.suffix](file, device, num_threads)
    if backend.num_classes not in (None, config.num_labels):
        raise CheckpointError(
            f"{file} tells {backend.num_classes} classes apart, the config.json beside it names {config.num_labels}. "
            "They come from different models; export again."
        )
    size_hw = image_size_hw or (processor.size["height"], processor.size["width"])
    backend.check_image_size(size_hw)
    processor.size = {"height": size_hw[0], "width": size_hw[1]}
    return backend, processor, config
