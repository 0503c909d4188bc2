"""The shape of the package: who may import whom, and that what is written down is there."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import hf_detr

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "hf_detr"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Imports run one way, from the higher level to the lower. Within levels 2 and 3 parts do not know each other.
LEVELS = {
    "errors": 0, "boxes": 0, "cache": 0, "draw": 0, "noise": 0, "tiles": 0,
    "models": 1, "registration": 1,
    "losses": 2, "distillation": 2, "data": 2, "evaluation": 2, "hub": 2,
    "training": 3, "inference": 3, "export": 3, "conversion": 3,
    "fields": 4, "recipes": 4,
    "app": 5,
    "cli": 6,
}  # fmt: skip
ISOLATED_LEVELS = (2, 3)
# Reading a picture is the same for training and inference; the rest of data/ stays out of inference.
# What is exported is compared with the model by running both.
ALLOWED_OF = {
    ("inference", "data"): {"data.images"},
    ("export", "inference"): {"inference.detector", "inference.exported", "inference.tensorrt_runtime"},
}
# They take seconds to import, or are not installed everywhere: only inside the function that needs them.
LATE = {
    "albumentations", "av", "datasets", "executorch", "gradio", "hotcoco", "nncf", "onnx", "onnx_ir", "onnxruntime",
    "openvino", "optimum", "pycocotools", "supervision", "tensorrt", "timm", "trackers",
}  # fmt: skip
PARTS_OF_THE_PAGE = ("controls", "events", "look", "page", "picture_tab", "video_tab")


def names(paths: list[Path]) -> list[str]:
    return [path.relative_to(ROOT).as_posix() for path in paths]


def imports_of(tree: ast.AST) -> Iterator[str]:
    """Our own modules that are imported, `data.images` for `hf_detr.data.images`; not those for type checkers."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            if node.module.startswith("hf_detr."):
                yield node.module.removeprefix("hf_detr.")
        elif isinstance(node, ast.Import):
            yield from (a.name.removeprefix("hf_detr.") for a in node.names if a.name.startswith("hf_detr."))
        yield from imports_of(node)


def may_import(importer: str, imported: str) -> bool:
    """Whether a part of the package, such as `training`, may import a module, such as `data.images`."""
    part = imported.split(".")[0]
    if importer == part:
        return True
    if (importer, part) in ALLOWED_OF:
        return imported in ALLOWED_OF[importer, part]
    if LEVELS[importer] == 4:  # recipes know the settings, not what they do
        return LEVELS[part] in (0, 4) or imported.endswith(".arguments")
    if LEVELS[importer] == LEVELS[part]:
        return LEVELS[importer] not in ISOLATED_LEVELS
    return LEVELS[importer] > LEVELS[part]


@pytest.mark.parametrize("path", MODULES, ids=names(MODULES))
def test_imports_run_one_way(path: Path) -> None:
    inside = path.relative_to(PACKAGE)
    part = inside.parts[0].removesuffix(".py")
    found = list(imports_of(ast.parse(path.read_text(encoding="utf-8"))))
    if part == "__init__":
        assert found == ["registration"]  # public names load lazily
        return
    assert [imported for imported in found if not may_import(part, imported)] == []


def test_the_rule_itself() -> None:
    assert may_import("training", "losses.attach")
    assert may_import("inference", "data.images") and not may_import("inference", "data.dataset")
    assert not may_import("losses", "data.index")
    assert not may_import("models", "training.ema")
    assert may_import("recipes", "training.arguments") and not may_import("recipes", "training.trainer")
    assert not may_import("training", "cli.main")


@pytest.mark.parametrize("path", MODULES, ids=names(MODULES))
def test_slow_and_optional_packages_are_imported_late(path: Path) -> None:
    top_level = ast.parse(path.read_text(encoding="utf-8")).body
    found = {alias.name.split(".")[0] for node in top_level if isinstance(node, ast.Import) for alias in node.names}
    found |= {(node.module or "").split(".")[0] for node in top_level if isinstance(node, ast.ImportFrom)}
    # Optimum itself loads this one, and the parts of a Gradio page are loaded once it is known that Gradio is there.
    expected = {"optimum"} if path == PACKAGE / "cli" / "optimum.py" else set()
    if path.parent == PACKAGE / "app" and path.stem in PARTS_OF_THE_PAGE:
        expected = {"gradio"}
    assert found & LATE == expected


@pytest.mark.parametrize("path", MODULES, ids=names(MODULES))
def test_modules_say_what_they_are_and_do_not_print(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if path.name == "__init__.py" and path.parent != PACKAGE:
        assert path.read_text(encoding="utf-8") == "", "packages have no code of their own"
        return
    assert ast.get_docstring(tree), "no docstring"
    if PACKAGE / "cli" not in path.parents:
        calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
        assert not any(isinstance(call, ast.Name) and call.id == "print" for call in calls)


def test_public_names_are_where_the_package_says() -> None:
    assert hf_detr.__all__ == sorted(hf_detr._MODULE_OF)
    for name, module in hf_detr._MODULE_OF.items():
        path = ROOT / f"{module.replace('.', '/')}.py"
        assert path.is_file(), f"{name}: no module {module}"
        defined = {node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if hasattr(node, "name")}
        assert name in defined, f"{module} defines no {name}"


PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        file, _, anchor = target.partition("#")
        if re.match(r"\w+:", target):
            continue
        linked = (page.parent / file).resolve() if file else page
        assert linked.exists(), f"{page.name}: {target}"
        if anchor and linked.suffix == ".md":
            headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), flags=re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{page.name}: {target}"


def test_no_file_names_a_machine() -> None:
    """Paths of somebody's computer help nobody else, and tell where they worked."""
    folders = ("hf_detr", "configs", "docs", "scripts", "benchmarks", "notebooks", "tests", ".ci")
    kinds = {".py", ".md", ".yaml", ".toml", ".txt", ".json", ".ipynb", ".sh", ".cff", ""}
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in kinds]
    files += [path for path in ROOT.iterdir() if path.suffix in kinds - {""}]
    machine_path = re.compile(r"(?<![\w.])/(?:home|root|work|Users|tmp|mnt)/\w")
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in files
        if path.is_file() and path != Path(__file__) and "__pycache__" not in path.parts
        for match in machine_path.finditer(path.read_text(encoding="utf-8", errors="ignore"))
    ]
    assert found == []
