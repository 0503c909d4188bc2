"""The wheel, built and installed beside nothing of the checkout."""

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*command, cwd=None) -> str:
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def bin_dir(wheel, tmp_path_factory) -> Path:
    """Scripts of an environment with the wheel in it; the dependencies are those of the running Python."""
    environment = tmp_path_factory.mktemp("environment") / "venv"
    run(sys.executable, "-m", "uv", "venv", "--python", sys.executable, environment)
    python = environment / "bin" / "python"
    run(sys.executable, "-m", "uv", "pip", "install", "--python", python, "--no-deps", wheel)
    site_packages = next((environment / "lib").glob("python*/site-packages"))
    # A plain line in a .pth file adds the folder, but does not follow the .pth files in it: not our editable install.
    (site_packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return environment / "bin"


def test_recipes_and_templates_are_in_the_wheel(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    recipes = {f"hf_detr/configs/{path.relative_to(ROOT / 'configs')}" for path in (ROOT / "configs").rglob("*.yaml")}
    assert recipes
    assert recipes <= names
    assert "hf_detr/hub/model_card_template.md" in names
    assert not any(name.startswith(("tests", "benchmarks", "scripts")) for name in names)


def test_the_console_command_works_from_the_wheel(bin_dir, tmp_path):
    where = run(bin_dir / "python", "-c", "import hf_detr; print(hf_detr.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(bin_dir.parent)
    assert run(bin_dir / "hf-detr", "--version", cwd=tmp_path).startswith("hf_detr ")
    assert "demo/digits" in run(bin_dir / "hf-detr", "recipe", "list", cwd=tmp_path)
    assert "num_train_epochs" in run(bin_dir / "hf-detr", "train", "--help", cwd=tmp_path)
