"""What the columns of a CSV file of boxes mean, found by their names."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# What tools call a column, without case and punctuation; a name further down counts only where there is none above.
_FILE = (
    "filename file image imagename imagefile imagepath filepath path img imgname imgpath imgfile".split(),
    "imageid imgid".split(),
)
_CLASS = (
    "class classname label labelname category categoryname name objectname".split(),
    "classid labelid categoryid".split(),
)
_LEFT, _TOP = ("xmin x1 x0 left minx bboxxmin bboxx1".split(),), ("ymin y1 y0 top miny bboxymin bboxy1".split(),)
_RIGHT, _BOTTOM = ("xmax x2 right maxx bboxxmax bboxx2".split(),), ("ymax y2 bottom maxy bboxymax bboxy2".split(),)
_X, _Y = ("x bboxx boxx".split(), *_LEFT), ("y bboxy boxy".split(), *_TOP)
_CENTRE_X = ("cx xc xcenter xcentre centerx centrex".split(),)
_CENTRE_Y = ("cy yc ycenter ycentre centery centrey".split(),)
_BOX_WIDTH, _BOX_HEIGHT = ("w bboxw bboxwidth boxwidth".split(),), ("h bboxh bboxheight boxheight".split(),)
_IMAGE_WIDTH, _IMAGE_HEIGHT = (
    ("imagewidth imgwidth imagew imgw".split(),),
    ("imageheight imgheight imageh imgh".split(),),
)
_WIDTH, _HEIGHT = (["width"],), (["height"],)  # of the picture or of the box
_SPLIT = ("split set subset partition".split(),)
_CROWD = ("iscrowd crowd difficult isdifficult".split(),)
_AREA = (["area"],)

BOX_KINDS: Mapping[str, str] = {
    "xyxy": "left, top, right, bottom",
    "xywh": "left, top, width, height",
    "cxcywh": "centre x, centre y, width, height",
}
EXAMPLES = """\
  filename,class,xmin,ymin,xmax,ymax          (width and height are then those of the picture)
  image,label,x,y,width,height                (image_width and image_height are those of the picture)
  image,label,cx,cy,w,h
  path/0001.jpg,10,20,110,220,cat             (no names of columns: left, top, right, bottom)"""


@dataclass(frozen=True)
class CsvColumns:
    """Positions of the columns, None for one that is not there.

    Attributes:
        file: the picture.
        label: the class.
        box: four columns.
        kind: what these are, a key of BOX_KINDS.
        size_hw: height and width of the picture.
        split: which split the row belongs to.
        crowd: not 0 for a region that training leaves out.
        area: of the object in pixels².
        has_header: the first row has the names.
    """

    file: int
    label: int
    box: tuple[int, int, int, int]
    kind: str
    size_hw: tuple[int, int] | None = None
    split: int | None = None
    crowd: int | None = None
    area: int | None = None
    has_header: bool = True


def find_columns(first_row: Sequence[str]) -> CsvColumns:
    """The columns by the names in the first row; without names, RetinaNet's path, corners and class.

    >>> find_columns(["image", "label", "x", "y", "w", "h"]).kind
    'xywh'

    Raises:
        ValueError: a column is missing, or several may be the same; the message names the columns.
    """
    if len(first_row) == 6 and (all(map(_is_number, first_row[1:5])) or not any(first_row[1:])):
        return CsvColumns(file=0, label=5, box=(1, 2, 3, 4), kind="xyxy", has_header=False)
    names = [re.sub(r"[^a-z0-9]", "", name.lower()) for name in first_row]

    def find(options: Sequence[Sequence[str]], meaning: str = "") -> int | None:
        for tier in options:
            found = [position for position, name in enumerate(names) if name in tier]
            if len(found) > 1:
                both = " and ".join(repr(first_row[position]) for position in found)
                raise ValueError(f"the columns {both} may both be the {meaning or 'same'}")
            if found:
                return found[0]
        return None

    width, height = find(_WIDTH), find(_HEIGHT)
    box_width, box_height = find(_BOX_WIDTH), find(_BOX_HEIGHT)
    sides = (width if box_width is None else box_width, height if box_height is None else box_height)
    corners = (find(_LEFT), find(_TOP), find(_RIGHT), find(_BOTTOM))
    has_far_corner = corners[2] is not None or corners[3] is not None
    x_and_y = (find(_X[:1]), find(_Y[:1])) if has_far_corner else (find(_X), find(_Y))
    possible = {"xyxy": corners, "xywh": (*x_and_y, *sides), "cxcywh": (find(_CENTRE_X), find(_CENTRE_Y), *sides)}
    complete = {kind: box for kind, box in possible.items() if None not in box}
    if len(complete) > 1:
        named = "; ".join(
            f"{', '.join(repr(first_row[position]) for position in box)} as {BOX_KINDS[kind]}"
            for kind, box in complete.items()
        )
        raise ValueError(f"the box may be in several columns: {named}")
    file, label = find(_FILE, "picture"), find(_CLASS, "class")
    found = {"picture": file is not None, "class": label is not None, "box": bool(complete)}
    missing = [meaning for meaning, is_there in found.items() if not is_there]
    if missing:
        raise ValueError(f"no column for the {' and the '.join(missing)} among {', '.join(map(repr, first_row))}")
    ((kind, box),) = complete.items()
    size_hw = (find(_IMAGE_HEIGHT), find(_IMAGE_WIDTH))
    if None in size_hw and width not in box and height not in box:
        size_hw = (height, width)
    return CsvColumns(
        file, label, box, kind, None if None in size_hw else size_hw, find(_SPLIT, "split"), find(_CROWD), find(_AREA)
    )


def describe(columns: CsvColumns, first_row: Sequence[str]) -> str:
    """What was found, for a person: ``picture 'image', class 'label', box 'x', 'y', 'w', 'h' (...)``."""
    if not columns.has_header:
        return f"no names of columns; picture, {BOX_KINDS[columns.kind]}, class"
    box = ", ".join(repr(first_row[position]) for position in columns.box)
    parts = [f"picture {first_row[columns.file]!r}", f"class {first_row[columns.label]!r}"]
    return ", ".join([*parts, f"box {box} ({BOX_KINDS[columns.kind]})"])


def more_columns(columns: CsvColumns, first_row: Sequence[str]) -> dict[str, int]:
    """Positions of the columns that are none of these, by their names."""
    if not columns.has_header:
        return {}
    single = (columns.file, columns.label, columns.split, columns.crowd, columns.area)
    known = {*single, *columns.box, *(columns.size_hw or ())}
    return {name: position for position, name in enumerate(first_row) if position not in known and name}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
