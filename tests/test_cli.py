"""The command line: answers to stdout, thoughts to stderr, one clear line and exit code 2 for what can't be used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ovis_app import __version__
from ovis_app.backends.fake import FakeBackend
from ovis_app.checkpoints import memory_fit
from ovis_app.cli import main
from ovis_app.conversation import Conversation, Seen, Stats
from ovis_app.generation import Answer, Done, Recast, Request
from tests.media.made_pdf import locked, pdf, quarters

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


def test_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--version")
    assert code == 0 and out == f"ovis {__version__}\n"


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


def test_a_tag_in_the_question_is_where_a_file_stands(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[Request] = []
    events = [Answer("Yes."), Done("end", Stats())]
    monkeypatch.setattr(FakeBackend, "_script", lambda _, request, *__: asked.append(request) or iter(events))
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    (tmp_path / "b.pdf").write_bytes(pdf([quarters(), quarters()]))
    files = ("--image", str(tmp_path / "a.png"), "--pdf", str(tmp_path / "b.pdf"))
    assert run(capsys, "Is <image> in <image>?", *files)[0] == 0
    assert run(capsys, "Is this in that?", *files)[0] == 0
    assert run(capsys, "What does <image> mean?")[0] == 0
    said = [request.conversation.messages[0] for request in asked]
    assert [(one.text, [media.place for media in one.media]) for one in said] == [
        ("Is  in \n?", [3, 7, 8]), ("Is this in that?", [None] * 3), ("What does <image> mean?", [])
    ]  # fmt: skip
    code, _, err = run(capsys, "Is <image> in that?", *files)
    assert code == 2 and "the question has 1 <image> or <video> tag and 2 files" in err


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
                "missing": 0,
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
        (["Hi", "--image", "."], "is a folder"),
        (["Hi", "--image", ""], "name of a file is empty"),
        (["Hi", "--image", "gone.png"], "it is taken from the folder that you are in"),
        (["Hi", "--image", "-a.png"], "--image: a value is missing; write one that begins with a dash after ="),
        (["Hi", "--image", "https://example.org/a.png"], "download the file"),
        (["Hi", "--image", "data:image/png;base64,AA"], "data URI"),
        (["Hi", "--video", "*.gone"], "No file matches “*.gone”"),
        (["Hi", "--image", "~nobody-of-that-name/a.png"], "no file “~nobody-of-that-name/a.png”"),
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


def test_files_are_found_at_home_and_by_what_a_shell_left(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.png", "b.png", "c[1].png"):
        Image.new("RGB", (32, 32)).save(tmp_path / name)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "(with a.png)" in run(capsys, "Hi", "--image", "~/a.png")[1]
    assert "(with a.png, b.png)" in run(capsys, "Hi", "--image", "~/?.png")[1]
    assert "(with c[1].png)" in run(capsys, "Hi", "--image", str(tmp_path / "c[1].png"))[1]


@pytest.mark.parametrize(
    ("slip", "meant"), [("model", "models"), ("bacth", "batch"), ("Serve", "serve"), ("help", "--help")]
)
def test_what_is_nearly_a_command_is_not_asked(capsys: pytest.CaptureFixture[str], slip: str, meant: str) -> None:
    code = main([slip, "--backend", "fake"]) if slip != "Serve" else main([slip])
    out, err = capsys.readouterr()
    assert code == 2 and out == "" and f" {meant}` is one" in err and f"ask {slip.lower()}` asks" in err
    assert main(["ask", slip, "--backend", "fake"]) == 0
    assert run(capsys, "what")[0] == 0


def test_the_script_does_not_pose_as_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(run(capsys, "Hello", "--json")[1])["model"] == "fake"


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "gbk"])
def test_any_text_can_be_printed_into_a_pipe(encoding: str) -> None:
    words = "Wie schön: 图 🎉 \u200b"
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "ovis_app", words, "--backend", "fake"]
    done = subprocess.run(command, capture_output=True, cwd=ROOT, env=environment, check=False)
    assert done.returncode == 0 and words in done.stdout.decode("utf-8"), done.stderr.decode()


@pytest.mark.skipif(sys.platform == "win32", reason="no such terminals there")
def test_what_a_terminal_lacks_is_marked() -> None:
    import pty

    ours, theirs = pty.openpty()
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "ovis_app", "schön", "--backend", "fake"]
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.PIPE, cwd=ROOT, env=environment) as asking:
        os.close(theirs)
        said = b""
        with suppress(OSError):  # the other end is closed
            while part := os.read(ours, 1000):
                said += part
        assert asking.stderr is not None and asking.stderr.read() == b""
    os.close(ours)
    assert asking.returncode == 0 and b"sch?n" in said


def test_an_answer_that_nobody_wants_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)  # as after `>&-`
    assert main(["Hi", "--backend", "fake"]) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device there")
@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_an_answer_for_which_the_disk_has_no_room_is_a_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]
) -> None:
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["Hi", "--backend", "fake", *flags]) == 1
    err = capsys.readouterr().err
    assert "the disk is full" in err and len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_who_stops_reading_ends_it_quietly(flags: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "ovis_app", "say it at long length", "--backend", "fake", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as asking:
        assert asking.stdout is not None and asking.stderr is not None
        asking.stdout.close()
        assert asking.stderr.read() == b""
    assert asking.returncode == 141


def test_pages_of_a_document_are_a_questions_pictures(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Wherever the document is named, and behind the pictures."""
    (tmp_path / "report.pdf").write_bytes(pdf([quarters() for _ in range(20)]))
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    named = ("--pdf", str(tmp_path / "report.pdf"), "--image", str(tmp_path / "a.png"))
    code, out, err = run(capsys, "Hi", *named, "--pages", "2-3,20", "--dpi", "20")
    assert code == 0 and "with a.png, report.pdf page 2, report.pdf page 3, report.pdf page 20)" in out
    assert err == ""
    code, out, _ = run(capsys, "Hi", "--image", str(tmp_path / "report.pdf"), "--pages", "1")
    assert code == 0 and "(with report.pdf page 1)" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--pdf", "long.pdf"), "a question holds at most 16 pictures: choose pages, as --pages"),
        (("--pdf", "long.pdf", "--pages", "3-1"), "--pages: “3-1” runs backwards"),
        (("--pdf", "long.pdf", "--pages", "30"), "has 20 pages, and no page 30"),
        (("--pdf", "long.pdf", "--pages", "1", "--dpi", "5"), "--dpi must be a whole number from 10"),
        (("--pdf", "a.png"), "is no PDF document"),
        (("--pdf", "nowhere.pdf"), "There is no file"),
        (("--pdf", "locked.pdf"), "is locked with a password"),
        (("--pages", "1"), "--pages and --dpi are for PDFs"),
        (("--pdf", "long.pdf", "--pages", "1", "--video", str(EXAMPLES / "clip.mp4")), "clip"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_documents_that_cant_be_asked_about(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: Any, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "long.pdf").write_bytes(pdf([quarters() for _ in range(20)]))
    (tmp_path / "locked.pdf").write_bytes(locked(quarters(), b"secret"))
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    code, out, err = run(capsys, "Hi", *arguments)
    assert code == 2 and out == "" and words in err and len(err.strip().splitlines()) == 1


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


def test_models_tells_how_fast_each_is_at_most_and_lists_those_that_are_wanted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_fit, "bytes_available", lambda *_: int(80e9))
    monkeypatch.setattr("ovis_app.backends.local.offered.bytes_a_second", lambda *_, **__: 100e9)
    assert main(["models", "--device", "cpu", "--dtype", "bfloat16", "--for", "fast"]) == 0
    head, *rows, _, _ = capsys.readouterr().out.splitlines()
    speed = {row.split()[0]: float(row.split()[4]) for row in rows}
    assert "tokens/s" in head and list(speed.values()) == sorted(speed.values(), reverse=True)
    assert speed["Ovis2.6-30B-A3B"] == pytest.approx(100 / 6.06, rel=0.04), "of experts those that a token meets"
    assert speed["Ovis2.5-2B"] == pytest.approx(100 / 3.44, rel=0.04)
    assert "Ovis2.5-2B-GPTQ-Int4" not in speed, "not known here"
    monkeypatch.setattr("ovis_app.backends.local.offered.bytes_a_second", lambda *_, **__: None)
    assert main(["models", "--device", "cpu", "--dtype", "bfloat16", "--for", "fast"]) == 0
    assert "as a rule the small ones are the fastest" in capsys.readouterr().err


def test_where_no_file_can_be_written_text_is_answered(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "a.pdf").write_bytes(pdf([quarters()]))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file" / "folder"))
    code, out, _ = run(capsys, "Hello there")
    assert code == 0 and "You said: Hello there" in out
    code, _, err = run(capsys, "What?", "--pdf", str(tmp_path / "a.pdf"))
    assert code == 2 and "no file can be written" in err and "Traceback" not in err
