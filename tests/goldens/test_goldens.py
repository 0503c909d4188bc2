"""Our models against figures of the authors' code, and the program that compares them."""

import json
import shutil
from pathlib import Path

import pytest

from tests.goldens.compare import compare, main

FOLDER = Path(__file__).parent


@pytest.mark.parametrize(
    "name",
    [
        "deimv2-atto",
        "dfine-n",
        pytest.param("deim-s", marks=pytest.mark.slow),
        pytest.param("rtdetrv2-r18", marks=pytest.mark.slow),
        pytest.param("rtv4-s", marks=pytest.mark.slow),
    ],
)
def test_models_compute_what_the_official_code_computes(name):
    rows = list(compare(FOLDER / name))
    assert len(rows) > 10
    assert [row for row in rows if not row.passed] == []
    assert any(row.check == "encoder's share of the gradient" for row in rows) == name.startswith("rtv4")


def test_a_difference_is_shown_and_is_an_exit_code(tmp_path, capsys):
    folder = tmp_path / "deimv2-atto"
    shutil.copytree(FOLDER / "deimv2-atto", folder)
    golden = json.loads((folder / "golden.json").read_text())
    case = golden["train_scale1"]["cases"]["no_dn_e0"]
    case["losses"]["loss_bbox"] *= 1.001
    golden["train_scale1"]["cases"] = {"no_dn_e0": case}
    golden["params"]["total"] += 1
    (folder / "golden.json").write_text(json.dumps(golden))
    assert main([str(folder)]) == 1
    failed = [line for line in capsys.readouterr().out.splitlines() if line.endswith("FAILED")]
    assert len(failed) == 2
    assert "parameters" in failed[0] and "-1" in failed[0]
    assert "1.0e-03 loss_bbox" in failed[1]


def test_a_folder_without_figures_is_named(tmp_path):
    with pytest.raises(SystemExit, match="is no golden folder"):
        main([str(tmp_path / "dfine-n")])
    (tmp_path / "golden.json").write_text("{}")
    with pytest.raises(SystemExit, match="FAMILY one of dfine, deim"):
        main([str(tmp_path)])
