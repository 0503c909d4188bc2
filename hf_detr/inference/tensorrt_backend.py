"""A TensorRT engine as the runtime of a `Detector`."""

from pathlib import Path

import torch
from torch import Tensor

from hf_detr.errors import CheckpointError, HfDetrError
from hf_detr.inference.backends import choose_device
from hf_detr.inference.graph_backend import GraphBackend
from hf_detr.inference.tensorrt_runtime import EngineInfo, import_tensorrt, last_error, make_log, start


class TensorRtBackend(GraphBackend):
    """An engine that `hf-detr export` built, on a CUDA device. Tensors go in and come out there, without a copy.

    Args:
        path: the ``.engine`` or ``.plan`` file, with or without the ``engine.json`` that says where it was built.
        device: such as ``"cuda:1"``; by default the first.
        num_threads: not used; the work is done on the GPU.

    Raises:
        CheckpointError: the engine was built for another machine, cannot be read, or is not a detector.
        HfDetrError: TensorRT is not installed, or there is no CUDA device.
    """

    def __init__(self, path: Path, device: str | torch.device | None = None, num_threads: int | None = None):
        tensorrt = import_tensorrt()
        chosen = _choose_cuda(device)
        built = EngineInfo.beside(path)
        if built is not None:
            built.require_machine(path, EngineInfo.of_this_machine(tensorrt, chosen, built.properties))
        log = make_log(tensorrt)
        with torch.cuda.device(chosen):
            self.runtime = start(tensorrt.Runtime, log)
            self.engine = self.runtime.deserialize_cuda_engine(path.read_bytes())
            if self.engine is None:
                raise CheckpointError(
                    f"{path}: TensorRT {tensorrt.__version__} cannot load this engine: {last_error(log)}\n"
                    "Export it again on this machine."
                )
            self.context = self.engine.create_execution_context()
            self.stream = torch.cuda.Stream(chosen)
        names = [self.engine.get_tensor_name(index) for index in range(self.engine.num_io_tensors)]
        inputs = [name for name in names if self.engine.get_tensor_mode(name) == tensorrt.TensorIOMode.INPUT]
        self.outputs = [name for name in names if name not in inputs]
        self.dtypes = {name: _torch_type(tensorrt, self.engine.get_tensor_dtype(name), path) for name in names}
        shapes = {name: _shape(self.engine.get_tensor_shape(name)) for name in names}
        # A network that anything may vary in has one profile; what an engine was built without is fixed.
        varies = "pixel_values" in inputs and None in shapes["pixel_values"]
        profile = self.engine.get_tensor_profile_shape("pixel_values", 0) if varies else None
        super().__init__(
            path,
            chosen,
            input_shapes={name: shapes[name] for name in inputs},
            outputs=self.outputs,
            takes_uint8=self.dtypes.get("pixel_values") == torch.uint8,
            num_classes=shapes["logits"][2] if "logits" in shapes else None,
            max_batch=profile[2][0] if profile else None,
        )
        self.sizes_hw = (tuple(profile[0])[2:], tuple(profile[2])[2:]) if profile else None

    def check_image_size(self, size_hw: tuple[int, int]) -> None:
        super().check_image_size(size_hw)
        if self.sizes_hw is None:
            return
        smallest, largest = self.sizes_hw
        if not all(low <= side <= high for low, side, high in zip(smallest, size_hw, largest, strict=True)):
            raise CheckpointError(
                f"{self.path} takes pictures of {smallest[0]} x {smallest[1]} to {largest[0]} x {largest[1]} pixels "
                f"(height x width), not {size_hw[0]} x {size_hw[1]}. Export it again with another --image_size."
            )

    def infer(self, feed: dict[str, Tensor]) -> list[Tensor]:
        for name, tensor in feed.items():
            self.context.set_input_shape(name, tuple(tensor.shape))
            self.context.set_tensor_address(name, tensor.data_ptr())
        outputs = []
        for name in self.outputs:
            shape = tuple(self.context.get_tensor_shape(name))
            outputs.append(torch.empty(shape, dtype=self.dtypes[name], device=self.device))
            self.context.set_tensor_address(name, outputs[-1].data_ptr())
        # On the default stream TensorRT would wait for the device before and after.
        current = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(current)
        if not self.context.execute_async_v3(self.stream.cuda_stream):
            shapes = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in feed.items())
            raise HfDetrError(f"{self.path}: TensorRT could not run the engine on {shapes}.")
        current.wait_stream(self.stream)
        return outputs


def _choose_cuda(device: str | torch.device | None) -> torch.device:
    chosen = choose_device("cuda" if device is None else device)
    if chosen.type != "cuda":
        raise HfDetrError(f"A TensorRT engine runs on a CUDA device, not on {device}.")
    return chosen


def _shape(dims) -> list[int | None]:
    return [axis if axis >= 0 else None for axis in dims]


def _torch_type(tensorrt, dtype, path: Path) -> torch.dtype:
    """The type in torch.

    Raises:
        CheckpointError: a detector has no such inputs or outputs.
    """
    types = {
        tensorrt.DataType.FLOAT: torch.float32,
        tensorrt.DataType.UINT8: torch.uint8,
        tensorrt.DataType.INT64: torch.int64,
    }
    if dtype not in types:
        raise CheckpointError(
            f"{path} is not a detector of `hf-detr export`: it has inputs or outputs of type {dtype}."
        )
    return types[dtype]
