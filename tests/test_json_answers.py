"""Answers in a wanted shape: asked for, taken out of what was said, and an error that says where one doesn't fit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from ovis_app.backends.fake import FakeBackend
from ovis_app.cli import main
from ovis_app.conversation import Conversation, Message, Seen, Stats
from ovis_app.generation import Answer, Done, Request
from ovis_app.json_answers import JsonAnswers, SchemaRefused, Unfit

SCHEMA = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "blue"]}, "parts": {"type": "array", "items": {"$ref": "#/$defs/part"}}},
    "required": ["colour"],
    "$defs": {"part": {"type": "integer"}},
}
QUESTION = Conversation((Message("user", "What?"),))


@pytest.fixture
def schema(tmp_path: Path) -> Path:
    path = tmp_path / "shape.json"
    path.write_text(json.dumps(SCHEMA))
    return path


@pytest.mark.parametrize(
    "said",
    [
        '{"colour": "red"}',
        ' \n{"colour": "red"}\n',
        '```json\n{"colour": "red"}\n```',
        'Here:\n```\n{"colour": "red"}\n```\nDone.',
        '```json\n{"colour": "red"}',
        'It is [red], so {"colour": "red"} it is.',
        'First {"colour": "green"}, no: {"colour": "red"}',
    ],
)
def test_json_is_taken_out_of_what_was_said(schema: Path, said: str) -> None:
    assert JsonAnswers.read(schema).data(said) == {"colour": "red"}


@pytest.mark.parametrize(
    ("said", "where"),
    [
        ("red", "is not JSON"),
        ("", "is not JSON"),
        ('{"colour": "red"', "is not JSON"),
        ('{"colour": NaN}', "is not JSON"),
        ('{"colour": "green"}', r"at \$.colour: 'green' is not one of"),
        ('{"colour": "red", "parts": [1, "2"]}', r"at \$.parts\[1\]"),
        ("{}", "'colour' is a required property"),
        ('["' + "x" * 5_000 + '"]', "…"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_what_does_not_fit_is_a_sentence_that_says_where(schema: Path, said: str, where: str) -> None:
    with pytest.raises(Unfit, match=where) as refused:
        JsonAnswers.read(schema).data(said)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"type": "strin"}', r"no JSON Schema at \$.type"),
        ('{"type": "object", "properties": [1]}', r"\$.properties"),
        ("[1]", "no JSON Schema"),
        ("3", "must be an object"),
        ('{"$schema": 5}', "no JSON Schema"),
        ("{", "not JSON in UTF-8: line 1, column 2"),
        ('{"a": ' * 5_000, "not JSON"),
        ('{"properties": {"a": {"pattern": "("}}}', r"at \$.properties.a.pattern"),
        ('{"properties": {"a": {"$ref": "http://127.0.0.1:9/x.json"}}}', "refers to http://127.0.0.1:9/x.json"),
        ('{"properties": {"a": {"$ref": "#/$defs/gone"}}}', "refers to"),
        ('{"$ref": "#"}', "refers to itself"),
        (json.dumps({"description": "x" * 300_000}), "shorten it"),
    ],
)
def test_a_schema_that_is_none_is_refused_before_anybody_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ovis_app.backends.open_backend", lambda *_, **__: pytest.fail("somebody was asked"))
    (tmp_path / "shape.json").write_text(content)
    with pytest.raises(SchemaRefused, match=said):
        JsonAnswers.read(tmp_path / "shape.json")
    assert main(["Hi", "--backend", "fake", "--schema", str(tmp_path / "shape.json")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_schema_of_an_older_draft_and_one_that_is_recursive_are_taken(tmp_path: Path) -> None:
    node = {"type": "array", "items": {"$ref": "#/definitions/node"}}
    draft = "http://json-schema.org/draft-07/schema#"
    tree = {"$schema": draft, "definitions": {"node": node}, "$ref": "#/definitions/node"}
    (tmp_path / "tree.json").write_text("\ufeff" + json.dumps(tree), encoding="utf-8")
    assert JsonAnswers.read(tmp_path / "tree.json").data("[[], [[]]]") == [[], [[]]]


@pytest.mark.parametrize(
    "schema",
    [
        {"enum": [{"$ref": "x"}, {}], "default": {"$ref": "#/nowhere"}, "properties": {"$ref": {"type": "string"}}},
        {
            "properties": {"home": {"$ref": "#/$defs/place"}, "work": {"$ref": "https://example.org/place"}},
            "$defs": {
                "place": {
                    "$id": "https://example.org/place",
                    "properties": {"street": {"$ref": "#/$defs/street"}, "town": {"$ref": "place#/$defs/street"}},
                    "$defs": {"street": {"type": "string"}},
                }
            },
        },
        {"$id": "https://example.org/a.json", "$ref": "a.json#name", "$defs": {"n": {"$anchor": "name", "enum": [{}]}}},
        {"$id": "urn:example:a", "properties": {"a": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"type": "string"}}},
    ],
    ids=["data", "a schema within it", "an anchor", "a urn"],
)
def test_what_a_schema_refers_to_is_looked_for_where_it_says(tmp_path: Path, schema: object) -> None:
    file = tmp_path / "schema.json"
    file.write_text(json.dumps(schema))
    assert JsonAnswers.read(file).data("{}") == {}


def test_who_answers_in_another_shape_is_told_why_and_asked_once_more(schema: Path) -> None:
    heard: list[list[Conversation]] = []

    def model(asked: Sequence[Conversation], system: str) -> list[Message]:
        heard.append(list(asked))
        said = ['{"colour": "red"}', "green", "blue"] if len(heard) == 1 else ['{"colour": "blue"}', "no"]
        return [Message("assistant", text, finish="end") for text in said]

    first, second, third = JsonAnswers.read(schema).answerer(model)([QUESTION] * 3, "")
    assert (first.text, first.error) == ('{"colour": "red"}', "")
    assert (second.text, second.error) == ('{"colour": "blue"}', "")
    assert third.text == "no" and "not JSON" in third.error and third.finish == "error"
    assert [len(asked) for asked in heard] == [3, 2]
    assert "JSON Schema" in heard[0][0].messages[0].text and '"colour"' in heard[0][0].messages[0].text
    said, told = heard[1][0].messages[1:]
    assert said.text == "green" and "not JSON" in told.text and "Answer again" in told.text


def test_who_is_asked_once_more_has_seen_what_the_question_shows(schema: Path) -> None:
    seen = (Seen("a.png", 8, 8, 90, 90),)
    said = iter([("green", seen), ('{"colour": "blue"}', ())])

    def model(asked: Sequence[Conversation], system: str) -> list[Message]:
        text, looked_at = next(said)
        return [Message("assistant", text, finish="end", stats=Stats(prompt_tokens=7, seen=looked_at))]

    [answer] = JsonAnswers.read(schema).answerer(model)([QUESTION], "")
    assert answer.text == '{"colour": "blue"}' and answer.stats == Stats(prompt_tokens=7, seen=seen)


def test_a_failed_answer_is_not_asked_again(schema: Path) -> None:
    failed = Message("assistant", error="The model failed.", finish="error")
    calls = []

    def model(asked: Sequence[Conversation], system: str) -> list[Message]:
        calls.append(asked)
        return [failed]

    assert JsonAnswers.read(schema).answerer(model)([QUESTION], "") == [failed] and len(calls) == 1


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """The script answers in the shape, but for `Odd`, whose second answer doesn't fit either."""
    asked: list[Request] = []

    def script(_: FakeBackend, request: Request, start: float) -> object:
        asked.append(request)
        odd = any("Odd" in message.text for message in request.conversation.messages)
        return iter([Answer("green" if odd else '```json\n{"colour": "red"}\n```'), Done("end", Stats())])

    monkeypatch.setattr(FakeBackend, "_script", script)
    return asked


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_a_batch_holds_the_data(
    tmp_path: Path, schema: Path, answering: list[Request], suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.csv").write_text("id,prompt\na,Fine?\nb,Odd?\n")
    out = tmp_path / f"out{suffix}"
    command = ["batch", str(tmp_path / "in.csv"), "--backend", "fake", "--out", str(out)]
    assert main([*command, "--schema", str(schema)]) == 1
    assert len(answering) == 3, "the odd one was asked once more"
    err = capsys.readouterr().err
    assert "1 answered, 1 failed" in err and "not JSON" in err
    if suffix == ".jsonl":
        fine, odd = map(json.loads, out.read_text().splitlines())
        assert fine["data"] == {"colour": "red"} and fine["prompt"] == "Fine?"
        assert odd["data"] is None and "not JSON" in odd["error"] and odd["text"] == "green"
        return
    assert '{""colour"": ""red""}' in out.read_text()
    assert main(command) == 2 and "was begun with --schema" in capsys.readouterr().err


def test_one_question_prints_the_data_alone(
    schema: Path, answering: list[Request], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["Fine?", "--backend", "fake", "--schema", str(schema)]) == 0
    assert json.loads(capsys.readouterr().out) == {"colour": "red"}
    assert main(["Fine?", "--backend", "fake", "--schema", str(schema), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["data"] == {"colour": "red"}
    assert main(["Odd?", "--backend", "fake", "--schema", str(schema)]) == 1
    out, err = capsys.readouterr()
    assert out == "" and "not JSON" in err
