import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import yaml
from gradio_client import Client, handle_file

from hf_detr import __version__
from hf_detr.app.limits import AppLimits
from hf_detr.app.space import write_space
from hf_detr.errors import AppError, CheckpointError


def front_matter(folder):
    return yaml.safe_load((folder / "README.md").read_text(encoding="utf-8").split("---\n")[1])


def test_a_local_model_is_copied_with_what_it_needs(model, pictures, tmp_path):
    files = write_space(
        str(model), tmp_path / "space", name="Squares", limits=AppLimits(max_waiting=5), examples=pictures[:2]
    )
    names = [file.relative_to(tmp_path / "space").as_posix() for file in files]
    assert names == [
        "README.md",
        "app.py",
        f"examples/00_{pictures[0].name}",
        f"examples/01_{pictures[1].name}",
        "model/config.json",
        "model/model.safetensors",
        "model/preprocessor_config.json",
        "requirements.txt",
    ]
    app = (tmp_path / "space" / "app.py").read_text()
    compile(app, "app.py", "exec")
    assert "AppLimits(max_waiting=5)" in app and "name='Squares'" in app and 'from_pretrained(here / "model")' in app
    assert (tmp_path / "space" / "requirements.txt").read_text() == f"hf_detr[app]=={__version__}\n"
    settings = front_matter(tmp_path / "space")
    assert (settings["sdk"], settings["app_file"], settings["title"]) == ("gradio", "app.py", "Squares")
    assert re.fullmatch(r"6\.\d+\.\d+", settings["sdk_version"]) and "models" not in settings
    assert str(tmp_path) not in app


def test_a_model_of_the_hub_stays_there(tmp_path):
    write_space("user/detector", tmp_path / "space", name="A: #1 “quoted”", loading={"revision": "v2", "tile": [640]})
    app = (tmp_path / "space" / "app.py").read_text()
    assert "from_pretrained('user/detector', revision='v2', tile=[640])" in app
    assert not (tmp_path / "space" / "model").exists()
    settings = front_matter(tmp_path / "space")
    assert settings["models"] == ["user/detector"] and settings["title"] == "A: #1 “quoted”"


def test_an_exported_model_brings_its_runtime(tmp_path):
    for name in ("model.onnx", "config.json", "preprocessor_config.json", "export.json"):
        (tmp_path / name).write_text("{}")
    write_space(str(tmp_path), tmp_path / "space", name="Exported")
    assert (tmp_path / "space" / "requirements.txt").read_text() == f"hf_detr[app,onnx]=={__version__}\n"
    assert "here / \"model\" / 'model.onnx'" in (tmp_path / "space" / "app.py").read_text()
    assert not (tmp_path / "space" / "model" / "export.json").exists()


def test_what_is_there_already_stays(model, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(AppError, match=r"is not empty\. Name a new folder"):
        write_space(str(model), tmp_path, name="Squares")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_folder_without_a_model_is_refused_and_nothing_is_written(tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(CheckpointError, match="holds no complete model"):
        write_space(str(tmp_path / "run"), tmp_path / "space", name="Squares")
    assert not (tmp_path / "space").exists()


@pytest.mark.slow
def test_the_space_runs_and_ctrl_c_ends_it(model, pictures, detector, tmp_path):
    write_space(str(model), tmp_path / "space", name="Squares", examples=pictures[:2])
    log = tmp_path / "log.txt"
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "TMPDIR": str(tmp_path / "temporary")}
    (tmp_path / "temporary").mkdir()
    with log.open("wb") as stream:
        page = subprocess.Popen(
            [sys.executable, "app.py"], cwd=tmp_path / "space", env=environment, stdout=stream, stderr=stream
        )
    while not (told := re.search(r"http://\S+", log.read_text())):
        assert page.poll() is None, log.read_text()
        time.sleep(0.1)
    client = Client(told[0], verbose=False, analytics_enabled=False)
    answer = client.predict(handle_file(str(pictures[0])), 0.9, [], None, api_name="/detect")
    assert json.loads(json.dumps(answer)) == answer and len(answer) == len(detector(pictures[0], threshold=0.9))
    page.send_signal(signal.SIGINT)
    assert page.wait(timeout=20) == 0
    assert "Traceback" not in log.read_text()
    assert list((tmp_path / "temporary").glob("hf_detr_app_*")) == []
