"""In the place of TensorRT, which cannot be had without an NVIDIA GPU: the part of its Python API that we call.

Each class has only methods and properties that the real one has, and takes its arguments by the same names, as
recorded from the real bindings in tensorrt_signatures.json. What an engine computes, ONNX Runtime does, at the
addresses it is given. So these tests show that our calls fit to TensorRT's API and to each other, not what TensorRT
makes of the graph.
"""

import ctypes
import enum
import functools
import inspect
import json
import pickle
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

_RECORDED = json.loads((Path(__file__).parent / "tensorrt_signatures.json").read_text())
__version__ = "11.4.0.106"

NetworkDefinitionCreationFlag, BuilderFlag, TensorIOMode, MemoryPoolType = (
    enum.IntEnum(name, _RECORDED["enums"][name], start=0)
    for name in ("NetworkDefinitionCreationFlag", "BuilderFlag", "TensorIOMode", "MemoryPoolType")
)
DataType = enum.Enum("DataType", _RECORDED["enums"]["DataType"])
_TYPES = {"tensor(float)": DataType.FLOAT, "tensor(int64)": DataType.INT64, "tensor(uint8)": DataType.UINT8}


def as_recorded(cls: type) -> type:
    """Check each call against the signatures of the class of the same name in TensorRT."""
    recorded = _RECORDED["classes"][cls.__name__]
    for name, member in list(vars(cls).items()):
        if name.startswith("_") and name != "__init__":
            continue
        if isinstance(member, property):
            assert recorded[name] == "property", f"{cls.__name__}.{name} is no property in TensorRT"
        elif inspect.isfunction(member) and name in recorded:
            setattr(cls, name, _checked(member, cls.__name__, recorded[name]))
        elif inspect.isfunction(member):  # what only TensorRT makes has no signature of its own
            assert name == "__init__", f"TensorRT's {cls.__name__} has no {name}"
    return cls


def _checked(function, class_name: str, overloads: list[list[str]]):
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    signatures = [
        inspect.Signature(
            [
                inspect.Parameter(p.rstrip("="), kind, default=None if p.endswith("=") else inspect.Parameter.empty)
                for p in names
            ]
        )
        for names in overloads
    ]

    @functools.wraps(function)
    def call(self, *args, **kwargs):
        for signature in signatures:
            try:
                bound = signature.bind(*args, **kwargs)
            except TypeError:
                continue
            return function(self, *bound.args)
        raise TypeError(f"{class_name}.{function.__name__} does not take {args} {kwargs}: {overloads}")

    return call


@as_recorded
class ILogger:
    ERROR, INTERNAL_ERROR, WARNING = "error", "internal error", "warning"

    def __init__(self): ...


@as_recorded
class IProgressMonitor:
    def __init__(self): ...


@as_recorded
class IOptimizationProfile:
    def __init__(self):
        self._shapes = {}

    def set_shape(self, input, min, opt, max):
        assert all(a <= b <= c for a, b, c in zip(min, opt, max, strict=True))
        self._shapes[input] = [tuple(min), tuple(opt), tuple(max)]


@as_recorded
class ITimingCache:
    def __init__(self, content: bytes = b""):
        self._content = content

    def serialize(self):
        return self._content + b"measured;"


@as_recorded
class IBuilderConfig:
    def __init__(self):
        self._flags, self._profiles, self._limits, self._cache = {BuilderFlag.TF32}, [], {}, None
        self._monitor = None

    @property
    def progress_monitor(self):
        return self._monitor

    @progress_monitor.setter
    def progress_monitor(self, monitor):
        self._monitor = monitor

    def clear_flag(self, flag):
        self._flags.discard(flag)

    def set_memory_pool_limit(self, pool, pool_size):
        self._limits[pool] = pool_size

    def add_optimization_profile(self, profile):
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def create_timing_cache(self, serialized_timing_cache):
        return ITimingCache(serialized_timing_cache)

    def set_timing_cache(self, cache, ignore_mismatch):
        self._cache = cache
        return True

    def get_timing_cache(self):
        return self._cache


class _Network:
    model: bytes = b""


