"""`hf-detr` itself: its help, its errors and its exit codes."""

import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hf_detr import __version__
from hf_detr.cli import main as cli
from hf_detr.errors import DatasetError

HEAVY = ("torch", "transformers", "torchvision", "albumentations", "cv2", "hotcoco", "pycocotools", "scipy")


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in ([], ["--help"], ["-h"]):
        assert cli.main(argv) == 0
        out = capsys.readouterr().out
        assert all(
            re.search(f"^  {verb} +{re.escape(summary)}$", out, re.M) for verb, (_, summary) in cli.COMMANDS.items()
        )


def test_commands_of_two_words_have_a_help_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["data"], ["data", "--help"]):
        assert cli.main(argv) == 0
        out = capsys.readouterr().out
        assert "data preview" in out and "hf-detr data COMMAND --help" in out and "train" not in out.split()
    assert cli.main(["data", "previw"]) == 2
    assert "no command 'data previw'. Did you mean 'data preview'?" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"hf_detr {__version__}\n"


def test_an_unknown_command_leads_to_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["trian"]) == 2
    assert "no command 'trian'. Did you mean 'train'?" in capsys.readouterr().err


def _command_that_raises(error: BaseException, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A command of its own, as a module on disk, in the table."""
    (tmp_path / "failing_command.py").write_text("error = None\n\ndef main(argv):\n    raise error\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "failing_command", raising=False)
    import failing_command

    failing_command.error = error
    monkeypatch.setitem(cli.COMMANDS, "fail", ("failing_command", "fails"))


def test_errors_of_users_are_messages_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _command_that_raises(DatasetError("photos: no such folder."), monkeypatch, tmp_path)
    assert cli.main(["fail"]) == 2
    assert capsys.readouterr().err == "hf-detr fail: photos: no such folder.\n"


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _command_that_raises(KeyboardInterrupt(), monkeypatch, tmp_path)
    assert cli.main(["fail"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_our_mistakes_keep_their_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _command_that_raises(ZeroDivisionError(), monkeypatch, tmp_path)
    with pytest.raises(ZeroDivisionError):
        cli.main(["fail"])


def test_env_is_what_a_bug_report_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["env", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["hf_detr"] == __version__
    assert {"python", "torch", "transformers", "gpu"} <= set(facts)
    assert cli.main(["env"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["hf_detr", __version__]


def test_help_of_every_command_is_there_without_the_heavy_packages() -> None:
    """`--help` within a second: nothing that takes longer to import is imported."""
    script = f"""
import contextlib, importlib, io, json, sys
from hf_detr.cli.main import COMMANDS, main
found = {{}}
def loaded(): return [name for name in {HEAVY!r} if name in sys.modules]
with contextlib.redirect_stdout(io.StringIO()):
    main(["--help"])
found["hf-detr"] = ["", loaded()]
for verb in COMMANDS:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        main([*verb.split(), "--help"])
    found[verb] = [out.getvalue(), loaded()]
with contextlib.redirect_stdout(io.StringIO()):
    main(["recipe", "list"])
found["recipe list"] = ["", loaded()]
print(json.dumps(found))
"""
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    found = json.loads(process.stdout)
    assert {name: modules for name, (_, modules) in found.items() if modules} == {}
    for verb in cli.COMMANDS:
        assert found[verb][0].startswith(f"usage: hf-detr {verb}"), verb


def test_a_reader_that_stops_reading_is_no_error() -> None:
    """`hf-detr train --help | head -3`"""
    command = [sys.executable, "-m", "hf_detr.cli.main", "train", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


def test_log_lines_carry_the_time_and_go_to_stderr() -> None:
    script = (
        "import logging; from hf_detr.cli.main import set_up_logging; set_up_logging();"
        "logging.getLogger('hf_detr.data').info('seen'); logging.getLogger('other').info('unseen')"
    )
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert process.stdout == ""
    (line,) = process.stderr.splitlines()
    assert line[2] == line[5] == ":" and line.endswith(" seen")


def test_messages_of_the_hub_come_once() -> None:
    script = (
        "from hf_detr.cli.main import set_up_logging; set_up_logging(); import huggingface_hub;"
        "from huggingface_hub.utils import logging; logging.get_logger('huggingface_hub.file').warning('seen')"
    )
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert process.stderr.count("seen") == 1


def test_only_the_first_process_of_a_machine_talks(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = logging.getLogger("hf_detr")
    before = ours.level
    try:
        monkeypatch.setenv("LOCAL_RANK", "1")
        cli.set_up_logging()
        assert ours.level == logging.WARNING
        monkeypatch.setenv("LOCAL_RANK", "0")
        cli.set_up_logging()
        assert ours.level == logging.INFO
    finally:
        ours.setLevel(before)
