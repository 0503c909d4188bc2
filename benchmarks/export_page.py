"""The page of `benchmarks/export_table.py`."""

import os
import platform
import re
from collections.abc import Mapping
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.differences import table

Found = Mapping[str, Any]

_HEAD = """\
# Exports of all models

<!-- Written by `python benchmarks/export_table.py --phase table`; change it there. -->

Every size of every family, exported by `hf-detr export` as it is without flags (one file, float32, any batch size),
and beside it the stock export: `OnnxExporter` of Transformers on the nearest stock class, for one picture at a
time. The nearest to D-FINE, DEIM n to x and RT-DETRv4 is `DFineForObjectDetection`, to RT-DETRv2 and
DEIM r18 to r101 `RTDetrV2ForObjectDetection`, to DEIMv2 `Deimv2ForObjectDetection`. Only D-FINE and RT-DETRv2 compute
the same as their neighbour ([differences](differences.md)); the others are compared in speed and size alone.

Weights are random; shapes, image sizes and 80 classes are the true ones. What half precision and int8 do to trained
models is on [another page](export.md).
"""
_EXPORTS_HEAD = """\
## Time, size and agreement

- **seconds**: of one processor core, from reading the checkpoint to the end of the comparison on {pictures} pictures.
- **nodes**, **MB**: of the ONNX file, and of the stock one, which holds the outputs of training as well.
- **difference**: the largest from PyTorch, of a detection's confidence and of a corner as a share of the picture's
  side, in ONNX Runtime and in OpenVINO.
- **compared**: detections, the best 300 of each picture; in brackets those left out because their place among the 300
  depends on the last bit of the pixels in PyTorch, too.
"""
_LATENCY_HEAD = """\
## Latency

One picture, {threads} threads, pixels prepared, no post-processing: the median of a few runs in turns with the other
runtimes, after a run that does not count. **eager** is PyTorch as it is. The other columns are ratios: below 1 is
faster. **/ stock** is our file to the stock one on the same runtime, where OpenVINO reads the stock ONNX file.

Every runtime has a process of its own. Run twice, the ratios to stock of four small models were within 0.05 of each
other. In OpenVINO, what is above 1 is the price of any batch: with `--static_batch` it took 0.99 and 1.00 of the stock
file's time (DEIMv2 atto, DEIM n), in place of 1.14 to 1.19; ONNX Runtime took 1.05, as before. PyTorch's own time
changes from process to process on this machine: for D-FINE n and DEIM n 65 to 96 ms in ten of them, and 158 in one
more; so read the ratios to it as rough.
"""
_ONE_PROCESS = """\
Models with a star were measured with all runtimes in one process, which moved the ratios to stock of two others
(D-FINE s, DEIMv2 hg-s) by up to 0.1. Their files, in the table above too, are from before the zeros around the picture
were kept in the stem of HGNetv2 ([changelog](../CHANGELOG.md)).
"""


def environment() -> dict[str, str]:
    """What figures depend on."""
    packages = ("torch", "transformers", "onnx", "onnxruntime", "openvino")
    names = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "date": date.today().isoformat(),
        "machine": f"{os.cpu_count()} cores of {names[0] if names else platform.machine()}",
        "versions": ", ".join(f"{name} {version(name)}" for name in packages),
    }


def render_page(found: Mapping[str, tuple[Found | None, Found | None]]) -> str:
    """Markdown.

    Args:
        found: by name of a model, what its export and its latency gave, None where that has not been done.
    """
    done = [export for export, _ in found.values() if export]
    exports = [export for export in done if not refusals(export)]
    timings = {name: timing for name, (_, timing) in found.items() if timing}
    parts = [_HEAD, _EXPORTS_HEAD.format(pictures=_only({e["onnx"]["agreement"]["pictures"] for e in exports}))]
    parts.append(_made_by("export", [export["environment"] for export in exports]))
    parts.append(table([_EXPORT_COLUMNS, *map(_export_row, exports)]) + "\n")
    for export in done:
        parts += [f"{export['model']} is refused, {to}: {message}\n" for to, message in refusals(export).items()]
    if timings:
        parts.append(_LATENCY_HEAD.format(threads=_only({timing["threads"] for timing in timings.values()})))
        if not all(map(_is_isolated, timings.values())):
            parts.append(_ONE_PROCESS)
        parts.append(_made_by("latency", [timing["environment"] for timing in timings.values()]))
        parts.append(table([_LATENCY_COLUMNS, *(_latency_row(name, t) for name, t in timings.items())]) + "\n")
    return "\n".join(parts)


def refusals(export: Found) -> dict[str, str]:
    """Why a model was not exported, by format."""
    return {to: part["error"] for to, part in export.items() if isinstance(part, dict) and "error" in part}


_EXPORT_COLUMNS = (
    "model",
    "s, ONNX",
    "s, OpenVINO",
    "nodes",
    "stock",
    "MB",
    "stock",
    "difference, ONNX",
    "difference, OpenVINO",
    "compared",
)
_LATENCY_COLUMNS = ("model", "eager, ms", "ONNX Runtime", "/ stock", "OpenVINO", "/ stock")


def _export_row(export: Found) -> list[str]:
    onnx, openvino, stock = export["onnx"], export["openvino"], export["stock"]
    agreement = onnx["agreement"]
    return [
        export["model"].replace("/", " "),
        f"{onnx['seconds']:.0f}",
        f"{openvino['seconds']:.0f}",
        str(onnx["nodes"]),
        str(stock["nodes"]),
        f"{onnx['bytes'] / 1e6:.1f}",
        f"{stock['bytes'] / 1e6:.1f}",
        *(f"{part['agreement']['score']:.0e}, {part['agreement']['box']:.0e}" for part in (onnx, openvino)),
        f"{agreement['decided']} ({agreement['undecided']})",
    ]


def _is_isolated(timing: Found) -> bool:
    return "processes" in timing


def _latency_row(name: str, timing: Found) -> list[str]:
    seconds = timing["median_seconds"]
    ratios = (("onnx", "eager"), ("onnx", "stock_onnx"), ("openvino", "eager"), ("openvino", "stock_openvino"))
    return [
        name.replace("/", " ") + ("" if _is_isolated(timing) else " *"),
        f"{1000 * seconds['eager']:.0f}",
        *(f"{seconds[a] / seconds[b]:.2f}" for a, b in ratios),
    ]


def _made_by(phase: str, environments: list[Found]) -> str:
    """The command, and on what it ran; all models on the same."""
    facts = {name: _only({environment[name] for environment in environments}) for name in ("machine", "versions")}
    dates = sorted({environment["date"] for environment in environments})
    days = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    command = f"python benchmarks/export_table.py --phase {phase} --output OUT"
    return f"`{command}`, {days}, {facts['machine']}, {facts['versions']}:\n"


def _only(values: set) -> Any:
    """The value that all have.

    Raises:
        SystemExit: they differ, so that the figures do not belong in one table.
    """
    if len(values) != 1:
        raise SystemExit(f"The results were not made alike: {', '.join(map(str, sorted(values)))}.")
    return values.pop()
