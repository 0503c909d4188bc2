"""What a conversion is asked for, and what it says it has done."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hf_detr.data.export.classes import ClassEdits
from hf_detr.data.export.formats import FORMATS, TargetFormat
from hf_detr.data.findings import counted
from hf_detr.errors import DatasetError


@dataclass(frozen=True)
class NewSplits:
    """How pictures are shared out anew, whatever splits they came in.

    Attributes:
        shares: of the pictures, for train, valid and test (or the first two); they add up to 1.
        group_by: finds in file names what makes pictures stay together, see `picture_groups`.
        near_duplicates: whether near-identical pictures stay together.
        seed: of the order among equals.
    """

    shares: tuple[float, ...]
    group_by: re.Pattern[str] | None = None
    near_duplicates: bool = True
    seed: int = 0


@dataclass(frozen=True)
class Wishes:
    """What the target is to be.

    Attributes:
        to: a key of FORMATS.
        outlines: write outlines in place of boxes where there is one polygon; for YOLO, whose lines hold either.
        classes: what becomes of the classes; None leaves them as they are.
        keep_emptied: whether pictures stay that have lost all their objects with the classes.
        split: new splits; None keeps those of the sources.
        valid_size: only the first so many pictures of the validation split stay in it, the others join train.
        resize: see `scaled_hw`; None leaves pictures as they are.
        pictures: see `PictureWriter`.
        on_unreadable: ``"skip"`` or ``"raise"`` on a picture without a file, or one that cannot be read.
        overwrite: whether an earlier conversion in the target may be replaced.
    """

    to: str
    outlines: bool = False
    classes: ClassEdits | None = None
    keep_emptied: bool = True
    split: NewSplits | None = None
    valid_size: int | None = None
    resize: Sequence[int] | None = None
    pictures: str = "copy"
    on_unreadable: str = "raise"
    overwrite: bool = False

    @property
    def format(self) -> TargetFormat:
        """What is to be written."""
        return FORMATS["yolo-outlines" if self.outlines else self.to]

    def refuse_contradictions(self) -> None:
        """Refuse wishes that do not go together.

        Raises:
            DatasetError: such wishes.
        """
        if self.resize is not None and self.pictures != "copy":
            raise DatasetError(f"--resize writes new pictures: it does not go with --pictures {self.pictures}.")
        if self.to == "hub" and self.pictures != "copy":
            raise DatasetError(
                f"--to hub writes pictures into its files: it does not go with --pictures {self.pictures}."
            )
        if self.outlines and self.to != "yolo":
            raise DatasetError(
                f"--outlines goes with --to yolo, whose lines hold a box or an outline; not with --to {self.to}."
            )


@dataclass(frozen=True)
class Conversion:
    """What has been written.

    Attributes:
        target: the folder.
        format: the name of its format.
        num_pictures, num_objects: of each split; crowds are no objects.
        class_names: the classes, in order.
        notes: what was changed or could not be kept, a sentence each.
    """

    target: Path
    format: str
    num_pictures: dict[str, int]
    num_objects: dict[str, int]
    class_names: tuple[str, ...]
    notes: tuple[str, ...]

    def render(self) -> str:
        """A summary for a person."""
        pictures, objects = sum(self.num_pictures.values()), sum(self.num_objects.values())
        lines = [
            f"{self.target}: {FORMATS[self.format].title}, {counted(pictures, 'picture')} with "
            f"{counted(objects, 'object')} of {counted(len(self.class_names), 'class')}"
        ]
        lines += [
            f"  {name:<6} {counted(number, 'picture')}, {counted(self.num_objects[name], 'object')}"
            for name, number in self.num_pictures.items()
        ]
        return "\n".join([*lines, *(f"- {note}" for note in self.notes)])
