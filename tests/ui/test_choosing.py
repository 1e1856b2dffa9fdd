"""What there is to choose of an attached file, and what is made of it; whatever a stranger sends in its place."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ovis_app.media.file_store import FileStore
from ovis_app.media.incoming_file import FULL, NoRoom
from tests.media.made import CORNERS, clip, corner_names, number_of, numbered
from tests.media.made_pdf import Sheet, pdf, quarters
from tests.ui.serving import EXAMPLES, Served, Wire

SHAPES = EXAMPLES / "shapes.png"


def named(wire: Wire, name: str, asked: dict[str, Any]) -> dict[str, Any]:
    """One of the endpoints of the page's modules."""
    body = {"data": [{"session": wire.session, **asked}], "session_hash": wire.session}
    return dict(wire.http.post(f"/run/{name}", json=body).json()["data"][0])


def picture(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


@pytest.fixture
def film(wire: Wire, tmp_path: Path) -> str:
    """Thirty frames at ten a second, which carry their numbers."""
    return wire.upload(clip(tmp_path / "film.mp4", map(numbered, range(30))))


@pytest.fixture
def report(wire: Wire, tmp_path: Path) -> str:
    """Fourteen pages, of which the second one is long."""
    (tmp_path / "report.pdf").write_bytes(pdf([quarters(), Sheet(100, 400), *[quarters()] * 12]))
    return wire.upload(tmp_path / "report.pdf")


def test_the_moments_of_a_clip_are_those_that_its_question_shows(wire: Wire, film: str) -> None:
    part = {"frames": 5, "excerpt": {"start": 1, "end": 2, "dropped": [1.3]}}
    seen = named(wire, "moments", {"upload": film, **part})
    assert [number_of(picture(one["picture"]).convert("RGB")) for one in seen["frames"]] == [11, 15, 17, 19]
    assert [one["time"] for one in seen["frames"]] == pytest.approx([1.1, 1.5, 1.7, 1.9])
    assert seen["duration"] == pytest.approx(3.0)
    wire.ask("what happens?", [film], ovis={"details": [part]})
    wire.ask("and then?", ovis={"details": [part]}, media_io_kwargs={"video": {"num_frames": 2}})
    for request in wire.served.backend.requests[-2:]:  # as it was sent, whatever is set later
        detail = request.conversation.messages[0].media[0].detail
        assert (detail.frames, detail.excerpt.start, detail.excerpt.end) == (5, 1.0, 2.0)
        assert detail.excerpt.dropped == (1.3,)


def test_pages_are_seen_small_and_come_as_they_are_chosen(wire: Wire, report: str) -> None:
    seen = named(wire, "pages", {"upload": report})
    assert seen["count"] == 14 and [one["page"] for one in seen["pages"]] == list(range(1, 13))
    assert corner_names(picture(seen["pages"][0]["picture"])) == list(CORNERS)
    assert max(picture(seen["pages"][0]["picture"]).size) <= 200
    assert [one["page"] for one in named(wire, "pages", {"upload": report, "first": 13})["pages"]] == [13, 14]
    assert named(wire, "pages", {"upload": report, "first": 99})["pages"] == []
    chosen = named(wire, "bring", {"upload": report, "pages": "14,2-3", "dpi": 72})
    assert [one["page"] for one in chosen["files"]] == [14, 2, 3]
    drawn = wire.http.get(f"/file={chosen['files'][1]['path']}").content
    assert Image.open(io.BytesIO(drawn)).size == (100, 400)
    assert "report.pdf page 14" in wire.ask("read it", [one["path"] for one in chosen["files"]])["text"]


HOSTILE: list[tuple[str, dict[str, Any]]] = [
    ("moments", {"frames": 0}),
    ("moments", {"frames": -1}),
    ("moments", {"frames": 1e300}),
    ("moments", {"frames": 2.5}),
    ("moments", {"frames": "8"}),
    ("moments", {"frames": 4, "excerpt": []}),
    ("moments", {"frames": 4, "excerpt": {"start": -1}}),
    ("moments", {"frames": 4, "excerpt": {"start": 2, "end": 1}}),
    ("moments", {"frames": 4, "excerpt": {"start": 1, "end": 1}}),
    ("moments", {"frames": 4, "excerpt": {"start": float("nan")}}),
    ("moments", {"frames": 4, "excerpt": {"start": 0, "end": float("inf")}}),
    ("moments", {"frames": 4, "excerpt": {"start": True}}),
    ("moments", {"frames": 4, "excerpt": {"start": 50}}),
    ("moments", {"frames": 4, "excerpt": {"dropped": "all"}}),
    ("moments", {"frames": 4, "excerpt": {"dropped": [0.1] * 257}}),
    ("moments", {"frames": 4, "excerpt": {"dropped": [None]}}),
    ("moments", {"upload": "/etc/passwd"}),
    ("moments", {"upload": "\0"}),
    ("moments", {"upload": ["x"]}),
    ("pages", {}),  # a clip is no document
    ("pages", {"first": 0}),
    ("pages", {"first": -3}),
    ("pages", {"first": 1e9}),
    ("pages", {"first": "1"}),
    ("pages", {"first": True}),
    ("bring", {"pages": "3-1"}),
    ("bring", {"pages": "0"}),
    ("bring", {"pages": "1," * 200}),
    ("bring", {"pages": "x" * 5000}),
    ("bring", {"pages": 3}),
    ("bring", {"dpi": 1}),
    ("bring", {"dpi": 10**9}),
    ("bring", {"dpi": float("nan")}),
    ("bring", {"dpi": True}),
]


@pytest.mark.parametrize(("name", "asked"), HOSTILE, ids=range(len(HOSTILE)))
def test_what_cannot_be_chosen_is_told_in_a_sentence(wire: Wire, film: str, name: str, asked: dict[str, Any]) -> None:
    body = json.dumps({"data": [{"session": wire.session, "upload": film, **asked}], "session_hash": wire.session})
    answer = wire.http.post(f"/run/{name}", content=body, headers={"content-type": "application/json"}).json()
    told = answer["data"][0]["refused"] if "data" in answer else answer["error"]
    assert told.endswith(".") and len(told) < 200 and "/" not in told.replace("/gradio_api/info", "")


def test_pages_that_are_not_there_are_told_by_their_numbers(wire: Wire, report: str) -> None:
    assert "no page 15" in named(wire, "bring", {"upload": report, "pages": "2,15"})["refused"]


def test_a_file_of_another_session_is_not_there(server: Served, wire: Wire, film: str, report: str) -> None:
    assert "frames" in named(wire, "moments", {"upload": film, "frames": 1})
    assert "pages" in named(wire, "pages", {"upload": report})
    stranger = Wire(server)
    for name, upload in (("moments", film), ("pages", report), ("bring", film)):
        assert "no longer here" in named(stranger, name, {"upload": upload})["refused"]
    stranger.close()


def test_a_choice_that_makes_no_sense_refuses_the_question(wire: Wire, film: str) -> None:
    before = len(wire.served.backend.requests)
    for part in ({"start": -1}, {"start": 3, "end": 2}, {"dropped": [-1]}, "x"):
        failed = wire.ask("what?", [film], ovis={"details": [{"excerpt": part}]})
        assert failed["kind"] == "failed" and failed["sentence"].endswith(".")
        wire.said = []
    assert len(wire.served.backend.requests) == before


def test_of_a_document_that_finds_no_room_no_page_stays(
    wire: Wire, report: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = list[Path]()

    def put(self: FileStore, *given: Any) -> Path:
        if len(kept) == 2:
            raise NoRoom(FULL)
        kept.append(whole(self, *given))
        return kept[-1]

    whole = FileStore.put
    monkeypatch.setattr(FileStore, "put", put)
    assert named(wire, "bring", {"upload": report, "pages": "1-3"})["refused"] == FULL
    assert len(kept) == 2 and not any(path.exists() for path in kept)
