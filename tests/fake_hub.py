"""A small Hugging Face Hub on localhost: the endpoints that publishing and reading a model call, with real HTTP."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

# token -> what it may do; all belong to the user "me", who may not write to the organisation "them"
TOKENS = {"hf_write": "write", "hf_read": "read"}


@dataclass
class Repository:
    """A model repository: its files after the last commit."""

    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)


class FakeHub(ThreadingHTTPServer):
    """State of the server; `url` is what HF_ENDPOINT is set to.

    Attributes:
        repositories: model repositories by ``user/name``, those of data sets by ``datasets/user/name``.
        taken: names that something else than a model has.
        gated: names of models whose licence nobody has accepted.
        broken: while True, every commit fails as a full server would make it fail.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Repository] = {}
        self.taken: set[str] = set()
        self.gated: set[str] = set()
        self.blobs: dict[str, bytes] = {}
        self.broken = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def serve_hub() -> Iterator[FakeHub]:
    """A running hub, for the time of the `with` block."""
    hub = FakeHub()
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()


@contextmanager
def read_from_hub(cache: Path) -> Iterator[FakeHub]:
    """A running hub that this process reads from, with a cache of its own."""
    from huggingface_hub import constants

    with serve_hub() as hub, pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "ENDPOINT", hub.url)
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setattr(constants, "HF_HUB_CACHE", str(cache))
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield hub


class _Handler(BaseHTTPRequestHandler):
    server: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Quiet: the tests look at the state."""

    def do_HEAD(self) -> None:
        self._answer_file()

    def do_GET(self) -> None:
        if "/resolve/" in self.path:
            self._answer_file()
            return
        if not self._may_pass():
            return
        match self.path.split("?")[0].strip("/").split("/"):
            case ["api", "whoami-v2"]:
                self._answer({"type": "user", "name": "me", "orgs": [], "auth": {"accessToken": {"role": self._role}}})
            case ["api", "models", user, name]:
                self._answer_repository(f"{user}/{name}")
            case ["api", "models", user, _, "auth-check", "write"]:
                self._answer({} if user == "me" else {"error": "you may not write here"}, 200 if user == "me" else 403)
            case _:
                self._answer({"error": f"no such page: GET {self.path}"}, 404)

    def do_POST(self) -> None:
        body = self._body()
        if not self._may_pass():
            return
        match self.path.split("?")[0].strip("/").split("/"):
            case ["api", "validate-yaml"]:
                self._answer({"errors": [], "warnings": []})
            case ["api", "repos", "create"]:
                self._create(json.loads(body))
            case ["api", "models", _, _, "preupload", "main"]:
                self._answer({"files": [_upload_mode(file["path"]) for file in json.loads(body)["files"]]})
            case [_, _, "info", "lfs", "objects", "batch"]:
                self._answer({"transfer": "basic", "objects": [self._upload(o) for o in json.loads(body)["objects"]]})
            case ["api", "models", user, name, "commit", "main"]:
                self._commit(f"{user}/{name}", body)
            case _:
                self._answer({"error": f"no such page: POST {self.path}"}, 404)

    def do_PUT(self) -> None:
        body = self._body()
        oid = self.path.rsplit("/", 1)[-1]
        if hashlib.sha256(body).hexdigest() != oid:
            self._answer({"error": "other bytes than announced"}, 400)
            return
        self.server.blobs[oid] = body
        self._answer({})

    @property
    def _role(self) -> str | None:
        return TOKENS.get(self.headers.get("Authorization", "").removeprefix("Bearer "))

    def _may_pass(self) -> bool:
        if self._role is None:
            self._answer({"error": "Invalid credentials in Authorization header"}, 401)
        return self._role is not None

    def _create(self, request: dict[str, Any]) -> None:
        owner = request["organization"] or "me"
        repo_id = f"{owner}/{request['name']}"
        if repo_id in self.server.repositories or repo_id in self.server.taken:
            self._answer({"error": "You already created this repo", "url": f"{self.server.url}/{repo_id}"}, 409)
        elif owner != "me":
            self._answer({"error": f"You don't have the rights to create a model under {owner}"}, 403)
        else:
            self.server.repositories[repo_id] = Repository(private=request.get("visibility") == "private")
            self._answer({"url": f"{self.server.url}/{repo_id}", "name": repo_id})

    def _answer_repository(self, repo_id: str) -> None:
        repository = self.server.repositories.get(repo_id)
        if repository is None:
            self._answer({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
            return
        files = [{"rfilename": name} for name in repository.files]
        self._answer({"id": repo_id, "private": repository.private, "sha": "0" * 40, "siblings": files})

    def _answer_file(self) -> None:
        """A file of a repository, for anybody to read."""
        repo_id, _, rest = self.path.split("?")[0].strip("/").partition("/resolve/")
        (revision, file), commit = rest.split("/", 1), "0" * 40
        repository = self.server.repositories.get(repo_id)
        if repo_id in self.server.gated:
            self._answer({"error": f"Access to model {repo_id} is restricted"}, 403, {"X-Error-Code": "GatedRepo"})
        elif repository is None:
            self._answer({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        elif revision not in ("main", commit):
            self._answer({"error": "Invalid rev id"}, 404, {"X-Error-Code": "RevisionNotFound"})
        elif file not in repository.files:
            self._answer({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        else:
            body = repository.files[file]
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", hashlib.sha256(body).hexdigest())
            self.send_header("X-Repo-Commit", commit)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

    def _upload(self, wanted: dict[str, Any]) -> dict[str, Any]:
        return wanted | {"actions": {"upload": {"href": f"{self.server.url}/upload/{wanted['oid']}"}}}

    def _commit(self, repo_id: str, body: bytes) -> None:
        if self.server.broken:
            self._answer({"error": "disk full"}, 507)
            return
        repository = self.server.repositories[repo_id]
        for line in body.decode().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            match entry["key"]:
                case "header":
                    repository.commits.append(value["summary"])
                case "file":
                    repository.files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    repository.files[value["path"]] = self.server.blobs[value["oid"]]
        oid = f"{len(repository.commits):040x}"
        self._answer({"commitUrl": f"{self.server.url}/{repo_id}/commit/{oid}", "commitOid": oid})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, content: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if "error" in content:
            self.send_header("X-Error-Message", content["error"])
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _upload_mode(path: str) -> dict[str, Any]:
    large = path.endswith((".safetensors", ".png"))
    return {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
