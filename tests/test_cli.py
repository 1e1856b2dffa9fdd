"""The command line: answers to stdout, thoughts to stderr, one clear line and exit code 2 for what can't be used."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from ovis_app.backends.fake import FakeBackend
from ovis_app.checkpoints import memory_fit
from ovis_app.cli import main
from ovis_app.conversation import Conversation, Seen, Stats
from ovis_app.generation import Answer, Done, Recast, Request

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "assets" / "examples"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    try:
        code = main(["--backend", "fake", *arguments])
    except SystemExit as end:
        code = int(end.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


def test_an_answer_goes_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "Hello there")
    assert code == 0 and "You said: Hello there" in out and err == ""


def test_a_thought_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "Hello", "--thinking")
    assert code == 0 and "I look at the picture" in err and "I look" not in out


def test_a_thought_that_is_known_late_is_printed_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [Answer("Let me see. "), Recast(), Answer("Yes."), Done("end", Stats())]
    monkeypatch.setattr(FakeBackend, "_script", lambda *_: iter(events))
    code, out, err = run(capsys, "Hello", "--thinking")
    assert code == 0 and (out + err).count("Let me see.") == 1 and out.rstrip().endswith("\nYes.")


def test_json_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "Hello", "--json", "--thinking-budget", "64")
    answer = json.loads(out)
    assert code == 0 and set(answer) == {"text", "thinking", "finish", "stats", "model"}
    assert answer["finish"] == "end" and answer["thinking"] and answer["stats"]["answer_tokens"] > 0


def test_what_was_seen_small_is_said_and_stands_in_the_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Request] = []
    stats = Stats(seen=(Seen("long.png", 352, 6656, 1080, 20000),))
    events = [Answer("Yes."), Done("end", stats)]
    monkeypatch.setattr(FakeBackend, "_script", lambda _, request, *__: asked.append(request) or iter(events))
    code, out, err = run(capsys, "Hello", "--split")
    assert code == 0 and out == "Yes.\n" and "“long.png” seen at 352 × 6656 of 1080 × 20000." in err
    assert asked[0].settings.split and not Request(Conversation()).settings.split
    code, out, err = run(capsys, "Hello", "--json")
    assert (
        code == 0
        and err == ""
        and json.loads(out)["stats"]["seen"]
        == [
            {
                "name": "long.png",
                "width": 352,
                "height": 6656,
                "own_width": 1080,
                "own_height": 20000,
                "pictures": 1,
                "frames": None,
            }
        ]
    )


def test_a_model_that_fails_is_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "please fail")
    assert code == 1 and out == "" and "out of memory" in err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["Hi", "--image", "nowhere.png"], "nowhere.png"),
        (["Hi", "--max-new-tokens", "0"], "max_new_tokens"),
        (["Hi", "--max-new-tokens", "many"], "--max-new-tokens"),
        (["Hi", "--temperature", "nan"], "temperature"),
        (["Hi", "--frobnicate"], "--frobnicate"),
        ([], "question"),
        (["Hi", "there"], "--help"),
        ([" "], "ask something"),
    ],
)
def test_a_bad_flag_or_file_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], named: str
) -> None:
    code, out, err = run(capsys, *arguments)
    assert code == 2 and out == "" and named in err and len(err.strip().splitlines()) == 1


def test_a_text_file_called_png_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("hello")
    code, _, err = run(capsys, "Hi", "--image", str(tmp_path / "notes.png"))
    assert code == 2 and "notes.png" in err and "Traceback" not in err


def test_pictures_and_a_clip_together_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    code, _, err = run(capsys, "Hi", "--image", str(tmp_path / "a.png"), "--video", str(EXAMPLES / "clip.mp4"))
    assert code == 2 and "clip" in err


def test_the_real_model_answers_from_a_shell() -> None:
    command = [sys.executable, "-m", "ovis_app", "How many shapes are there?", "--image", str(EXAMPLES / "left.png")]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["model"] == "Ovis-mini" and "shape" in answer["text"]
    assert "Loading weights" not in done.stderr


def test_models_says_of_each_what_it_needs_and_whether_it_fits(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_fit, "bytes_available", lambda *_: int(8e9))
    assert main(["models", "--device", "cpu", "--dtype", "bfloat16"]) == 0
    said = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert said["Ovis-mini"].endswith("fits") and said["Ovis2.5-9B"].endswith("too big")
    assert all(len(line) < 100 for line in said.values())
    weights, talk, pictures = map(float, said["Ovis2.5-2B"].split()[1:4])
    assert weights == pytest.approx(5.1, abs=0.2) and talk == pytest.approx(4.7, abs=0.2) and 0 < pictures < 3
