"""A trained folder's way to the Hugging Face Hub."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from hf_detr import __version__
from hf_detr.errors import CheckpointError, HubError, reason_of
from hf_detr.hub.card import METRICS_FILE, RECIPE_FILE, write_model_card

# What is published. Checkpoints, optimizer states and logs below the folder stay at home.
_REQUIRED = ("config.json", "preprocessor_config.json")
_PUBLISHED = re.compile(
    r"(config|preprocessor_config|generation_config|metrics|run)\.json|model.*\.safetensors(\.index\.json)?"
    r"|README\.md|recipe\.yaml|predictions\.png|\w+\.py"
)


def published_files(folder: str | Path) -> list[Path]:
    """The files of a trained folder that are published.

    Raises:
        CheckpointError: It is no folder, or holds no complete model.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder.")
    files = sorted(path for path in folder.iterdir() if path.is_file() and _PUBLISHED.fullmatch(path.name))
    names = {path.name for path in files}
    missing = [name for name in _REQUIRED if name not in names]
    if not any(name.endswith(".safetensors") for name in names):
        missing.append("model.safetensors")
    if missing:
        checkpoints = sorted(folder.glob("checkpoint-*"), key=lambda path: path.stat().st_mtime)
        hint = f" Its newest checkpoint is {checkpoints[-1]}." if checkpoints else ""
        raise CheckpointError(f"{folder}: holds no complete model, {' and '.join(missing)} missing.{hint}")
    return files


def check_login(repo_id: str, *, token: str | None = None, private: bool = True) -> str:
    """Prove, before any work, that we may publish to ``repo_id``; create the repository if it is not there.

    Args:
        repo_id: ``user/name``; a name alone means one's own.
        token: access token; by default that of `hf auth login`.
        private: whether a new repository is private. An existing public one is refused then.

    Returns:
        The full ``user/name``.

    Raises:
        HubError: Not logged in, no network, no permission to write, or the name cannot be used.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    api = HfApi(token=token)
    with _hub_errors(repo_id):
        who = api.whoami()
        if who.get("auth", {}).get("accessToken", {}).get("role") == "read":
            raise HubError(
                f"The access token of {who['name']} may only read. Make one that may write at "
                f"{api.endpoint}/settings/tokens, then `hf auth login`."
            )
        if "/" not in repo_id:
            repo_id = f"{who['name']}/{repo_id}"
        api.create_repo(repo_id, private=private, exist_ok=True)
        try:
            repository = api.model_info(repo_id)
        except RepositoryNotFoundError as error:
            raise HubError(
                f"{repo_id} exists, but not as a model repository of yours. Choose another name."
            ) from error
        if private and not repository.private:
            raise HubError(f"{repo_id} exists and is public. Say so (--public, in training --hub_private_repo false).")
        api.auth_check(repo_id, write=True)
    return repo_id


def push_folder(
    folder: str | Path,
    repo_id: str,
    *,
    token: str | None = None,
    commit_message: str | None = None,
    license_id: str = "apache-2.0",
) -> str:
    """Upload model, processor, card, recipe, metrics and picture in one commit; `check_login` comes first.

    The card is written into the folder first, unless somebody has edited the one that is there.

    Returns:
        The page of the model on the Hub.

    Raises:
        CheckpointError: The folder holds no complete model.
        HubError: The upload failed; the repository is as it was.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    published_files(folder)  # complains before a card is written into a folder that is none of ours
    write_model_card(folder, repo_id, license_id=license_id)
    files = published_files(folder)
    api = HfApi(token=token)
    with _hub_errors(repo_id):
        api.create_commit(
            repo_id,
            [CommitOperationAdd(path.name, _published_content(path)) for path in files],
            commit_message=commit_message or f"Upload with hf_detr {__version__}",
        )
    return f"{api.endpoint}/{repo_id}"


def _published_content(path: Path) -> Path | bytes:
    """The file, or what to publish in its place: absolute paths tell about a computer and help nobody else."""
    if path.name not in (METRICS_FILE, RECIPE_FILE):
        return path
    text = path.read_text(encoding="utf-8")
    content = json.loads(text) if path.name == METRICS_FILE else yaml.safe_load(text)
    public = _without_absolute_paths(content)
    if public == content:
        return path
    if path.name == METRICS_FILE:
        return (json.dumps(public, indent=2, ensure_ascii=False) + "\n").encode()
    return yaml.safe_dump(public, sort_keys=False, allow_unicode=True).encode()


def _without_absolute_paths(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _without_absolute_paths(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_without_absolute_paths(value) for value in content]
    return Path(content).name if isinstance(content, str) and Path(content).is_absolute() else content


@contextmanager
def _hub_errors(repo_id: str) -> Iterator[None]:
    """The client's errors as one sentence of what happened and what to do."""
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        HTTPError,
        LocalTokenNotFoundError,
        OfflineModeIsEnabled,
    )

    try:
        yield
    except LocalTokenNotFoundError as error:
        raise HubError("Not logged in to the Hugging Face Hub: run `hf auth login`, or give a token.") from error
    except OfflineModeIsEnabled as error:
        raise HubError("HF_HUB_OFFLINE is set: nothing can be published until it is unset.") from error
    except HFValidationError as error:
        raise HubError(f"{repo_id!r} is no name for a repository; it takes user/name. {error}") from error
    except HfHubHTTPError as error:
        raise HubError(_explained(error, repo_id)) from error
    except (HTTPError, ConnectionError, TimeoutError) as error:
        raise HubError(f"The Hugging Face Hub cannot be reached: {error}. Is there a network?") from error


def _explained(error: Any, repo_id: str) -> str:
    status = error.response.status_code
    said = error.server_message or reason_of(error)
    if status == 401:
        return f"The Hub does not accept the access token: {said}. Run `hf auth login` again, or give another token."
    if status == 403:
        return f"No permission to write to {repo_id}: {said}. Check its owner, and the permissions of the token."
    if status == 404:
        return f"{repo_id} is not to be found on the Hub: {said}."
    return f"The Hub refused {repo_id} with status {status}: {said}"
