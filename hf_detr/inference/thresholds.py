"""From which confidence on detections count: one number, or one for each class, also stored with the model."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np

from hf_detr.errors import CheckpointError, HfDetrError, did_you_mean
from hf_detr.models.labels import THRESHOLDS_FIELD

DEFAULT_THRESHOLD = 0.5
_LISTED = 20

Threshold = float | Mapping[str, float] | None


def stored_thresholds(config: Any) -> dict[str, float]:
    """The thresholds stored with a model, by class name; none where it has none.

    Raises:
        CheckpointError: they are not numbers from 0 to 1 for classes of the model.
    """
    stored = getattr(config, THRESHOLDS_FIELD, None) or {}
    names = set(config.id2label.values())
    wrong = {name: value for name, value in stored.items() if name not in names or not _is_confidence(value)}
    if wrong:
        named = ", ".join(f"{name!r}: {value!r}" for name, value in list(wrong.items())[:5])
        raise CheckpointError(
            f"{THRESHOLDS_FIELD} in the model's config.json must map its class names to numbers from 0 to 1; "
            f"it has {named}."
        )
    return dict(stored)


def class_thresholds(threshold: Threshold, id2label: Mapping[int, str], stored: Mapping[str, float]) -> np.ndarray:
    """The threshold of each class.

    Args:
        threshold: a number for all classes; numbers of some classes by name, the others as for None; None for what is
            stored, and 0.5 for the rest.
        id2label: the model's classes.
        stored: by class name.

    Returns:
        ``(K,)`` float32.

    Raises:
        HfDetrError: a class that the model does not know, or a threshold below 0 or above 1.
    """
    of_all = threshold is not None and not isinstance(threshold, Mapping)
    asked = {} if of_all else threshold or {}
    require_classes(asked, id2label)
    for value in [threshold] if of_all else asked.values():
        if not _is_confidence(value):
            raise HfDetrError(f"A threshold is a confidence from 0 to 1, not {value!r}.")
    if of_all:
        return np.full(len(id2label), threshold, np.float32)
    known = {**stored, **asked}
    names = (id2label[class_id] for class_id in range(len(id2label)))
    return np.array([known.get(name, DEFAULT_THRESHOLD) for name in names], np.float32)


def class_mask(classes: Iterable[str] | None, id2label: Mapping[int, str]) -> np.ndarray:
    """``(K,)`` whether each class is among those named; all are where none is named.

    Raises:
        HfDetrError: a class that the model does not know.
    """
    if classes is None:
        return np.ones(len(id2label), bool)
    wanted = set(classes)
    require_classes(wanted, id2label)
    return np.array([id2label[class_id] in wanted for class_id in range(len(id2label))])


def require_classes(names: Collection[str], id2label: Mapping[int, str]) -> None:
    """Refuse names of classes that the model does not know.

    Raises:
        HfDetrError: names them, and those that come near.
    """
    known = list(id2label.values())
    for name in names:
        if name not in known:
            more = f" and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
            raise HfDetrError(
                f"The model has no class {name!r}.{did_you_mean(name, known)} Its {len(known)} classes: "
                f"{', '.join(known[:_LISTED])}{more}."
            )


def _is_confidence(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
