"""`hf-detr data convert` as a user types it."""

import json
from pathlib import Path

import pytest

from hf_detr.cli.main import main
from hf_detr.data.splits import find_splits, load_index
from tests.synthetic import annotation_file, images_folder, make_coco


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_coco(tmp_path_factory.mktemp("shapes"), images=10, splits=("train", "valid"))


def convert(*arguments) -> int:
    return main(["data", "convert", *map(str, arguments)])


def test_to_yolo_with_a_summary(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert convert(data, tmp_path / "yolo", "--to", "yolo") == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{tmp_path / 'yolo'}: YOLO, 20 pictures with ") and first.endswith(
        " objects of 3 classes"
    )
    assert lines[0].startswith("  train  10 pictures, ") and lines[1].startswith("  valid  10 pictures, ")
    assert lines[2] == "- Ids of pictures and objects are not kept: YOLO knows pictures by their file names."
    assert (tmp_path / "yolo" / "data.yaml").is_file()
    assert convert(data, tmp_path / "yolo", "--to", "coco") == 2
    assert "yolo is not empty." in capsys.readouterr().err
    assert convert(data, tmp_path / "yolo", "--to", "coco", "--overwrite") == 0
    assert find_splits(tmp_path / "yolo").keys() == {"train", "valid"}


def test_everything_at_once_as_json(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "map.yaml").write_text("blue: azure\n")
    flags = ["--split", "70/20/10", "--group_by", r"^(\d{4})", "--near_duplicates", "spread", "--seed", "3"]
    flags += ["--class_map", tmp_path / "map.yaml", "--drop", "green", "--emptied", "drop", "--resize", "48", "--json"]
    assert convert(data, tmp_path / "out", "--to", "coco", *flags) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["class_names"] == ["red", "azure"] and report["target"] == str(tmp_path / "out")
    index = load_index(find_splits(tmp_path / "out")["train"])
    assert len(index) == report["num_pictures"]["train"]
    assert index.sizes_hw.max() == 48


def test_several_folders_and_a_named_pair(data: Path, tmp_path: Path) -> None:
    assert convert(data, data, tmp_path / "both", "--to", "coco", "--pictures", "symlink") == 0
    assert len(load_index(find_splits(tmp_path / "both")["train"])) == 20
    pair = ["--images", images_folder(data), "--annotations", annotation_file(data)]
    assert convert(tmp_path / "one", *pair, "--to", "coco") == 0
    assert find_splits(tmp_path / "one").keys() == {"train"}


def test_what_is_said_of_hub_data_is_for_hub_data(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert convert(data, tmp_path / "hub", "--to", "hub") == 0
    both = [tmp_path / "hub", data]
    assert convert(*both, tmp_path / "out", "--to", "coco", "--box_format", "xywh") == 0
    assert len(load_index(find_splits(tmp_path / "out")["valid"])) == 20
    assert convert(data, tmp_path / "none", "--to", "coco", "--box_format", "xywh") == 2
    assert "is no Hugging Face data set" in capsys.readouterr().err


def test_classes_by_flags(data: Path, tmp_path: Path) -> None:
    assert convert(data, tmp_path / "out", "--to", "coco", "--merge", "red,green=warm", "--rename", "blue=cold") == 0
    assert load_index(find_splits(tmp_path / "out")["train"]).class_names == ("warm", "cold")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--drop", "gren"], "There is no class 'gren'. Did you mean 'green'?"),
        (["--rename", "red=blue"], "'blue' would be two classes. To make them one: --merge red,blue=blue"),
        (["--keep", "red", "--drop", "red"], "No class would be left."),
        (["--rename", "red=a", "--drop", "red"], "the class 'red'? It is named more than once"),
        (["--class_map", "none.yaml"], "none.yaml: cannot read this class map"),
        (["--images", "photos"], "--images and --annotations go together"),
        (["--pictures", "link", "--resize", "20"], "does not go with --pictures link"),
        (["--split", "98/1/1", "--group_by", "0"], "20 pictures in 1 group to be kept together cannot be split"),
    ],
)
def test_what_cannot_be_done_says_why(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture, flags: list[str], message: str
) -> None:
    assert convert(data, tmp_path / "out", "--to", "coco", *flags) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "flags",
    [
        ["--split", "0.8/0.1"],
        ["--split", "a/b"],
        ["--split", "1"],
        ["--split", "50/50/0"],
        ["--group_by", "x"],
        ["--split", "50/50", "--group_by", "("],
        ["--split", "50/50", "--valid_size", "3"],
        ["--resize", "1", "2", "3"],
        ["--resize", "0"],
        ["--valid_size", "0"],
        ["--rename", "red"],
        ["--merge", "=red"],
        ["--to", "word"],
    ],
)
def test_flags_that_make_no_sense(data: Path, tmp_path: Path, flags: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        convert(data, tmp_path / "out", "--to", "coco", *flags)


def test_nothing_to_convert(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert convert(tmp_path / "out", "--to", "coco") == 2
    assert "Convert what? Give either IN and OUT, or OUT with --images DIR" in capsys.readouterr().err
