"""Whatever is in a COCO file, the doctor reports it and nothing else is raised."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_detr.data.checks import check_dataset
from hf_detr.data.splits import Split, load_index
from hf_detr.errors import DatasetError

NAN = float("nan")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.integers() | st.floats() | st.sampled_from(["", "1", "a.jpg"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["id", "bbox"]), inner),
    max_leaves=6,
)
ID = st.integers(0, 2) | st.sampled_from(["1", 1.0, 1.5, NAN, None, True]) | JSON
BOX = st.lists(st.integers(-5, 150) | st.floats(), min_size=4, max_size=4) | JSON


def records(**values: st.SearchStrategy) -> st.SearchStrategy:
    return st.lists(st.fixed_dictionaries({}, optional=values) | JSON, max_size=5)


@settings(max_examples=150)
@given(
    images=records(id=ID, file_name=JSON, width=JSON, height=JSON),
    annotations=records(id=ID, image_id=ID, category_id=ID, bbox=BOX, area=JSON, iscrowd=JSON, segmentation=JSON),
    categories=records(id=ID, name=JSON, supercategory=JSON),
)
def test_nothing_in_a_file_raises_anything_else(
    tmp_path_factory: pytest.TempPathFactory, images: list, annotations: list, categories: list
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    path = folder / "train.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    report = check_dataset({"train": Split("train", folder, path)}, image_size_hw=(64, 64))
    report.render().encode()
    json.dumps(report.to_dict(), allow_nan=False)
    try:
        load_index(Split("train", folder, path))
    except DatasetError:
        assert report.exit_code == 1
