"""Pages of PDF documents: upright, sharp enough and bounded; and of a bad document one sentence, with nothing lost that
could be drawn."""

from __future__ import annotations

import itertools
import os
import re
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from ovis_app.errors import MediaError, UserError
from ovis_app.limits import Limits
from ovis_app.media import PageChoice, PageRange, attach, attach_all, decoder_process, with_pages
from ovis_app.media.documents import Document, Page, chosen, is_document
from ovis_app.media.incoming_file import NoRoom
from ovis_app.media.page_range import written
from ovis_app.stop import Stop, Stopped
from tests.media.made import CORNERS, corner_names, corners, encoded
from tests.media.made_pdf import Sheet, endless, image_bomb, locked, pdf, quarters, stream

pytestmark = pytest.mark.usefixtures("no_leaks")

Write = Callable[..., Path]
SMALL = Limits(page_pixels=60_000)


def drawn(path: Path, wanted: str = "1-", limits: Limits = SMALL, dpi: int | None = None) -> list[Page]:
    document = Document(path, path.name, limits, dpi=dpi)
    return list(document.pages(chosen(PageRange.parse(wanted), document.count(), path.name)))


def refused(path: Path, limits: Limits = SMALL) -> str:
    """The sentence with which a document is refused; checks what every such sentence must keep to."""
    with pytest.raises(MediaError) as caught:
        drawn(path, limits=limits)
    text = str(caught.value)
    assert text.startswith(f"“{path.name}” ") and text.endswith(".") and "\n" not in text
    assert "hidden-folder" not in text and "/" not in text
    return text


# --- ranges ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1-3,7,10-", (1, 2, 3, 7, 10, 11, 12)),
        ("2", (2,)),
        (" 2 , 4 - 5 ", (2, 4, 5)),
        ("2–4", (2, 3, 4)),
        ("9-999999", (9, 10, 11, 12)),
        ("3,1-4", (3, 1, 2, 4)),
        ("13-", ()),
    ],
)
def test_pages_of_a_range(text: str, found: tuple[int, ...]) -> None:
    assert PageRange.parse(text).of(12) == found


@pytest.mark.parametrize(
    "text", ["", "0", "-3", "1-0", "a", "1;2", "1,,2", "1-2-3", "1.5", "1e3", "٣", "9" * 40, "1,", "/etc", "x" * 300]
)
def test_what_is_no_range_is_a_sentence(text: str) -> None:
    with pytest.raises(UserError, match=r"^“.*” (is no range of pages: write them as|runs backwards: write)") as caught:
        PageRange.parse(text)
    assert len(str(caught.value)) < 120


def test_a_range_that_runs_backwards_and_one_without_end() -> None:
    with pytest.raises(UserError, match=r"^“7-3” runs backwards: write 3-7\.$"):
        PageRange.parse("7-3")
    with pytest.raises(UserError, match="fewer at a time"):
        PageRange.parse(",".join(["1"] * 1000))


@pytest.mark.parametrize("text", ["1-3,7", "5", "3,1-2"])
def test_a_range_is_written_as_it_is_read(text: str) -> None:
    assert written(PageRange.parse(text).of(9)) == text


# --- good documents -------------------------------------------------------------------------------------------------


def test_pages_come_in_the_order_asked_for_with_number_and_size(write: Write) -> None:
    path = write("report.pdf", pdf([quarters(300 + n, 200) for n in range(5)]))
    assert Document(path, "report.pdf", Limits()).count() == 5
    found = drawn(path, "4-,2")
    assert [(page.number, page.points) for page in found] == [(4, (303, 200)), (5, (304, 200)), (2, (301, 200))]
    for page in found:
        assert page.picture is not None and corner_names(page.picture) == list(CORNERS) and not page.note
        assert page.picture.width * page.picture.height == pytest.approx(SMALL.page_pixels, rel=0.02)


def test_a_page_is_turned_as_its_document_says(write: Write) -> None:
    [page] = drawn(write("turned.pdf", pdf([quarters(300, 200, rotated=90)])))
    assert page.points == (200, 300) and page.picture is not None and page.picture.height > page.picture.width
    assert corner_names(page.picture) == ["bottom left", "top left", "bottom right", "top right"]


