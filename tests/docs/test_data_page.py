"""The examples of docs/data.md are data sets: each is written as it stands there, and holds the same dog."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hf_detr.data.splits import find_splits, load_index
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### ([^\n]+)\n(.*?)(?=^##)", PAGE, re.MULTILINE | re.DOTALL))
FILE = re.compile(r"`(my_data/[^`]+)`(?:, with pictures in `(my_data/[^`]+)`)?:\n\n```\w+\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize("section", SECTIONS)
def test_the_example_of_each_format_is_the_same_picture(section: str, tmp_path: Path) -> None:
    files = FILE.findall(SECTIONS[section])
    assert files
    for name, picture, content in files:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        if picture:
            (tmp_path / picture).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (640, 480)).save(tmp_path / picture)
    index = load_index(find_splits(tmp_path / "my_data")["train"])
    assert index.image_path(0).name == "0001.jpg" and index.image_path(0).is_file()
    np.testing.assert_allclose(index.boxes_xywh, [[100, 120, 200, 240]])
    assert index.class_names[index.class_ids[0]] == ("person" if "CrowdHuman" in section else "dog")
