"""The notebooks run from top to bottom, on little data, and show what they promise."""

import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
FINETUNE = NOTEBOOKS / "01_finetune_your_data.ipynb"
DISTIL = NOTEBOOKS / "02_distill_from_dinov3.ipynb"
EXPORT = NOTEBOOKS / "03_export_and_serve.ipynb"


def run_fast(path: Path, folder: Path) -> nbformat.NotebookNode:
    """The notebook executed in ``folder`` with FAST=1; raises where a cell does."""
    notebook, root = nbformat.read(path, as_version=4), str(NOTEBOOKS.parent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAST", "1")
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH")))))
        NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


@pytest.fixture(scope="module")
def finetune(tmp_path_factory: pytest.TempPathFactory) -> nbformat.NotebookNode:
    return run_fast(FINETUNE, tmp_path_factory.mktemp("notebook"))


@pytest.fixture(scope="module")
def distil(tmp_path_factory: pytest.TempPathFactory) -> nbformat.NotebookNode:
    return run_fast(DISTIL, tmp_path_factory.mktemp("notebook"))


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> nbformat.NotebookNode:
    return run_fast(EXPORT, tmp_path_factory.mktemp("notebook"))


def outputs_of(notebook: nbformat.NotebookNode, code: str) -> list[nbformat.NotebookNode]:
    """What the cell with this code shows."""
    (cell,) = (cell for cell in notebook.cells if cell.cell_type == "code" and code in cell.source)
    return cell.outputs


def printed(outputs: list[nbformat.NotebookNode]) -> str:
    return "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")


@pytest.mark.parametrize(
    "code", ["preview_grid(splits", "image_grid([drawn", '"predictions.png")', "Image.fromarray(draw_boxes"]
)
def test_pictures_are_shown(finetune: nbformat.NotebookNode, code: str) -> None:
    assert any("image/png" in output.get("data", {}) for output in outputs_of(finetune, code))


def test_the_doctor_and_the_coco_numbers_are_printed(finetune: nbformat.NotebookNode) -> None:
    assert "Ready to train" in printed(outputs_of(finetune, "report.render()"))
    table = printed(outputs_of(finetune, "render_metrics(metrics)"))
    assert re.search(r"^ *AP +\S", table, re.MULTILINE)
    assert re.search(r"^class +objects +AP +AP50", table, re.MULTILINE)


def test_the_folder_holds_a_transformers_model(finetune: nbformat.NotebookNode) -> None:
    (output,) = outputs_of(finetune, "trainer.save_model()")
    names = output.data["text/plain"]
    assert all(name in names for name in ("config.json", "model.safetensors", "preprocessor_config.json"))


@pytest.mark.parametrize("code", ["taught = in_colours", "both = in_colours"])
def test_features_are_shown(distil: nbformat.NotebookNode, code: str) -> None:
    assert any("image/png" in output.get("data", {}) for output in outputs_of(distil, code))


def test_the_student_comes_nearer_to_the_teacher(distil: nbformat.NotebookNode) -> None:
    table = printed(outputs_of(distil, "share of gradient"))
    rows = [[float(number) for number in re.findall(r"[\d.]+", line)] for line in table.splitlines()[1:]]
    assert [row[0] for row in rows] == [1, 2, 3, 4]
    distances = [row[2] for row in rows]
    assert 1.05 > distances[0] > distances[-1] > 0
    assert all(0 < row[3] < 100 for row in rows)


def test_what_is_saved_has_nothing_of_the_teacher(distil: nbformat.NotebookNode) -> None:
    before, after = (
        printed(outputs_of(distil, code)).split(" million")[0] for code in ("size_before = sum", "size_after = sum")
    )
    assert before == after


@pytest.mark.slow  # three exports
def test_exports_agree_and_keep_their_ap(export: nbformat.NotebookNode) -> None:
    assert re.search(r"^\d+ of \d+ detections in 16 pictures agree", printed(outputs_of(export, "onnx.accuracy")))
    rows = re.findall(r"(\w+) +([\d.]+) MB   AP ([\d.]+) -> ([\d.]+)", printed(outputs_of(export, 'precision="int8"')))
    assert [name for name, *_ in rows] == ["onnx", "openvino", "int8"]
    assert float(rows[2][1]) < 0.8 * float(rows[1][1])


@pytest.mark.slow
def test_runtimes_find_the_same_and_are_timed(export: nbformat.NotebookNode) -> None:
    runtimes = ["PyTorch", "ONNX Runtime", "OpenVINO", "OpenVINO int8"]
    found = printed(outputs_of(export, "detectors = {")).splitlines()
    assert [line[:16].strip() for line in found] == runtimes
    assert found[0][16:] == found[1][16:] == found[2][16:]
    _, *timed = printed(outputs_of(export, "time_detectors(")).splitlines()
    assert [line[:15].strip() for line in timed] == runtimes
    assert all(float(line.split()[-4]) > 0 for line in timed)


@pytest.mark.slow
def test_objects_are_followed_and_the_space_is_complete(export: nbformat.NotebookNode) -> None:
    assert re.match(r"40 frames, \d+ objects followed", printed(outputs_of(export, "detect_video(")))
    assert any("image/png" in output.get("data", {}) for output in outputs_of(export, "detect_video("))
    (files,) = (o.data["text/plain"] for o in outputs_of(export, "write_space(") if o.output_type == "execute_result")
    assert all(name in files for name in ("app.py", "requirements.txt", "README.md", "model/openvino_model.xml"))


def test_notebooks_are_committed_without_outputs() -> None:
    for path in NOTEBOOKS.glob("*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells), path.name
