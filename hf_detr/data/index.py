"""The annotations of one split as flat arrays: what every data format is read into."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from hf_detr.boxes import xywh_to_xyxy


class PackedStrings:
    """A read-only list of strings in one byte array, which forked workers share without copying it."""

    def __init__(self, strings: Iterable[str]):
        encoded = [text.encode() for text in strings]
        self._bytes = np.frombuffer(b"".join(encoded), dtype=np.uint8)
        self._offsets = np.zeros(len(encoded) + 1, dtype=np.int64)
        np.cumsum([len(text) for text in encoded], out=self._offsets[1:])

    @classmethod
    def of_arrays(cls, encoded: np.ndarray, offsets: np.ndarray) -> "PackedStrings":
        """The list whose `arrays` these are."""
        strings = cls(())
        strings._bytes, strings._offsets = encoded, offsets
        return strings

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """All strings in UTF-8, ``uint8``, and ``int64`` where each begins and the last one ends."""
        return self._bytes, self._offsets

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, position: int) -> str:
        start, end = self._offsets[position], self._offsets[position + 1]
        return self._bytes[start:end].tobytes().decode()


class Pictures(Protocol):
    """Pictures that are not all files below one folder."""

    def read(self, image: int) -> Path | bytes:
        """The file of image number ``image``, or the content of one."""
        ...


@runtime_checkable
class NearbyPictures(Pictures, Protocol):
    """Pictures of which it is slow to read one anywhere, and quick to read another one near the last."""

    def near(self, image: int) -> range:
        """The images near image number ``image``, itself among them."""
        ...


@dataclass(frozen=True)
class DetectionIndex:
    """Images, boxes and classes of one split. N images, M annotations, K classes.

    Annotations are sorted by image: those of image i are rows ``first[i]:first[i + 1]``. They are kept as the file has
    them, crowds and boxes that stick out included: evaluation needs them so, and training drops and clips its own.

    Attributes:
        name: what messages call this split, e.g. ``"train"``.
        images_dir: the folder that file names start from.
        annotations_path: the file (or folder) the annotations were read from.
        file_names: N paths below ``images_dir``.
        image_ids: N ids as the file has them, numbers or text; detections are exported under these.
        sizes_hw: ``(N, 2)`` int32 annotated height and width in pixels; 0, 0 where the file does not say.
        first: ``(N + 1,)`` int64 first annotation of each image.
        boxes_xywh: ``(M, 4)`` float64 pixels.
        class_ids: ``(M,)`` int32 contiguous class, 0 to K - 1.
        areas: ``(M,)`` float64 pixels², the file's, else width times height.
        is_crowd: ``(M,)`` bool.
        category_ids: K ids as the file has them, numbers or text, by class.
        class_names: K names, by class.
        pictures: where the pictures are, if they are not the files ``images_dir / file_name``.
    """

    name: str
    images_dir: Path
    annotations_path: Path
    file_names: PackedStrings
    image_ids: np.ndarray | PackedStrings
    sizes_hw: np.ndarray
    first: np.ndarray
    boxes_xywh: np.ndarray
    class_ids: np.ndarray
    areas: np.ndarray
    is_crowd: np.ndarray
    category_ids: tuple[int | str, ...]
    class_names: tuple[str, ...]
    pictures: Pictures | None = None

    def __len__(self) -> int:
        return len(self.file_names)

    @property
    def id2label(self) -> dict[int, str]:
        """Class id to name, as ``config.id2label`` wants it."""
        return dict(enumerate(self.class_names))

    @property
    def objects_per_image(self) -> np.ndarray:
        """``(N,)`` number of annotations of each image that are not crowds."""
        counts = np.zeros(len(self.is_crowd) + 1, dtype=np.int64)
        np.cumsum(~self.is_crowd, out=counts[1:])
        return counts[self.first[1:]] - counts[self.first[:-1]]

    def objects(self, image: int) -> tuple[np.ndarray, np.ndarray]:
        """Boxes ``(n, 4)`` xyxy in pixels, as annotated, and class ids ``(n,)`` of one image; crowds left out."""
        rows = slice(self.first[image], self.first[image + 1])
        single = ~self.is_crowd[rows]
        return xywh_to_xyxy(self.boxes_xywh[rows][single]), self.class_ids[rows][single]

    def image_path(self, image: int) -> Path:
        """The file of image number ``image`` (its position, not its id)."""
        return self.images_dir / self.file_names[image]

    def picture(self, image: int) -> Path | bytes:
        """The file of image number ``image``, or its content where it has no file of its own."""
        return self.image_path(image) if self.pictures is None else self.pictures.read(image)

    def others(self, image: int) -> range:
        """The images that those are drawn from which are put together with this one, itself among them."""
        return self.pictures.near(image) if isinstance(self.pictures, NearbyPictures) else range(len(self))

    def image_id(self, image: int) -> int | str:
        """The id that the annotation file gives image number ``image``."""
        value = self.image_ids[image]
        return value if isinstance(value, str) else int(value)
