"""What people have as a batch: tables from everywhere, folders with everything in them. Each row is asked with its
files or fails, and what is no table is one sentence."""

from __future__ import annotations

import json
import os
import re
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ovis_app.batch_rows import Row, questions
from ovis_app.errors import BatchError
from ovis_app.prompt_template import Template


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b c.png", "d.png"):
        Image.new("RGB", (32, 32), "red").save(tmp_path / name)
    return tmp_path


def names(row: Row) -> list[str]:
    return [Path(name).name for name in row.media]


def table(folder: Path, name: str, content: str, encoding: str = "utf-8", **how: Any) -> list[Row]:
    (folder / name).write_bytes(content.encode(encoding))
    return list(questions(folder / name, **how).rows)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_tables_from_everywhere(folder: Path, separator: str, encoding: str) -> None:
    content = (
        separator.join(("ID", " Prompt ", "Image"))
        + "\r\n"
        + separator.join(("x", '"Wie, viele; ""Bären""?"', "a.png"))
    )
    [row] = table(folder, "in.csv", content + "\r\n", encoding)
    assert (row.id, row.prompt, names(row), row.problem) == ("x", 'Wie, viele; "Bären"?', ["a.png"], "")


@pytest.mark.parametrize(
    "content",
    [
        "sep=;\nprompt;image\nWhat?;a.png\n",
        "image\tprompt\ra.png\tWhat?\r",
        'prompt, image\n"What?", "a.png"\n',
        "\nprompt,image\n\nWhat?,a.png\n,\n",
    ],
)
def test_odd_tables(folder: Path, content: str) -> None:
    [row] = table(folder, "in.csv", content)
    assert (row.prompt, names(row)) == ("What?", ["a.png"])


@pytest.mark.parametrize("question", ["prompt", "Question", "QUERY", "text", "instruction"])
@pytest.mark.parametrize(
    "picture", ["image", "Images", "image_path", "image path", "Picture", "file", "file_name", "media"]
)
def test_names_that_people_give(folder: Path, question: str, picture: str) -> None:
    [row] = table(folder, "in.jsonl", json.dumps({question: "What?", picture: "a.png", "label": 3}))
    assert (row.prompt, names(row)) == ("What?", ["a.png"])
    assert questions(folder / "in.jsonl").ignored == ("label",)


@pytest.mark.parametrize(
    "files",
    [
        ["a.png", "a.png"], "a.png;a.png", [{"path": "a.png"}, {"file_name": "a.png", "bytes": None}],
        "['a.png', 'a.png']", '["a.png", "a.png"]', "a.png, a.png", [["a.png"], "a.png", ""],
    ],
)  # fmt: skip
def test_several_pictures_in_the_shapes_that_tables_have(folder: Path, files: object) -> None:
    [row] = table(folder, "in.jsonl", json.dumps({"prompt": "What?", "images": files, "image": "a.png"}))
    assert names(row) == ["a.png", "a.png"], "what another column names again is meant once"


