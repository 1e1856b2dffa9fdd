"""F16: what stays of uploads, and F17: a disk that is full. Knows files and folders of the server."""

from __future__ import annotations

import random
import re
import socket
import subprocess
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit

from PIL import Image

from benchmarks.soak.figure import Figure
from benchmarks.soak.people import Program, Tab, picture
from benchmarks.soak.server import MEGABYTE, Running, patiently, running

UPLOADS, ABORTED, TABS = 200, 50, 10
STAYS, FORGOTTEN = 1.0, 180.0  # megabytes; seconds after which files of tabs that were closed are gone
DISK = 30  # megabytes
FULL = re.compile(r"[A-Z][^\n]*room for files[^\n]*\.")
HEAD = "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\nContent-Length: 3000000\r\n\r\n"
PART = b'--edge\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
# What the command behind it sees as its folder for temporary files is a disk of its own.
MOUNTED = 'mount -t tmpfs -o size={size}m tmpfs "$0" && exec "$@"'


def uploads(folder: Path) -> Figure:
    """By ten tabs that then are closed, and as many more that are cut off; of /v1 every fifth has a picture, too."""
    with running(folder) as server:
        with ExitStack() as open_tabs:
            tabs = [open_tabs.enter_context(Tab(server.url).open()) for _ in range(TABS)]
            for number in range(UPLOADS):
                path = picture(folder, number)
                wire = tabs[number % TABS].wire
                wire.bring(wire.upload(path))
                if number % 5 == 0:
                    with Program(server.url).open() as program:
                        program.turn("What is it?", [path], tokens=2)
                path.unlink()
            for number in range(ABORTED):
                cut_off(server, "/v1/chat/completions" if number % 5 == 0 else "/gradio_api/upload")
            most = server.kept()
        patiently(lambda: server.kept() <= STAYS, FORGOTTEN)
        kept = server.kept()
    found = f"{kept:.2f} MB of {most:.0f} MB"
    what = f"{UPLOADS} uploads and {ABORTED} that were cut off; tabs closed"
    return Figure("F16", what, f"at most {STAYS:.0f} MB", found, kept <= STAYS < most)


def cut_off(server: Running, path: str) -> None:
    """A request of which a third is sent."""
    place = urlsplit(server.url)
    kind = "application/json" if path.startswith("/v1") else "multipart/form-data; boundary=edge"
    body = b'{"messages": "' if path.startswith("/v1") else PART
    with socket.create_connection((place.hostname, place.port), timeout=20) as one, suppress(OSError):
        one.sendall(HEAD.format(path=path, host=place.netloc, kind=kind).encode() + body + b"x" * MEGABYTE)


def mounts() -> str:
    """Why no disk of its own can be given to a process here; empty where it can."""
    with tempfile.TemporaryDirectory() as place:
        try:
            done = subprocess.run([*within(Path(place)), "true"], capture_output=True, text=True, check=False)
        except OSError as error:
            return str(error)
        return done.stderr.strip() if done.returncode else ""


def within(place: Path) -> list[str]:
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", MOUNTED.format(size=DISK), str(place)]


def full_disk(folder: Path) -> Figure:
    """Filled by uploads until they are refused, then by something else to the last byte; text is answered, and files
    are taken again once there is room."""
    what, target = f"a disk of {DISK} MB is full", "a readable error, text is answered, recovers"
    why = mounts()
    if why:
        return Figure("F17", what, target, f"no disk can be mounted here: {why}", None)
    with running(folder, within=within(folder / "temporary")) as server:
        seen = Path(f"/proc/{server.process.pid}/root{server.temporary}")
        filler = seen / "filler"
        with Tab(server.url).open() as tab, Program(server.url).open() as program:
            with Tab(server.url).open() as filling:
                refused = [answer for answer in (sent(filling, folder, seed) for seed in range(DISK)) if answer]
                with suppress(OSError), filler.open("wb", buffering=0) as file:
                    while True:
                        file.write(bytes(4096))
                refused.append(sent(filling, folder, DISK))
            text = [one.turn("Still there?", tokens=4).failed for one in (tab, program)]
            with_picture = program.turn("And this?", [picture(folder, 1)], tokens=4).failed
            filler.unlink()
            recovered = patiently(lambda: not tab.turn("Now?", [picture(folder, 2)], tokens=4).failed, FORGOTTEN)
            again = program.turn("And now?", [picture(folder, 3)], tokens=4).failed
    readable = len(refused) > 1 and all(FULL.fullmatch(one) for one in (*refused, with_picture))
    found = f"{len(refused)} refused {'in a sentence' if readable else refused}"
    found += f", text {text if any(text) else 'answered'}"
    found += ", files taken again" if recovered and not again else f", then {again or 'no file'}"
    return Figure("F17", what, target, found, readable and not any(text) and recovered and not again)


def sent(tab: Tab, folder: Path, seed: int) -> str:
    """Uploads a picture of three megabytes, which is the tab's then; what it is told where it may not."""
    path = folder / "large.bmp"
    Image.frombytes("RGB", (1000, 1000), random.Random(seed).randbytes(3_000_000)).save(path)
    stored, refused = tab.upload(path)
    if not refused:
        tab.wire.bring(stored)
    return refused
