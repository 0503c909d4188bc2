"""The program that exports all models: on the smallest one."""

from pathlib import Path

import pytest

from benchmarks.export_page import render_page
from benchmarks.export_table import main
from benchmarks.random_models import MODELS, build_random_model
from hf_detr.export.verify import TOLERANCES, compare, made_up_pictures
from hf_detr.inference.detector import Detector


def test_random_models_are_decided() -> None:
    """What they find does not depend on the last bit of the pixels, or there would be nothing to compare."""
    detector = Detector.from_model(*build_random_model("deimv2/atto"), device="cpu")
    agreement = compare(detector, detector, made_up_pictures(2, (480, 640)), TOLERANCES["float32"])
    assert agreement.decided > 0.9 * (agreement.decided + agreement.undecided)
    assert len(MODELS) == 39


@pytest.mark.slow
def test_all_phases(tmp_path: Path) -> None:
    flags = ["--output", str(tmp_path / "out"), "--only", "deimv2/atto"]
    page = tmp_path / "page.md"
    assert main(["--phase", "export", *flags]) == 0
    assert main(["--phase", "latency", *flags, "--seconds", "0.1", "--threads", "1"]) == 0
    assert main(["--phase", "table", *flags, "--page", str(page)]) == 0
    exported, timed = (line.split(" | ") for line in page.read_text().splitlines() if line.startswith("| deimv2 atto"))
    assert int(exported[3]) > 100 and exported[-1] == "1200 (0) |"
    assert all(float(cell.strip(" |")) > 0 for cell in timed[1:])
    left = {path.name for path in (tmp_path / "out/deimv2/atto").iterdir()}
    assert left == {"export.json", "latency.json"}


def test_a_refused_model_is_named() -> None:
    part = {"seconds": 1.0, "bytes": 1, "nodes": 1, "agreement": dict.fromkeys(("score", "box"), 0.0)}
    part["agreement"] |= {"pictures": 4, "decided": 1200, "undecided": 0}
    export = {"model": "d_fine/n", "onnx": part, "openvino": part, "stock": part}
    export["environment"] = {"date": "2026-11-21", "machine": "2 cores", "versions": "torch 2.15.0"}
    refused = {**export, "model": "d_fine/s", "openvino": {"error": "it computes something else"}}
    page = render_page({"d_fine/n": (export, None), "d_fine/s": (refused, None), "d_fine/m": (None, None)})
    assert "| d_fine n | 1 | 1 | 1 |" in page and "| d_fine s |" not in page
    assert "d_fine/s is refused, openvino: it computes something else" in page
