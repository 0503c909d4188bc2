"""What other processes make of a saved model: with our package, imported before or after Transformers, and without."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hf_detr.models.families import build_processor
from tests.tiny import IMAGE_SIZE_HW, tiny_model

# One of every model type that is not stock.
OWN = ("deim", "rt_detr_v4", "rt_detr_v2_r50m", "deim_r18", "deimv2_s", "deimv2_atto")

HELPERS = """
import json, sys, torch
from PIL import Image
pictures = [Image.new("RGB", (70, 50 + 10 * i), (40 * i, 90, 200 - 30 * i)) for i in range(5)]

def detections(detect, **options):
    found = detect(pictures, threshold=0.0, **options)
    return [sorted((round(d["score"], 4), *d["box"].values()) for d in picture) for picture in found]
"""
IMPORTS = {
    "hf_detr first": "import hf_detr; from transformers import pipeline",
    # Also the image processor before the model, whose own code nobody allowed to run: it must be ours.
    "transformers first": "from transformers import AutoConfig, AutoImageProcessor, pipeline;"
    "AutoConfig.for_model('detr'); import hf_detr; AutoImageProcessor.from_pretrained(sys.argv[-1])",
}
WITH_HF_DETR = """
found = {}
for folder in sys.argv[1:]:
    detect = pipeline("object-detection", model=folder)
    assert type(detect.model).__module__.startswith("hf_detr."), type(detect.model)
    found[folder] = detections(detect, batch_size=4)
print(json.dumps(found))
"""
WITHOUT_HF_DETR = """
sys.modules["hf_detr"] = None  # import hf_detr raises ImportError from here on
from transformers import pipeline
found = {}
for folder in sys.argv[1:]:
    detect = pipeline("object-detection", model=folder, trust_remote_code=True)
    assert type(detect.model).__module__.startswith("transformers_modules."), type(detect.model)
    single, batched = detections(detect), detections(detect, batch_size=4)
    assert single == batched, folder
    found[folder] = single
print(json.dumps(found))
"""


def run(code: str, *arguments: str, cache: str) -> tuple[dict, str]:
    environment = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "HF_HOME": cache, "PATH": ""}
    command = [sys.executable, "-c", HELPERS + code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Every tiny model that is not of a stock type, as a folder."""
    folders = {}
    for name in OWN:
        torch.manual_seed(0)
        model = tiny_model(name)
        folders[name] = str(tmp_path_factory.mktemp(name))
        model.save_pretrained(folders[name])
        build_processor(model.config, IMAGE_SIZE_HW).save_pretrained(folders[name])
    return folders


@pytest.fixture(scope="module")
def remote(saved, tmp_path_factory):
    """What plain Transformers finds with the code in the folders."""
    found, _ = run(WITHOUT_HF_DETR, *saved.values(), cache=str(tmp_path_factory.mktemp("cache")))
    return found


def test_remote_code_runs_without_our_package_and_in_batches(saved, remote):
    assert remote.keys() == set(saved.values())
    assert all(len(boxes) == 5 for boxes in remote.values())
    # A pair of each query and class; the other families', and DEIMv2's with 300 queries, would be one per query.
    assert {len(boxes) for boxes in remote[saved["deimv2_atto"]]} == {20 * 3}
    assert {len(boxes) for boxes in remote[saved["deim"]]} == {30}


@pytest.mark.parametrize("order", IMPORTS)
def test_pipelines_know_all_families_in_either_order_of_imports(saved, remote, order, tmp_path):
    found, log = run(IMPORTS[order] + WITH_HF_DETR, *saved.values(), cache=str(tmp_path))
    assert found == remote
    assert "not supported" not in log


def test_remote_code_imports_torch_and_transformers_only(saved):
    allowed = {"torch", "transformers", "dataclasses", "collections", "itertools", "types", "typing"}
    for folder in saved.values():
        for path in Path(folder).glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom) and node.level == 0:
                    assert node.module.split(".")[0] in allowed


def test_importing_our_package_does_not_import_torch():
    code = "import hf_detr, sys; print(json.dumps([name in sys.modules for name in ('torch', 'transformers')]))"
    done = subprocess.run([sys.executable, "-c", "import json; " + code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [False, False]
