"""TensorRT itself: importing it, what it says, and for which machine an engine is."""

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from hf_detr.errors import CheckpointError, HfDetrError

logger = logging.getLogger(__name__)

ENGINE_INFO_FILE = "engine.json"

# Strongly typed networks, which compute each layer in the type the graph says, came with it.
_OLDEST = 10


def import_tensorrt() -> ModuleType:
    """The `tensorrt` package.

    Raises:
        HfDetrError: it is not installed, without its libraries, or too old.
    """
    try:
        import tensorrt
    except (ImportError, OSError) as error:
        raise HfDetrError(
            "TensorRT is not installed here, or not with its libraries. On a machine with an NVIDIA GPU: "
            f"pip install 'hf_detr[tensorrt]', or install TensorRT from NVIDIA, see docs/tensorrt.md.\n{error}"
        ) from error
    if int(tensorrt.__version__.split(".")[0]) < _OLDEST:
        raise HfDetrError(f"TensorRT {tensorrt.__version__} is too old; {_OLDEST} or newer is needed.")
    return tensorrt


def make_log(tensorrt: ModuleType) -> Any:
    """A logger for TensorRT: its messages go to the log, and errors are kept in ``errors`` too."""

    class Log(tensorrt.ILogger):
        def __init__(self):
            tensorrt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (tensorrt.ILogger.INTERNAL_ERROR, tensorrt.ILogger.ERROR):
                self.errors.append(message)
            logger.debug("%s", message)

    return Log()


def start(make: Any, log: Any) -> Any:
    """A builder or runtime of TensorRT, both of which need a GPU and a driver that suits them.

    Raises:
        HfDetrError: TensorRT cannot start here.
    """
    try:
        return make(log)
    except TypeError as error:  # how its bindings say that there is none
        raise HfDetrError(
            f"TensorRT cannot start on this machine: {last_error(log)}. Its version has to suit the NVIDIA driver."
        ) from error


def last_error(log: Any) -> str:
    """The last error it was told, as one line."""
    return log.errors[-1].splitlines()[0] if log.errors else "it gives no reason"


@dataclass(frozen=True)
class EngineInfo:
    """What an engine was built with: it runs there only.

    Attributes:
        tensorrt: version of TensorRT.
        gpu: name of the GPU.
        compute_capability: of the GPU, such as ``"8.9"``.
        properties: what `hf-detr export` knows of the model, as in an ONNX file: class names, preprocessing, precision
            and its own version.
    """

    tensorrt: str
    gpu: str
    compute_capability: str
    properties: dict[str, str]

    @classmethod
    def of_this_machine(cls, tensorrt: ModuleType, device: torch.device, properties: dict[str, str]) -> "EngineInfo":
        """For an engine that is built here."""
        major, minor = torch.cuda.get_device_capability(device)
        return cls(tensorrt.__version__, torch.cuda.get_device_name(device), f"{major}.{minor}", properties)

    @classmethod
    def beside(cls, engine: Path) -> "EngineInfo | None":
        """Of the engine in this file; None where it lies alone, as `trtexec` writes it.

        Raises:
            CheckpointError: the description is damaged.
        """
        file = engine.with_name(ENGINE_INFO_FILE)
        if not file.is_file():
            return None
        try:
            return cls(**json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise CheckpointError(f"{file} is damaged: {error}\nExport the model again on this machine.") from error

    def write_beside(self, engine: Path) -> None:
        """Write the description of the engine in this file."""
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"
        engine.with_name(ENGINE_INFO_FILE).write_text(text, encoding="utf-8")

    def require_machine(self, engine: Path, here: "EngineInfo") -> None:
        """Refuse an engine of another machine, which TensorRT would refuse with less to say, or run badly.

        Raises:
            CheckpointError: version, GPU or its compute capability are others.
        """
        differing = [
            f"{name} {theirs}, here is {ours}"
            for name, theirs, ours in (
                ("TensorRT", self.tensorrt, here.tensorrt),
                ("GPU", self.gpu, here.gpu),
                ("compute capability", self.compute_capability, here.compute_capability),
            )
            if theirs != ours
        ]
        if differing:
            raise CheckpointError(
                f"{engine} was built for another machine: {'; '.join(differing)}. Engines run where they were built: "
                "export the model again here, with `hf-detr export MODEL --to tensorrt`."
            )
