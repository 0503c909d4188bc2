"""Our model types in Transformers' Auto classes, without importing Transformers before anybody needs it.

``import hf_detr; pipeline("object-detection", folder)`` works for every family, in either order of the imports, and
`import hf_detr` takes no time. It only leaves word with Python's import system; when `AutoConfig` or
`AutoImageProcessor` has been defined, its `from_pretrained` is wrapped; and the first call of that, one of which every
Auto class and pipeline makes, registers our classes through Transformers' public functions and takes the wrapper off.
Registering any earlier would import modeling files while Transformers is half imported itself.
"""

import functools
import importlib
import importlib.abc
import importlib.machinery
import sys

# Modules, and the Auto class in each whose first use registers ours.
_AUTO_CLASSES = {
    "transformers.models.auto.configuration_auto": "AutoConfig",
    "transformers.models.auto.image_processing_auto": "AutoImageProcessor",
}

# Where our own classes are: configuration and model. Stock types are registered by Transformers itself.
_CLASSES = {
    "hf_detr.models.rt_detr_v4.modeling_rt_detr_v4": (
        ("DeimConfig", "DeimForObjectDetection"),
        ("RTDetrV4Config", "RTDetrV4ForObjectDetection"),
    ),
    "hf_detr.models.rt_detr_v2.modeling_rt_detr_v2": (
        ("EarlyExitRTDetrV2Config", "EarlyExitRTDetrV2ForObjectDetection"),
        ("DeimRTDetrV2Config", "DeimRTDetrV2ForObjectDetection"),
    ),
    "hf_detr.models.deimv2.modeling_deimv2": (("ExactDeimv2Config", "ExactDeimv2ForObjectDetection"),),
}


def register_on_first_use() -> None:
    """Have our types known to the Auto classes when one of them first looks for a model."""
    for name, auto_class in _AUTO_CLASSES.items():
        if name in sys.modules:
            _wrap_from_pretrained(getattr(sys.modules[name], auto_class))
        else:
            sys.meta_path.insert(0, _AfterImport(name, auto_class))


@functools.cache
def register() -> None:
    """Make our types known to the Auto classes now."""
    from transformers import AutoConfig, AutoImageProcessor, AutoModelForObjectDetection, AutoVideoProcessor
    from transformers.models.auto.modeling_auto import MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES

    from hf_detr.models.deimv2.configuration_deimv2 import ExactDeimv2Config
    from hf_detr.models.deimv2.image_processing_deimv2 import ExactDeimv2ImageProcessor, ExactDeimv2ImageProcessorPil

    for module_name, classes in _CLASSES.items():
        module = importlib.import_module(module_name)
        for config_name, model_name in classes:
            config_class = getattr(module, config_name)
            AutoConfig.register(config_class.model_type, config_class)
            AutoModelForObjectDetection.register(config_class, getattr(module, model_name))
            # The pipeline compares with this table of names, and would log an error for one that is not in it.
            MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES[config_class.model_type] = model_name
    processors = {"torchvision": ExactDeimv2ImageProcessor, "pil": ExactDeimv2ImageProcessorPil}
    AutoImageProcessor.register(ExactDeimv2Config, image_processor_classes=processors)
    # Pipelines look for a video processor beside every image processor. Without this word that there is none, they
    # would ask whether to run the image processor's remote code for one.
    AutoVideoProcessor.register(ExactDeimv2Config, video_processor_classes={})


def _wrap_from_pretrained(auto_class: type) -> None:
    original = auto_class.__dict__["from_pretrained"]

    @functools.wraps(original.__func__)
    def from_pretrained(cls, *args, **kwargs):
        auto_class.from_pretrained = original
        register()
        return cls.from_pretrained(*args, **kwargs)

    auto_class.from_pretrained = classmethod(from_pretrained)


class _AfterImport(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module as it would be anyway, and then wraps the Auto class it defines."""

    def __init__(self, module_name: str, auto_class: str):
        self.module_name = module_name
        self.auto_class = auto_class

    def find_spec(self, fullname, path=None, target=None):
        if fullname != self.module_name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None:
            self.loader = spec.loader
            spec.loader = self
        return spec

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        module.__loader__ = module.__spec__.loader = self.loader
        self.loader.exec_module(module)
        _wrap_from_pretrained(getattr(module, self.auto_class))