@as_recorded
class Builder:
    configs: list[IBuilderConfig] = []  # noqa: RUF012

    def __init__(self, logger):
        if not isinstance(logger, ILogger):
            raise TypeError("no logger")
        self._logger = logger

    def create_network(self, flags=0):
        assert flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
        return _Network()

    def create_builder_config(self):
        self.configs.append(IBuilderConfig())
        return self.configs[-1]

    def create_optimization_profile(self):
        return IOptimizationProfile()

    def build_serialized_network(self, network, config):
        monitor = config.progress_monitor
        monitor.phase_start("Building the engine", None, 2)
        monitor.phase_start("Measuring kernels", "Building the engine", 1)
        going_on = all(monitor.step_complete("Building the engine", step) for step in range(2))
        for phase in ("Measuring kernels", "Building the engine"):
            monitor.phase_finish(phase)
        if not going_on or config._limits.get(MemoryPoolType.WORKSPACE) == 1 << 20:
            self._logger.log(ILogger.ERROR, "Could not find any implementation for a node.\nmore")
            return None
        return pickle.dumps((network.model, config._profiles[0]._shapes if config._profiles else {}))


@as_recorded
class ParserError:
    def __init__(self, text: str):
        self._text = text

    def desc(self):
        return self._text


@as_recorded
class OnnxParser:
    def __init__(self, network, logger):
        self._network, self._errors = network, []

    @property
    def num_errors(self):
        return len(self._errors)

    def parse_from_file(self, model):
        self._network.model = Path(model).read_bytes()
        try:
            onnx.checker.check_model(onnx.load_from_string(self._network.model))
        except Exception as error:
            self._errors.append(ParserError(str(error)))
        return not self._errors

    def get_error(self, index):
        return self._errors[index]


@as_recorded
class Runtime:
    def __init__(self, logger):
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine):
        try:
            return ICudaEngine(*pickle.loads(serialized_engine))
        except Exception:
            self._logger.log(ILogger.ERROR, "Serialization assertion failed.")
            return None


@as_recorded
class ICudaEngine:
    def __init__(self, model: bytes, shapes: dict):
        self._session, self._shapes = onnxruntime.InferenceSession(model), shapes
        self._inputs = {value.name: value for value in self._session.get_inputs()}
        self._values = {**self._inputs, **{value.name: value for value in self._session.get_outputs()}}

    @property
    def num_io_tensors(self):
        return len(self._values)

    def get_tensor_name(self, index):
        return list(self._values)[index]

    def get_tensor_mode(self, name):
        return TensorIOMode.INPUT if name in self._inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name):
        return _TYPES[self._values[name].type]

    def get_tensor_shape(self, name):
        return [axis if isinstance(axis, int) else -1 for axis in self._values[name].shape]

    def get_tensor_profile_shape(self, name, profile_index):
        assert profile_index == 0
        return self._shapes[name]

    def create_execution_context(self):
        return IExecutionContext(self)


@as_recorded
class IExecutionContext:
    def __init__(self, engine):
        self._engine, self._shapes, self._addresses = engine, {}, {}

    def set_input_shape(self, name, shape):
        lowest, _, highest = self._engine._shapes.get(name, [shape] * 3)
        assert all(low <= axis <= high for low, axis, high in zip(lowest, shape, highest, strict=True))
        self._shapes[name] = shape
        return True

    def set_tensor_address(self, name, memory):
        self._addresses[name] = memory
        return True

    def get_tensor_shape(self, name):
        batch = self._shapes["pixel_values"][0]
        return [batch if axis < 0 else axis for axis in self._engine.get_tensor_shape(name)]

    def execute_async_v3(self, stream_handle):
        feed = {name: self._memory(name, shape) for name, shape in self._shapes.items()}
        outputs = [value.name for value in self._engine._session.get_outputs()]
        for name, result in zip(outputs, self._engine._session.run(outputs, feed), strict=True):
            self._memory(name, result.shape)[...] = result
        return True

    def _memory(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        types = {DataType.FLOAT: np.float32, DataType.INT64: np.int64, DataType.UINT8: np.uint8}
        dtype = np.dtype(types[self._engine.get_tensor_dtype(name)])
        size = int(np.prod(shape)) * dtype.itemsize
        memory = (ctypes.c_byte * size).from_address(self._addresses[name])
        return np.frombuffer(memory, dtype).reshape(shape)
