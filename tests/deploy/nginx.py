"""nginx with a file of deploy/, as a process of this test's own, on ports that are free."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.deploy.lines import DEPLOY
from tests.waiting import until

WHOLE = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
{user}
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/site.conf;
}}
"""


def required() -> str:
    """nginx's path. Without it a test is skipped, but not where CI=true."""
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None and os.environ.get("CI") == "true":
        pytest.fail("nginx is not installed")
    if found is None:
        pytest.skip("nginx is not installed")
    return str(found)


@contextmanager
def running(name: str, folder: Path, changes: dict[str, str], port: int) -> Iterator[None]:
    """nginx with a file of deploy/nginx, each of `changes` made in it, until the block ends."""
    program = required()
    text = (DEPLOY / "nginx" / name).read_text("utf-8")
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    (folder / "site.conf").write_text(text)
    user = "user root;" if os.geteuid() == 0 else ""  # else its workers couldn't write to the folder
    (folder / "nginx.conf").write_text(WHOLE.format(folder=folder, user=user))
    command = [program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    tested = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    assert tested.returncode == 0 and "[warn]" not in tested.stderr, tested.stderr
    with subprocess.Popen(command) as process:
        try:
            until(lambda: process.poll() is not None or listening(port), "nginx doesn't listen")
            assert process.poll() is None, (folder / "error.log").read_text()
            yield
        finally:
            process.terminate()


def listening(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
