"""`hf-detr data preview` as a user types it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hf_detr.cli.main import main
from tests.synthetic import annotation_file, edit_json, make_coco


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_coco(tmp_path_factory.mktemp("shapes"), images=6, splits=("train",))


def preview(data: Path, output: Path, *flags) -> np.ndarray:
    settings = ["--image_size", "64", "--no_aug_epochs", "2", "--num_train_epochs", "40"]
    arguments = [
        "data",
        "preview",
        str(data),
        "d_fine/s_finetune",
        "--output",
        str(output),
        *settings,
        *map(str, flags),
    ]
    output.unlink(missing_ok=True)
    assert main(arguments) == 0
    return np.asarray(Image.open(output))


def test_a_grid_of_what_training_sees(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    first = preview(data, tmp_path / "new" / "one.png", "--count", 2, "--epoch", 3)
    output = capsys.readouterr().out
    assert "one.png: epoch 3 of 40." in output and "colours, zoom-out, crop until epoch 38" in output
    np.testing.assert_array_equal(first, preview(data, tmp_path / "two.png", "--count", 2, "--epoch", 3))
    for changed in (["--epoch", 4], ["--epoch", 3, "--seed", 1], ["--epoch", 3, "--mixup_prob", 1]):
        other = preview(data, tmp_path / "other.png", "--count", 2, *changed)
        assert other.shape != first.shape or not np.array_equal(other, first), changed


def test_the_first_epoch_shown_is_an_augmented_one(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    preview(data, tmp_path / "mosaic.png", "--mosaic_prob", "0.5", "--copyblend_epochs", "4", "9")
    output = capsys.readouterr().out
    assert "epoch 4 of 40." in output
    assert "colours, zoom-out, crop from epoch 4 until epoch 38; mosaic 0.5 from epoch 4 until epoch 23" in output


def test_what_cannot_be_drawn_says_why(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    empty = make_coco(tmp_path / "empty", images=2, splits=("train",))
    with edit_json(annotation_file(empty)) as content:
        content["annotations"] = []
    recipe = "d_fine/s_finetune"
    for arguments, message in [
        ([empty, recipe], "no picture has objects"),
        ([data, "d_fine/z"], "d_fine/z"),
        ([data, recipe, "--mosaic_prob", "often"], "mosaic_prob: expected a number"),
        ([data, recipe, "--mixup_epochs", "9"], "mixup_epochs takes the first epoch"),
    ]:
        assert main(["data", "preview", *map(str, arguments), "--output", str(tmp_path / "none.png")]) == 2
        assert message in capsys.readouterr().err
    for flags in (["--epoch", "-1"], ["--count", "0"], ["--output", str(tmp_path / "grid.text")]):
        with pytest.raises(SystemExit):
            main(["data", "preview", str(data), recipe, *flags])
    assert not (tmp_path / "none.png").exists()


def test_no_picture_is_overwritten(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "mine.png").write_bytes(b"mine")
    arguments = ["data", "preview", str(data), "d_fine/s_finetune", "--image_size", "64", "--count", "1"]
    assert main([*arguments, "--output", str(tmp_path / "mine.png")]) == 0
    assert "mine-2.png: epoch 0 of" in capsys.readouterr().out
    assert (tmp_path / "mine.png").read_bytes() == b"mine"
    assert main([*arguments, "--output", str(tmp_path / "mine.png" / "grid.png")]) == 2
    assert "grid.png: cannot be written: " in capsys.readouterr().err