@pytest.mark.parametrize(
    "name", ["b c.png", " a.png ", "./a.png", ".\\a.png", "file://{folder}/a.png", "{folder}/a.png"]
)
def test_a_file_is_found_as_it_is_named(folder: Path, name: str) -> None:
    [row] = table(folder, "in.jsonl", json.dumps({"prompt": "What?", "image": name.format(folder=folder)}))
    assert row.problem == "" and names(row)[0] in ("a.png", "b c.png")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"image": "gone.png"}, "no file “gone.png”"),
        ({"image": "https://example.org/a.png"}, "is an address"),
        ({"image": "data:image/png;base64,AAAA"}, "data URI"),
        ({"image": "."}, "is a folder"),
        ({"image": "a\0.png"}, "no file"),
        ({"image": 7}, "isn't given by its name"),
        ({"image": {"bytes": "AAAA"}}, "isn't given by its name"),
        ({"images": [[[[[["a.png"]]]]]]}, "isn't given by its name"),
        ({"images": ["a.png", "gone.png"]}, "gone.png"),
        ({"images": [], "prompt": "<image>What?"}, "has 1 <image> or <video> tag and 0 files: write one where each"),
        ({"images": ["a.png", "d.png"], "prompt": "<image>What?"}, "has 1 <image> or <video> tag and 2 files"),
        ({"image": "a.png", "prompt": "<image><video>"}, "has 2 <image> or <video> tags and 1 file: write"),
        ({"audio": "a.png", "prompt": ["x"]}, "prompt is no text"),
        ({"image_url": "http://example.org/a.png"}, "is an address"),
        ({"image": "", "prompt": ""}, "neither a prompt of its own nor a file"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages can't be read"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "image": 3}]}]}, "isn't given by its name"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "hold no question"),
        ({"messages": [{"role": "user", "content": "<image><image>x"}], "images": ["a.png"]}, "has 2 <image>"),
    ],
)
def test_a_row_that_names_a_file_is_never_asked_without_it(folder: Path, row: dict[str, Any], said: str) -> None:
    fine = {"id": "fine", "prompt": "What?", "image": "a.png"}
    content = "\n".join(map(json.dumps, ({"id": "odd", "prompt": "What?"} | row, fine)))
    odd, other = table(folder, "in.jsonl", content, prompt="Or what?")
    assert said in odd.problem and other.problem == ""


def test_a_row_that_cant_be_asked_keeps_its_prompt(folder: Path) -> None:
    [row] = table(folder, "in.csv", "Question,image\nWhat is it?,gone.png\n", prompt="Or what?")
    assert row.prompt == "What is it?" and "gone.png" in row.problem


@pytest.mark.parametrize("column", ["foto", "Thumbnail"])
def test_a_picture_in_a_column_that_is_not_read_is_refused_before_anything_runs(folder: Path, column: str) -> None:
    with pytest.raises(BatchError, match=f"Row 1 names “a.png” in the column {column}"):
        table(folder, "in.csv", f"prompt,{column}\nWhat?,a.png\n")
    [row] = table(folder, "in.csv", f"prompt,image,{column}\nWhat?,d.png,a.png\n")
    assert names(row) == ["d.png"]


def test_a_picture_anywhere_in_a_column_that_is_not_read_is_refused(folder: Path) -> None:
    for value in ({"picture": "a.png"}, [{"img": {"at": "a.png"}}], ["x", "a.png"]):
        with pytest.raises(BatchError, match="in the column inputs"):
            table(folder, "in.jsonl", json.dumps({"prompt": "What?", "inputs": value}))
    template = Template("Describe {thing}.")
    with pytest.raises(BatchError, match="in the column thing"):
        table(folder, "in.csv", "thing\na.png\n", template=template)
    [row] = table(folder, "in.csv", "thing\nnotes.pdf\n", template=template)
    assert row.prompt == "Describe notes.pdf." and row.problem == ""


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("in.jsonl", '{"prompt": "What?", "image": "d.png"}\n{"prompt": "What?", "image": "a.png", "image": ""}'),
        ("in.json", '[{"prompt": "What?", "image": "a.png", "image": ""}]'),
    ],
)
def test_a_name_that_stands_twice_is_refused_since_one_of_them_would_be_lost(
    folder: Path, name: str, content: str
) -> None:
    with pytest.raises(BatchError, match=r"^(Line 2|in\.json) has “image” twice in one object: leave"):
        table(folder, name, content)


def test_an_empty_cell_names_no_file(folder: Path) -> None:
    [row] = table(folder, "in.jsonl", '{"prompt": "What?", "image": "  ", "images": [null, ""]}')
    assert (row.media, row.problem) == ((), "")


def test_a_row_with_too_many_fields_fails_alone(folder: Path) -> None:
    [odd] = table(folder, "in.csv", "image,prompt\na.png,Hello, world\n")
    assert "more fields" in odd.problem
    odd, fine = table(folder, "in.csv", "image,prompt\na.png,Hello, world\na.png,Hello,\n")
    assert "more fields than the header's 2" in odd.problem and fine.problem == ""


