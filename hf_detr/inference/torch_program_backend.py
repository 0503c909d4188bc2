"""A program of `torch.export` as the runtime of a `Detector`."""

from pathlib import Path

import torch
from torch import Tensor

from hf_detr.errors import CheckpointError, reason_of
from hf_detr.inference.backends import choose_device
from hf_detr.inference.graph_backend import GraphBackend
from hf_detr.noise import quiet


class TorchProgramBackend(GraphBackend):
    """A ``.pt2`` program that `hf-detr export` wrote, in PyTorch, without the code of the model.

    Args:
        path: the file.
        device: such as ``"cuda:1"``; by default the best there is.
        num_threads: of PyTorch in this process; by default as many as it has.

    Raises:
        CheckpointError: the file cannot be read, or is not a detector.
        HfDetrError: the device is not there.
    """

    def __init__(self, path: Path, device: str | torch.device | None = None, num_threads: int | None = None):
        chosen = choose_device(device)
        if num_threads is not None:
            torch.set_num_threads(num_threads)
        try:
            with quiet():
                program = torch.export.load(path)
        except Exception as error:  # damage shows wherever the reader comes to it, as errors of any kind
            raise CheckpointError(
                f"{path}: torch.export cannot load this file: {reason_of(error)}\nExport it again."
            ) from error
        if chosen.type != "cpu":
            program = torch.export.passes.move_to_device_pass(program, chosen)
        values = {node.name: node.meta["val"] for node in program.graph.nodes if "val" in node.meta}
        inputs = {name: values[name] for name in program.graph_signature.user_inputs if name in values}
        outputs = dict(zip(_output_names(program), program.graph_signature.user_outputs, strict=False))
        super().__init__(
            path,
            chosen,
            input_shapes={name: _shape(value) for name, value in inputs.items()},
            outputs=tuple(outputs),
            takes_uint8="pixel_values" in inputs and inputs["pixel_values"].dtype == torch.uint8,
            num_classes=_shape(values[outputs["logits"]])[2] if "logits" in outputs else None,
        )
        self.module = program.module()
        self.outputs = tuple(outputs)

    @torch.inference_mode()
    def infer(self, feed: dict[str, Tensor]) -> list[Tensor]:
        found = self.module(**feed)
        return [found[name] for name in self.outputs]


def _output_names(program: torch.export.ExportedProgram) -> list[str]:
    """Keys of the dictionary that the program returns; none where it returns something else."""
    returned = program.call_spec.out_spec
    return list(returned.context) if returned.type is dict else []


def _shape(value: Tensor) -> list[int | None]:
    """None for an axis that may vary."""
    return [axis if isinstance(axis, int) else None for axis in value.shape]
