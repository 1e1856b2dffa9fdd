"""The Dockerfile's steps, taken as a script by another user in folders of their own: not an image, but what makes one.

Long, since the packages are installed.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.deploy.lines import ROOT, dockerfile
from tests.ui.serving import free_port
from tests.waiting import until

USER = "nobody"
FOLDERS = ("/app", "/opt/ovis", "/models")  # of the image


@dataclass
class Image:
    """Where the image's folders lie here, and what its steps have set so far."""

    root: Path
    environment: dict[str, str]

    def here(self, text: str) -> str:
        for folder in FOLDERS:
            text = text.replace(folder, f"{self.root}{folder}")
        return text

    def start(self, command: list[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command, cwd=self.here("/app"), env=self.environment, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, user=USER, group=pwd.getpwnam(USER).pw_gid, extra_groups=[],
        )  # fmt: skip


def python_of_all() -> str:
    """A Python that another user may run, of the version that the image has."""
    version = next(said for name, said in dockerfile() if name == "FROM").removeprefix("python:").partition("-")[0]
    for folder in ("/usr/local/bin", "/usr/bin"):
        python = shutil.which(f"python{version}", path=folder)
        if python:
            return python
    pytest.skip(f"no python{version} that other users may run")


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """What the steps make."""
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("only root can take the steps as another user")
    python = python_of_all()
    # pytest's own folders are closed to other users.
    with tempfile.TemporaryDirectory(prefix="ovis-image-") as folder:
        root = Path(folder)
        root.chmod(0o777)  # the image's steps run as its root, which may write anywhere
        for name in ("bin", "opt", "home"):
            (root / name).mkdir()
            (root / name).chmod(0o777)
        (root / "bin" / "python").symlink_to(python)
        pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        made = Image(root, {**pip, "PATH": f"{root}/bin:/usr/bin:/bin", "HOME": str(root / "home")})
        for name, said in dockerfile():
            take(made, name, said)
        yield made


def take(image: Image, name: str, said: str) -> None:
    """One step."""
    if name in ("ARG", "ENV"):
        for pair in said.split():
            variable, _, value = pair.partition("=")
            value = image.here(value.strip('"')).replace("$PATH", image.environment["PATH"])
            image.environment[variable] = str(image.root / "home") if variable == "HOME" else value
    elif name == "WORKDIR":
        Path(image.here(said)).mkdir()
        shutil.chown(image.here(said), USER)
    elif name == "COPY":
        *sources, target = said.split()
        for source in sources:
            copy(ROOT / source, Path(image.here("/app")) / (target if (ROOT / source).is_dir() else source))
    elif name == "RUN":
        step = image.start(["sh", "-ec", image.here(said)])
        out, _ = step.communicate()
        assert step.returncode == 0, out[-3000:]


def copy(source: Path, target: Path) -> None:
    """Only what belongs to the project, as the build's list of ignored files has it."""
    listed = ["git", "ls-files", "-co", "--exclude-standard", "-z", str(source)]
    for name in subprocess.run(listed, check=True, capture_output=True, text=True, cwd=ROOT).stdout.split("\0"):
        if name and (ROOT / name).exists():
            file = target / (ROOT / name).relative_to(source) if source.is_dir() else target
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, file)
            file.chmod(0o644)


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="the image is one of Linux")
def test_the_steps_make_a_page_that_another_user_can_serve(image: Image) -> None:
    [entry] = [json.loads(said) for name, said in dockerfile() if name == "ENTRYPOINT"]
    [health] = [said for name, said in dockerfile() if name == "HEALTHCHECK"]
    port = free_port()
    program = shutil.which(entry[0], path=image.environment["PATH"])
    assert program == image.here("/opt/ovis/bin/ovis")  # as its PATH finds it
    page = image.start([program, *entry[1:], "--backend", "fake", "--port", str(port)])
    try:
        until(lambda: page.poll() is not None or answers(port), "the page doesn't open")
        assert page.poll() is None and "Ovis" in httpx.get(f"http://127.0.0.1:{port}/").text
        check = json.loads(health[health.index("[") :].replace("7860", str(port)))
        python = shutil.which(check[0], path=image.environment["PATH"])
        assert image.start([str(python), *check[1:]]).wait() == 0
    finally:
        page.terminate()
        said, _ = page.communicate()
    assert "nobody has to sign in" in said and "Traceback" not in said
    assert image.start([str(python), *check[1:]]).wait() != 0  # nobody is there any more


def answers(port: int) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"http://127.0.0.1:{port}/config", timeout=5).status_code == 200
    return False
