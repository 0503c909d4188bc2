"""`hf-detr check` as a user types it: exit codes, messages, JSON, and the drawn sample."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hf_detr.cli.main import main
from hf_detr.draw import class_colour
from tests.synthetic import annotation_file, edit_json, images_folder, make_coco


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set without trouble; the working directory is an empty folder beside it."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return make_coco(tmp_path / "shapes", images=6, splits=("train", "valid"))


def spoil(data: Path, **values) -> None:
    with edit_json(annotation_file(data)) as content:
        content["annotations"][0].update(values)


def test_a_good_data_set_exits_with_0(data: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["check", str(data)]) == 0
    output = capsys.readouterr().out
    assert output.startswith(str(data))
    assert "0 errors, 0 warnings, 0 notes. Ready to train." in output
    assert "Drawn sample: check/shapes/sample.png" in output


def test_errors_exit_with_1_and_are_all_named(data: Path, capsys: pytest.CaptureFixture) -> None:
    spoil(data, category_id=77, bbox=[1, 2, 0, 4])
    (images_folder(data) / "0003.jpg").write_bytes(b"broken")
    assert main(["check", str(data)]) == 1
    output = capsys.readouterr().out
    for words in (
        "ERROR   annotation.unknown_category  [train]",
        "image 1 (0000.jpg), annotation 1: category_id 77",
        "ERROR   file.unreadable  [train]",
        "image 4 (0003.jpg)",
        "WARNING box.degenerate  [train]",
        "2 errors, 1 warning, 0 notes. Correct the errors first",
    ):
        assert words in output


def test_warnings_exit_with_1_only_if_strict(data: Path) -> None:
    spoil(data, bbox=[100, 10, 60, 20])
    assert main(["check", str(data), "--fast"]) == 0
    assert main(["check", str(data), "--fast", "--strict"]) == 1


def test_json_is_all_there_is_on_stdout(data: Path, capsys: pytest.CaptureFixture) -> None:
    with edit_json(annotation_file(data)) as content:
        for row in content["annotations"]:
            row["bbox"][2] = 0
    assert main(["check", str(data), "--json"]) == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert (report["errors"], report["warnings"], report["infos"]) == (0, 1, 0)
    (finding,) = report["findings"]
    assert finding["check"] == "box.degenerate"
    assert finding["count"] == len(finding["examples"]) == report["statistics"]["train"]["objects"] > 5
    assert finding["examples"][0] == {
        "image_id": 1,
        "file": "0000.jpg",
        "annotation_id": 1,
        "value": finding["examples"][0]["value"],
    }
    assert "sample.png" in captured.err


def test_json_of_numbers_that_json_has_not(data: Path, capsys: pytest.CaptureFixture) -> None:
    with edit_json(annotation_file(data)) as content:
        content["annotations"][0]["bbox"] = [0, 0, float("nan"), float("inf")]
        content["annotations"][1].update(id=float("nan"), image_id=float("inf"))
        content["categories"].append({"id": float("nan"), "name": "pink"})
    assert main(["check", str(data), "--json", "--fast"]) == 1

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    report = json.loads(capsys.readouterr().out, parse_constant=refuse)
    values = [example.get("value") for finding in report["findings"] for example in finding["examples"]]
    assert "[0, 0, nan, inf]" in values


def test_image_size_and_queries_are_passed_on(data: Path, capsys: pytest.CaptureFixture) -> None:
    spoil(data, bbox=[5, 5, 3, 30])
    assert main(["check", str(data), "--fast", "--image_size", "320", "32", "--num_queries", "1"]) == 0
    output = " ".join(capsys.readouterr().out.split())  # lines are as long as the terminal is wide
    assert "resized to 320 x 32 (height x width)" in output
    assert "with more than 1 objects, the number of queries" in output


def test_images_and_annotations_by_name(data: Path, capsys: pytest.CaptureFixture) -> None:
    arguments = ["check", "--images", str(images_folder(data)), "--annotations", str(annotation_file(data))]
    assert main(arguments) == 0
    assert "Drawn sample: check/_annotations.coco/sample.png" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "hf-detr check: nowhere: no such folder."),
        (["."], "the folder is empty"),
        ([], "Give either DIR, or --images DIR and --annotations FILE"),
        (["--images", "."], "--images and --annotations go together"),
        (["--images", "nowhere", "--annotations", "a.json"], "nowhere: no such folder of pictures (for a.json)"),
        (["--images", ".", "--annotations", "a.json"], "a.json: cannot read this annotation file"),
    ],
)
def test_nothing_to_check_exits_with_2(
    data: Path, capsys: pytest.CaptureFixture, arguments: list[str], message: str
) -> None:
    assert main(["check", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "{", "[]", '{"images": []}', '{"images": 1, "annotations": 2, "categories": 3}'])
def test_annotations_that_are_not_coco_exit_with_2(data: Path, capsys: pytest.CaptureFixture, text: str) -> None:
    annotation_file(data, "valid").write_text(text)
    assert main(["check", str(data)]) == 2
    captured = capsys.readouterr()
    assert str(annotation_file(data, "valid")) in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    "arguments", [["--image_size", "0"], ["--image_size", "1", "2", "3"], ["--num_queries", "0"], ["--nonsense"]]
)
def test_wrong_flags_exit_with_2(data: Path, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["check", str(data), *arguments])
    assert caught.value.code == 2


def test_every_record_of_another_type_is_no_traceback(data: Path, capsys: pytest.CaptureFixture) -> None:
    rows = [None, 1, "x", [], {}, {"id": []}, {"id": {}, "file_name": []}, {"bbox": [[], {}, None, True]}]
    annotation_file(data).write_text(json.dumps({"images": rows, "annotations": rows, "categories": rows}))
    assert main(["check", str(data)]) == 1
    output = capsys.readouterr().out
    for check in ("image.malformed", "category.malformed", "annotation.unknown_image", "box.missing", "box.malformed"):
        assert check in output


def test_the_sample_shows_boxes_in_the_colours_of_their_classes(data: Path) -> None:
    assert main(["check", str(data), "--sample", "4", "--output_dir", "drawn"]) == 0
    with Image.open("drawn/sample.png") as sample:
        pixels = np.asarray(sample.convert("RGB"))
    assert pixels.shape[1] > 4 * 256
    for class_id in range(3):
        assert (pixels == class_colour(class_id)).all(-1).any()


def test_samples_are_never_overwritten(data: Path) -> None:
    for _ in range(3):
        assert main(["check", str(data), "--sample", "1"]) == 0
    assert sorted(path.name for path in Path("check/shapes").iterdir()) == [
        "sample-2.png",
        "sample-3.png",
        "sample.png",
    ]


def test_no_sample_of_a_data_set_that_cannot_be_used(data: Path, capsys: pytest.CaptureFixture) -> None:
    spoil(data, category_id=77)
    with edit_json(annotation_file(data, "valid")) as content:
        content["annotations"][0]["bbox"] = None
    assert main(["check", str(data)]) == 1
    assert "Drawn sample: none, there is nothing to draw" in capsys.readouterr().out
    assert not Path("check").exists()


def test_a_sample_that_cannot_be_written_says_so(data: Path, capsys: pytest.CaptureFixture) -> None:
    Path("taken").write_text("a file")
    assert main(["check", str(data), "--output_dir", "taken"]) == 2
    captured = capsys.readouterr()
    assert "taken/sample.png: cannot be written: " in captured.err
    assert "Ready to train" in captured.out


def test_help_teaches_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; from hf_detr.cli.main import main\n"
        "try:\n    main(['check', '--help'])\nexcept SystemExit:\n    pass\n"
        "assert not {'torch', 'numpy', 'PIL', 'transformers'} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    for words in ("hf-detr check my_data --fast", "DIR/train/_annotations.coco.json", "exit code: 0 no errors"):
        assert words in result.stdout


def test_fast_does_not_load_torch(data: Path) -> None:
    code = (
        "import sys; from hf_detr.cli.main import main\n"
        f"assert main(['check', {str(data)!r}, '--fast']) == 0\nassert 'torch' not in sys.modules"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
