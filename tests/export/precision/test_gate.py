"""The accuracy gate: AP before and after, and nothing left of an export that loses too much."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from hf_detr.cli.main import main
from hf_detr.data.dataset import DetectionDataset
from hf_detr.data.splits import find_splits, load_index
from hf_detr.errors import CheckpointError, ExportError
from hf_detr.export.folder import export_detector
from hf_detr.export.pictures import PicturesOf
from hf_detr.export.targets import TARGETS
from tests.export.precision.conftest import PICTURES
from tests.synthetic import make_coco


def split_of(folder: Path, name: str) -> DetectionDataset:
    return DetectionDataset(load_index(find_splits(folder)[name]))


@pytest.fixture
def write_instead(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Lets the export to ONNX write a file that is there already, so that a test need not trace a model again."""

    def use(file: Path) -> None:
        target = dataclasses.replace(
            TARGETS["onnx"], write=lambda graph, folder, options: shutil.copy(file, folder / "model.onnx")
        )
        monkeypatch.setitem(TARGETS, "onnx", target)

    return use


@pytest.fixture
def broken(exports: dict[str, Path], tmp_path: Path) -> Path:
    """The int8 file with the weights of the classes negated: the same boxes, called wrongly."""
    model = onnx.load(exports["int8"] / "model.onnx")
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    last = next(n for n in model.graph.node if n.op_type == "MatMul" and "class_embed.1/" in n.name)
    weight = constants[last.input[1]]
    weight.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(weight), weight.name))
    onnx.save(model, tmp_path / "broken.onnx")
    return tmp_path / "broken.onnx"


def test_ap_before_and_after_is_reported(
    exports: dict[str, Path], decided_detector: Path, known_data: Path, tmp_path: Path, write_instead, capsys
) -> None:
    write_instead(exports["float32"] / "model.onnx")
    output, data = tmp_path / "out", str(known_data)
    assert main(["export", str(decided_detector), "--output_dir", str(output), "--data", data]) == 0
    report = json.loads((output / "export.json").read_text())["average_precision"]
    assert report["pictures"] == 4 and report["max_drop"] == 0.001
    assert report["before"] > 0.5 and report["after"] == pytest.approx(report["before"], abs=1e-6)
    assert f"{report['before']:.4f} in PyTorch, {report['after']:.4f} exported (+0.0000)." in capsys.readouterr().out


def test_an_export_that_loses_too_much_is_refused(
    broken: Path, decided_detector: Path, known_data: Path, tmp_path: Path, write_instead, capsys
) -> None:
    write_instead(broken)
    output = tmp_path / "exported" / "out"
    arguments = ["export", str(decided_detector), "--output_dir", str(output), "--data", str(known_data)]
    assert main([*arguments, "--precision", "int8"]) == 2
    message = capsys.readouterr().err
    assert "int8 costs too much: COCO AP on the 4 pictures of" in message
    assert "at most 0.01 may be lost. Nothing was written." in message
    assert list(output.parent.iterdir()) == []
    assert main([*arguments, "--precision", "int8", "--max_ap_drop", "1", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["precision"] == "int8"
    assert report["average_precision"]["before"] - report["average_precision"]["after"] > 0.01


def test_without_data_the_comparison_is_the_judge(
    broken: Path, decided_detector: Path, tmp_path: Path, write_instead
) -> None:
    write_instead(broken)
    output = tmp_path / "exported" / "out"
    with pytest.raises(ExportError, match="does not compute what the model computes in PyTorch"):
        export_detector(decided_detector, output, precision="int8", pictures=PICTURES[:4], calibration=PICTURES)
    assert list(output.parent.iterdir()) == []


def test_data_of_other_classes_is_refused_before_anything_is_written(decided_detector: Path, tmp_path: Path) -> None:
    data = split_of(make_coco(tmp_path / "data"), "train")
    with pytest.raises(CheckpointError, match="Model and data do not have the same classes"):
        export_detector(decided_detector, tmp_path / "out", data=data)
    assert not (tmp_path / "out").exists()


def test_data_without_objects_has_no_ap(decided_detector: Path, known_data: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(known_data, tmp_path / "data")
    table = folder / "valid" / "_annotations.coco.json"
    table.write_text(json.dumps(json.loads(table.read_text()) | {"annotations": []}))
    with pytest.raises(ExportError, match="valid has no objects to measure AP on"):
        export_detector(decided_detector, tmp_path / "out", data=split_of(folder, "valid"))


def test_pictures_are_spread_over_the_data(known_data: Path) -> None:
    data = split_of(known_data, "train")
    assert PicturesOf(data, 4).chosen == [0, 5, 10, 15]
    assert len(PicturesOf(data, 300)) == 16
    np.testing.assert_array_equal(PicturesOf(data, 4)[1], PICTURES[9])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--precision", "bf16"],
            "There is no bfloat16 with --to onnx, which has float32, float16, int8. bfloat16",
        ),
        (["--precision", "float61"], "There is no precision 'float61'. Did you mean 'float16'?"),
        (["--precision", "int8"], "int8 measures the ranges of values on pictures of yours: name the data set with"),
        (["--precision", "int8", "--data", "DATA", "--num_calibration", "9"], "int8 has 9 pictures to measure the"),
        (["--data", "DATA", "--split", "test"], "has no test split. It has: train, valid."),
    ],
)
def test_what_cannot_be_is_said_at_once(
    flags: list[str], message: str, decided_detector: Path, known_data: Path, tmp_path: Path, capsys
) -> None:
    flags = [str(known_data) if flag == "DATA" else flag for flag in flags]
    assert main(["export", str(decided_detector), "--output_dir", str(tmp_path / "out"), *flags]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_there_is_no_such_format(decided_detector: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"no format 'onyx' to export to\. Did you mean 'onnx'"):
        export_detector(decided_detector, tmp_path / "out", to="onyx")


def test_a_model_without_its_processor_is_named(decided_detector: Path, tmp_path: Path, capsys) -> None:
    model = shutil.copytree(decided_detector, tmp_path / "model")
    (model / "preprocessor_config.json").unlink()
    assert main(["export", str(model), "--output_dir", str(tmp_path / "out")]) == 2
    assert "is not a complete checkpoint: it has no preprocessor_config.json" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
