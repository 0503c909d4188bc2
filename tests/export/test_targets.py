"""The table of formats: the command line and the runtimes agree with it."""

import subprocess
import sys
from pathlib import Path

import pytest

from hf_detr.export.targets import TARGETS
from hf_detr.inference.exported import find_exported


@pytest.mark.parametrize("name", TARGETS)
def test_the_runtime_finds_the_file_of_a_target(name: str, tmp_path: Path) -> None:
    target = TARGETS[name]
    assert target.name == name and target.precisions
    file = tmp_path / target.file
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    assert find_exported(tmp_path) == file


def test_the_table_costs_the_command_line_nothing() -> None:
    program = "import sys, hf_detr.export.targets; assert not {'torch', 'transformers', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