def test_the_messages_of_ms_swift_and_llava(folder: Path) -> None:
    swift = {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "<image>\nWhat is it?"},
            {"role": "assistant", "content": "A box."},
            {"role": "user", "content": "And <image>this?"},
            {"role": "assistant", "content": "what is to be learnt"},
        ],
        "images": ["a.png", {"path": "d.png"}],
        "objects": {"bbox": [[1, 2, 3, 4]]},
    }
    [row] = table(folder, "in.jsonl", json.dumps(swift))
    asked, told = row.earlier
    assert (asked.text, told.text, row.prompt, row.system) == ("\nWhat is it?", "A box.", "And this?", "Be brief.")
    assert [Path(name).name for name in asked.media] == ["a.png"] and names(row) == ["d.png"]
    assert (asked.places, row.places, row.written) == ((0,), (4,), "And <image>this?")
    llava = {"id": 7, "image": "a.png", "conversations": [{"from": "human", "value": "<image>\nWhat?"},
                                                          {"from": "gpt", "value": "known"}]}  # fmt: skip
    [row] = table(folder, "in.json", json.dumps([llava]))
    assert (row.id, row.prompt, names(row), row.earlier) == ("7", "\nWhat?", ["a.png"], ())
    parts = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": "a.png"}}]
    [row] = table(folder, "in.jsonl", json.dumps({"messages": [{"role": "user", "content": parts}]}))
    assert (row.prompt, names(row), row.places) == ("What?\n", ["a.png"], (6,))
    parts.reverse()
    [row] = table(folder, "in.jsonl", json.dumps({"messages": [{"role": "user", "content": parts}]}))
    assert (row.prompt, names(row), row.places) == ("What?", ["a.png"], ())
    [row] = table(folder, "in.jsonl", json.dumps({"query": "And?", "history": [["Who?", "Ada."]], "images": ["a.png"]}))
    assert [turn.text for turn in row.earlier] == ["Who?", "Ada."] and len(row.earlier[0].media) == 1


def test_a_tag_is_text_where_no_column_holds_files(folder: Path) -> None:
    [row] = table(folder, "in.csv", "prompt\nWhat does <image> mean?\n")
    assert row.prompt == "What does <image> mean?"


def test_a_tag_is_where_its_file_stands(folder: Path) -> None:
    """In a row's own prompt, in --prompt, in --template and beside a file of a folder; without tags before the text."""
    rows = table(
        folder,
        "in.csv",
        'image,prompt\n"a.png;d.png","First <image>, then <image>: which?"\nd.png,What?\na.png,\nd.png,<image>\n',
        prompt="Or <image>?",
    )
    assert [(row.prompt, row.places, row.written) for row in rows] == [
        ("First , then : which?", (6, 13), "First <image>, then <image>: which?"),
        ("What?", (), ""),
        ("Or ?", (3,), "Or <image>?"),
        ("Or ?", (3,), "Or <image>?"),
    ]
    assert names(rows[0]) == ["a.png", "d.png"]
    template = Template("Is <image> a {thing}?")
    [row] = table(folder, "in.jsonl", '{"thing": "cat", "images": ["a.png"]}', template=template)
    assert (row.prompt, row.places, row.problem) == ("Is  a cat?", (3,), "")
    [row] = table(folder, "in.jsonl", '{"thing": "<image> tag", "images": ["a.png"]}', template=template)
    assert "has 2 <image> or <video> tags and 1 file" in row.problem
    found = questions(folder, prompt="See <image>: what?", besides=folder / "in.jsonl").rows
    assert all((row.prompt, row.places) == ("See : what?", (4,)) and len(row.media) == 1 for row in found) and found
    with pytest.raises(BatchError, match=r"The question about “a\.png” has 2 <image> or <video> tags and 1 file"):
        questions(folder, prompt="<image> or <image>?")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("in.csv", "foo,bar\n1,2\n", "No column of in.csv is known: it has foo, bar"),
        ("in.jsonl", '{"id": 1, "colour": "red"}', "looked for are prompt"),
        ("in.csv", "id,image\n1,a.png\n", "Row 1 has no prompt: call its column prompt, or"),
        ("in.csv", 'id,prompt\n1,fine\n2,"open\n3,lost\n', "from line 3 on: a quote is left open"),
        ("in.csv", "id,prompt\n1,a\n2,b\n1,c\n2,d\n", "Row id 1, 2 stands there twice"),
        ("in.csv", "id,prompt\n1,a\0b\n", "zero bytes"),
        ("in.csv", "id,prompt\n", "nothing to ask"),
        ("in.csv", "", "nothing to ask"),
        ("in.jsonl", '{"prompt": ' + "[" * 100_000, "Line 1 is not JSON"),
        ("in.jsonl", '{"prompt": ' + "9" * 10_000 + "}", "Line 1 is not JSON"),
        ("in.jsonl", "[1, 2]", "Row 1 is not a JSON object"),
        ("in.json", '[{"prompt": "x"}', "is not JSON"),
        ("in.xlsx", "x", "save it as one of these"),
    ],
)
def test_what_is_no_table_is_one_sentence(folder: Path, name: str, content: str, said: str) -> None:
    with pytest.raises(BatchError, match=re.escape(said)):
        table(folder, name, content)


