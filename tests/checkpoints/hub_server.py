"""A stand-in for the hub on a loopback port: one repository, ranges, and the ability to die midway or to be slow."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "c0ffee" * 6 + "c0ff"


@dataclass
class Hub:
    """What is served. `cut` is how many bytes of a file go out before the connection breaks; None sends it whole.
    `pace` is how many bytes a second go out; 0 is as fast as it can."""

    repository: str
    folder: Path
    cut: int | None = None
    pace: int = 0
    token: str = ""  # without which files are refused; empty is open to all
    former: str = ""  # the repository's name before it moved, which redirects
    revisions: tuple[str, ...] = ("main", COMMIT)
    asked: list[tuple[str, str, str]] = field(default_factory=list)  # method, path, range
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        hub, path = self.hub, self.path.partition("?")[0]
        hub.asked.append((self.command, path, self.headers.get("Range", "")))
        if hub.former and f"/{hub.former}/" in f"{path}/":
            self._redirect(self.path.replace(hub.former, hub.repository, 1))
        elif path.startswith(f"/api/models/{hub.repository}"):
            self._describe(path.removeprefix(f"/api/models/{hub.repository}").strip("/"))
        elif path.startswith(f"/{hub.repository}/resolve/"):
            self._file(hub.folder / path.rpartition("/")[2], body=body)
        else:
            self._refuse(404, "RepoNotFound")

    def _describe(self, rest: str) -> None:
        """The repository's facts, or the tree of a revision."""
        what, _, revision = rest.partition("/")
        files = sorted(self.hub.folder.iterdir())
        if revision and revision.partition("/")[0] not in self.hub.revisions:
            self._refuse(404, "RevisionNotFound")
        elif what == "tree":
            self._json([_entry(file) for file in files])
        elif what in ("", "revision"):
            siblings = [{"rfilename": file.name, "size": file.stat().st_size} for file in files]
            facts = {"id": self.hub.repository, "sha": COMMIT, "siblings": siblings, "private": False, "tags": []}
            self._json(facts)
        else:
            self._refuse(404, "EntryNotFound")

    def _json(self, content: object) -> None:
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _redirect(self, path: str) -> None:
        self.send_response(307)
        self.send_header("Location", path)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _file(self, file: Path, *, body: bool) -> None:
        if self.hub.token not in self.headers.get("Authorization", ""):
            return self._refuse(403, "GatedRepo")
        if not file.is_file():
            return self._refuse(404, "EntryNotFound")
        data = file.read_bytes()
        begin = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if begin else 200)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data) - begin))
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if body:
            self._send(data[begin:])
        return None

    def _send(self, data: bytes) -> None:
        """The bytes, at the hub's pace, up to where it breaks off."""
        cut = self.hub.cut
        whole = cut is None or len(data) <= cut
        data = data if whole else data[:cut]
        try:
            step = max(self.hub.pace // 20, 1) if self.hub.pace else len(data) or 1
            for start in range(0, len(data), step):
                self.wfile.write(data[start : start + step])
                self.wfile.flush()
                if self.hub.pace:
                    time.sleep(0.05)
        except OSError:  # whoever asked is gone
            whole = False
        if not whole:
            self.close_connection = True
            self.connection.close()

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves is no news."""


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """The hub at `hub.url` while the block runs."""
    server = Server(("127.0.0.1", 0), type("OneHub", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _entry(file: Path) -> dict[str, object]:
    return {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": "0" * 40}
