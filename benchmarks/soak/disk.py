"""F16: what stays of uploads, and F17: a disk that is full. Knows files and folders of the server."""

from __future__ import annotations

import random
import re
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit

from PIL import Image

from benchmarks.soak.figure import Figure, sentences
from benchmarks.soak.people import Program, Tab, picture
from benchmarks.soak.server import MEGABYTE, Running, patiently, running

UPLOADS, ABORTED, TABS = 200, 50, 10
PROGRAMS = 5  # one of so many uploads is sent by /v1, too
SILENCE = 0.2  # seconds without an answer, in which a refusal would have come
STAYS, FORGOTTEN = 1.0, 180.0  # megabytes; seconds after which files of tabs that were closed are gone
DISK = 30  # megabytes
FULL_WHAT, FULL_TARGET = f"a disk of {DISK} MB is full", "a readable error, text is answered, recovers"
FULL = re.compile(r"[A-Z][^\n]*room for files[^\n]*\.")
HEAD = "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\nContent-Length: 3000000\r\n\r\n"
PART = b'--edge\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
# What the command behind it sees as its folder for temporary files is a disk of its own.
MOUNTED = 'mount -t tmpfs -o size={size}m tmpfs "$0" && exec "$@"'


def uploads(folder: Path) -> Figure:
    """By ten tabs that then are closed, and as many more that are cut off; of /v1 every fifth has a picture, too."""
    with running(folder) as server:
        refused: list[str] = []
        with ExitStack() as open_tabs:
            tabs = [open_tabs.enter_context(Tab(server.url).open()) for _ in range(TABS)]
            for number in range(UPLOADS):
                path = picture(folder, number)
                refused.append(brought(tabs[number % TABS], path))
                if number % PROGRAMS == 0:
                    with Program(server.url).open() as program:
                        refused.append(program.turn("What is it?", [path], tokens=2).failed)
                path.unlink()
            places = ["/v1/chat/completions" if number % 5 == 0 else "/gradio_api/upload" for number in range(ABORTED)]
            cut = sum(cut_off(server, place) for place in places)
            most = server.kept()
        patiently(lambda: server.kept() <= STAYS, FORGOTTEN)
        kept = server.kept()
    return stayed(refused, cut, most, kept)


def stayed(refused: Sequence[str], cut: int, most: float, kept: float) -> Figure:
    """What each upload was refused with, how many more were cut off midway, and megabytes of files meanwhile and once
    all tabs were closed."""
    wanted, taken = UPLOADS + UPLOADS // PROGRAMS, sum(not one for one in refused)
    found = f"{kept:.2f} MB of {most:.0f} MB; {taken} of {wanted} files taken, {cut} of {ABORTED} cut off"
    found += f"; refused: {sentences(refused)}" if any(refused) else ""
    met = kept <= STAYS < most and taken == wanted == len(refused) and cut == ABORTED
    what = f"{UPLOADS} uploads, every fifth by /v1, too, and {ABORTED} that were cut off; tabs closed"
    return Figure("F16", what, f"at most {STAYS:.0f} MB", found, met)


def brought(tab: Tab, path: Path) -> str:
    """Uploads a file, which is the tab's then; what it is told where it may not."""
    stored, refused = tab.upload(path)
    return refused or str(tab.wire.bring(stored).get("refused", ""))


def cut_off(server: Running, path: str) -> bool:
    """A request of which a third is sent. Whether the server still waited for the rest when it was left."""
    place = urlsplit(server.url)
    kind = "application/json" if path.startswith("/v1") else "multipart/form-data; boundary=edge"
    body = b'{"messages": "' if path.startswith("/v1") else PART
    with socket.create_connection((place.hostname, place.port), timeout=20) as one:
        try:
            one.sendall(HEAD.format(path=path, host=place.netloc, kind=kind).encode() + body + b"x" * MEGABYTE)
            one.settimeout(SILENCE)
            one.recv(1)  # an answer, or the end of the connection: it was refused
        except TimeoutError:
            return True
        except OSError:
            return False
    return False


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
    if why := mounts():
        return Figure("F17", FULL_WHAT, FULL_TARGET, f"no disk can be mounted here: {why}", None)
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
            refused.append(program.turn("And this?", [picture(folder, 1)], tokens=4).failed)
            filler.unlink()
            patiently(lambda: not tab.turn("Now?", [picture(folder, 2)], tokens=4).failed, FORGOTTEN)
            again = [one.turn("And now?", [picture(folder, 3)], tokens=4).failed for one in (tab, program)]
    return recovered(refused, text, again)


def recovered(refused: Sequence[str], text: Sequence[str], again: Sequence[str]) -> Figure:
    """What files were refused with while the disk was full, what questions without one were, and files once there was
    room again; empty where they were taken."""
    readable = len(refused) > 2 and all(FULL.fullmatch(one) for one in refused)
    found = f"{len(refused)} refused {'in a sentence' if readable else refused}"
    found += f", text {sentences(text) or 'answered'}"
    found += f", then {sentences(again) or 'files taken again'}"
    met = readable and bool(text) and not any(text) and bool(again) and not any(again)
    return Figure("F17", FULL_WHAT, FULL_TARGET, found, met)


def sent(tab: Tab, folder: Path, seed: int) -> str:
    """Uploads a picture of three megabytes, which is the tab's then; what it is told where it may not."""
    path = folder / "large.bmp"
    Image.frombytes("RGB", (1000, 1000), random.Random(seed).randbytes(3_000_000)).save(path)
    return brought(tab, path)