@pytest.mark.parametrize("encoding", ["gbk", "cp1252", "utf-16-le"])
def test_another_encoding_is_named_with_what_to_do(folder: Path, encoding: str) -> None:
    text = {"gbk": "prompt\n图中有几个\n", "cp1252": "prompt\nWie schön\n", "utf-16-le": "prompt\nWhat?\n"}[encoding]
    with pytest.raises(BatchError, match="UTF-8") as refused:
        table(folder, "in.csv", text, encoding)
    assert "save it as" in str(refused.value)


@pytest.mark.parametrize("data", [b"PK\3\4\x14\0\x06\0\xff", b"\xd0\xcf\x11\xe0\0\0", b"PAR1\x15\x04\x15\xff"])
def test_a_spreadsheet_that_is_called_a_csv_is_no_text_in_gbk(folder: Path, data: bytes) -> None:
    (folder / "in.csv").write_bytes(data)
    with pytest.raises(BatchError, match=r"in.csv holds no text: in a spreadsheet program save it as"):
        questions(folder / "in.csv")


def test_columns_of_which_nothing_is_lost_are_not_named(folder: Path) -> None:
    """The comma at the end of each line that spreadsheets write; and the columns of a row that failed."""
    (folder / "in.csv").write_text("prompt,image,\nWhat?,gone.png,\n")
    assert questions(folder / "in.csv").ignored == ()
    (folder / "in.csv").write_text("prompt,image,,price\nWhat?,gone.png,more,7\n")
    assert questions(folder / "in.csv").ignored == ("one without a name", "price")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a.png", 'a.png is no table: name its folder, or ask about it by `ovis "question"`'),
        ("round.csv", "no file or folder"), ("x" * 300 + ".csv", "no file or folder"), ("a\0.csv", "no file or folder"),
        ("pipe.jsonl", "pipe.jsonl is neither a folder nor a file"),
    ],
)  # fmt: skip
def test_what_is_no_input_is_one_sentence(folder: Path, name: str, said: str) -> None:
    (folder / "round.csv").symlink_to("round.csv")
    os.mkfifo(folder / "pipe.jsonl")
    with pytest.raises(BatchError, match=re.escape(said)):
        questions(folder / name, prompt="What?")


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("in.csv", lambda: "prompt\n" + "x" * 50_000_000),
        ("in.csv", lambda: 'prompt\n"' + "line\n" * 10_000_000),
        ("in.csv", lambda: ",".join(f"c{n}" for n in range(100_000)) + "\n"),
        ("in.csv", lambda: "prompt" + "," * 7_900_000 + "\n"),
        ("in.jsonl", lambda: '{"prompt": "' + "x" * 50_000_000 + '"}'),
        ("in.json", lambda: "[" + "[]," * 16_000_000 + "[]]"),
    ],
    ids=["a long line", "an open quote", "columns", "separators", "a long object", "a long list"],
)
def test_a_huge_odd_file_is_refused_soon_and_in_little_memory(folder: Path, name: str, made: Callable[[], str]) -> None:
    (folder / name).write_text(made())
    began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BatchError):
        questions(folder / name)
    assert time.process_time() - began < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000  # kB


