"""Pictures that belong together: near-identical ones, and those whose names say so."""

import re

import numpy as np
from PIL import Image

from hf_detr.data.export.pictures import for_each_picture
from hf_detr.data.images import read_reduced
from hf_detr.data.index import DetectionIndex
from hf_detr.errors import DatasetError

# Two thumbnails of unit length this close correlate by 0.97. Other compressions, sizes and brightness of a picture of
# `make demo` come to 0.03 to 0.2, the two most similar of 400 different ones to 0.21, half of them to 1.0 and more.
_NEAR = 0.25
_THUMBNAIL_SIDE = 16
_LEAST_CONTRAST = 4.0  # grey levels; below it a thumbnail is not stretched, so that plain pictures are alike
_FREQUENCIES = 5  # of 16 along each side: enough to rule most pictures out before all is compared
_AT_ONCE = 16384  # pairs of thumbnails compared at a time
_NEIGHBOURS = 16  # of each picture that are looked at; in a thousand frames of one scene all are linked through them


def picture_groups(index: DetectionIndex, *, pattern: re.Pattern[str] | None, near_duplicates: bool) -> np.ndarray:
    """``(N,)`` number of the group of each picture, 0 to G - 1; most pictures are alone in theirs.

    Args:
        index: the pictures.
        pattern: pictures in whose file names it finds the same text belong together: the text of its first group in
            parentheses, or all of it. Pictures where it finds nothing stay alone.
        near_duplicates: whether near-identical pictures do, too, see `near_pairs`.

    Raises:
        DatasetError: the pattern finds nothing in any file name, or a picture cannot be read.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pairs = [np.zeros((0, 2), dtype=np.int64)]
    if pattern is not None:
        pairs.append(_same_text_pairs(index, pattern))
    if near_duplicates:
        thumbnails = for_each_picture(_thumbnail_of, index, "looking for near-identical pictures")
        pairs.append(near_pairs(np.array(thumbnails).reshape(len(index), _THUMBNAIL_SIDE**2)))
    first, second = np.concatenate(pairs).T
    graph = coo_array((np.ones(len(first), dtype=bool), (first, second)), shape=(len(index), len(index)))
    return connected_components(graph, directed=False)[1]


def _same_text_pairs(index: DetectionIndex, pattern: re.Pattern[str]) -> np.ndarray:
    first_with: dict[str, int] = {}
    pairs = []
    for image in range(len(index)):
        if match := pattern.search(index.file_names[image]):
            text = match[1] if pattern.groups else match[0]
            pairs.append((first_with.setdefault(text, image), image))
    if not pairs and len(index):
        raise DatasetError(f"--group_by {pattern.pattern!r} is in no file name, such as {index.file_names[0]!r}.")
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _thumbnail_of(index: DetectionIndex, image: int) -> np.ndarray:
    return thumbnail(read_reduced(index.picture(image), 8 * _THUMBNAIL_SIDE))


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    """The shape of light and dark in a picture: ``(256,)`` float16 of mean 0 and length 1, a plain one nearly 0.

    It stays nearly the same when a picture is compressed, scaled, or made brighter. ``pixels`` is uint8 ``(H, W, 3)``.
    """
    side = _THUMBNAIL_SIDE
    greys = np.asarray(Image.fromarray(pixels).convert("L").resize((side, side), Image.Resampling.BOX), np.float64)
    centred = greys.ravel() - greys.mean()
    return (centred / max(np.linalg.norm(centred), _LEAST_CONTRAST * side)).astype(np.float16)


def near_pairs(thumbnails: np.ndarray) -> np.ndarray:
    """Pairs ``(P, 2)`` of positions whose thumbnails ``(N, 256)`` are at most 0.25 apart.

    Of pictures with more than 16 near ones some pairs are left out: what they link stays linked through others.
    """
    from scipy.fft import dctn
    from scipy.spatial import cKDTree

    if len(thumbnails) < 2:
        return np.zeros((0, 2), dtype=np.int64)
    values, number_of = np.unique(thumbnails, axis=0, return_inverse=True)
    number_of = number_of.ravel()
    position_of = np.unique(number_of, return_index=True)[1]
    squares = values.astype(np.float32).reshape(-1, _THUMBNAIL_SIDE, _THUMBNAIL_SIDE)
    coarse = dctn(squares, axes=(1, 2), norm="ortho")[:, :_FREQUENCIES, :_FREQUENCIES].reshape(len(values), -1)
    count = min(_NEIGHBOURS + 1, len(values))
    near = cKDTree(coarse).query(coarse, k=np.arange(1, count + 1), distance_upper_bound=_NEAR, workers=-1)[1]
    first, second = np.repeat(np.arange(len(values)), count), near.ravel()
    first, second = first[second < len(values)], second[second < len(values)]  # the tree writes N for "no such one"
    linked = np.concatenate(
        [
            _only_near(values, first[begin : begin + _AT_ONCE], second[begin : begin + _AT_ONCE])
            for begin in range(0, len(first), _AT_ONCE)
        ]
    )
    identical = np.stack([position_of[number_of], np.arange(len(thumbnails))], axis=1)
    return np.concatenate([identical, position_of[linked]])


def _only_near(values: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Those pairs ``(p, 2)`` of ``first`` and ``second`` whose thumbnails are near in full."""
    distances = np.linalg.norm(values[first].astype(np.float32) - values[second], axis=1)
    return np.stack([first, second], axis=1)[distances <= _NEAR]
