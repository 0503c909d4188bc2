"""Hugging Face data sets become the same tables and samples as the COCO files they were made from."""

import logging
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from datasets import Image as ImageFeature
from PIL import Image
from torch.utils.data import DataLoader

from hf_detr.data.box_formats import BOX_FORMATS
from hf_detr.data.checks import check_dataset
from hf_detr.data.dataset import DetectionDataset
from hf_detr.data.formats import FILE_SUFFIXES
from hf_detr.data.hub_datasets import load_hf_dataset
from hf_detr.data.hub_sources import HubOptions, is_hub_data
from hf_detr.data.images import UnreadableImageError
from hf_detr.data.splits import find_splits, load_index, read_table
from hf_detr.errors import DatasetError
from tests.hub_data import coco_rows, png, write_imagefolder, write_parquet
from tests.synthetic import make_coco

COLUMNS = ("sizes_hw", "first", "boxes_xywh", "class_ids", "areas", "is_crowd")


@pytest.fixture(scope="module")
def coco(tmp_path_factory) -> Path:
    """40 pictures with up to 4 objects, one with a crowd and two without objects."""
    folder = tmp_path_factory.mktemp("coco")
    return make_coco(folder, images=40, max_objects=4, empty_images=2, crowds=1, size_hw=(48, 64))


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    """What `load_dataset` prepares is gone after the test."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def assert_same(index, expected, *, atol: float = 0.0) -> None:
    """All but names of files and ids of categories, which only COCO has."""
    assert index.class_names == expected.class_names
    assert [index.image_id(k) for k in range(len(index))] == [expected.image_id(k) for k in range(len(expected))]
    for name in COLUMNS:
        np.testing.assert_allclose(getattr(index, name), getattr(expected, name), atol=atol, err_msg=name)


# --- equal to COCO


@pytest.mark.parametrize("objects_as", ["dict", "list"])
@pytest.mark.parametrize("box_format", BOX_FORMATS)
def test_index_is_that_of_the_coco_file(coco, box_format, objects_as):
    expected = load_index(find_splits(coco)["train"])
    dataset = load_hf_dataset(coco_rows(coco, box_format=box_format, objects_as=objects_as))
    assert_same(dataset.index, expected, atol=1e-6)


@pytest.mark.parametrize("box_format", ["xywh", "xyxy_norm"])
def test_sizes_are_looked_up_where_they_are_not_written(coco, box_format):
    expected = load_index(find_splits(coco)["train"])
    index = load_hf_dataset(coco_rows(coco, box_format=box_format, with_sizes=False)).index
    np.testing.assert_allclose(index.boxes_xywh, expected.boxes_xywh, atol=1e-6)
    assert (index.sizes_hw == (expected.sizes_hw if box_format.endswith("_norm") else 0)).all()


def test_samples_are_those_of_the_coco_file(coco):
    expected = DetectionDataset(load_index(find_splits(coco)["train"]))
    dataset = load_hf_dataset(coco_rows(coco))
    for sample, other in zip(dataset, expected, strict=True):
        for name, value in other.items():
            np.testing.assert_array_equal(sample[name], value, err_msg=name)


def test_classes_may_be_names_or_numbers(coco):
    expected = load_index(find_splits(coco)["train"])
    names = load_hf_dataset(coco_rows(coco, categories="names")).index
    assert names.class_names == ("blue", "green", "red") == names.category_ids
    same = [expected.class_names[number] for number in expected.class_ids]
    assert [names.class_names[number] for number in names.class_ids] == same
    numbers = load_hf_dataset(coco_rows(coco, categories="numbers")).index
    assert numbers.class_names == ("1", "2", "3") and numbers.category_ids == (1, 2, 3)
    np.testing.assert_array_equal(numbers.class_ids, expected.class_ids)


def test_objects_without_classes_are_of_one_class(coco):
    boxes = [{"bbox": row["objects"]["bbox"] if row["objects"] else []} for row in coco_rows(coco)]
    index = load_hf_dataset(coco_rows(coco).remove_columns("objects").add_column("faces", boxes)).index
    assert index.class_names == ("object",) and not index.class_ids.any()


def test_boxes_may_be_columns_of_their_own(coco):
    columns = [row or {"bbox": None, "category": None} for row in coco_rows(coco)["objects"]]
    rows = coco_rows(coco).remove_columns("objects").add_column("boxes", [row["bbox"] for row in columns])
    rows = rows.add_column("label", [row["category"] for row in columns])
    expected = load_index(find_splits(coco)["train"])
    index = load_hf_dataset(rows).index
    np.testing.assert_array_equal(index.boxes_xywh, expected.boxes_xywh)
    np.testing.assert_array_equal(index.first, expected.first)


def test_rows_that_were_selected_and_shuffled(coco):
    order = [7, 3, 3, 39, 0]
    rows = coco_rows(coco).select(order)
    whole, chosen = load_hf_dataset(coco_rows(coco)), load_hf_dataset(rows)
    assert chosen.index.image_path(0).name == "row-0-0007.jpg"
    for position, image in enumerate(order):
        np.testing.assert_array_equal(chosen[position]["image"], whole[image]["image"])
        np.testing.assert_array_equal(chosen[position]["boxes_xyxy"], whole[image]["boxes_xyxy"])
    np.testing.assert_array_equal(chosen.index.pictures.file_sizes(), whole.index.pictures.file_sizes()[order])


def test_second_split_takes_the_classes_of_the_first(coco):
    train = load_hf_dataset(coco_rows(coco, categories="names"))
    valid = load_hf_dataset(coco_rows(coco, "valid"), name="valid", class_names=train.index.class_names)
    assert valid.index.class_names == ("blue", "green", "red")
    with pytest.raises(DatasetError, match="classes that are not among the 2 classes to be used: 'red'"):
        load_hf_dataset(coco_rows(coco), class_names=("blue", "green"))


# --- folders


@pytest.mark.parametrize("kind", ["saved", "parquet", "jsonl", "csv"])
def test_folders(coco, tmp_path, kind):
    folder = tmp_path / "data"
    match kind:
        case "saved":
            rows = {
                "train": coco_rows(coco, categories="names"),
                "validation": coco_rows(coco, "valid", categories="names"),
            }
            DatasetDict(rows).save_to_disk(folder)
        case "parquet":
            for split in ("train", "valid"):
                write_parquet(
                    coco_rows(coco, split, categories="names"), folder / "data" / f"{split}-00000-of-00001.parquet"
                )
        case _:
            make_coco(folder, images=40, max_objects=4, empty_images=2, size_hw=(48, 64))
            for split in ("train", "valid"):
                write_imagefolder(folder, split, metadata=kind)
    assert is_hub_data(folder) and not is_hub_data(coco)
    splits = find_splits(folder)
    assert list(splits) == ["train", "valid"]
    index, expected = load_index(splits["train"]), load_index(find_splits(coco)["train"], ("blue", "green", "red"))
    singles = expected.is_crowd.sum() == 1 and ~expected.is_crowd
    written = index.is_crowd | True if len(index.boxes_xywh) < len(expected.boxes_xywh) else None
    compared = singles if written is not None else slice(None)
    np.testing.assert_array_equal(index.boxes_xywh, expected.boxes_xywh[compared])
    names = [expected.class_names[number] for number in expected.class_ids[compared]]
    assert [index.class_names[number] for number in index.class_ids] == names
    sample = DetectionDataset(index)[5]
    assert sample["readable"] and sample["image"].shape == (48, 64, 3)


def test_a_file_that_is_not_there_is_no_name_on_the_hub():
    assert is_hub_data("me/cats") and is_hub_data("me/cats.v2")
    for suffix in FILE_SUFFIXES:
        with pytest.raises(DatasetError, match=f"my_data/data{suffix}: no such file. .*my_data does not exist either"):
            find_splits(f"my_data/data{suffix}")


def test_a_folder_that_changed_is_read_again(coco, tmp_path):
    """Also where its card lists configurations: `datasets` knows such a folder by its name alone."""
    rows = coco_rows(coco)
    for folder, count in ((tmp_path / "a" / "data", 6), (tmp_path / "b" / "data", 9)):
        write_parquet(rows.select(range(count)), folder / "train.parquet")
        (folder / "README.md").write_text("---\nconfigs:\n- config_name: default\n  data_files: train.parquet\n---\n")
        assert len(load_index(find_splits(folder)["train"])) == count


def test_single_split_saved_to_disk(coco, tmp_path):
    coco_rows(coco).save_to_disk(tmp_path / "one")
    assert list(find_splits(tmp_path / "one")) == ["train"]


def test_parts_of_splits(coco, tmp_path):
    DatasetDict(train=coco_rows(coco)).save_to_disk(tmp_path / "data")
    splits = find_splits(tmp_path / "data", HubOptions(train_split="train[:75%]", valid_split="train[75%:]"))
    train, valid = load_index(splits["train"]), load_index(splits["valid"])
    assert (len(train), len(valid)) == (30, 10)
    assert [valid.image_id(k) for k in range(10)] == list(range(31, 41))
    with pytest.raises(DatasetError, match=r"there is no split 'test\[:1%\]'. It has: train"):
        find_splits(tmp_path / "data", HubOptions(train_split="test[:1%]"))


def test_splits_without_usual_names(coco, tmp_path):
    DatasetDict(all=coco_rows(coco)).save_to_disk(tmp_path / "data")
    with pytest.raises(DatasetError, match=r"none of its splits has a usual name .*: all. Say which is which with"):
        find_splits(tmp_path / "data")
    assert list(find_splits(tmp_path / "data", HubOptions(train_split="all"))) == ["train"]


def test_two_splits_of_one_meaning(coco, tmp_path):
    DatasetDict(val=coco_rows(coco), validation=coco_rows(coco)).save_to_disk(tmp_path / "data")
    with pytest.raises(DatasetError, match="both 'val' and 'validation' could be the split 'valid'"):
        find_splits(tmp_path / "data")
    assert list(find_splits(tmp_path / "data", HubOptions(valid_split="val"))) == ["valid"]


def test_no_such_data_set_on_the_hub():
    with pytest.raises(DatasetError) as error:
        find_splits("nobody/nothing")
    message = str(error.value)
    assert message.startswith("nobody/nothing: cannot be read from the Hugging Face Hub: Couldn't reach")
    assert all(hint in message for hint in ("Spelling", "hf auth login", "--data_config", "hf download"))
    assert len(message.splitlines()) < 8


def test_without_a_network_nothing_is_asked_for_again_and_again(monkeypatch):
    """`datasets` alone takes 23 seconds to give up."""
    from datasets import config

    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(config, "HF_ENDPOINT", "https://hub.invalid")  # a name that never stands for anything
    begin = time.monotonic()
    for options in (HubOptions(), HubOptions(streaming=True)):
        with pytest.raises(DatasetError, match=r"nobody/nothing: .*there is no network, or no hub\.invalid in it\n"):
            find_splits("nobody/nothing", options)
    assert time.monotonic() - begin < 10 and config.HF_HUB_OFFLINE is False


def test_folder_that_datasets_cannot_read(tmp_path):
    (tmp_path / "train.parquet").write_bytes(b"not parquet")
    with pytest.raises(DatasetError, match="`datasets` cannot read this folder"):
        find_splits(tmp_path)


def test_format_is_found_from_all_splits_together(coco, tmp_path, caplog):
    """Two small boxes tell nothing by themselves; those of the other split do."""
    few = coco_rows(coco, "valid").select([0])
    DatasetDict(train=coco_rows(coco), validation=few).save_to_disk(tmp_path / "data")
    with caplog.at_level(logging.INFO, "hf_detr"):
        splits = find_splits(tmp_path / "data")
        for split in splits.values():
            read_table(split)
            load_index(split)
    assert caplog.text.count("boxes are [x, y, width, height] in pixels") == 1
    with pytest.raises(DatasetError, match="--box_format"):
        load_hf_dataset(few)


# --- trouble in the data


def odd_rows(objects: list, *, images: list | None = None, features: dict | None = None) -> Dataset:
    """Rows whose objects are as given; pictures of 40 x 30 pixels unless given."""
    images = [{"bytes": png(), "path": f"{k}.png"} for k in range(len(objects))] if images is None else images
    columns = {"image": images, "objects": objects}
    rows = Dataset.from_dict(columns, features=Features({"image": ImageFeature(), **features}) if features else None)
    return rows if features else rows.cast_column("image", ImageFeature())


def objects_of(count: int, category: str = "cat") -> dict:
    return {"bbox": [[0, 0, 40, 30]] * count, "category": [category] * count}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"image": [{"bytes": b"", "path": "a"}]}, "no column with boxes. It has: image"),
        ({"objects": [objects_of(1)]}, "no column with pictures. It has: objects"),
        ({"image": [{"bytes": b"", "path": "a"}], "objects": ["{not json"]}, "row 0: column 'objects' is not JSON"),
        (
            {
                "left": [{"bytes": b"", "path": "a"}],
                "right": [{"bytes": b"", "path": "a"}],
                "objects": [objects_of(1)],
            },
            "2 columns with pictures: left, right",
        ),
        (
            {"image": [{"bytes": b"", "path": "a"}], "objects": [{"bbox": ["0 0 1 1"], "category": ["cat"]}]},
            "boxes in 'bbox' are .*a box is a list of four numbers",
        ),
        (
            {"image": [{"bytes": b"", "path": "a"}], "objects": [{"bbox": [[0, 0, 1, 1]], "category": [0.5]}]},
            "classes in 'category' are double; use numbers or text",
        ),
    ],
)
def test_columns_that_are_not_understood(columns, message):
    with pytest.raises(DatasetError, match=message):
        load_hf_dataset(Dataset.from_dict(columns))


def check(rows: Dataset, tmp_path: Path, **options):
    DatasetDict(train=rows).save_to_disk(tmp_path / "data")
    return check_dataset(
        find_splits(tmp_path / "data", HubOptions(box_format="xywh")), image_size_hw=(64, 64), **options
    )


def test_the_doctor_names_rows(tmp_path):
    objects = [
        objects_of(1),
        {"bbox": [[0, 0, 40, 30], [1, 1, 5, 5]], "category": ["cat"]},
        {"bbox": [[0, 0, 40]], "category": ["cat"]},
        {"bbox": [[0, 0, 10, float("nan")]], "category": ["cat"]},
        {"bbox": [[0, 0, 10, 10]], "category": [None]},
        objects_of(1),
        objects_of(1),
        None,
    ]
    images = [{"bytes": png((k, 0, 0)), "path": None} for k in range(8)]
    images[5], images[6] = {"bytes": b"GIF?", "path": "broken.gif"}, None
    report = check(odd_rows(objects, images=images), tmp_path)
    found = {finding.check: finding for finding in report.findings}
    assert found["annotation.uneven_lists"].examples == ({"file": "row-1"},)
    assert [place["file"] for place in found["box.not_finite"].examples] == ["row-2", "row-3"]
    assert found["annotation.unknown_category"].examples[0]["file"] == "row-4"
    assert found["file.unreadable"].examples[0]["file"] == "row-5-broken.gif"
    assert found["file.missing"].examples[0] == {"image_id": 6, "file": "row-6", "value": "not there"}
    assert found["image.no_objects"].count == 2  # the row with uneven lists, and the one without objects
    assert "file.unmentioned" not in found
    assert report.exit_code == 1 and "row-5-broken.gif" in report.render()


def test_a_clean_data_set_is_clean(coco, tmp_path):
    report = check(coco_rows(coco), tmp_path)
    assert {finding.check for finding in report.findings} <= {"split.no_valid", "image.no_objects"}
    assert report.statistics["train"]["images"] == 40


def test_a_corrupt_picture_is_replaced_in_training_and_named(tmp_path):
    images = [{"bytes": png((k, 0, 0)), "path": None} for k in range(3)]
    images[1] = {"bytes": b"no picture", "path": "bad.jpg"}
    rows = odd_rows([objects_of(1)] * 3, images=images)
    dataset = load_hf_dataset(rows, transform=lambda sample, rng, epoch: sample, box_format="xywh")
    sample = dataset[1]
    assert sample["image_index"] == 2 and sample["unreadable"][0][0].endswith("train/row-1-bad.jpg")
    with pytest.raises(UnreadableImageError, match=r"row-1-bad\.jpg: cannot read this picture: it is not a picture"):
        load_hf_dataset(rows, box_format="xywh", on_unreadable="raise")[1]


def test_images_of_all_kinds(tmp_path):
    modes = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"]
    for mode in modes:
        suffix = "tif" if mode == "CMYK" else "png"
        Image.new(mode, (40, 30)).save(tmp_path / f"{mode.replace(';', '')}.{suffix}")
    paths = sorted(str(path) for path in tmp_path.iterdir())
    rows = odd_rows([objects_of(1)] * len(modes), images=paths)
    dataset = load_hf_dataset(rows, box_format="xywh")
    assert [sample["image"].shape for sample in dataset] == [(30, 40, 3)] * len(modes)


def test_ids_that_are_not_unique_give_way_to_rows(coco, caplog):
    rows = coco_rows(coco).map(lambda row: {"image_id": row["image_id"] // 2})
    with caplog.at_level(logging.INFO, "hf_detr"):
        index = load_hf_dataset(rows).index
    assert [index.image_id(k) for k in range(3)] == [0, 1, 2]
    assert "pictures go by their row: 'image_id' is not" in caplog.text


def test_class_numbers_beyond_the_names_are_found():
    features = {"objects": {"bbox": List(List(Value("float32"))), "category": List(Value("int64"))}}
    rows = odd_rows([{"bbox": [[0, 0, 40, 30]], "category": [number]} for number in (0, 1, 2, -1)], features=features)
    label = {"objects": {**features["objects"], "category": List(ClassLabel(names=["cat", "dog"]))}}
    rows._info.features = Features({"image": ImageFeature(), **label})
    with pytest.raises(DatasetError, match=r"(?s)annotation.unknown_category.*2 annotations.*row-2.*row-3"):
        load_hf_dataset(rows, box_format="xywh")


def test_box_format_must_be_one():
    with pytest.raises(DatasetError, match=r"box_format must be one of xywh, .*got 'coco'"):
        load_hf_dataset(odd_rows([objects_of(1)]), box_format="coco")


# --- processes


@pytest.mark.parametrize("start_method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_workers_read_the_same_arrow_files(coco, tmp_path, start_method):
    coco_rows(coco).save_to_disk(tmp_path / "data")
    dataset = DetectionDataset(load_index(find_splits(tmp_path / "data")["train"]))
    assert len(pickle.dumps(dataset)) < 40_000  # the Arrow files by name, not their pictures
    loader = DataLoader(
        dataset,
        batch_size=10,
        num_workers=1 + (start_method == "fork"),
        multiprocessing_context=start_method,
        collate_fn=sums,
    )
    assert [value for batch in loader for value in batch] == sums(list(dataset))


def sums(samples: list) -> list[int]:
    return [int(sample["image"].sum()) for sample in samples]


def test_options_for_the_hub_are_not_ignored(coco):
    with pytest.raises(DatasetError, match="is no Hugging Face data set, and only for those are --data_config, --box"):
        find_splits(coco, HubOptions(config="large", box_format="xyxy"))


def test_numbers_without_names_are_stated(coco, tmp_path):
    report = check(coco_rows(coco, categories="numbers"), tmp_path)
    (finding,) = (finding for finding in report.findings if finding.check == "category.unnamed")
    assert finding.severity == "warning" and [place["value"] for place in finding.examples] == [1, 2, 3]


def test_text_and_numbers_as_classes(coco, tmp_path):
    rows = {"train": coco_rows(coco, categories="names"), "validation": coco_rows(coco, categories="numbers")}
    DatasetDict(rows).save_to_disk(tmp_path / "data")
    with pytest.raises(DatasetError, match="classes are text in some splits and numbers without names in others"):
        load_index(find_splits(tmp_path / "data")["train"])


def test_no_objects_at_all(tmp_path):
    features = {"objects": {"bbox": List(List(Value("float32"))), "category": List(Value("string"))}}
    report = check(odd_rows([None, None], features=features), tmp_path)
    assert report.exit_code == 1
    assert {"split.no_objects", "category.none"} <= {finding.check for finding in report.findings}
