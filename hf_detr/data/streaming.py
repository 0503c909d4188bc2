"""An order of the pictures in which data sets larger than the disk can be read: at random, but never far apart.

Pictures of a streamed data set come by the stretch of rows (`ParquetPictures`). An epoch goes through the stretches in
random order, and through the pictures of those that are in memory together in random order; so each stretch is read
once. Every loader process of every training process has stretches of its own. All of it follows from seed and epoch:
a run which is resumed goes on with the pictures it has not seen, without reading the others.
"""

import numpy as np

from hf_detr.data.dataset import DetectionDataset
from hf_detr.data.parquet_rows import ParquetPictures
from hf_detr.data.sampling import EpochSampler


def is_streamed(dataset: DetectionDataset) -> bool:
    """Whether the pictures of a data set come by the stretch."""
    return isinstance(dataset.index.pictures, ParquetPictures)


class StreamSampler(EpochSampler):
    """`EpochSampler` for a streamed data set.

    Each picture comes as often as with an `EpochSampler`. Only the last pictures that make no full batch for all
    processes are left out, others in each epoch.

    Args:
        dataset: a streamed one.
        seed: another seed, another order.
        batch_size: pictures of one batch on one process.
        readers: loader processes of all training processes together; batch ``i`` goes to reader ``i % readers``.
    """

    def __init__(self, dataset: DetectionDataset, *, seed: int = 0, batch_size: int, readers: int):
        super().__init__(dataset, seed=seed)
        self.batch_size = batch_size
        self.readers = readers

    def order(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        pictures = self.dataset.index.pictures
        stretch_of = np.searchsorted(pictures.first_row, images, side="right") - 1
        order = nearby_order(stretch_of, pictures.window, rng)
        return deal_batches(order, self.batch_size, self.readers)


def nearby_order(stretch_of: np.ndarray, window: int, rng: np.random.Generator) -> np.ndarray:
    """A random order of rows in which those of one stretch come soon after each other.

    Stretches are laid end to end in random order; then each row moves back by up to ``window`` places, at random. So
    the rows that are due at any time are those of a piece of the line of that length.

    Args:
        stretch_of: ``(N,)`` the stretch that each row is in.
        window: rows to draw from at a time.
        rng: random numbers.

    Returns:
        ``(N,)`` int64 positions.
    """
    rank = rng.permutation(int(stretch_of.max(initial=-1)) + 1)
    line = np.argsort(rank[stretch_of], kind="stable")
    return line[np.argsort(np.arange(len(line)) + rng.uniform(0, window, len(line)), kind="stable")]


def deal_batches(order: np.ndarray, batch_size: int, readers: int) -> np.ndarray:
    """The order changed so that every ``readers``-th batch follows the one before it in the order given.

    Batches are dealt to readers in turn; so each reader gets a piece of the order. Rows that make no full batch stay
    last.

    >>> deal_batches(np.arange(9), batch_size=2, readers=2).tolist()
    [0, 1, 4, 5, 2, 3, 6, 7, 8]
    """
    batches = len(order) // batch_size
    turns = np.arange(batches)
    pieces = (batches - np.arange(readers) + readers - 1) // readers  # batches of each reader
    first = np.cumsum(pieces) - pieces
    dealt = order[: batches * batch_size].reshape(batches, batch_size)[first[turns % readers] + turns // readers]
    return np.concatenate([dealt.ravel(), order[batches * batch_size :]])
