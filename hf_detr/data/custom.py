"""Your own augmentation: a pipeline of albumentations from a recipe or a file, or any callable.

Whatever it is, it runs after colours, zoom-out and crop, or mosaic, in the epochs of these, and before the flip. What
it returns is checked for each sample: a box without its class, a box outside of its picture or a picture of floats
would train a model on nonsense.
"""

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from hf_detr.data.dataset import Sample
from hf_detr.errors import RecipeError, did_you_mean

Settings = str | Sequence[Any]

_INSTALL = "albumentations is not installed: pip install 'hf_detr[albumentations]'"
_CLASS_KEY = "__class_fullname__"  # of files that `albumentations.save` writes


@dataclass(frozen=True)
class CheckedOperation:
    """An operation of the user, whose result is looked at.

    Attributes:
        operation: any picklable ``operation(sample, rng) -> sample``.
    """

    operation: Callable[[Sample, np.random.Generator], Sample]

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        changed = self.operation(sample, rng)
        fault = _fault(changed)
        if fault:
            name = getattr(self.operation, "__name__", None) or type(self.operation).__name__
            raise RecipeError(f"Your augmentation {name} cannot be used: {fault}")
        return changed | {
            "boxes_xyxy": np.asarray(changed["boxes_xyxy"], dtype=np.float32),
            "class_ids": np.asarray(changed["class_ids"], dtype=np.int64),
        }


def _fault(sample: Any) -> str | None:
    """What is wrong with a sample that an operation returned, None for nothing."""
    wanted = ("image", "boxes_xyxy", "class_ids")
    if not isinstance(sample, dict) or any(key not in sample for key in wanted):
        return f"it has to return the sample, a dict with {', '.join(wanted)}; it returned a {type(sample).__name__}."
    image, boxes_xyxy, class_ids = (np.asarray(sample[key]) for key in wanted)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        return (
            f"the picture has to stay uint8 (height, width, 3); it became {image.dtype} {image.shape}. Normalising "
            "and converting to tensors is done on the device: leave out Normalize, ToFloat, ToTensorV2 and their like."
        )
    if boxes_xyxy.ndim != 2 or boxes_xyxy.shape[1] != 4 or class_ids.shape != boxes_xyxy.shape[:1]:
        return (
            f"every box needs its class: boxes_xyxy of {boxes_xyxy.shape} and class_ids of {class_ids.shape} are not "
            "(n, 4) and (n,). An operation that removes a box has to remove its class as well."
        )
    width_height = np.array(image.shape[1::-1])
    outside = (boxes_xyxy[:, :2] < -0.5) | (boxes_xyxy[:, 2:] > width_height + 0.5) | ~np.isfinite(boxes_xyxy[:, :2])
    if outside.any():
        box = ", ".join(f"{side:.1f}" for side in boxes_xyxy[outside.any(-1)][0])
        return f"the box [{box}] (x0, y0, x1, y1) is not inside its picture of {width_height[0]} x {width_height[1]}."
    return None


class AlbumentationsPipeline:
    """A pipeline of albumentations as an operation: boxes go with the pixels, and draws follow from the sample.

    Boxes are handed over as ``pascal_voc`` with their classes, clipped to the picture, and left out where nothing of
    them remains, whatever the pipeline itself says of boxes; its limits, such as ``min_visibility``, are kept. Its
    random numbers are drawn anew for each sample from the generator of the sample.

    Args:
        pipeline: an ``albumentations.Compose``, or a transform.
    """

    def __init__(self, pipeline: Any):
        import albumentations

        theirs = pipeline.processors.get("bboxes") if isinstance(pipeline, albumentations.Compose) else None
        kept = ("min_area", "min_visibility", "min_width", "min_height", "max_accept_ratio")
        limits = {name: getattr(theirs.params, name) for name in kept} if theirs else {}
        boxes = albumentations.BboxParams(
            format="pascal_voc", label_fields=["class_ids"], clip=True, filter_invalid_bboxes=True, **limits
        )
        whole = type(pipeline) is albumentations.Compose
        with warnings.catch_warnings():  # of boxes where nothing moves them: a pipeline of colours is fine
            warnings.filterwarnings("ignore", message="Got processor for bboxes")
            self.pipeline = albumentations.Compose(
                pipeline.transforms if whole else [pipeline], p=pipeline.p if whole else 1.0, bbox_params=boxes
            )
        for transform in _leaves(self.pipeline):
            if isinstance(transform, albumentations.DualTransform) and not _moves_boxes(transform):
                raise RecipeError(
                    f"{type(transform).__name__} of albumentations moves pixels but not boxes: it cannot be used for "
                    "detection."
                )

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        self.pipeline.set_random_seed(int(rng.integers(2**32)))
        try:
            result = self.pipeline(image=sample["image"], bboxes=sample["boxes_xyxy"], class_ids=sample["class_ids"])
        except Exception as error:  # its transforms have errors of their own, with nothing in common
            size = " x ".join(map(str, sample["image"].shape[1::-1]))
            raise RecipeError(f"albumentations stopped at a picture of {size}: {error}") from error
        return sample | {
            "image": np.ascontiguousarray(result["image"]),
            "boxes_xyxy": np.asarray(result["bboxes"], dtype=np.float32).reshape(-1, 4),
            "class_ids": np.asarray(result["class_ids"], dtype=np.int64),
        }


