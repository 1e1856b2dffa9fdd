"""A page as Markdown, asked over HTTP: numbered frames that lead to the same text, figures that can be fetched, and a
sentence for whatever else comes."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ovis_app import zoo
from ovis_app.backends.fake import FakeBackend
from ovis_app.conversation import Conversation, Detail, Media, Message, Stats
from ovis_app.errors import BackendError
from ovis_app.generation import Answer, Done, Event, GenerationSettings, Request
from ovis_app.limits import Limits
from ovis_app.media.file_store import FileStore
from ovis_app.ui.page_reading import reading
from tests.ui.serving import EXAMPLES, Wire

SHAPES = EXAMPLES / "shapes.png"
FIGURE = '<img src="images/bbox_0_0_500_250.jpg" />'


class Script(FakeBackend):
    """Says these pieces of any page. Knows what was asked."""

    def __init__(self, *pieces: str | Exception, model: zoo.ModelSpec = zoo.MINI) -> None:
        super().__init__(model=model)
        self.pieces = pieces

    def stream(self, request: Request) -> Iterator[Event]:
        self.requests.append(request)
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            yield Answer(piece)
        yield Done("end", Stats(answer_tokens=9))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FileStore]:
    made = FileStore(tmp_path / "files", Limits())
    yield made
    made.close()


def read(backend: FakeBackend, store: FileStore, *files: Media, **settings: Any) -> list[dict[str, Any]]:
    asked = Request(Conversation((Message("user", "", files),)), GenerationSettings(**settings))
    return [frame for several in reading(backend, asked, store, "page:abcdefgh", Limits()) for frame in several]


def page(**fields: Any) -> Media:
    return Media("image", SHAPES, "bill.pdf page 3", **fields)


def shown(frames: list[dict[str, Any]]) -> str:
    """The text as a browser puts it together, which counts in UTF-16."""
    said = b""
    for frame in frames:
        if frame["kind"] == "grown":
            said = said[: 2 * frame["from"]] + frame["text"].encode("utf-16-le")
    return said.decode("utf-16-le")


def test_a_page_grows_cleaned_up_and_its_figures_are_there_in_the_end(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ovis_app.ui.page_reading.UPDATE_SECONDS", 0)
    pieces = ["# 😀 Bill\n\n<scr", "ipt>x\n\n", FIGURE[:20], FIGURE[20:], "\n\nend <td onclick=x>"]
    frames = read(Script(*pieces), store, page())
    *grown, last = frames
    assert last["kind"] == "read" and last["notes"] == [] and last["stats"]["answer_tokens"] == 9
    [figure] = last["figures"]
    assert last["text"] == f'# 😀 Bill\n\n< script>x\n\n<img src="{figure["name"]}" alt="Figure 1">\n\nend <td>'
    assert shown(grown) == last["text"], "what grew is what it is in the end"
    texts = [shown(grown[: place + 1]) for place in range(len(grown))]
    assert not any("<scr" in text or "bbox" in text or text.endswith("<img") for text in texts)
    assert last["part"].startswith("<!-- bill.pdf page 3 -->\n\n# 😀 Bill")
    whole, part = (Image.open(one) for one in (SHAPES, BytesIO(Path(figure["path"]).read_bytes())))
    assert part.format == "JPEG" and part.size == (whole.width // 2, whole.height // 4)
    with pytest.raises(Exception, match="no longer here"):
        store.claim(Path(figure["path"]), "page:somebodyelse")


LINES = "a//b/./c 😀\n" + "".join(f"/line {n} of 😀\n" for n in range(600))


@pytest.mark.parametrize("pieces", [["```markdown\n/home of", " 😀\n```"], [LINES, "😀..😁" * 3, "😀..😁" * 6]])
def test_what_changes_behind_is_told_from_where_it_changes(
    store: FileStore, monkeypatch: pytest.MonkeyPatch, pieces: list[str]
) -> None:
    monkeypatch.setattr("ovis_app.ui.page_reading.UPDATE_SECONDS", 0)
    *grown, last = read(Script(*pieces), store, page())
    assert last["kind"] == "read" and shown(grown) == last["text"]
    assert last["text"] in ("/home of 😀", LINES + "😀..😁")


def test_the_model_is_asked_in_its_own_words_without_chance_or_thought(store: FileStore) -> None:
    backend = Script("text", model=zoo.resolve("Ovis2.5-2B"))
    asked = {"temperature": 1.0, "thinking": True, "max_new_tokens": 7, "max_pixels": 500_000, "system": "Be funny."}
    read(backend, store, page(detail=Detail(max_pixels=9_000)), **asked)
    (request,) = backend.requests
    (question,) = request.conversation.messages
    assert question.text == zoo.resolve("Ovis2.5-2B").reading and "Format tables as HTML" in question.text
    assert request.settings == GenerationSettings(max_new_tokens=16_384, max_pixels=500_000)
    assert question.media[0].detail.max_pixels == 500_000, "as the settings say now, not as it was once attached"


def test_a_page_that_repeats_itself_for_ever_is_cut_and_that_is_said(store: FileStore) -> None:
    ended = []

    class Endless(Script):
        def stream(self, request: Request) -> Iterator[Event]:
            try:
                yield Answer("".join(f"line {n} of the page\n" for n in range(500)))
                while True:
                    yield Answer("and so on, ")
            finally:
                ended.append(True)

    last = read(Endless(), store, page())[-1]
    assert last["kind"] == "read" and last["text"].count("and so on") == 1 and "line 499" in last["text"]
    assert last["notes"] == ["This page repeats itself at its end, which was cut."] and ended == [True]


def test_what_fails_is_a_sentence(store: FileStore) -> None:
    tired = read(Script("half", BackendError("The model is tired: try again.")), store, page())[-1]
    assert tired["kind"] == "failed" and tired["sentence"] == "The model is tired: try again."
    broken = read(Script(RuntimeError("scripted")), store, page())[-1]
    assert broken["kind"] == "failed" and "scripted" not in broken["sentence"]
    for files in [(), (page(), page()), (Media("video", EXAMPLES / "clip.mp4"),)]:
        assert "reload the page" in read(Script("x"), store, *files)[-1]["sentence"]


def test_figures_that_cannot_all_be_kept_are_not_named_and_do_not_stay(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, kept = store.put, list[Path]()

    def full(*given: Any) -> Path:
        if kept:
            raise BackendError("full")
        kept.append(put(*given))
        return kept[0]

    monkeypatch.setattr(store, "put", full)
    last = read(Script(f"before {FIGURE} behind {FIGURE.replace('_0_500', '_9_500')}"), store, page())[-1]
    assert "before" in last["text"] and "<img" not in last["text"] + last["part"] and last["figures"] == []
    assert last["notes"] == ["This page has figures that can't be kept here."]
    assert kept and not kept[0].exists()


def test_stop_is_heard_between_two_figures_and_keeps_none(store: FileStore) -> None:
    asked = Request(Conversation((Message("user", "", (page(),)),)), GenerationSettings())
    steps = reading(Script(FIGURE, FIGURE.replace("_0_500", "_9_500")), asked, store, "page:abcdefgh", Limits())
    assert store.folder is not None
    while not (files := list(store.folder.rglob("*.jpg"))):
        assert not any(frame["kind"] == "read" for frame in next(steps)), "all at once"
    steps.close()
    assert len(files) == 1 and not files[0].exists()


def test_a_page_is_read_over_http_and_a_figure_is_nobody_elses(wire: Wire) -> None:
    asked = wire.asked("anything", [wire.upload(EXAMPLES / "word.png")])
    frames = list(wire.frames(str(wire.join(asked, of="reads").json()["event_id"]), of="reads"))
    assert [one["seq"] for one in frames] == list(range(len(frames)))
    assert frames[0]["kind"] == "begun" and frames[-1]["kind"] == "read"
    assert frames[-1]["text"] == "You said: What does the text say? (with word.png)"


@pytest.mark.parametrize("asked", [{}, [], "x", {"session": "a"}, {"session": "abcdefgh", "request": 3}])
def test_what_is_no_question_is_refused(wire: Wire, asked: Any) -> None:
    said = wire.join(asked, of="reads")
    if said.status_code == 200:
        last = list(wire.frames(str(said.json()["event_id"]), of="reads"))[-1]
        assert last["kind"] == "failed" and last["sentence"].endswith(".")
    else:
        assert said.status_code == 400 and said.json()["error"].endswith(".")
