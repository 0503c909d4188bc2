"""What README and docs say is tried: their Python runs, their commands parse, what they name exists."""

import argparse
import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hf_detr.cli import main as cli
from hf_detr.cli.train_command import parse_train_command
from hf_detr.fields import all_fields
from hf_detr.recipes import recipe_names
from tests.docs.pages import PAGES, ROOT, blocks_of, command_in, commands_of, inline_code_of, name_of
from tests.docs.run_pages import SMALLER
from tests.fake_hub import FakeHub, serve_hub

WITH_PYTHON = [page for page in PAGES if any(block.language == "python" for block in blocks_of(page))]
COMMANDS = [(page, arguments) for page in PAGES for arguments in commands_of(page)]


@pytest.fixture(scope="module")
def hub() -> Iterator[FakeHub]:
    with serve_hub() as server:
        yield server


@pytest.fixture(scope="module")
def tracebacks(hub: FakeHub, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    """What each page raises, None for nothing. One process: it knows no other Hub than the one on localhost."""
    folder = tmp_path_factory.mktemp("pages")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "home"), "HF_TOKEN": "hf_write"}
    results = folder / "results.json"
    done = subprocess.run(
        [sys.executable, "-m", "tests.docs.run_pages", results, folder, *WITH_PYTHON],
        env=clean | settings | {"HF_HUB_DISABLE_XET": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(results.read_text())


@pytest.mark.parametrize("page", WITH_PYTHON, ids=map(name_of, WITH_PYTHON))
def test_python_runs(page: Path, tracebacks: dict[str, str | None]) -> None:
    assert tracebacks[name_of(page)] is None, tracebacks[name_of(page)]


def test_the_twenty_lines_publish_privately_and_no_pickles(hub: FakeHub, tracebacks: dict[str, str | None]) -> None:
    repository = hub.repositories["me/my-detector"]
    assert repository.private
    assert set(repository.files) == {
        *("config.json", "model.safetensors", "preprocessor_config.json"),
        *("README.md", "metrics.json", "run.json"),
    }
    assert "| AP, at IoU 0.50 to 0.95 |" in repository.files["README.md"].decode()


def test_what_is_made_smaller_for_the_test_is_there() -> None:
    (first, *_) = blocks_of(ROOT / "docs" / "python.md")
    assert first.language == "python" and all(size in first.text for size in SMALLER)


class Parsed(Exception):
    """Raised in place of doing what a command line asks for."""


@pytest.fixture
def only_parse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands parse their arguments for real, and stop there."""
    real = argparse.ArgumentParser.parse_args

    def parse_args(parser: argparse.ArgumentParser, *arguments) -> None:
        real(parser, *arguments)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_args)


@pytest.mark.parametrize(("page", "arguments"), COMMANDS, ids=[f"{name_of(p)}: {' '.join(a)}" for p, a in COMMANDS])
def test_commands_parse(page: Path, arguments: list[str], only_parse, capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for recipe in (argument for argument in arguments if argument.endswith(".yaml")):
        Path(recipe).parent.mkdir(parents=True, exist_ok=True)
        Path(recipe).write_text("extends: d_fine/s_finetune\n")
    verb = command_in(arguments)
    rest = arguments[len(verb.split()) :]
    assert verb in cli.COMMANDS
    if verb == "train" and "--help" not in rest:
        parse_train_command(rest)
    elif "--help" in rest or "--help_all" in rest:
        cli._run(arguments)
    else:
        with pytest.raises(Parsed):
            cli._run(arguments)


@pytest.fixture(scope="module")
def flags() -> dict[str, set[str]]:
    """The flags of every command, from its help."""
    helps = {}
    for verb in cli.COMMANDS:
        if verb != "train":
            out = subprocess.run(
                [sys.executable, "-m", "hf_detr.cli.main", *verb.split(), "--help"],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            helps[verb] = set(re.findall(r"--[\w-]+", out))
    fields = all_fields()
    booleans = {f"--no_{name}" for name, field in fields.items() if field.is_boolean}
    helps["train"] = {f"--{name}" for name in fields} | booleans | {"--help", "--help_all", "--config"}
    return helps


@pytest.mark.parametrize("page", PAGES, ids=map(name_of, PAGES))
def test_commands_and_flags_in_the_prose_exist(page: Path, flags: dict[str, set[str]]) -> None:
    for code in inline_code_of(page):
        words = code.split()
        used = {word.split("=")[0] for word in words if re.match(r"--\w", word)}
        if words[0] == "hf-detr" and len(words) > 1 and words[1].isalpha() and words[1].islower():
            command = command_in(words[1:])
            assert command in flags, f"{code}: no such command"
            assert used <= flags[command], f"{code}: {used - flags[command]}"
        elif words[0].startswith("--"):
            assert used <= set.union(*flags.values()), code


@pytest.mark.parametrize("page", PAGES, ids=map(name_of, PAGES))
def test_recipes_that_are_named_exist(page: Path) -> None:
    folders_of_recipes = "|".join(sorted({name.split("/")[0] for name in recipe_names()}))
    named = re.findall(rf"\b(?<!/)(?:{folders_of_recipes})/[\w-]*\w", page.read_text(encoding="utf-8"))
    folders = {"demo/digits", "demo/run", "demo/evaluation"}
    assert [name for name in named if name not in recipe_names() and name not in folders] == []


DATA_MODULES = sorted((ROOT / "hf_detr" / "data").glob("*.py"))
CHECK_ID = re.compile(r"(?:image|category|annotation|label|box|file|split)\.[a-z_]+")


def checks_in_the_code() -> dict[str, set[str]]:
    """The id of each finding and the severities it may have; none for those that are computed beforehand."""
    checks: dict[str, set[str]] = {}
    calls = (node for path in DATA_MODULES for node in ast.walk(ast.parse(path.read_text())))
    for call in (node for node in calls if isinstance(node, ast.Call)):
        for name, severity in zip(call.args, call.args[1:], strict=False):
            if isinstance(name, ast.Constant) and CHECK_ID.fullmatch(str(name.value)):
                words = {node.value for node in ast.walk(severity) if isinstance(node, ast.Constant)}
                checks.setdefault(name.value, set()).update(words & {"error", "warning", "info"})
    return checks


def test_the_table_of_findings_is_that_of_the_code() -> None:
    text = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    table = {row[1]: set(row[2].split(", ")) for row in re.finditer(r"^\| `(\w+\.\w+)` \| ([a-z, ]+) \|", text, re.M)}
    code = checks_in_the_code()
    assert table.keys() == code.keys()
    assert {name: severities for name, severities in code.items() if severities and severities != table[name]} == {}


def test_messages_in_troubleshooting_are_ours() -> None:
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| (.*?) \|", text, re.MULTILINE) + re.findall(r"^\*\*(`.*?`)\.\*\*", text, re.MULTILINE)
    messages = [message for cell in cells for message in re.findall(r"`([^`]+)`", cell)]
    sources = (ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "hf_detr").rglob("*.py"))
    constants = (node.value for tree in sources for node in ast.walk(tree) if isinstance(node, ast.Constant))
    ours = [value for value in constants if isinstance(value, str)]
    parts = [part.strip(" :,()") for message in messages for part in message.split("…")]
    assert len(messages) > 15
    assert [part for part in parts if not any(part in value for value in ours)] == []