def test_a_page_is_as_sharp_as_asked_for_or_as_a_model_sees_well(write: Write) -> None:
    path = write("a4.pdf", pdf([quarters(595, 842), quarters(144, 72)]))
    sharp = drawn(path, dpi=100)
    assert [page.picture.size for page in sharp if page.picture] == [(827, 1170), (200, 100)]
    whole, card = drawn(path, limits=Limits())
    assert 175 < whole.dpi < 190 and whole.picture is not None
    assert whole.picture.width * whole.picture.height == pytest.approx(1792 * 1792, rel=0.01)
    assert card.dpi == 300 and card.picture is not None and card.picture.size == (600, 300)  # sharper shows no more


def test_a_page_three_metres_wide_has_a_bounded_size_and_that_is_said(write: Write) -> None:
    path = write("plan.pdf", pdf([quarters(8504, 2835), quarters(200_000, 1)]))
    limits = Limits(page_most_pixels=500_000)
    for dpi in (150, None):
        plan, strip = drawn(path, limits=limits, dpi=dpi)
        assert plan.picture is not None and plan.picture.width * plan.picture.height < 505_000
        assert plan.note.startswith("Page 1 of “plan.pdf” is 300 x 100 cm large and was drawn at 10 dpi")
        assert corner_names(plan.picture) == list(CORNERS)
        assert strip.picture is not None and strip.picture.width <= 16_384 and "dpi" in strip.note


def test_a_form_is_drawn_as_it_was_filled_in(write: Write) -> None:
    filled = stream(b"1 0 0 rg 0 0 300 200 re f", b"/Type/XObject/Subtype/Form/BBox[0 0 300 200]")
    field = b"<</Type/Annot/Subtype/Widget/FT/Tx/T(name)/V(x)/F 4/Rect[0 0 300 200]/AP<</N 3 0 R>>>>"
    form = pdf([Sheet(entries=b"/Annots[4 0 R]")], catalog=b"/AcroForm<</Fields[4 0 R]>>", objects=[filled, field])
    [page] = drawn(write("form.pdf", form))
    assert page.picture is not None and page.picture.getpixel((150, 100)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("catalog", "objects"),
    [
        (b"/OpenAction<</S/JavaScript/JS(while\\(true\\){})>>", []),
        (b"/OpenAction<</S/Launch/F(/bin/sh)>>/Names<</JavaScript<</Names[(a)<</S/JavaScript/JS(x)>>]>>>>", []),
        (
            b"/Names<</EmbeddedFiles<</Names[(evil.exe) 4 0 R]>>>>",
            [stream(b"MZ", b"/Type/EmbeddedFile"), b"<</Type/Filespec/F(evil.exe)/EF<</F 3 0 R>>>>"],
        ),
    ],
    ids=["script", "program", "file"],
)
def test_nothing_in_a_document_is_run(write: Write, catalog: bytes, objects: list[bytes]) -> None:
    path = write("live.pdf", pdf([quarters()], catalog=catalog, objects=objects))
    [page] = drawn(path)
    assert page.picture is not None and corner_names(page.picture) == list(CORNERS)
    assert [file.name for file in path.parent.iterdir()] == ["live.pdf"]


def test_a_document_without_a_password_opens_though_it_is_encrypted(write: Write) -> None:
    [page] = drawn(write("sealed.pdf", locked(quarters(), b"")))
    assert page.picture is not None and corner_names(page.picture) == list(CORNERS)


# --- bad ones -------------------------------------------------------------------------------------------------------

GOOD = pdf([quarters() for _ in range(3)])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (locked(quarters(), b"secret"), "is locked with a password: save a copy without one"),
        (GOOD[:-200], "is incomplete, its end is missing"),
        (GOOD[: len(GOOD) // 2], "is incomplete, its end is missing"),
        (pdf([]), "has no pages"),
        (b"%PDF-1.7\n" + bytes(range(256)) * 20 + b"startxref\n9\n%%EOF", "is damaged"),
        (re.sub(rb"[0-9]+ 0 obj", b"# # obj", GOOD), "is damaged"),
        (encoded(corners(), "JPEG") + GOOD, "is no PDF document"),
        (b"PK\x03\x04" + GOOD, "is no PDF document"),
        (b"", "is no PDF document"),
    ],
    ids=["locked", "cut", "half", "empty", "junk", "no-objects", "jpeg", "zip", "nothing"],
)
def test_a_bad_document_is_one_sentence(write: Write, data: bytes, words: str) -> None:
    assert words in refused(write("bad.pdf", data))


