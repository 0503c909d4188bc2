"""The page as a folder that a Hugging Face Space runs."""

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from hf_detr import __version__
from hf_detr.app.limits import AppLimits
from hf_detr.data.aside import written_aside
from hf_detr.errors import AppError
from hf_detr.export.folder import REPORT_FILE
from hf_detr.hub.publish import published_files
from hf_detr.inference.exported import find_exported

_EXTRA_OF_RUNTIME = {".onnx": "onnx", ".xml": "openvino", ".pte": "executorch"}

_APP = '''\
"""A page on which people try a detector: `python app.py` serves it."""

import logging
from pathlib import Path

from hf_detr import Detector
from hf_detr.app.limits import AppLimits
from hf_detr.app.serve import serve

logging.basicConfig(format="%(message)s")
logging.getLogger("hf_detr").setLevel(logging.INFO)  # tells the address
here = Path(__file__).parent
serve(
    Detector.from_pretrained({model}),
    AppLimits({limits}),
    name={name!r},
    threshold={threshold!r},
    examples=sorted((here / "examples").glob("*")),
)
'''
_README = """\
---
{front_matter}---

# {name}

Object detection: drop a picture or a video, move the threshold, pick classes. Made with `hf_detr`.
"""


def write_space(
    model: str,
    folder: Path,
    *,
    name: str,
    limits: AppLimits | None = None,
    threshold: float | None = None,
    examples: Sequence[Path] = (),
    loading: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write a Space: settings in README.md, app.py, requirements.txt, examples, and the model where it is a local one.

    Args:
        model: a folder that `hf-detr train` or `hf-detr export` wrote, which is copied; or a Hub id, which stays one.
        folder: where it goes; it must not hold anything.
        name: title of the page.
        limits: what visitors may ask for.
        threshold: as for `build_app`.
        examples: pictures and videos to copy, for clicking on.
        loading: what else `Detector.from_pretrained` is to be called with.

    Returns:
        The files.

    Raises:
        AppError: something is there already.
        CheckpointError: the folder of the model holds no complete one.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise AppError(f"{folder} is not empty. Name a new folder for the Space.")
    files = model_files(model)
    exported = find_exported(model)
    extra = "" if exported is None else _EXTRA_OF_RUNTIME.get(exported.suffix, "")
    if exported is not None:
        source = f'here / "model" / {exported.name!r}'
    else:
        source = 'here / "model"' if files else repr(model)
    arguments = [source, *(f"{key}={value!r}" for key, value in (loading or {}).items())]
    app = _APP.format(
        model=", ".join(arguments), limits=_differing(limits or AppLimits()), name=name, threshold=threshold
    )
    with written_aside(folder) as unfinished:
        (unfinished / "app.py").write_text(app, encoding="utf-8")
        (unfinished / "README.md").write_text(_readme(name, None if files else model), encoding="utf-8")
        extras = ",".join(filter(None, ("app", extra)))
        (unfinished / "requirements.txt").write_text(f"hf_detr[{extras}]=={__version__}\n", encoding="utf-8")
        _copy({file.name: file for file in files}, unfinished / "model")
        _copy({f"{number:02d}_{path.name}": path for number, path in enumerate(examples)}, unfinished / "examples")
    return sorted(path for path in folder.rglob("*") if path.is_file())


def model_files(model: str) -> list[Path]:
    """The files that running a local model takes; none for a Hub id. Card, metrics and pictures stay where they are.

    Raises:
        CheckpointError: it is a folder that holds no complete model.
    """
    exported = find_exported(model)
    if exported is not None:
        # The report of an export names folders of this computer.
        return sorted(path for path in exported.parent.iterdir() if path.is_file() and path.name != REPORT_FILE)
    if not Path(model).is_dir():
        return []
    configuration = ("config.json", "preprocessor_config.json")
    return [path for path in published_files(model) if path.name in configuration or path.name.startswith("model")]


def _differing(limits: AppLimits) -> str:
    """The arguments that make these limits."""
    values = dataclasses.asdict(limits)
    usual = dataclasses.asdict(AppLimits())
    return ", ".join(f"{key}={value!r}" for key, value in values.items() if value != usual[key])


def _readme(name: str, model_id: str | None) -> str:
    settings = {
        "title": name,
        "emoji": "🔎",
        "colorFrom": "green",
        "colorTo": "blue",
        "sdk": "gradio",
        "sdk_version": version("gradio"),
        "app_file": "app.py",
        "pinned": False,
    }
    if model_id is not None:
        settings["models"] = [model_id]
    front_matter = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    return _README.format(front_matter=front_matter, name=name)


def _copy(files: Mapping[str, Path], folder: Path) -> None:
    """Copy files into a new folder under the names given; no folder where there are none."""
    if files:
        folder.mkdir()
        for name, file in files.items():
            shutil.copyfile(file, folder / name)
