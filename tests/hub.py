"""A small hub on a port of loopback: nano's files behind the API that huggingface_hub speaks, with faults to order."""

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = 1_000_000
"""Files from this size on are told by their sha256, and served by way of a redirect."""


class LocalHub:
    """Repositories (OWNER/NAME to file names and bytes), served while the ``with`` block runs."""

    def __init__(self, repos: Mapping[str, Mapping[str, bytes]]) -> None:
        self.repos = {repo: dict(files) for repo, files in repos.items()}
        self.revisions = {"main": COMMIT, "v1": COMMIT, COMMIT: COMMIT}
        self.cut_after: int | None = None
        """Bytes of the next large file that are sent before the connection breaks."""
        self.dead = False
        """Whether every connection is closed without an answer."""
        self.status: int | None = None
        """What every request is answered with."""
        self.gated: set[str] = set()
        self.spoilt = False
        """Whether large files are sent with another first byte than was announced."""
        self.silent_after: int | None = None
        """Bytes of a large file after which nothing more comes, though the connection stays."""
        self.ignores_ranges = False
        self.ended = threading.Event()
        self.served: Counter[str] = Counter()
        """Bytes sent of each file."""
        self.requests: list[str] = []
        hub = self

        class Handler(_Handler):
            state = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def cdn(self) -> str:
        """The same server under another name, as a hub's large files are on another host."""
        return self.url.replace("127.0.0.1", "localhost")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def files_of(directory: Path) -> dict[str, bytes]:
    """The files of a model, as a repository of them would be served."""
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def etag(data: bytes) -> str:
    return sha256(data) if len(data) >= LARGE else git_sha1(data)


class _Handler(BaseHTTPRequestHandler):
    state: LocalHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its parent's name for it
        self.state.requests.append(f"{self.command} {urlsplit(self.path).path}")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if self.state.dead:
            self.close_connection = True
            return
        if self.state.status is not None:
            self._answer(self.state.status)
            return
        parts = [unquote(part) for part in urlsplit(self.path).path.split("/") if part]
        match parts:
            case ["api", "models", owner, name]:
                self._info(f"{owner}/{name}", "main")
            case ["api", "models", owner, name, "revision", revision]:
                self._info(f"{owner}/{name}", revision)
            case ["cdn", owner, name, file]:
                self._bytes(file, self.state.repos[f"{owner}/{name}"][file])
            case [owner, name, "resolve", revision, file]:
                self._resolve(f"{owner}/{name}", revision, file)
            case _:
                self._answer(404)

    def _refused(self, repo: str, revision: str) -> bool:
        if repo not in self.state.repos:
            self._answer(401, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
        elif repo in self.state.gated:
            self._answer(403, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"})
        elif revision not in self.state.revisions:
            self._answer(404, {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id"})
        else:
            return False
        return True

    def _info(self, repo: str, revision: str) -> None:
        if self._refused(repo, revision):
            return
        siblings = []
        for name, data in self.state.repos[repo].items():
            sibling: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": git_sha1(data)}
            if len(data) >= LARGE:
                sibling["lfs"] = {"sha256": sha256(data), "size": len(data), "pointerSize": 134}
            siblings.append(sibling)
        info = {"_id": "1", "id": repo, "modelId": repo, "sha": self.state.revisions[revision], "siblings": siblings}
        self._answer(200, {"Content-Type": "application/json"}, json.dumps(info | {"tags": []}).encode())

    def _resolve(self, repo: str, revision: str, file: str) -> None:
        if self._refused(repo, revision):
            return
        data = self.state.repos[repo].get(file)
        if data is None:
            self._answer(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
            return
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{etag(data)}"'}
        if len(data) < LARGE:
            self._bytes(file, data, headers)
            return
        linked = {"X-Linked-Etag": f'"{etag(data)}"', "X-Linked-Size": str(len(data))}
        self._answer(302, headers | linked | {"Location": f"{self.state.cdn}/cdn/{repo}/{file}"})

    def _bytes(self, file: str, data: bytes, headers: Mapping[str, str] | None = None) -> None:
        large = len(data) >= LARGE
        if self.state.spoilt and large:
            data = bytes([data[0] ^ 1]) + data[1:]
        asked = self.headers.get("Range", "").removeprefix("bytes=").removesuffix("-")
        start = int(asked) if asked and not self.state.ignores_ranges else 0
        more = {"Accept-Ranges": "bytes"}
        if start:
            more["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        cut = self.state.cut_after if large and self.command == "GET" else None
        if cut is not None:
            self.state.cut_after, self.close_connection = None, True
        body = data[start:]
        if large and self.command == "GET" and self.state.silent_after is not None:
            self._answer(206 if start else 200, {**(headers or {}), **more}, body, sent=self.state.silent_after)
            self.wfile.flush()
            self.state.ended.wait()
            self.close_connection = True
            return
        self._answer(206 if start else 200, {**(headers or {}), **more}, body, sent=cut)
        if self.command == "GET":
            self.state.served[file] += len(body) if cut is None else cut

    def _answer(
        self, status: int, headers: Mapping[str, str] | None = None, body: bytes = b"", sent: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:sent])