def test_a_document_is_known_by_its_content(write: Write) -> None:
    for name, data in (("photo.png", GOOD), ("bom.pdf", b"\xef\xbb\xbf\n" + GOOD)):
        assert len(drawn(write(name, data))) == 3


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipe has a name here")
def test_a_pipe_is_no_document_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    assert not is_document(tmp_path / "a.png")
    with pytest.raises(MediaError, match="is not a file"):
        attach(tmp_path / "a.png", "a.png", SMALL)


def test_too_large_a_document_and_one_of_too_many_pages(write: Write) -> None:
    path = write("book.pdf", pdf([Sheet() for _ in range(5000)]))
    assert "is larger than the 0.5 MB allowed" in refused(path, Limits(document_bytes=512 * 1024))
    assert "has more than 4,000 pages" in refused(path, Limits(document_pages=4000))
    assert Document(path, path.name, Limits()).count() == 5000
    assert [page.number for page in drawn(path, "4998-,17")] == [4998, 4999, 5000, 17]


def test_a_page_that_is_not_there_is_named(write: Write) -> None:
    path = write("short.pdf", GOOD)
    assert [page.number for page in drawn(path, "2-9")] == [2, 3]
    with pytest.raises(MediaError, match=r"^“short.pdf” has 3 pages, and no page 7: choose among those\.$"):
        drawn(path, "1,7")


