"""Pictures with their boxes, one at a time: an annotation index made into a ``torch.utils.data.Dataset``."""

import functools
import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import Dataset

from hf_detr.boxes import clip_xyxy, is_valid_xyxy, xywh_to_xyxy
from hf_detr.data.images import (
    StoredPicture,
    UnreadableImageError,
    decode_stored,
    orient_boxes_xyxy,
    orient_image,
    orient_size_hw,
)
from hf_detr.data.index import DetectionIndex
from hf_detr.data.memory import PictureCache
from hf_detr.data.readers import Readers
from hf_detr.data.sampling import epoch_length

if TYPE_CHECKING:
    from hf_detr.data.tiles import Tiles

logger = logging.getLogger(__name__)

Sample = dict[str, Any]
Transform = Callable[[Sample, np.random.Generator, int], Sample]


class DetectionDataset(Dataset):
    """Samples of one split, for training (with a transform) or for evaluation (without).

    ``dataset[i]`` is a dict:

    - ``image``: ``uint8 (H, W, 3)`` RGB
    - ``boxes_xyxy``: ``(n, 4)`` float32 pixels of ``image``; crowds left out, clipped, none without area
    - ``class_ids``: ``(n,)`` int64
    - ``image_index``: position in the index of the picture in hand
    - ``image_id``: its id in the annotation file
    - ``orig_size_hw``: height and width before the transform
    - ``epoch``: what `set_epoch` said last
    - ``readable``: False for the stand-in of a picture that cannot be read (evaluation only)
    - ``unreadable``: ``(path, reason)`` of each picture that was asked for and could not be read

    With a transform, an unreadable picture is replaced by the next readable one. Without one it is never replaced,
    since each picture must be scored once: a grey pixel with ``readable`` False stands in for it. Neither happens with
    ``on_unreadable="raise"``.

    A transform is called as ``transform(sample, rng, epoch)`` and gets a generator made from seed, epoch and position:
    a sample is the same whichever worker makes it, and in whatever order. For operations that need several pictures
    the sample it gets also has ``load_other``: ``load_other(rng)`` is the sample of a picture of the split drawn with
    ``rng``, unreadable ones replaced as above. The epoch is in shared memory, so that workers that live longer than an
    epoch see it change. Everything else is read-only: forked workers share the index, spawned ones get a copy each.

    ``dataset[i, k]`` is the picture once more, for the k-th repetition within an epoch: the same picture as
    ``dataset[i]`` with other random numbers. ``repeats`` ``(N,)`` says how many times each picture comes in an epoch
    (see `hf_detr.data.sampling.plan_repeats`), None for once each; whoever draws the pictures of an epoch goes by it.

    **EXIF.** Pictures come upright. Where the annotated size fits only the picture as stored, the boxes were drawn on
    that: with a transform the boxes are turned with the picture. Without one the picture is left as stored instead,
    for detections are scored against the boxes in the file. Where both fit (squares, half turns), upright is meant:
    it is what annotation tools show.

    Args:
        index: the annotations.
        transform: what changes samples, see above.
        seed: of the transform's random numbers.
        on_unreadable: ``"skip"`` or ``"raise"``.
        repeats: how often each picture comes, see above.
        decode_side: pictures are read reduced to a half, a quarter or an eighth as far as their shorter side keeps
            this many pixels; ``orig_size_hw`` is that of the file all the same.
        cache: pictures of this index that are in memory already, with the same ``decode_side``.

    Raises:
        StorageError: the disk does not answer, however often it is asked.
        UnreadableImageError: with ``on_unreadable="raise"``, or when no picture of the split can be read.
    """

    tiles: "Tiles | None" = None  # where the samples are tiles of larger pictures

    def __init__(
        self,
        index: DetectionIndex,
        *,
        transform: Transform | None = None,
        seed: int = 0,
        on_unreadable: str = "skip",
        repeats: np.ndarray | None = None,
        decode_side: int | None = None,
        cache: PictureCache | None = None,
    ):
        if on_unreadable not in ("skip", "raise"):
            raise ValueError(f"on_unreadable must be 'skip' or 'raise', got {on_unreadable!r}")
        self.index = index
        self.transform = transform
        self.seed = seed
        self.on_unreadable = on_unreadable
        self.repeats = repeats
        self.decode_side = decode_side
        self.cache = cache
        self.readers = Readers()
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        if transform is not None:
            _log_unusable_boxes(index)

    def __len__(self) -> int:
        return len(self.index)

    @property
    def epoch_length(self) -> int:
        """Pictures in an epoch of training, repetitions counted."""
        return epoch_length(self.repeats, len(self))

    @property
    def id2label(self) -> dict[int, str]:
        """Class id to name."""
        return self.index.id2label

    @property
    def epoch(self) -> int:
        """The epoch samples are drawn for, in this process and in all workers."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Draw other augmentations from now on; workers already at work see it with their next sample."""
        self._epoch.fill_(epoch)

    def __getitem__(self, key: int | tuple[int, int]) -> Sample:
        image, repetition = key if isinstance(key, tuple) else (key, 0)
        if not 0 <= image < len(self):  # also what ends a plain `for sample in dataset`
            raise IndexError(f"{self.index.name} has {len(self)} pictures; there is no picture {image}")
        with self.readers.busy():
            sample = self._load_readable(image)
            if self.transform is None:
                return sample
            epoch = sample["epoch"]
            rng = sample_rng(self.seed, epoch, image, repetition)
            load_other = functools.partial(self._load_other, self.index.others(image))
            changed = self.transform(sample | {"load_other": load_other}, rng, epoch)
        changed.pop("load_other", None)  # it would take the whole data set along on its way out of a worker
        return changed

    def load(self, image: int) -> Sample:
        """The sample of picture ``image`` without the transform.

        Raises:
            UnreadableImageError: the picture cannot be read.
        """
        pixels, orientation, size_hw = self._decode(image)
        boxes_xyxy, class_ids = self.index.objects(image)
        as_stored = annotated_as_stored(tuple(self.index.sizes_hw[image]), size_hw, orientation)
        if as_stored and self.transform is not None:
            boxes_xyxy = orient_boxes_xyxy(boxes_xyxy, orientation, size_hw)
        if not as_stored or self.transform is not None:
            pixels, size_hw = orient_image(pixels, orientation), orient_size_hw(size_hw, orientation)
        boxes_xyxy = clip_xyxy(boxes_xyxy, size_hw)
        kept = is_valid_xyxy(boxes_xyxy)
        if pixels.shape[:2] != size_hw:
            boxes_xyxy = boxes_xyxy * np.tile(np.divide(pixels.shape[1::-1], size_hw[::-1]), 2)
        return {
            "image": pixels,
            "boxes_xyxy": boxes_xyxy[kept].astype(np.float32),
            "class_ids": class_ids[kept].astype(np.int64),
            "image_index": image,
            "image_id": self.index.image_id(image),
            "orig_size_hw": size_hw,
            "epoch": self.epoch,
            "readable": True,
            "unreadable": (),
        }

    def _decode(self, image: int) -> StoredPicture:
        self.readers.at(image)
        stored = self.cache.read(image) if self.cache is not None else None
        if stored is not None:
            return stored
        picture = self.index.picture(image)
        try:
            return decode_stored(picture, self.decode_side)
        except UnreadableImageError as error:
            name = self.index.image_path(image)  # a picture without a file of its own does not know its name
            raise UnreadableImageError(f"{name}: cannot read this picture: {error.reason}", error.reason) from error

    def _load_readable(self, image: int) -> Sample:
        unreadable: list[tuple[str, str]] = []
        for candidate in self._candidates(image):
            try:
                sample = self.load(candidate)
            except UnreadableImageError as error:
                if self.on_unreadable == "raise":
                    raise
                unreadable.append((str(self.index.image_path(candidate)), error.reason))
            else:
                return sample | {"unreadable": tuple(unreadable)}
        if self.transform is not None:
            path, reason = unreadable[0]
            raise UnreadableImageError(
                f"{self.index.name}: none of the {len(self)} pictures can be read, beginning with {path}: {reason}. "
                "Run `hf-detr check` on the data."
            )
        return self._stand_in(image, tuple(unreadable))

    def _load_other(self, others: range, rng: np.random.Generator) -> Sample:
        return self._load_readable(others[int(rng.integers(len(others)))])

    def _candidates(self, image: int) -> Iterator[int]:
        """Pictures to try in turn: in training every other one after the picture itself, in evaluation no other."""
        yield image
        if self.transform is not None:
            yield from range(image + 1, len(self))
            yield from range(image)

    def _stand_in(self, image: int, unreadable: tuple[tuple[str, str], ...]) -> Sample:
        return {
            "image": np.full((1, 1, 3), 128, dtype=np.uint8),
            "boxes_xyxy": np.zeros((0, 4), dtype=np.float32),
            "class_ids": np.zeros(0, dtype=np.int64),
            "image_index": image,
            "image_id": self.index.image_id(image),
            "orig_size_hw": (1, 1),
            "epoch": self.epoch,
            "readable": False,
            "unreadable": unreadable,
        }


