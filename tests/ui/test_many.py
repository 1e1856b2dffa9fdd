"""Many questions of a table, as the page asks for them: by the rules of `ovis batch`, whatever a stranger sends."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ovis_app import json_check
from tests.media.made_pdf import pdf, quarters
from tests.ui.serving import EXAMPLES, Wire
from tests.ui.test_choosing import named

SHAPES = EXAMPLES / "shapes.png"


def rows(wire: Wire, folder: Path, content: str, *, name: str = "in.csv", **asked: Any) -> dict[str, Any]:
    (folder / "in").write_text(content, encoding="utf-8")
    return named(wire, "rows", {"upload": wire.upload(folder / "in"), "name": name, "files": [], **asked})


def test_a_table_is_read_as_the_command_reads_it(wire: Wire, tmp_path: Path) -> None:
    table = "ID;Bild;Farbe;image\r\nx;1;rot;C:\\Bilder\\A.PNG\r\ny;2;blau;gone.png\r\n"
    found = rows(wire, tmp_path, table, files=["Bilder/a.png"], template="Is it {farbe}?")
    first, second = found["rows"]
    assert first == {
        "id": "x", "prompt": "Is it rot?", "turns": [{"role": "user", "text": "Is it rot?", "files": ["Bilder/a.png"]}],
    }  # fmt: skip
    assert second["turns"] == [] and "no file “gone.png” among those that were given" in second["problem"]
    kinds = {one["name"]: one["kind"] for one in found["columns"]}
    assert kinds == {"ID": "id", "Bild": "ignored", "Farbe": "template", "image": "files"}


def test_another_column_can_name_the_pictures(wire: Wire, tmp_path: Path) -> None:
    table = "Datei,prompt\na.png,What?\n"
    refused = rows(wire, tmp_path, table, files=["a.png"], name="../f\u00fcr/in.csv")
    assert "which isn't read: call the column image" in refused["refused"]
    assert refused["columns"] == [{"name": "Datei", "kind": "ignored"}, {"name": "prompt", "kind": "prompt"}]
    [row] = rows(wire, tmp_path, table, files=["a.png"], pictures="Datei")["rows"]
    assert row["turns"][0]["files"] == ["a.png"]


def test_pictures_without_a_table_are_asked_about_one_by_one(wire: Wire) -> None:
    found = named(wire, "rows", {"files": ["b.png", "a.png"], "template": "What is {file}?"})
    assert [one["prompt"] for one in found["rows"]] == ["What is b.png?", "What is a.png?"]
    assert found["columns"] == []


@pytest.mark.parametrize(
    ("given", "wanted", "named"),
    [
        (["a.png"], "/data/x/A.png", "a.png"),
        (["set/x/a.png"], "x\\a.png", "set/x/a.png"),
        (["a\u0308.png"], "ä.png", "a\u0308.png"),
        (["x/a.png", "y/a.png"], "y/a.png", "y/a.png"),
        (["a.png", "x/a.png"], "a.png", "a.png"),
        (["x/a.png", "y/a.png"], "a.png", None),
        (["x/a.png"], "y/a.png", None),
        (["a.png"], "a.jpg", None),
        (["a.png"], "https://example.org/a.png", None),
        (["a.png"], "/", None),
        ([], "/etc/passwd", None),
    ],
)
def test_a_row_is_never_asked_with_another_file(
    wire: Wire, tmp_path: Path, given: list[str], wanted: str, named: str | None
) -> None:
    line = json.dumps({"prompt": "What?", "image": wanted})
    [row] = rows(wire, tmp_path, line, name="in.jsonl", files=given)["rows"]
    assert [file for turn in row["turns"] for file in turn["files"]] == ([named] if named else [])
    assert bool(row.get("problem")) == (named is None)


@pytest.mark.parametrize(
    ("content", "asked", "said"),
    [
        ("prompt\n" + "What?\n" * 5001, {}, "more than 5,000 rows"),
        (",".join(["prompt"] * 101) + "\n" + "x," * 100 + "x\n", {}, "at most 100 are read"),
        ("prompt\n" + "x" * 4_000_000, {}, "larger than 4 MB"),
        ("a\n" + "x" * 100_000 + "\n", {"template": "{a}{a}{a}"}, "more than 200,000 characters"),
        (("a\n" + "x" * 90_000 + "\n") + "y\n" * 4_000, {"template": "{a}" + "z" * 19_000}, "8,000,000 characters"),
        ("prompt\nWhat?\n", {"template": "{b}"}, "no column “b”"),
        ("prompt\nWhat?\n", {"template": "{"}, "lone brace"),
        ("prompt\nWhat?\n", {"template": 7}, "must be text"),
        ("prompt\nWhat?\n", {"files": ["a"] * 5001}, "At most 5,000 files"),
        ("prompt\nWhat?\n", {"files": [""]}, "no table of questions"),
        ("prompt\nWhat?\n", {"name": "in.xlsx"}, "save it as one of these"),
        ("prompt\nWhat?\n", {"upload": "/etc/passwd"}, "no longer here"),
        ("x\n1\n", {}, "No column of in.csv is known"),
    ],
)
def test_what_is_no_table_of_questions_is_a_sentence(
    wire: Wire, tmp_path: Path, content: str, asked: dict[str, Any], said: str
) -> None:  # fmt: skip
    assert said in rows(wire, tmp_path, content, **asked)["refused"]


def test_a_list_in_a_cell_is_no_program(wire: Wire, tmp_path: Path) -> None:
    for cell in ("[" + "-" * 19_000 + "1]", "[" * 9_000 + "]" * 9_000, "[" + "(" * 9_000, "['a.png'*99999999]"):
        row = json.dumps({"prompt": "What?", "image": cell})
        [found] = rows(wire, tmp_path, row, name="in.jsonl", files=["a.png"])["rows"]
        assert found["problem"]


def test_files_stand_where_their_tags_do(wire: Wire) -> None:
    found = named(wire, "rows", {"files": ["a.png"], "template": "First <image>, then?"})
    [turn] = found["rows"][0]["turns"]
    assert (turn["text"], turn["places"]) == ("First , then?", [6])
    wire.ask(turn["text"], [wire.upload(SHAPES)], ovis={"places": turn["places"]})
    message = wire.served.backend.requests[-1].conversation.messages[-1]
    assert (message.text, message.media[0].place) == ("First , then?", 6)
    assert "places" in str(wire.ask("x", ovis={"places": [-1]}))


def test_a_document_is_asked_about_as_a_whole_or_not(wire: Wire, tmp_path: Path) -> None:
    (tmp_path / "long.pdf").write_bytes(pdf([quarters()] * 20))
    upload = wire.upload(tmp_path / "long.pdf")
    assert len(named(wire, "bring", {"upload": upload})["files"]) < 20  # as a person sees at once, in the box
    assert "20 pages" in named(wire, "bring", {"upload": upload, "whole": True})["refused"]
    assert len(named(wire, "bring", {"upload": upload, "whole": True, "pages": "19-"})["files"]) == 2


SCHEMA = json.dumps({"type": "object", "properties": {"count": {"type": "integer"}}, "required": ["count"]})


@pytest.mark.parametrize(
    ("schema", "answer", "key", "said"),
    [
        (SCHEMA, None, "wanted", "Answer with JSON alone"),
        (SCHEMA, 'Here: {"count": 3}', "data", '{"count": 3}'),
        (SCHEMA, '{"count": "\\ud800"}', "unfit", "at $.count"),
        ("{}", '{"count": "\\ud800"}', "data", "ud800"),
        ("{}", "1e999", "unfit", "too large"),
        (SCHEMA, "three", "again", "Answer again, with JSON alone"),
        ("{", None, "refused", "The schema is not JSON"),
        ('{"type": "thing"}', None, "refused", "The schema is no JSON Schema"),
        ('{"$ref": "https://example.org/x"}', None, "refused", "isn't in it"),
        (7, None, "refused", "no table of questions"),
        ("x" * 300_000, None, "refused", "shorten it"),
    ],
)  # fmt: skip
def test_an_answer_is_checked_by_the_schema_that_came_along(
    wire: Wire, schema: object, answer: str | None, key: str, said: str
) -> None:
    assert said in named(wire, "fits", {"schema": schema, "answer": answer})[key]


def test_a_schema_that_would_be_tried_for_years_ends(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_check, "BOUNDS", replace(json_check.BOUNDS, seconds=1.5))
    began = time.monotonic()
    schema = json.dumps({"type": "string", "pattern": "^(a+)+$"})
    assert "takes too long" in named(wire, "fits", {"schema": schema, "answer": json.dumps("a" * 60 + "b")})["refused"]
    assert time.monotonic() - began < 30
