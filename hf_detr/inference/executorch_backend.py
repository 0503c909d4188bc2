"""ExecuTorch as the runtime of a `Detector`."""

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from hf_detr.errors import CheckpointError, HfDetrError
from hf_detr.inference.backends import choose_device
from hf_detr.inference.graph_backend import DETECTIONS, PREDICTIONS, GraphBackend
from hf_detr.noise import quiet

logger = logging.getLogger(__name__)

# A program has no names: inputs and outputs are in the order in which `hf-detr export` documents them.
_INPUTS = ("pixel_values", "target_sizes")
_METHOD = "forward"
_BYTE = 0  # ExecuTorch's number of the type uint8


class ExecuTorchBackend(GraphBackend):
    """A ``.pte`` program that `hf-detr export` wrote, on the CPU.

    Args:
        path: the file.
        device: ``"cpu"``, or None.
        num_threads: of ExecuTorch in this process; by default its own choice.

    Raises:
        CheckpointError: the file cannot be read, or is not a detector.
        HfDetrError: ExecuTorch is not installed, or another device is asked for.
    """

    def __init__(self, path: Path, device: str | torch.device | None = None, num_threads: int | None = None):
        try:
            with quiet():
                from executorch.extension.pybindings import portable_lib
                from executorch.runtime import Runtime
        except ImportError as error:
            raise HfDetrError(f"Running a .pte file needs ExecuTorch: pip install executorch\n{error}") from error
        if device is not None and choose_device(device).type != "cpu":
            raise HfDetrError(f"ExecuTorch runs on the CPU here, not on {device}.")
        if num_threads is not None:
            portable_lib._unsafe_reset_threadpool(num_threads)
        with _native_messages() as messages:
            try:
                self.program = Runtime.get().load_program(path)
                if _METHOD not in self.program.method_names:
                    raise CheckpointError(f"{path} is not a detector of `hf-detr export`: it has no method {_METHOD}.")
                self.method = self.program.load_method(_METHOD)
            except RuntimeError as error:
                reason = " ".join([str(error), *messages()[:1]])
                raise CheckpointError(
                    f"{path}: ExecuTorch cannot load this file: {reason}\nExport it again."
                ) from error
        meta = self.method.metadata
        inputs = [meta.input_tensor_meta(index) for index in range(meta.num_inputs())]
        outputs = [meta.output_tensor_meta(index) for index in range(meta.num_outputs())]
        names = {len(PREDICTIONS): PREDICTIONS, len(DETECTIONS): DETECTIONS}.get(len(outputs), ())
        super().__init__(
            path,
            torch.device("cpu"),
            input_shapes={name: value.sizes() for name, value in zip(_INPUTS, inputs, strict=False)},
            outputs=names,
            takes_uint8=bool(inputs) and inputs[0].dtype() == _BYTE,
            num_classes=outputs[0].sizes()[2] if names == PREDICTIONS else None,
        )

    def infer(self, feed: dict[str, Tensor]) -> list[Tensor]:
        return list(self.method.execute([feed[name] for name in _INPUTS if name in feed]))


@contextmanager
def _native_messages() -> Iterator:
    """Keep what ExecuTorch writes to the standard error for the log; it writes there without asking.

    Yields:
        A function that returns the lines so far.
    """
    with tempfile.TemporaryFile(mode="w+b") as kept:
        saved = os.dup(2)
        os.dup2(kept.fileno(), 2)

        def lines() -> list[str]:
            kept.seek(0)
            return kept.read().decode(errors="replace").splitlines()

        try:
            yield lines
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            for line in lines():
                logger.debug("%s", line)
