"""A data set without trouble, for tests of the doctor to spoil."""

import shutil
from pathlib import Path

import pytest

from tests.synthetic import make_coco


@pytest.fixture(scope="module")
def _clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_coco(tmp_path_factory.mktemp("clean"))


@pytest.fixture
def data(_clean: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(_clean, tmp_path / "data")
    return tmp_path / "data"