def test_a_page_without_end_costs_that_page_alone_and_little_memory(write: Write) -> None:
    most = 0
    over = threading.Event()
    here = psutil.Process()

    def watch() -> None:
        nonlocal most
        while not over.wait(0.02):
            for child in here.children():
                with suppress(psutil.NoSuchProcess):
                    if not any("document_decoder" in word for word in child.cmdline()):
                        continue  # another test's
                    most = max(most, child.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        lost, good = drawn(write("endless.pdf", endless()), limits=Limits(page_seconds=1, document_memory=150 << 20))
    finally:
        over.set()
        watcher.join()
    assert lost.picture is None and lost.number == 1
    assert re.match(r"Page 1 of “endless.pdf” (takes too long to draw|can't be drawn)\.$", lost.note)
    assert good.picture is not None and corner_names(good.picture) == list(CORNERS)
    assert 0 < most < 200e6


def test_a_picture_that_unpacks_to_a_hundred_megabytes_costs_its_page_at_most(write: Write) -> None:
    _, good = drawn(write("bomb.pdf", image_bomb(10_000)), limits=Limits(document_memory=100 << 20))
    assert good.picture is not None and corner_names(good.picture) == list(CORNERS)


FAKE = """
import json, os, struct, sys
open(__file__ + ".starts", "a").write("x")
def send(record, raw=b""):
    head = json.dumps(record).encode()
    sys.stdout.buffer.write(struct.pack(">I", len(head)) + head + raw)
    sys.stdout.buffer.flush()
send({"pages": 6})
numbers = [n for first, last in json.loads(sys.argv[1])["spans"] for n in range(first, last + 1)]
for drawn, n in enumerate(numbers):
    if n == 5 or drawn == 2: os.abort()
    send({"page": n, "points": [9, 9], "dpi": 99, "width": 1, "height": 1, "bytes": 3}, b"abc")
send({"end": True})
"""


@pytest.fixture
def starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In place of PDFium something that dies of page 5 and after two pages; where it writes a letter for each start."""
    script = tmp_path / "decoder.py"
    script.write_text(FAKE)
    monkeypatch.setattr(decoder_process, "DOCUMENT_DECODER", script)
    return tmp_path / "decoder.py.starts"


def test_a_process_that_dies_late_is_not_held_against_the_page(write: Write, starts: Path) -> None:
    """What earlier pages left in memory may be why: that page gets a process of its own."""
    found = list(Document(write("six.pdf", GOOD), "six.pdf", Limits()).pages(range(1, 7)))
    assert [page.number for page in found] == [1, 2, 3, 4, 5, 6] and len(starts.read_text()) == 4
    assert [page.note for page in found if page.picture is None] == ["Page 5 of “six.pdf” can't be drawn."]


def test_a_page_that_is_lost_refuses_the_question_or_is_said(write: Write, starts: Path, tmp_path: Path) -> None:
    files = [(write("six.pdf", GOOD), "six.pdf")]
    with pytest.raises(MediaError, match=r"^Page 5 of “six.pdf” can't be drawn: leave it out\.$"):
        with_pages(files, tmp_path, Limits())
    found, notes = with_pages(files, tmp_path, Limits(), PageChoice(partly=True))
    assert [name for _, name in found] == [f"six.pdf page {n}" for n in (1, 2, 3, 4, 6)]
    assert notes == ["Page 5 of “six.pdf” can't be drawn."]


def test_pages_that_nobody_takes_are_not_drawn(write: Write, children: list[Any]) -> None:
    path = write("long.pdf", pdf([quarters() for _ in range(500)]))
    with closing(Document(path, path.name, SMALL).pages(range(1, 501))) as some:
        assert [page.number for page in itertools.islice(some, 3)] == [1, 2, 3]
    assert children and all(process.returncode is not None for process in children)
    assert not any("long.pdf" in word or "hidden-folder" in word for process in children for word in process.args)


def test_drawing_stops_once_nobody_waits(write: Write) -> None:
    stop = Stop()
    with closing(Document(write("a.pdf", GOOD), "a.pdf", SMALL, stop).pages((1, 2, 3))) as some:
        next(some)
        stop.set()
        with pytest.raises(Stopped):
            list(some)


# --- a question's files ---------------------------------------------------------------------------------------------


def test_pages_stand_in_a_questions_files_where_their_document_stood(write: Write, tmp_path: Path) -> None:
    files = [(write("a.png", encoded(corners(), "PNG")), "a.png"), (write("b.pdf", GOOD), "b.pdf")]
    files.append((write("c.png", encoded(corners(), "PNG")), "c.png"))
    found, notes = with_pages(files, tmp_path, SMALL, PageChoice(PageRange.parse("2-")))
    assert not notes
    media, bad = attach_all(found, Limits())
    assert [one.name for one in media] == ["a.png", "b.pdf page 2", "b.pdf page 3", "c.png"] and not bad


def test_more_pages_than_a_question_holds(write: Write, tmp_path: Path) -> None:
    limits = replace(SMALL, files_per_turn=4)
    files = [(write("a.png", encoded(corners(), "PNG")), "a.png"), (write("b.pdf", pdf([quarters()] * 9)), "b.pdf")]
    with pytest.raises(MediaError) as caught:
        with_pages(files, tmp_path, limits, PageChoice(fewer="choose some"))
    assert str(caught.value) == "“b.pdf” has 9 pages to look at, and a question holds at most 4 pictures: choose some."
    found, notes = with_pages(files, tmp_path, limits, PageChoice(partly=True))
    assert [name for _, name in found] == ["a.png", "b.pdf page 1", "b.pdf page 2", "b.pdf page 3"]
    assert notes == ["Pages 1-3 of the 9 pages of “b.pdf” fit into one question."]


def test_a_document_that_takes_too_long_in_all_is_refused(write: Write, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"“b.pdf” takes too long to draw"):
        with_pages([(write("b.pdf", GOOD), "b.pdf")], tmp_path, Limits(document_seconds=0))


def test_a_page_that_cannot_be_written_is_no_fault_of_the_document(write: Write, tmp_path: Path) -> None:
    with pytest.raises(NoRoom, match=r"^“b.pdf” can't be drawn, since no file can be written here"):
        with_pages([(write("b.pdf", GOOD), "b.pdf")], tmp_path / "gone", Limits())
