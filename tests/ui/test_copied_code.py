"""The programs that the page copies: each runs, and asks this server what the page asked, letter by letter."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ovis_app import zoo
from ovis_app.backends.fake import FakeBackend
from ovis_app.generation import Request
from tests.media.made import clip, numbered
from tests.ui.serving import EXAMPLES, Served, served_api
from tests.waiting import PATIENCE

ROOT = Path(__file__).parents[2]
ODD = (
    "it's \"quoted\" 'twice' \\n \\ \\\\ $HOME ${x} `id` $(id) %s {} {{b}} \n\ttab\r\n'''\"\"\" # no; rm -rf | & > <\n"
    "JSON\nEOF\n你好，图片？ \U0001f600 é \u202egnihton \u200d \x00 \x07 \x7f \u2028 \ufeff !! -n \ud800"
)
KNOBS = [
    {"name": "temperature", "side": False, "recommended": 0},
    {"name": "max_new_tokens", "side": False, "recommended": 1024},
    {"name": "frames", "side": False, "recommended": 8},
]


def said(role: str, text: str, files: tuple[tuple[str, str], ...] = (), **more: Any) -> dict[str, Any]:
    named = [{"name": name, "type": kind, "kind": kind.partition("/")[0]} for name, kind in files]
    return {"role": role, "text": text, "thinking": "", "files": named, "detail": {}, "wants": {}, **more}


def programs(path: list[dict[str, Any]], base: str, *, way: str = "key", **settings: Any) -> dict[str, str]:
    """What the page would copy."""
    node = shutil.which("node")
    if node is None:
        if os.environ.get("CI") == "true":
            pytest.fail("node is not installed")
        pytest.skip("node is not installed")
    mini = zoo.MINI
    suffixes = {"boxes": mini.boxes_suffix, "cot": mini.cot_suffix}
    model = {"id": mini.public_id, "knobs": KNOBS, "switches": ["thinking", "boxes", "cot"], "suffixes": suffixes}
    told = {"path": path, "settings": settings, "model": model, "base": base, "way": way}
    script = ROOT / "tests" / "page_js" / "programs.mjs"
    done = subprocess.run([node, script], input=json.dumps(told), capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def api() -> Iterator[Served]:
    with served_api(FakeBackend()) as here:
        yield here


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An export, unpacked."""
    (tmp_path / "media").mkdir()
    for name in ("left.png", "right.png"):
        shutil.copy(EXAMPLES / name, tmp_path / "media" / name)
    clip(tmp_path / "media" / "c.mp4", map(numbered, range(20)))
    return tmp_path


Run = Callable[..., str]


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a program as whoever copied it would, where the export is, and gives what it prints."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("NO_PROXY", "*")

    def ran(language: str, program: str, **environment: str) -> str:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        if language != "curl":
            exec(compile(program, language, "exec"), {"__name__": "__main__"})
            return capsys.readouterr().out
        if shutil.which("curl") is None:
            pytest.skip("curl is not installed")
        (folder / "asked.sh").write_text(program, "utf-8")
        done = subprocess.run(["sh", "asked.sh"], capture_output=True, timeout=PATIENCE, check=True)
        return str(json.loads(done.stdout)["choices"][0]["message"]["content"])

    return ran


@pytest.mark.parametrize("language", ["python", "curl", pytest.param("openai", marks=pytest.mark.long)])
def test_what_is_copied_asks_the_same_and_gets_the_answer(api: Served, run: Run, language: str) -> None:
    pictures = (("left.png", "image/png"), ("right.png", "image/png"))
    path = [
        said("user", ODD, pictures),
        said("assistant", ODD, thinking="Hm: " + ODD),
        said("user", "And \"now\"? $5 'so' \\", (("c.mp4", "video/mp4"),), wants={"thinking": True}),
    ]
    wanted = {"temperature": 0.5, "max_new_tokens": 64, "frames": 4, "boxes": True, "system": "Sei kurz: '€'"}
    said_back = run(language, programs(path, api.url, **wanted)[language])
    asked: Request = api.backend.requests[-1]
    first, second, last = asked.conversation.messages
    whole = ODD.replace("\ud800", "\ufffd")
    assert (first.text, second.text, second.thinking) == (whole, whole, "Hm: " + whole)
    assert [one.kind for one in first.media] == ["image", "image"] and [one.kind for one in last.media] == ["video"]
    assert first.media[0].path.name != first.media[1].path.name
    assert last.text == "And \"now\"? $5 'so' \\\n" + zoo.MINI.boxes_suffix
    settings = asked.settings
    assert (settings.temperature, settings.max_new_tokens, settings.thinking) == (0.5, 64, True)
    assert settings.system == "Sei kurz: '€'" and settings.frames == 4
    assert said_back.strip().startswith("You said: And \"now\"? $5 'so' \\")


@pytest.mark.parametrize("language", ["python", "curl"])
def test_a_question_without_files_needs_no_export(api: Served, run: Run, language: str) -> None:
    text = "JSON\nwhy? " + "很长" * 60_000  # longer than a command's argument may be
    program = programs([said("user", text)], api.url)[language]
    assert "media" not in program and "base64" not in program
    run(language, program)
    assert api.backend.requests[-1].conversation.messages[-1].text == text


@pytest.mark.parametrize("languages", [("python", "curl"), pytest.param(("openai",), marks=pytest.mark.long)])
def test_the_key_is_the_readers_own_and_who_signs_in_sends_a_name(run: Run, languages: tuple[str, ...]) -> None:
    with served_api(FakeBackend(), api_key=("the-right-key",)) as here:
        copied = programs([said("user", "hello")], here.url)
        assert all("the-right-key" not in program for program in copied.values())
        for language in languages:
            assert "hello" in run(language, copied[language], OVIS_API_KEY="the-right-key")
    with served_api(FakeBackend(), auth=("anna:pass word",)) as here:
        copied = programs([said("user", "hello")], here.url, way="sign_in")
        for language in languages:
            assert "hello" in run(language, copied[language], OVIS_USER="anna", OVIS_PASSWORD="pass word")


def test_where_there_is_no_v1_gradios_client_asks_the_endpoint_for_programs(server: Served, run: Run) -> None:
    left, right = ((("left.png", "image/png"),), (("right.png", "image/png"),))
    path = [said("user", ODD, left), said("assistant", ODD), said("user", "now?", right)]
    program = programs(path, server.url, temperature=0.5)["gradio"]
    assert "now?" in run("gradio", program)
    first, second, last = server.backend.requests[-1].conversation.messages
    assert first.text == second.text == ODD.replace("\ud800", "\ufffd") and last.text == "now?"
    assert [len(one.media) for one in (first, second, last)] == [1, 0, 1]
    assert server.backend.requests[-1].settings.temperature == 0.5
