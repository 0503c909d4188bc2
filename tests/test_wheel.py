"""The wheel, built and installed beside nothing of the checkout."""

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.export.conftest import save_decided_detector

ROOT = Path(__file__).parents[1]
REGISTRATION = "optimum/commands/register/register_hf_detr.py"


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


def test_optimum_exports_with_the_wheel(wheel, bin_dir, tmp_path):
    assert REGISTRATION in zipfile.ZipFile(wheel).namelist()
    if (Path(sysconfig.get_paths()["purelib"]) / REGISTRATION).exists():
        # The environment sees our editable installation's too, and Optimum registers what it finds twice.
        next((bin_dir.parent / "lib").glob(f"python*/site-packages/{REGISTRATION}")).unlink(missing_ok=True)
    optimum = [bin_dir / "python", "-m", "optimum.commands.optimum_cli"]
    listed = run(*optimum, "export", "--help", cwd=tmp_path)
    assert "detr" in listed and "onnx" in listed
    assert "optimum-cli export detr --model runs/first exported" in run(*optimum, "export", "detr", "--help")

    model = save_decided_detector(tmp_path / "model")
    printed = run(*optimum, "export", "onnx", "--model", model, "out", "--num_pictures", "2", cwd=tmp_path)
    assert "Compared with PyTorch" in printed
    assert (tmp_path / "out" / "model.onnx").is_file()

    done = subprocess.run(
        [*optimum, "export", "detr", "--model", tmp_path / "nowhere", "b"], capture_output=True, text=True
    )
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert done.stderr.startswith("optimum-cli export detr: there is no folder")


def test_beside_optimum_onnx_its_command_stays_its_own(bin_dir, tmp_path):
    """Two commands of one name break every call of optimum-cli: its package being there, ours gives way."""
    elsewhere = tmp_path / "site-packages"
    metadata = elsewhere / "optimum_onnx-0.1.0.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: optimum-onnx\nVersion: 0.1.0\n")
    code = "from hf_detr.cli.optimum import export_commands; print([c.COMMAND.name for c in export_commands()])"
    assert run(bin_dir / "python", "-c", code, cwd=tmp_path).strip() == "['detr', 'onnx']"
    beside = f"import sys; sys.path.append({str(elsewhere)!r}); {code}"
    assert run(bin_dir / "python", "-c", beside).strip() == "['detr']"
