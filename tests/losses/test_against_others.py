"""Our criterion against pydfine's port of the original and Transformers' own, through the program that times them."""

import sys

import pytest

pytest.importorskip("dfine", reason="pydfine is an extra: pip install hf_detr[benchmark]")

from benchmarks import criterion  # needs pydfine


def test_losses_equal_pydfines_and_those_transformers_gets_right(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["criterion.py", "--batch_sizes", "2", "--objects", "3", "--repeats", "1"])
    criterion.main()
    header, *_, row = (line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[1:])
    differences = [float(value) for name, value in zip(header, row, strict=True) if name == "difference"]
    assert len(differences) == 2
    assert max(differences) < 2e-6
