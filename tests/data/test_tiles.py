import dataclasses
import pickle

import numpy as np
import pytest
from PIL import Image

from hf_detr.data import dataset as dataset_module
from hf_detr.data.memory import cache_pictures
from hf_detr.data.sampling import plan_repeats
from hf_detr.data.splits import Split, load_index
from hf_detr.data.tiles import TiledDataset, tile_index
from hf_detr.errors import DatasetError
from hf_detr.tiles import Tiling
from tests.synthetic import COLOURS, annotation_file, images_folder, make_coco

TILING = Tiling((64, 80), 0.25)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = make_coco(
        tmp_path_factory.mktemp("tiles"),
        images=4,
        empty_images=1,
        splits=("train",),
        size_hw=(150, 220),
        max_objects=6,
    )
    return load_index(Split("train", images_folder(folder), annotation_file(folder)))


def test_tiles_show_the_picture_and_its_boxes(index):
    dataset = TiledDataset(tile_index(index, TILING))
    assert len(dataset) == 4 * len(TILING.windows((150, 220)))
    whole = [np.asarray(Image.open(index.image_path(image)).convert("RGB")) for image in range(4)]
    colours = np.array(list(COLOURS.values()))
    boxes = 0
    for tile, sample in enumerate(dataset):
        left, top, right, bottom = dataset.tiles.windows_xyxy[tile]
        assert sample["image_index"] == sample["image_id"] == tile and sample["orig_size_hw"] == (64, 80)
        assert (sample["image"] == whole[dataset.tiles.picture_of[tile]][top:bottom, left:right]).all()
        for (x0, y0, x1, y1), class_id in zip(sample["boxes_xyxy"], sample["class_ids"], strict=True):
            inside = sample["image"][int(y0) : int(y1), int(x0) : int(x1)].reshape(-1, 3)
            assert np.abs(np.median(inside, axis=0) - colours[class_id]).max() < 12
            boxes += 1
    assert boxes > len(index.boxes_xywh)


def test_what_a_tile_shows_too_little_of_is_not_learnt_from_it(index):
    counts = [len(tile_index(index, TILING, min_visible=share).index.boxes_xywh) for share in (0.0, 0.3, 0.8, 1.0)]
    assert counts == sorted(counts, reverse=True) and len(set(counts)) == 4
    tiles = tile_index(index, TILING, min_visible=0.3)
    rows = np.repeat(np.arange(len(tiles.index)), np.diff(tiles.index.first))
    full_areas = {tuple(box[2:]): box[2] * box[3] for box in index.boxes_xywh.tolist()}
    assert tiles.index.boxes_xywh[:, 2:].prod(axis=1) == pytest.approx(tiles.index.areas)
    assert (tiles.index.areas >= 0.3 * min(full_areas.values())).all() and len(rows) == counts[1]


def test_objects_that_no_tile_shows_enough_of_are_counted(index, caplog):
    with caplog.at_level("WARNING"):
        tile_index(index, Tiling((8, 8)), min_visible=0.9)
    assert f"{len(index.boxes_xywh)} of {len(index.boxes_xywh)} objects are so large that no tile" in caplog.text


def test_a_share_that_cannot_be_is_refused(index):
    with pytest.raises(DatasetError, match=r"tile_min_visible is a share .* got 1\.5"):
        tile_index(index, TILING, min_visible=1.5)


def test_sizes_that_the_annotations_do_not_have_are_read(index):
    unknown = dataclasses.replace(index, sizes_hw=np.zeros_like(index.sizes_hw))
    tiles, known = tile_index(unknown, TILING), tile_index(index, TILING)
    assert (tiles.windows_xyxy == known.windows_xyxy).all()
    assert (tiles.index.boxes_xywh == known.index.boxes_xywh).all()


def test_small_pictures_are_one_tile_with_black_around(index):
    dataset = TiledDataset(tile_index(index, Tiling((200, 300))))
    sample = dataset[0]
    assert len(dataset) == 4 and sample["image"].shape == (200, 300, 3)
    assert sample["image"][150:].max() == sample["image"][:, 220:].max() == 0
    assert sample["boxes_xyxy"].tolist() == index.objects(0)[0].tolist()


def test_an_unreadable_picture_is_every_one_of_its_tiles(tmp_path):
    folder = make_coco(tmp_path, images=2, splits=("train",), size_hw=(150, 220))
    index = load_index(Split("train", images_folder(folder), annotation_file(folder)))
    index.image_path(0).write_bytes(b"")
    tiles = tile_index(index, TILING)
    samples = list(TiledDataset(tiles))
    assert [sample["readable"] for sample in samples] == (tiles.picture_of == 1).tolist()
    assert samples[0]["unreadable"][0][0] == str(index.image_path(0))
    training = TiledDataset(tiles, transform=lambda sample, rng, epoch: sample)
    assert training[0]["readable"] and training[0]["image_index"] == np.flatnonzero(tiles.picture_of == 1)[0]


def test_empty_tiles_are_kept_by_their_share(index):
    tiles = tile_index(index, TILING)
    empty = tiles.index.objects_per_image == 0
    assert 3 < empty.sum() < len(empty)
    dataset = TiledDataset(tiles, repeats=plan_repeats(tiles.index, background_share=0.1))
    assert dataset.epoch_length == pytest.approx((~empty).sum() / 0.9, abs=1)


def test_a_loader_may_take_it_to_another_process(index):
    dataset = TiledDataset(tile_index(index, TILING))
    dataset[3]
    assert (pickle.loads(pickle.dumps(dataset))[5]["image"] == dataset[5]["image"]).all()


def test_with_the_pictures_in_memory_none_is_decoded_again(tmp_path, monkeypatch):
    """Tiles asked for out of order, as in training: without the cache each would decode its picture."""
    folder = make_coco(tmp_path, images=3, splits=("train",), size_hw=(150, 220))
    index = load_index(Split("train", images_folder(folder), annotation_file(folder)))
    tiles = tile_index(index, TILING)
    decoded, decode_stored = [], dataset_module.decode_stored

    def spy(picture, least_side):
        decoded.append(picture)
        return decode_stored(picture, least_side)

    monkeypatch.setattr(dataset_module, "decode_stored", spy)
    order = np.random.default_rng(0).permutation(len(tiles.picture_of)).tolist()
    plain = TiledDataset(tiles)
    expected = [plain[tile] for tile in order]
    changes = int((np.diff(tiles.picture_of[order]) != 0).sum())
    assert len(decoded) == changes + 1 > 3
    cached = TiledDataset(tiles)
    cached.pictures.cache = cache_pictures(index)
    for image in range(3):
        index.image_path(image).unlink()
    decoded.clear()
    for tile, sample in zip(order, expected, strict=True):
        found = cached[tile]
        assert (found["image"] == sample["image"]).all() and (found["boxes_xyxy"] == sample["boxes_xyxy"]).all()
    assert decoded == []