def load_albumentations(settings: Settings) -> AlbumentationsPipeline:
    """The pipeline that a recipe describes.

    Args:
        settings: the path of a file, YAML or JSON, that ``albumentations.save`` wrote or that holds a list; or the
            list, of transforms by name: ``{GaussNoise: {p: 0.2}}``, or ``CLAHE`` for one with its own defaults. What
            holds others, such as ``OneOf``, has them as ``transforms``.

    Raises:
        RecipeError: albumentations is not installed, the file cannot be read, no transform has this name, or it does
            not take these values.
    """
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # or importing it asks the network for a newer version
    try:
        import albumentations
    except ImportError as error:
        raise RecipeError(_INSTALL) from error
    content = _read(Path(settings)) if isinstance(settings, str) else settings
    where = settings if isinstance(settings, str) else "augment.albumentations"
    try:
        if isinstance(content, dict) and "transform" in content:
            for name in _names_in(content["transform"]):
                _class_of(name.rpartition(".")[2])
            pipeline = _strict(lambda: albumentations.from_dict(content))
        elif isinstance(content, Sequence) and not isinstance(content, str) and content:
            pipeline = albumentations.Compose([_transform(entry) for entry in content])
        else:
            raise RecipeError("expected a list of transforms, or what albumentations.save wrote.")
    except RecipeError as error:
        raise RecipeError(f"{where}: {error}") from error
    return AlbumentationsPipeline(pipeline)


def _read(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))  # JSON is YAML
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise RecipeError(f"{path}: cannot be read as a pipeline of albumentations: {reason}") from error


def _transform(entry: Any) -> Any:
    """A transform from its name, or from a mapping of its name to its parameters."""
    if isinstance(entry, str):
        entry = {entry: None}
    if not isinstance(entry, dict) or len(entry) != 1:
        raise RecipeError(
            f"each entry is a name, or a name with parameters such as {{Blur: {{p: 0.1}}}}; got {entry!r}."
        )
    ((name, parameters),) = entry.items()
    parameters = dict(parameters or {})
    if isinstance(parameters.get("transforms"), list):
        parameters["transforms"] = [_transform(inner) for inner in parameters["transforms"]]
    transform_class = _class_of(name)
    try:
        return _strict(lambda: transform_class(**parameters))
    except RecipeError:
        raise
    except (ValueError, TypeError) as error:  # pydantic's are ValueErrors
        reason = "; ".join(line.strip() for line in str(error).splitlines()[:3])
        raise RecipeError(f"{name}: {reason}") from error


def _class_of(name: str) -> type:
    import albumentations

    known = {
        known_name: value
        for known_name, value in vars(albumentations).items()
        if isinstance(value, type) and issubclass(value, albumentations.BasicTransform | albumentations.BaseCompose)
    }
    if name not in known:
        raise RecipeError(f"albumentations has no transform {name!r}.{did_you_mean(name, known)}")
    return known[name]


def _strict(build: Callable[[], Any]) -> Any:
    """What ``build`` makes; unknown parameters, of which albumentations only warns, are an error."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*not valid for transform")
        try:
            return build()
        except UserWarning as error:
            raise RecipeError(f"{error}.") from error


def _names_in(serialized: Any) -> list[str]:
    names = [serialized[_CLASS_KEY]] if isinstance(serialized, dict) and _CLASS_KEY in serialized else []
    inner = serialized.get("transforms", ()) if isinstance(serialized, dict) else ()
    return names + [name for child in inner for name in _names_in(child)]


def _leaves(transform: Any) -> list[Any]:
    inner = getattr(transform, "transforms", None)
    return [transform] if inner is None else [leaf for child in inner for leaf in _leaves(child)]


def _moves_boxes(transform: Any) -> bool:
    from albumentations.core.type_definitions import Targets

    targets = transform._targets if isinstance(transform._targets, tuple) else (transform._targets,)
    return Targets.BBOXES in targets
