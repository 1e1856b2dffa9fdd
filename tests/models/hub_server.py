"""A stand-in for the hub on a loopback port: one repository, ranges, and the ability to die midway."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "c0ffee" * 6 + "c0ff"


@dataclass
class Hub:
    """What is served. `cut` is how many bytes of a file go out before the connection breaks; None sends it whole."""

    repository: str
    folder: Path
    cut: int | None = None
    gated: bool = False
    asked: list[tuple[str, str, str]] = field(default_factory=list)  # method, path, range
    url: str = ""


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            path = self.path.partition("?")[0]
            hub.asked.append((self.command, path, self.headers.get("Range", "")))
            if path.startswith(f"/api/models/{hub.repository}"):
                if path.rstrip("/").endswith(hub.repository) or "/revision/" in path:
                    files = [{"rfilename": file.name} for file in sorted(hub.folder.iterdir())]
                    self._json({"id": hub.repository, "sha": COMMIT, "siblings": files, "private": False, "tags": []})
                elif "/tree/" in path:
                    self._json([_entry(file) for file in sorted(hub.folder.iterdir())])
                else:
                    self._refuse(404, "EntryNotFound")
            elif path.startswith(f"/{hub.repository}/resolve/"):
                self._file(hub.folder / path.rpartition("/")[2], body=body)
            else:
                self._refuse(404, "RepoNotFound")

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

        def _file(self, file: Path, *, body: bool) -> None:
            if hub.gated:
                self._refuse(403, "GatedRepo")
                return
            if not file.is_file():
                self._refuse(404, "EntryNotFound")
                return
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
            if not body:
                return
            rest = data[begin:]
            if hub.cut is not None and len(rest) > hub.cut:
                self.wfile.write(rest[: hub.cut])
                self.wfile.flush()
                self.close_connection = True
                self.connection.close()
                return
            self.wfile.write(rest)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
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
