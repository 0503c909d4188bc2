"""`hf-detr push` against a Hub on localhost, over HTTP, with the real client."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from hf_detr.cli.main import main
from tests.fake_hub import FakeHub, Repository, serve_hub
from tests.hub.test_card import METRICS, RECIPE, make_trained


@pytest.fixture(scope="module")
def hub() -> Iterator[FakeHub]:
    with serve_hub() as server:
        yield server


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_trained(tmp_path_factory.mktemp("push") / "run")


def push(endpoint: str, tmp_path: Path, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess:
    """The command in a process of its own: the client reads its endpoint and its offline switch when imported."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1"}
    return subprocess.run(
        [sys.executable, "-m", "hf_detr.cli.main", "push", *map(str, arguments)],
        env=clean | settings | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def refused(process: subprocess.CompletedProcess) -> str:
    """The one-line message of a command that ended with a user's error."""
    assert process.returncode == 2, process.stderr
    assert "Traceback" not in process.stderr
    return process.stderr


def test_push_publishes_privately_what_the_folder_holds(hub: FakeHub, trained: Path, tmp_path: Path) -> None:
    process = push(hub.url, tmp_path, trained, "digits", HF_TOKEN="hf_write")
    assert process.returncode == 0, process.stderr
    assert f"Published: {hub.url}/me/digits" in process.stdout
    repository = hub.repositories["me/digits"]
    assert repository.private
    local = {path.name: path.read_bytes() for path in trained.iterdir() if path.is_file()}
    assert set(repository.files) == set(local) - {"training_args.bin"}
    changed = {name for name, content in repository.files.items() if content != local[name]}
    assert changed == {"metrics.json", "recipe.yaml"}
    assert 'model="me/digits"' in repository.files["README.md"].decode()
    assert repository.commits[0].startswith("Upload with hf_detr")


def test_published_files_do_not_tell_where_the_data_was(hub: FakeHub, trained: Path, tmp_path: Path) -> None:
    process = push(hub.url, tmp_path, trained, "me/paths", HF_TOKEN="hf_write")
    assert process.returncode == 0, process.stderr
    files = hub.repositories["me/paths"].files
    assert not any(str(Path.cwd()).encode() in content for content in files.values())
    metrics = json.loads(files["metrics.json"])
    assert (metrics["split"], metrics["annotations"]) == ("test", "test.json")
    assert metrics["per_class"] == METRICS["per_class"]
    recipe = RECIPE | {"data": {"data": "digits", "image_size": [160]}}
    assert yaml.safe_load(files["recipe.yaml"]) == recipe


def test_push_public_with_a_message_and_a_token(hub: FakeHub, trained: Path, tmp_path: Path) -> None:
    flags = ("--public", "--token", "hf_write", "--commit_message", "Second try")
    process = push(hub.url, tmp_path, trained, "me/open", *flags)
    assert process.returncode == 0, process.stderr
    assert not hub.repositories["me/open"].private
    assert hub.repositories["me/open"].commits == ["Second try"]


def test_an_existing_public_repository_is_not_taken_for_private(hub: FakeHub, trained: Path, tmp_path: Path) -> None:
    hub.repositories["me/shown"] = Repository(private=False)
    message = refused(push(hub.url, tmp_path, trained, "me/shown", "--token", "hf_write"))
    assert "me/shown exists and is public" in message and "--public" in message
    assert hub.repositories["me/shown"].files == {}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["me/x"], "Not logged in to the Hugging Face Hub: run `hf auth login`"),
        (["me/x", "--token", "hf_wrong"], "The Hub does not accept the access token"),
        (["me/x", "--token", "hf_read"], "The access token of me may only read"),
        (["them/x", "--token", "hf_write"], "No permission to write to them/x"),
        (["me/a dataset", "--token", "hf_write"], "is no name for a repository"),
    ],
)
def test_what_cannot_be_published_is_said_first(
    hub: FakeHub, trained: Path, tmp_path: Path, arguments: list[str], expected: str
) -> None:
    assert expected in refused(push(hub.url, tmp_path, trained, *arguments))
    assert "me/x" not in hub.repositories


def test_no_permission_in_a_repository_one_can_see(hub: FakeHub, trained: Path, tmp_path: Path) -> None:
    hub.repositories["them/seen"] = Repository(private=True)
    message = refused(push(hub.url, tmp_path, trained, "them/seen", "--token", "hf_write"))
    assert "No permission to write to them/seen" in message


def test_a_name_taken_by_something_else(hub: FakeHub, trained: Path, tmp_path: Path) -> None:
    hub.taken.add("me/space")
    message = refused(push(hub.url, tmp_path, trained, "me/space", "--token", "hf_write"))
    assert "me/space exists, but not as a model repository of yours" in message


def test_an_upload_that_fails_leaves_the_repository_as_it_was(hub: FakeHub, trained: Path, tmp_path: Path) -> None:
    hub.broken = True
    try:
        message = refused(push(hub.url, tmp_path, trained, "me/full", "--token", "hf_write"))
    finally:
        hub.broken = False
    assert "status 507: disk full" in message
    assert hub.repositories["me/full"].files == {}


def test_no_network_and_offline_mode(hub: FakeHub, trained: Path, tmp_path: Path) -> None:
    nobody_listens = "http://127.0.0.1:9"
    message = refused(push(nobody_listens, tmp_path, trained, "me/x", "--token", "hf_write"))
    assert "The Hugging Face Hub cannot be reached" in message
    message = refused(push(hub.url, tmp_path, trained, "me/x", "--token", "hf_write", HF_HUB_OFFLINE="1"))
    assert "HF_HUB_OFFLINE is set" in message


def test_card_only_writes_the_card_and_lists_the_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_trained(tmp_path / "run")
    assert main(["push", str(folder), "me/x", "--card_only", "--license", "mit"]) == 0
    assert "license: mit" in (folder / "README.md").read_text()
    listed = [Path(line).name for line in capsys.readouterr().out.splitlines()]
    assert listed == sorted(listed) and {"README.md", "model.safetensors"} <= set(listed)


def test_a_folder_without_a_model_is_refused_before_the_login(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["push", str(tmp_path), "me/x"]) == 2
    assert "holds no complete model" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
