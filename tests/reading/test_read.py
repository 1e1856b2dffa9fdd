"""`ovis read`: pages become one text with figures, whatever happens on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ovis_app.backends.fake import FakeBackend
from ovis_app.cli import main
from ovis_app.conversation import Stats
from ovis_app.errors import BackendError
from ovis_app.generation import Answer, Done, Event, Request
from ovis_app.reading.kept import Kept
from tests.media.made import CORNERS
from tests.media.made_pdf import locked, pdf, quarters

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "assets" / "examples"


@pytest.fixture
def report(tmp_path: Path) -> Path:
    file = tmp_path / "report.pdf"
    file.write_bytes(pdf([quarters() for _ in range(3)]))
    return file


class Script:
    """What is said of each page, by its name; an exception is raised. Knows what was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.says: dict[str, str | BaseException] = {}
        self.asked: list[str] = []
        self.requests: list[Request] = []
        monkeypatch.setattr(FakeBackend, "_script", lambda _, request, __: self._said(request))

    def _said(self, request: Request) -> Iterator[Event]:
        name = request.conversation.messages[-1].media[0].label
        self.asked.append(name)
        self.requests.append(request)
        text = self.says.get(name, f"Text of {name}.")
        if isinstance(text, BaseException):
            raise text
        yield Answer(text)
        yield Done("end", Stats(answer_tokens=7))


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    return Script(monkeypatch)


def read(*words: object) -> int:
    try:
        return main(["read", *map(str, words), "--backend", "fake"])
    except SystemExit as end:
        return int(end.code or 0)


def text(out: Path) -> str:
    return (out / "document.md").read_text(encoding="utf-8")


def test_pages_become_one_text_and_figures_are_cut_out(
    report: Path, tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (90, 60), "navy").save(tmp_path / "photo.png")
    figure = '<img src="images/bbox_0_0_500_500.jpg" />'
    script.says = {"report.pdf page 1": f"# One\n\n{figure}\n\n$$x^2$$", "photo.png": figure}
    out = tmp_path / "out"
    assert read(report, tmp_path / "photo.png", "--out", out) == 0
    said = text(out)
    parts = [
        "page 1 of report.pdf",
        "# One",
        "$$x^2$$",
        "page 2 of",
        "Text of report.pdf page 2.",
        "<!-- photo.png -->",
    ]
    assert [said.index(part) for part in parts] == sorted(said.index(part) for part in parts)
    figures = sorted((out / "images").iterdir())
    assert len(figures) == 2 and all(f'src="images/{file.name}"' in said for file in figures)
    seen = {image.size: image.getpixel((5, 5)) for file in figures if (image := Image.open(file))}
    assert any(near(pixel, (0, 0, 128)) for size, pixel in seen.items() if size == (45, 30))
    assert any(near(pixel, next(iter(CORNERS.values()))) for size, pixel in seen.items() if size != (45, 30))
    assert "4 read, 0 failed" in capsys.readouterr().err
    asked = script.requests[0]
    assert "single Markdown document" not in asked.conversation.messages[-1].text, "Ovis-mini has words of its own"
    assert asked.settings.max_new_tokens == 16_384 and not asked.settings.thinking


def near(pixel: Any, colour: tuple[int, int, int]) -> bool:
    return all(abs(a - b) < 12 for a, b in zip(pixel, colour, strict=True))


def test_pages_are_chosen_and_the_rest_is_read_later(report: Path, tmp_path: Path, script: Script) -> None:
    out = tmp_path / "out"
    assert read(report, "--out", out, "--pages", "3") == 0
    assert read(report, "--out", out, "--prompt", "What?") == 0
    assert [name[-1] for name in script.asked] == ["3", "1", "2"]
    assert script.requests[1].conversation.messages[-1].text == "What?"
    assert text(out).index("page 2.") < text(out).index("page 3."), "in their order"