def test_in_a_folder_content_decides(folder: Path) -> None:
    (folder / "deep").mkdir()
    for name in ("holiday", "photo.dat", ".hidden", "deep/e.jfif"):
        Image.new("RGB", (32, 32)).save(folder / name, format="JPEG")
    for name in ("._a.png", ".DS_Store", "Thumbs.db", "notes.txt", "page.html"):
        (folder / name).write_bytes(b"\0\5\x16\7\0\2" if name.startswith(".") else b"<html>text")
    (folder / "damaged.jpg").write_bytes(b"gone")
    (folder / "out.jsonl").write_text("answers")
    found = questions(folder, prompt="What?", besides=folder / "out.jsonl")
    assert [row.id for row in found.rows] == [
        ".hidden", "a.png", "b c.png", "d.png", "damaged.jpg", "deep/e.jfif", "holiday", "photo.dat",
    ]  # fmt: skip
    assert found.left_out == (".DS_Store", "._a.png", "Thumbs.db", "notes.txt", "page.html")


def test_links_that_go_round_end_and_odd_files_are_left_alone(folder: Path) -> None:
    (folder / "out.jsonl").symlink_to(folder / "out.jsonl")
    (folder / "again").symlink_to(folder, target_is_directory=True)
    (folder / "self").symlink_to(folder / "self")
    os.mkfifo(folder / "pipe.png")
    (folder / os.fsdecode(b"\xff.png")).write_bytes((folder / "a.png").read_bytes())
    found = questions(folder, prompt="What?", besides=folder / "out.jsonl")
    assert [row.id for row in found.rows] == ["\\udcff.png", "a.png", "b c.png", "d.png"]
    assert set(found.left_out) == {"self", "pipe.png"}
    (folder / "gone.png").symlink_to(folder / "nothing.png")
    gone = next(row for row in questions(folder, prompt="What?").rows if row.id == "gone.png")
    assert gone.problem == "“gone.png” can't be read here: it is a link to nothing, or its permissions don't allow it."


def test_a_folder_without_pictures_says_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(BatchError, match=r"no picture, clip or PDF in .*; left out: 1 \(notes.txt\)"):
        questions(tmp_path, prompt="What?")


def test_a_template_takes_columns(folder: Path) -> None:
    content = "id,Product Name,n,image\nx,Tea {0} {id.real},3,a.png\n"
    template = Template("Is {product name} ({ n }) here? {{n}}")
    [row] = table(folder, "in.csv", content, template=template)
    assert row.prompt == "Is Tea {0} {id.real} (3) here? {n}" and names(row) == ["a.png"]
    assert questions(folder / "in.csv", template=template).ignored == ()
    rows = questions(folder, template=Template("Describe {file}.")).rows
    assert rows[0].prompt == "Describe a.png."


@pytest.mark.parametrize(
    ("template", "said"),
    [("What {x}", "no column “x”"), ("{id.__class__}", "no column “id.__class__”"), ("{0}", "no column “0”"),
     ("{", "lone brace at character 1"), ("a}", "lone brace"), ("{}", "lone brace"), (" ", "empty"),
     ("{id!r:>9}", "no column “id!r:>9”")],
)  # fmt: skip
def test_a_template_that_can_not_be_filled_is_refused_before_anything_runs(
    folder: Path, template: str, said: str
) -> None:
    with pytest.raises(BatchError) as refused:
        table(folder, "in.jsonl", '{"id": 1, "x": "a", "prompt": "b"}\n{"id": 2}', template=Template(template))
    assert said in str(refused.value)
