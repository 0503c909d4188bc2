import re
import socket
import sys

import pytest

from hf_detr.cli.app import MAX_EXAMPLES, find_examples, name_of
from hf_detr.cli.main import main
from hf_detr.errors import AppError, DatasetError
from tests.synthetic import images_folder, make_coco
from tests.tiny import save_tiny_detector


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_detector(tmp_path_factory.mktemp("model") / "squares")


def app(capsys, *flags):
    """Exit code, and what was printed."""
    code = main(["app", *map(str, flags)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_space_is_written_as_the_flags_say(capsys, model, tmp_path):
    folder = images_folder(make_coco(tmp_path / "data", images=30, splits=("valid",)), "valid")
    flags = ("--examples", folder, "--threshold", 0.4, "--max_video_seconds", 5, "--tile", 64, "--num_queries", 20)
    code, out, _ = app(capsys, model, "--space", tmp_path / "space", *flags)
    assert code == 0
    assert sorted(out.split()) == sorted(str(path) for path in (tmp_path / "space").rglob("*") if path.is_file())
    page = (tmp_path / "space" / "app.py").read_text()
    assert "tile=[64], num_queries=20)" in page and "AppLimits(max_video_seconds=5.0)" in page
    assert "name='squares'" in page and "threshold=0.4" in page
    assert len(list((tmp_path / "space" / "examples").iterdir())) == MAX_EXAMPLES

    code, _, err = app(capsys, model, "--space", tmp_path / "space")
    assert code == 2 and "is not empty" in err


def test_a_model_that_is_not_there_writes_no_space(capsys, tmp_path):
    code, _, err = app(capsys, tmp_path / "nothing", "--space", tmp_path / "space")
    assert code == 2 and "nothing" in err
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_is_taken_is_an_error_of_one_line(capsys, model):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        code, _, err = app(capsys, model, "--port", other.getsockname()[1])
    assert code == 2
    assert re.search(r"hf-detr app: Cannot listen on 127\.0\.0\.1 port \d+: .*Name another --port", err)


def test_without_gradio_it_says_what_to_install(capsys, model, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    code, _, err = app(capsys, model)
    assert code == 2 and "pip install 'hf_detr[app]'" in err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--threshold", "2"), "--threshold must be from 0 to 1, got 2.0"),
        (("--space", "here", "--port", "8000"), "a Space has its own address"),
        (("--batch_size", "0"), "--batch_size must be 1 or more"),
    ],
)
def test_flags_that_make_no_sense_are_refused(capsys, flags, message):
    with pytest.raises(SystemExit):
        main(["app", "model", *flags])
    assert message in capsys.readouterr().err


def test_limits_are_above_zero(capsys):
    code, _, err = app(capsys, "model", "--max_waiting", 0)
    assert code == 2 and "max_waiting must be above 0, got 0" in err


def test_the_page_is_called_like_the_model(tmp_path):
    (tmp_path / "first" / "onnx").mkdir(parents=True)
    (tmp_path / "first" / "onnx" / "model.onnx").touch()
    assert name_of(str(tmp_path / "first")) == "first" and name_of("user/detector") == "detector"
    assert name_of(str(tmp_path / "first" / "onnx")) == "first · onnx"


def test_examples_are_files(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"")
    (tmp_path / "b.mp4").write_bytes(b"")
    assert [path.name for path in find_examples([str(tmp_path)])] == ["a.jpg", "b.mp4"]
    with pytest.raises(AppError, match="--examples takes files and folders, not rtsp://camera"):
        find_examples(["rtsp://camera"])
    with pytest.raises(DatasetError, match="no such file or folder"):
        find_examples([str(tmp_path / "c.jpg")])
