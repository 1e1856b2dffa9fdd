"""A Space: what its front matter says, and that app.py runs unchanged with a GPU, without one, and on ZeroGPU."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path

import pytest
from huggingface_hub import SpaceHardware, metadata_load
from packaging.version import Version

from ovis_app import zoo
from ovis_app.settings import Settings

ROOT = Path(__file__).parent.parent
COLORS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
ZEROGPU = {
    "SPACE_ID": "someone/ovis",
    "SPACES_ZERO_GPU": "true",
    "PYTHONPATH": str(Path(__file__).parent / "stand_ins"),
    "OVIS_DEVICE": "cpu",
}
ANSWERED = """
import os
import app, spaces
from ovis_app.conversation import Conversation, Message
from ovis_app.generation import Answer, GenerationSettings, Request
assert spaces.before_torch, "torch came before spaces"
assert spaces.workers == [] and app._backend.status().phase == "ready", "the model comes before the page"
asked = Request(Conversation((Message("user", "Hello"),)), GenerationSettings(max_new_tokens=8))
said = "".join(event.text for event in app._backend.stream(asked) if isinstance(event, Answer))
print(len(spaces.workers), said, flush=True)
os._exit(0)  # a Space is never asked to end here, beside threads that are still at work in libraries
"""
WITHOUT_SPACES = """
import argparse, os, sys
sys.modules["spaces"] = None
import app
from ovis_app.errors import UserError
print(app._backend.status().phase)
os.environ["SPACES_ZERO_GPU"] = "true"
try:
    app.serve.open_page(app.read(argparse.Namespace()))
except UserError as error:
    print(error)
"""


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | environment
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, cwd=ROOT, env=environment, check=False
    )


def test_the_front_matter_is_what_a_space_takes() -> None:
    says = metadata_load(ROOT / "README.md")
    assert says is not None
    locked = re.search(r"^gradio==(\S+)$", (ROOT / "requirements.lock").read_text("utf-8"), re.MULTILINE)
    assert locked is not None
    assert says["sdk"] == "gradio" and says["sdk_version"] == locked[1]
    assert says["python_version"] == "3.12.12"  # a string: 3.10 would be a number
    assert (ROOT / says["app_file"]).is_file()
    assert says["title"] and len(says["emoji"]) <= 2 and {says["colorFrom"], says["colorTo"]} <= COLORS
    assert 0 < len(says["short_description"]) <= 60
    assert says["license"] == "apache-2.0" and "ovis" in says["tags"]
    assert says["suggested_hardware"] in {hardware.value for hardware in SpaceHardware}
    known = {row.repository for row in zoo.MODELS}
    assert says["models"] and set(says["models"]) <= known
    assert set(says.get("preload_from_hub", ())) <= known


def test_on_zerogpu_spaces_comes_first_and_the_model_before_the_page() -> None:
    done = run("-c", ANSWERED, **ZEROGPU)
    assert done.returncode == 0, done.stderr
    count, said = done.stdout.split(" ", 1)
    assert count == "1" and said.strip()


def test_elsewhere_nothing_asks_for_spaces() -> None:
    """And on ZeroGPU, without the package, a sentence does."""
    done = run("-c", WITHOUT_SPACES, SPACES_ZERO_GPU="")
    phase, _, said = done.stdout.partition("\n")
    assert phase == "starting" and "ZeroGPU needs the package spaces" in said, done.stderr


def test_a_model_too_large_for_zerogpu_ends_the_start_with_a_sentence() -> None:
    done = run("app.py", **ZEROGPU, OVIS_MODEL="Ovis2-34B", OVIS_PORT="0")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == (
        "ovis serve: Ovis2-34B doesn't fit into the 48 GB of ZeroGPU's size large: set OVIS_ZEROGPU_SIZE to xlarge."
    )


def test_the_walk_through_names_what_there_is() -> None:
    text = (ROOT / "docs" / "space.md").read_text("utf-8")
    variables = {f"OVIS_{field.name.upper()}" for field in fields(Settings)}
    named = set(re.findall(r"OVIS_[A-Z_]+", text))
    assert {"OVIS_MODEL", "OVIS_ZEROGPU_SIZE"} <= named <= variables
    models = set(re.findall(r"(?:AIDC-AI/)?(Ovis[\d.]+-[\w.-]*\d+B)\b", text))
    assert models <= {row.name for row in zoo.MODELS}
    assert "preload_from_hub" in text and "requirements.txt" in text


@pytest.mark.long
def test_the_real_package_places_forks_and_answers() -> None:
    """All of `spaces` but the GPU: its stand-ins for tensors, its packing of weights to disk, its workers and its talk
    with a server, which is one of ours."""
    if Version(version("spaces")) < Version("0.51"):
        pytest.skip("its insides were others")
    done = run("-m", "tests.stand_ins.zerogpu", SPACES_ZERO_GPU="true")
    assert done.returncode == 0, done.stderr
    said = done.stdout  # of several threads and processes: their lines may run into one another
    assert "engine: decode by hand, attention in torch (graphs aren't recorded" in said
    assert "said: The image shows" in said and "stopped: ready" in said, said
    asked = re.findall(r"POST /schedule\S+", said)
    assert len(asked) == 2 and all("gpuSize=large" in address for address in asked)
    assert len(re.findall(r"POST /release\S+fail=false", said)) == 2


def test_secrets_that_the_docs_have_people_make_are_not_uploaded() -> None:
    """`hf upload` leaves out what .gitignore lists."""
    docs = "\n".join(file.read_text("utf-8") for file in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")))
    made = {*re.findall(r"ovis hash-password \w+ >> ([\w.]+)$", docs, re.MULTILINE)}
    made |= {*re.findall(r"--api-key-file ([\w.]+)", docs)}
    assert made == {"people", "keys.txt"}
    assert {f"/{name}" for name in made} <= set((ROOT / ".gitignore").read_text("utf-8").splitlines())
