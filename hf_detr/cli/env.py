"""`hf-detr env`: what a bug report needs."""

import argparse
import json
import platform
from importlib import metadata

from hf_detr import __version__

PACKAGES = (
    "torch torchvision transformers accelerate huggingface_hub safetensors numpy scipy "
    "opencv-python-headless pillow simplejpeg hotcoco pycocotools onnx onnxruntime openvino nncf"
).split()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="hf-detr env", description="Versions and devices, for a bug report.")
    parser.add_argument("--json", action="store_true", help="as JSON")
    args = parser.parse_args(argv)
    facts = environment()
    if args.json:
        print(json.dumps(facts, indent=2))
    else:
        width = max(map(len, facts))
        print("\n".join(f"{name:<{width}}  {value}" for name, value in facts.items()))
    return 0


def environment() -> dict[str, str]:
    """Versions of Python, of the packages that matter, and the devices torch can use."""
    import torch

    facts = {"hf_detr": __version__, "python": platform.python_version(), "platform": platform.platform()}
    for package in PACKAGES:
        try:
            facts[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            facts[package] = "not installed"
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    facts["gpu"] = ", ".join(gpus) or "none"
    facts["cuda"] = torch.version.cuda or "none"
    facts["cpu threads"] = str(torch.get_num_threads())
    return facts