def sample_rng(seed: int, epoch: int, image: int, repetition: int = 0) -> np.random.Generator:
    """Random numbers of one sample, independent of those of any other sample, repetition, epoch or seed."""
    # the fourth number is that of other draws, see `hf_detr.data.collate`
    repeated = (0, repetition) if repetition else ()
    return np.random.default_rng(np.random.SeedSequence((seed, epoch, image, *repeated)))


def annotated_as_stored(annotated_hw: tuple[int, int], stored_hw: tuple[int, int], orientation: int) -> bool:
    """Whether boxes were drawn on the picture as stored, before EXIF turned it; sizes in pixels, 0 for not known."""
    return tuple(annotated_hw) == tuple(stored_hw) != orient_size_hw(stored_hw, orientation)


def _log_unusable_boxes(index: DetectionIndex, images_at_once: int = 100_000) -> None:
    """Say once what training leaves out; judged by the annotated sizes, so that no picture has to be opened."""
    crowds = no_area = cut = 0
    for start in range(0, len(index), images_at_once):  # or millions of boxes would be in memory several times
        bounds = index.first[start : start + images_at_once + 1]
        rows = slice(bounds[0], bounds[-1])
        sizes_hw = np.repeat(index.sizes_hw[start : start + images_at_once], np.diff(bounds), axis=0).astype(float)
        sizes_hw[sizes_hw == 0] = np.inf
        boxes_xyxy = xywh_to_xyxy(index.boxes_xywh[rows])
        inside = clip_xyxy(boxes_xyxy, (sizes_hw[:, 0], sizes_hw[:, 1]))
        single, valid = ~index.is_crowd[rows], is_valid_xyxy(inside)
        crowds += np.count_nonzero(~single)
        no_area += np.count_nonzero(single & ~valid)
        cut += np.count_nonzero(single & valid & (inside != boxes_xyxy).any(-1))
    if cut:
        logger.info("%s: %d boxes stick out of their picture and are cut at its border", index.name, cut)
    for what, count in {"crowd regions": crowds, "boxes without area inside their picture": no_area}.items():
        if count:
            total = len(index.is_crowd)
            logger.info("%s: training leaves out %d %s (of %d annotations)", index.name, count, what, total)