def test_a_page_that_fails_is_said_and_tried_again(
    report: Path, tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    (tmp_path / "bad.png").write_bytes((EXAMPLES / "word.png").read_bytes()[:200])
    script.says = {"report.pdf page 2": BackendError("The model is tired: try again.")}
    assert read(report, tmp_path / "bad.png", "--out", out) == 1
    said = capsys.readouterr().err
    assert "Page 2 of “report.pdf” was not read: The model is tired" in said and "2 read, 2 failed" in said
    assert "“bad.png” was not read: “bad.png” is damaged" in said and "> Page 2 of “report.pdf” was not read" in text(
        out
    )
    script.says = {}
    assert read(report, "--out", out) == 0
    assert script.asked[3:] == ["report.pdf page 2"] and "tired" not in text(out)
    assert "1 read, 0 failed, 2 read before" in capsys.readouterr().err


def test_who_interrupts_keeps_what_was_read(
    report: Path, tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    script.says = {"report.pdf page 2": KeyboardInterrupt()}
    assert read(report, "--out", tmp_path / "out") == 130
    assert "page 1." in text(tmp_path / "out") and "1 read, 0 failed" in capsys.readouterr().err


def test_a_reader_that_repeats_itself_for_ever_is_stopped_and_that_is_said(
    report: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = list[int]()

    def endless(*_: object) -> Iterator[Event]:
        try:
            yield Answer("".join(f"line {n} of the page\n" for n in range(500)))
            while True:
                yield Answer("and so on, ")
        finally:
            ended.append(1)

    monkeypatch.setattr(FakeBackend, "_script", endless)
    assert read(report, "--out", tmp_path / "out", "--pages", "1") == 0
    assert ended == [1] and text(tmp_path / "out").rstrip().endswith("line 499 of the page\nand so on,")
    assert "Page 1 of “report.pdf” repeats itself at its end, which was cut." in capsys.readouterr().err


def test_only_names_of_our_own_are_written(report: Path, tmp_path: Path, script: Script) -> None:
    sly = '<img src="images/../../../sly.jpg"><img src="/tmp/sly.jpg"><img src="images/bbox_0_0_9_9.jpg.exe">'
    script.says = {"report.pdf page 1": sly + '<img src="images/bbox_1_1_2_2.jpg">', "report.pdf page 2": sly}
    before = {*tmp_path.iterdir()}
    assert read(report, "--out", tmp_path / "out") == 0
    assert {*tmp_path.iterdir()} - before == {tmp_path / "out"}
    names = {file.name for file in (tmp_path / "out").rglob("*")}
    assert len(names) == 4 and {"images", "document.md", "pages.jsonl"} < names


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere.pdf",), "There is no file “nowhere.pdf”"),
        (("locked.pdf",), "is locked with a password"),
        (("cut.pdf",), "is incomplete"),
        (("report.pdf", "--pages", "9"), "has 3 pages, and no page 9"),
        (("report.pdf", "--pages", "x"), "--pages: “x” is no range"),
        ((str(EXAMPLES / "word.png"), "--pages", "1"), "--pages and --dpi are for PDFs"),
        ((str(EXAMPLES / "clip.mp4"),), "is a clip, and only PDFs and pictures"),
        (("text.png",), "text.png"),
        (("report.pdf", "--prompt", " "), "--prompt is empty"),
        (("report.pdf", "--out", "report.pdf"), "--out is a file"),
        (("report.pdf", "--out", "other"), "has a document.md of something else"),
        (("report.pdf", "--out", "strange"), "pages.jsonl in the folder strange isn't of"),
    ],
    ids=lambda value: str(value)[-40:],
)  # fmt: skip
def test_what_cant_be_read_is_one_sentence_before_anything_is_asked(
    arguments: tuple[str, ...], words: str, report: Path, tmp_path: Path, script: Script,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "locked.pdf").write_bytes(locked(quarters(), b"secret"))
    (tmp_path / "cut.pdf").write_bytes(report.read_bytes()[:-300])
    (tmp_path / "text.png").write_text("only words")
    for name, file in (("other", "document.md"), ("strange", "pages.jsonl")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text("mine\n")
    assert read("--out", "out", *arguments) == 2
    said = capsys.readouterr().err
    assert words in said and len(said.strip().splitlines()) == 1 and script.asked == []
    assert (
        (tmp_path / "other" / "document.md").read_text()
        == (tmp_path / "strange" / "pages.jsonl").read_text()
        == "mine\n"
    )


KILLED = """
import os, signal, sys
from ovis_app.backends.fake import FakeBackend
from ovis_app.cli import main
whole, asked = FakeBackend.stream, iter(range(9))
def stream(self, request):
    if next(asked) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(self, request)
FakeBackend.stream = stream
main(["read", *sys.argv[1:], "--backend", "fake"])
"""


def test_a_killed_reading_goes_on_wherever_it_was_torn(report: Path, tmp_path: Path, script: Script) -> None:
    out = tmp_path / "out"
    done = subprocess.run([sys.executable, "-c", KILLED, str(report), "--out", str(out)], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL and "page 1)" in text(out)
    assert read(report, "--out", out) == 0 and script.asked == ["report.pdf page 2", "report.pdf page 3"]
    whole = (out / "pages.jsonl").read_bytes()
    for end in range(0, len(whole), 89):
        (out / "pages.jsonl").write_bytes(whole[:end])
        (out / "document.md").unlink(missing_ok=True)
        kept = Kept(out)
        kept.close()
        digest = json.loads(whole.splitlines()[0])["digest"]
        assert [kept.has((digest, page)) for page in (1, 2, 3)] == [n < whole[:end].count(b"\n") for n in range(3)]
        assert (out / "pages.jsonl").read_bytes() == whole[: whole[:end].rfind(b"\n") + 1]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_that_nobody_may_write_into_is_a_sentence(
    report: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir(mode=0o500)
    assert read(report, "--out", tmp_path / "out") == 2
    assert "Nothing can be written into the folder out" in capsys.readouterr().err


def test_the_real_model_reads_a_page(tmp_path: Path) -> None:
    assert main(["read", str(EXAMPLES / "word.png"), "--out", str(tmp_path / "out")]) == 0
    assert 'The text says "HELLO".' in text(tmp_path / "out")
