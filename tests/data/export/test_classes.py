"""Classes renamed, merged and dropped: which names, which order, which category ids."""

from pathlib import Path

import pytest

from hf_detr.data.export.classes import ClassEdits, edit_classes, new_names, read_class_map
from hf_detr.errors import DatasetError
from tests.data.export.test_partition import make_index

NAMES = ("c0", "c1", "c2", "c3")


@pytest.mark.parametrize(
    ("edits", "names", "ids", "classes"),
    [
        (ClassEdits(), NAMES, (0, 1, 2, 3), [0, 1, 2, 3]),
        (ClassEdits(rename=(("c1", "x"),)), ("c0", "x", "c2", "c3"), (0, 1, 2, 3), [0, 1, 2, 3]),
        (ClassEdits(rename=(("c1", "c2"), ("c2", "c1"))), ("c0", "c2", "c1", "c3"), (0, 1, 2, 3), [0, 1, 2, 3]),
        (ClassEdits(merge=((("c1", "c3"), "x"),)), ("c0", "x", "c2"), (0, 1, 2), [0, 1, 2, 1]),
        (ClassEdits(merge=((("c1", "c3"), "c3"),)), ("c0", "c3", "c2"), (0, 3, 2), [0, 1, 2, 1]),
        (ClassEdits(merge=((("c1",), "c3"),)), ("c0", "c3", "c2"), (0, 3, 2), [0, 1, 2, 1]),
        (ClassEdits(drop=("c0", "c2")), ("c1", "c3"), (1, 3), [0, 1]),
        (ClassEdits(keep=("c3", "c1")), ("c1", "c3"), (1, 3), [0, 1]),
        (ClassEdits(class_map={"c0": "x", "c1": None, "c2": "x"}), ("x", "c3"), (0, 3), [0, 0, 1]),
    ],
)
def test_what_becomes_of_classes(edits: ClassEdits, names: tuple, ids: tuple, classes: list[int]) -> None:
    index = make_index([[0, 1], [], [2], [3]], 4)
    edited = edit_classes(index, new_names(NAMES, edits))
    assert (edited.class_names, edited.category_ids) == (names, ids)
    assert edited.class_ids.tolist() == classes
    assert len(edited) == 4 and edited.first[-1] == len(classes) == len(edited.boxes_xywh)


def test_a_class_map_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "map.yaml"
    path.write_text("car: vehicle\n7: seven\nperson:\n")
    assert read_class_map(path) == {"car": "vehicle", "7": "seven", "person": None}
    for text in ("- car\n", "car: [vehicle]\n", "car: {\n", "car: 3\n"):
        path.write_text(text)
        with pytest.raises(DatasetError, match=r"map.yaml: (expected lines|cannot read)"):
            read_class_map(path)
