"""Pictures shared out among train, valid and test: every class in proportion, and what belongs together in one split.

First iterative stratification for pictures with several classes (Sechidis, Tsoumakas and Vlahavas, "On the
Stratification of Multi-Label Data", 2011), with groups of pictures in the place of single ones. It is good on large
data. On small data exchanges of groups make it better.
"""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_array

from hf_detr.data.findings import counted
from hf_detr.data.index import DetectionIndex
from hf_detr.errors import DatasetError

_ROUNDS, _LOOKED_AT = 2000, 64  # exchanges tried: so many times, the best of all between so many groups of two splits


def stratified_partition(
    index: DetectionIndex, groups: np.ndarray, shares: Sequence[float], *, seed: int
) -> np.ndarray:
    """Which split each picture goes to, ``(N,)``: a position in ``shares``.

    Pictures without objects are a class of their own. Crowds count as objects of their class.

    Args:
        index: the pictures.
        groups: ``(N,)`` number of the group of each picture, 0 to G - 1. A group stays in one split.
        shares: of the pictures, for each split; they add up to 1.
        seed: of the order among equals, and of the exchanges tried.

    Raises:
        DatasetError: too few groups to put a picture into each split.
    """
    counts = _counts(index, groups)
    rng = np.random.default_rng(seed)
    split_of_group = _share_out(counts, np.asarray(shares), rng)
    _exchange(counts, np.asarray(shares), split_of_group, rng)
    split_of = split_of_group[groups]
    empty = [share for number, share in enumerate(shares) if not (split_of == number).any()]
    if empty:
        kept_together = f"{counted(len(index), 'picture')} in {counted(counts.shape[0], 'group')} to be kept together"
        raise DatasetError(
            f"{kept_together} cannot be split {'/'.join(f'{share:g}' for share in shares)}: "
            f"the share of {empty[0]:g} would have none. Choose larger shares, or smaller groups."
        )
    return split_of


def _counts(index: DetectionIndex, groups: np.ndarray) -> csr_array:
    """``(G, K + 2)``: of each group its objects of each class, its pictures without objects, and all its pictures."""
    num_classes, num_groups = len(index.class_names), int(groups.max(initial=-1)) + 1
    annotated = np.repeat(groups, np.diff(index.first))
    empty = groups[np.diff(index.first) == 0]
    rows = np.concatenate([annotated, empty, groups])
    columns = np.concatenate([index.class_ids, np.full(len(empty), num_classes), np.full(len(index), num_classes + 1)])
    ones = np.ones(len(rows))
    return csr_array((ones, (rows, columns)), shape=(num_groups, num_classes + 2))


def _share_out(counts: csr_array, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """``(G,)`` split of each group: the rarest class first, its largest groups first, to the split that lacks most."""
    sizes = counts[:, [-1]].toarray().ravel()
    by_class = counts[:, :-1].tocsc()
    remaining = by_class.sum(0)
    lacking, lacking_pictures = np.outer(shares, remaining), shares * sizes.sum()
    split_of_group = np.full(len(sizes), -1)
    while (remaining > 0).any():
        rarest = int(np.argmin(np.where(remaining > 0, remaining, np.inf)))
        column = slice(by_class.indptr[rarest], by_class.indptr[rarest + 1])
        members, weights = by_class.indices[column], by_class.data[column]
        order = np.lexsort((rng.random(len(members)), -weights))
        for group in members[order[split_of_group[members[order]] < 0]]:
            split = _neediest(lacking[:, rarest], lacking_pictures, sizes[group], rng)
            row = slice(counts.indptr[group], counts.indptr[group + 1])
            classes, objects = counts.indices[row], counts.data[row]
            classes, objects = classes[classes < len(remaining)], objects[classes < len(remaining)]
            split_of_group[group] = split
            lacking[split, classes] -= objects
            lacking_pictures[split] -= sizes[group]
            remaining[classes] -= objects
    return split_of_group


def _neediest(lacking: np.ndarray, lacking_pictures: np.ndarray, size: float, rng: np.random.Generator) -> int:
    """The split for a group of ``size`` pictures: of those with room for it the one that lacks most of a class.

    Among equals it is the one that lacks most pictures, then any. Where there is no room, that with most of it.
    """
    best = np.flatnonzero(lacking_pictures >= size - 0.5)
    if not len(best):
        return int(np.argmax(lacking_pictures))
    best = best[lacking[best] >= lacking[best].max() - 1e-9]
    best = best[lacking_pictures[best] >= lacking_pictures[best].max() - 1e-9]
    return int(best[0] if len(best) == 1 else rng.choice(best))


def _exchange(counts: csr_array, shares: np.ndarray, split_of_group: np.ndarray, rng: np.random.Generator) -> None:
    """Swap groups of two splits wherever that brings the splits nearer to their shares, in place.

    How far they are is the sum of (has - should have)² / should have over classes and splits, with the number of
    pictures as heavy as all classes together.
    """
    totals = counts.sum(0)
    weights = np.divide(1.0, totals, out=np.zeros_like(totals), where=totals > 0)
    weights[-1] *= len(totals)
    has = np.stack([counts[split_of_group == split].sum(0) for split in range(len(shares))])
    excess = has - np.outer(shares, totals)
    members = [np.flatnonzero(split_of_group == split) for split in range(len(shares))]
    for _ in range(_ROUNDS if min(map(len, members)) else 0):
        one, other = rng.choice(len(shares), 2, replace=False)
        at_one, at_other = (rng.integers(len(members[split]), size=_LOOKED_AT) for split in (one, other))
        rows_one = counts[members[one][at_one]].toarray()
        rows_other = counts[members[other][at_other]].toarray()
        pull = weights * 2 * (excess[one] / shares[one] - excess[other] / shares[other])
        bend = weights * (1 / shares[one] + 1 / shares[other])
        # [i, j]: what changes when group i of the one and j of the other change places, d = rows_other - rows_one
        linear = (rows_other @ pull)[None, :] - (rows_one @ pull)[:, None]
        square = (rows_one**2 @ bend)[:, None] + (rows_other**2 @ bend)[None, :] - 2 * (rows_one * bend) @ rows_other.T
        change = linear + square
        i, j = np.unravel_index(np.argmin(change), change.shape)
        if change[i, j] < -1e-9:
            difference = rows_other[j] - rows_one[i]
            excess[one] += difference
            excess[other] -= difference
            group_one, group_other = members[one][at_one[i]], members[other][at_other[j]]
            members[one][at_one[i]], members[other][at_other[j]] = group_other, group_one
            split_of_group[group_one], split_of_group[group_other] = other, one
