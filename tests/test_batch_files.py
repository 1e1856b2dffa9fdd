"""Many questions from a file: every row gets its answer or its error, and a second run goes on where one ended."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from ovis_app import batch_files
from ovis_app.backends.local import offline
from ovis_app.backends.local.offline import OfflineAnswers
from ovis_app.batch_rows import Row, questions
from ovis_app.cli import main
from ovis_app.conversation import Conversation, Message, Stats
from ovis_app.errors import BatchError
from ovis_app.generation import GenerationSettings
from ovis_app.limits import Limits
from ovis_app.media import PageChoice, PageRange, attach_all
from ovis_app.settings import Settings
from tests.media.made_pdf import pdf, quarters

ROOT = Path(__file__).parent.parent
GOLDEN = Path(__file__).parent / "fixtures" / "golden"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "pictures"
    place.mkdir()
    for number, color in enumerate(("red", "green", "blue")):
        Image.new("RGB", (60 + 30 * number, 60), color).save(place / f"{color}.png")
    (place / "broken.png").write_bytes(b"not a picture")
    return place


def echo(asked: Sequence[Conversation], system: str) -> list[Message]:
    return [Message("assistant", f"{c.messages[-1].text} {c.messages[-1].media[0].name}", finish="end") for c in asked]


def answers(out: Path) -> dict[str, dict[str, object]]:
    return {row["id"]: row for row in map(json.loads, out.read_text().splitlines())}


def rows(source: Path, prompt: str) -> list[Row]:
    return list(questions(source, prompt=prompt).rows)


def run(asked: list[Row], out: Path, size: int = 2) -> tuple[int, int]:
    """How many were answered, and how many failed."""
    todo = batch_files.left_to_ask(asked, out)
    said = [message for _, message in batch_files.run(todo, out, echo, limits=Limits(), size=size)]
    failed = sum(bool(message.error) for message in said)
    return len(said) - failed, failed


def test_a_folder_is_a_row_per_file_and_an_error_stays_in_its_row(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    assert run(rows(folder, "What?"), out) == (3, 1)
    got = answers(out)
    assert got["red.png"]["text"] == "What? red.png"
    assert "broken.png" in str(got["broken.png"]["error"]) and got["broken.png"]["text"] == ""


def test_documents_in_a_folder_are_a_row_each(tmp_path: Path) -> None:
    for name, count in (("two.pdf", 2), ("long.pdf", 17)):
        (tmp_path / name).write_bytes(pdf([quarters() for _ in range(count)]))
    (tmp_path / "cut.pdf").write_bytes(pdf([quarters()])[:-300])
    (tmp_path / "scan").write_bytes(pdf([quarters()]))
    out = tmp_path / "out.jsonl"
    assert run(rows(tmp_path, "What?"), out) == (2, 2)
    got = answers(out)
    assert got["two.pdf"]["text"] == "What? two.pdf page 1" and got["scan"]["text"] == "What? scan page 1"
    assert "has 17 pages to look at" in str(got["long.pdf"]["error"])
    assert "is incomplete" in str(got["cut.pdf"]["error"]) and got["two.pdf"]["media"] == [str(tmp_path / "two.pdf")]


def test_a_table_names_documents_and_their_pages(tmp_path: Path) -> None:
    (tmp_path / "long.pdf").write_bytes(pdf([quarters() for _ in range(20)]))
    (tmp_path / "in.csv").write_text(
        'id,prompt,pdf,pages\na,What?,long.pdf,"3-4"\nb,What?,long.pdf,\nc,What?,long.pdf,x\nd,What?,long.pdf,21\n'
    )
    seen: list[list[str]] = []

    def looks(asked: Sequence[Conversation], system: str) -> list[Message]:
        seen.extend([one.name for one in conversation.messages[-1].media] for conversation in asked)
        assert all(one.path.is_file() for conversation in asked for one in conversation.messages[-1].media)
        return echo(asked, system)

    choice = PageChoice(PageRange.parse("1"))
    asked = rows(tmp_path / "in.csv", "")
    said = {
        row.id: message.error
        for row, message in batch_files.run(
            asked, tmp_path / "out.jsonl", looks, limits=Limits(), size=9, choice=choice
        )
    }
    assert seen == [["long.pdf page 3", "long.pdf page 4"], ["long.pdf page 1"]]
    assert said["a"] == said["b"] == "" and "no page 21" in said["d"]
    assert said["c"] == "This row's pages: “x” is no range of pages: write them as 1-3,7,10- with the first page as 1."


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv"])
def test_a_row_says_of_a_page_that_it_was_drawn_small(tmp_path: Path, name: str) -> None:
    for poster, side in (("poster.pdf", 8500), ("letter.pdf", 600)):
        (tmp_path / poster).write_bytes(pdf([quarters(side, side)]))

    def figures(asked: Sequence[Conversation], system: str) -> list[Message]:
        return [replace(message, stats=Stats()) for message in echo(asked, system)]

    out = tmp_path / name
    list(batch_files.run(rows(tmp_path, "What?"), out, figures, limits=Limits(), size=2))
    with out.open(newline="", encoding="utf-8-sig") as file:
        told = map(json.loads, file) if name == "out.jsonl" else csv.DictReader(file)
        got = {row["id"]: row["stats"] for row in told}
    figured = (got["poster.pdf"], got["letter.pdf"])
    poster, letter = figured if name == "out.jsonl" else map(json.loads, figured)
    assert len(poster["notes"]) == 1 and "is 300 x 300 cm large" in poster["notes"][0] and not letter["notes"]


def test_pages_stand_where_their_document_does(folder: Path, tmp_path: Path) -> None:
    (folder / "two.pdf").write_bytes(pdf([quarters(), quarters()]))
    source, out = folder / "in.jsonl", tmp_path / "out.jsonl"
    row = {"prompt": "Is <image> in <image>, or <image>?", "images": ["red.png", "two.pdf", "blue.png"]}
    source.write_text(json.dumps(row))
    seen: list[Message] = []

    def looks(asked: Sequence[Conversation], system: str) -> list[Message]:
        seen.extend(conversation.messages[-1] for conversation in asked)
        return [Message("assistant", "Yes.", finish="end") for _ in asked]

    list(batch_files.run(rows(source, ""), out, looks, limits=Limits(), size=1))
    [message] = seen
    assert message.text == "Is  in \n, or ?"
    assert [(one.label, one.place) for one in message.media] == [
        ("red.png", 3), ("two.pdf page 1", 7), ("two.pdf page 2", 8), ("blue.png", 13)
    ]  # fmt: skip
    assert answers(out)["1"]["prompt"] == row["prompt"]


def test_a_second_run_keeps_what_is_done_and_tries_the_rest_again(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    run(rows(folder, "What?"), out)
    (folder / "broken.png").unlink()
    Image.new("RGB", (9, 9)).save(folder / "broken.png")
    with out.open("a") as file:
        file.write('{"id": "half')  # what an interrupted run leaves
    assert run(rows(folder, "What?"), out) == (1, 0)
    whole = [json.loads(line) for line in out.read_text().splitlines() if line.endswith("}")]
    assert whole[-1]["id"] == "broken.png" and whole[-1]["error"] == ""


def test_csv_in_and_out(folder: Path, tmp_path: Path) -> None:
    source, out = folder / "in.csv", tmp_path / "out.csv"
    source.write_text("id,image,prompt\na,red.png,Colour?\nb,green.png,\n", encoding="utf-8")
    run(rows(source, "What?"), out)
    assert out.read_bytes().startswith(b"\xef\xbb\xbf"), "Excel takes what has no mark for an older encoding"
    with out.open(newline="", encoding="utf-8-sig") as file:
        found = list(csv.DictReader(file))
    assert [(row["id"], row["text"]) for row in found] == [("a", "Colour? red.png"), ("b", "What? green.png")]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_nothing_in_a_csv_is_run_by_a_spreadsheet_and_a_second_run_knows_it(tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"out{suffix}"
    texts = ['=HYPERLINK("http://x.example")', "'=1", "+x", "-x", "@x", "\t=1", "-5", "+3.5%", "'quoted'", "- a\n- b"]
    asked = [Row(text, f"{text}\r\n?") for text in texts]

    def said(conversations: Sequence[Conversation], system: str) -> list[Message]:
        return [Message("assistant", texts[n], thinking=texts[n], finish="end") for n in range(len(conversations))]

    list(batch_files.run(asked, out, said, limits=Limits(), size=99))
    if suffix == ".csv":
        with out.open(newline="", encoding="utf-8-sig") as file:
            got = [(row["id"], row["text"], row["thinking"]) for row in csv.DictReader(file)]
        numbers = ("-5", "+3.5%", "'quoted'")
        assert got == [(one if one in numbers else f"'{one}",) * 3 for one in texts]
    else:
        assert [row["text"] for row in answers(out).values()] == texts
    assert batch_files.left_to_ask(asked, out) == []


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_an_answer_is_never_taken_for_one_to_another_question(folder: Path, tmp_path: Path, suffix: str) -> None:
    """Rows are told apart by their number: another table, or one more line in it, would have answers of the first."""
    out, asked = tmp_path / f"out{suffix}", rows(folder, "What?")
    run(asked, out)
    before = out.read_bytes()
    [red] = (row for row in asked if row.id == "red.png")
    for other in (
        replace(red, prompt="Which?"),
        replace(red, media=()),
        replace(red, media=(*red.media, "x.png")),
        replace(red, media=(red.media[0].replace("red", "blue"),)),
    ):
        with pytest.raises(BatchError, match=f"^Row red.png of out{suffix} answers another question or one about"):
            batch_files.left_to_ask([other], out)
    assert out.read_bytes() == before
    elsewhere = replace(red, media=(f"../{folder.name}/red.png",))
    assert batch_files.left_to_ask([elsewhere], out) == []


@pytest.mark.parametrize("kept", [30, 45, 60, 75, 90])
def test_an_interrupted_csv_goes_on_where_it_was_cut(folder: Path, tmp_path: Path, kept: int) -> None:
    """Answers of several lines, cut anywhere: within quotes too."""
    source, out = folder / "in.csv", tmp_path / "out.csv"
    source.write_text('id,image,prompt\na,red.png,"One\n""two"""\nb,green.png,"Three\nfour"\n', encoding="utf-8")
    run(rows(source, ""), out)
    whole = out.read_bytes()
    out.write_bytes(whole[: len(whole) * kept // 100])
    run(rows(source, ""), out)
    assert out.read_bytes() == whole


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("in.jsonl", '{"image": "red.png"}', "no prompt"),
        ("in.jsonl", "{oops", "Line 1"),
        ("in.jsonl", "", "nothing to ask"),
        ("in.txt", "hello", "no folder"),
    ],
)
def test_bad_input_is_a_sentence_and_exit_code_2(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str, content: str, said: str
) -> None:
    (folder / name).write_text(content)
    code = main(["batch", str(folder / name), "--out", str(folder / "out.jsonl")])
    err = capsys.readouterr().err
    assert code == 2 and said in err and "Traceback" not in err


@pytest.mark.parametrize(("flags", "said"), [(["--out", "a.txt"], ".jsonl or .csv"),
                                             (["--out", "a.csv", "--backend", "nobody"], "--backend")])  # fmt: skip
def test_what_batch_can_not_do_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], flags: list[str], said: str
) -> None:
    try:
        code = main(["batch", str(folder), "--prompt", "What?", *flags])
    except SystemExit as end:
        code = int(end.code or 0)
    assert code == 2 and said in capsys.readouterr().err


@pytest.mark.parametrize("family", ["ovis2.5", "ovis2", "ovis1.6"])
def test_answered_together_is_answered_alone(family: str, folder: Path) -> None:
    """Left-padded batches of prompts of different lengths give the tokens of one at a time."""
    many = OfflineAnswers(Settings(model=str(GOLDEN / family / "public-a" / "checkpoint"), device="cpu"), Limits())
    settings = GenerationSettings(max_new_tokens=8, max_partition=4)
    media, _ = attach_all([(folder / "blue.png", "blue.png")], Limits())
    asked = [
        Conversation((Message("user", "What is shown here, and why?", media),)),
        Conversation((Message("user", "Hi"),)),
        Conversation((Message("user", "What?", media),)),
    ]
    together = many.answer(asked, settings)
    alone = [many.answer([one], settings)[0] for one in asked]
    assert [message.text for message in together] == [message.text for message in alone]
    assert all(message.error == "" for message in together)


def test_models_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    assert "Ovis2.5-9B" in capsys.readouterr().out


def test_rows_keep_their_resolution_and_their_errors(folder: Path) -> None:
    many = OfflineAnswers(Settings(model=str(GOLDEN / "ovis2.5" / "public-a" / "checkpoint"), device="cpu"), Limits())
    media, _ = attach_all([(folder / "blue.png", "blue.png")], Limits())
    talk = Conversation((Message("user", "What?", media),))
    small, large = (
        many.answer([talk], GenerationSettings(max_new_tokens=2, min_pixels=side**2, max_pixels=side**2))[0]
        for side in (64, 256)
    )
    assert small.stats is not None and large.stats is not None
    assert small.stats.visual_tokens < large.stats.visual_tokens
    talk_too_long = Conversation((Message("user", "word " * 39_500),))
    failed, fine = many.answer([talk_too_long, talk], GenerationSettings(max_new_tokens=2))
    assert "tokens long" in failed.error and fine.error == ""


@pytest.mark.parametrize("content", ['{"id": 0, "prompt": "a"}\n{"prompt": "b"}\n{"id": 2, "prompt": "c\\u2028d"}'])
def test_ids_are_kept_apart_and_odd_line_ends_are_text(folder: Path, content: str) -> None:
    (folder / "in.jsonl").write_text(content.replace("\\u2028", "\u2028"), encoding="utf-8")
    with pytest.raises(BatchError, match="twice"):
        rows(folder / "in.jsonl", "")
    (folder / "in.jsonl").write_text(content.replace('"id": 2', '"id": 3').replace("\\u2028", "\u2028"), "utf-8")
    assert [row.id for row in rows(folder / "in.jsonl", "")] == ["0", "2", "3"]


def test_where_everything_is_answered_no_model_is_loaded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = folder.parent / "answers.jsonl"
    lines = [json.dumps({"id": row.id, "finish": "end", "error": ""}) for row in rows(folder, "What is it?")]
    out.write_text("".join(line + "\n" for line in lines))
    monkeypatch.setattr(offline, "loaded_model", lambda *_: pytest.fail("a model was loaded"))
    assert main(["batch", str(folder), "--prompt", "What is it?", "--out", str(out)]) == 0


HEADER = "id,prompt,media,text,thinking,finish,error,stats"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("out.jsonl", '{"prompt": "of somebody else"}\n'),
        ("out.jsonl", "notes without an end"),
        ("out.csv", "id\n1\n2\n"),
        ("out.csv", "Name;Preis\nTee;3"),
        ("out.csv", HEADER + ",data\n"),
    ],
)
def test_a_file_that_holds_something_else_stays_as_it_is(folder: Path, name: str, content: str) -> None:
    out = folder.parent / name
    out.write_text(content, encoding="utf-8")
    with pytest.raises(BatchError, match=name):
        run(rows(folder, "What?"), out)
    assert out.read_text(encoding="utf-8") == content


def test_a_csv_without_a_mark_is_gone_on_with_as_it_is(folder: Path) -> None:
    out = folder.parent / "out.csv"
    out.write_text(HEADER + "\nred.png,What?,red.png,Red,,end,,null\n", encoding="utf-8")
    assert run(rows(folder, "What?"), out) == (2, 1)
    assert out.read_text(encoding="utf-8").startswith(HEADER + "\nred.png,") and "\ufeff" not in out.read_text("utf-8")


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_what_a_kill_leaves_is_gone_on_with_wherever_it_was(folder: Path, suffix: str) -> None:
    """Every length that a file of answers may have been cut to."""
    asked = [Row(str(n), f'Line\n"{n}"') for n in range(3)]
    out = folder.parent / f"out{suffix}"

    def said(conversations: Sequence[Conversation], system: str) -> list[Message]:
        return [Message("assistant", f'{c.messages[-1].text},\n"ü', finish="end") for c in conversations]

    def go_on() -> None:
        list(batch_files.run(batch_files.left_to_ask(asked, out), out, said, limits=Limits(), size=2))

    go_on()
    whole = out.read_bytes()
    for length in range(len(whole)):
        out.write_bytes(whole[:length])
        go_on()
        assert out.read_bytes() == whole, length


def test_a_killed_run_is_gone_on_with(folder: Path) -> None:
    """Killed while it answers, again and again: each row is answered once in the end, and nothing else is there."""
    source, out = folder / "in.jsonl", folder / "out.jsonl"
    source.write_text("".join(json.dumps({"prompt": f"Row {n}"}) + "\n" for n in range(40)))
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom ovis_app import batch_files\n"
        "from ovis_app.batch_rows import questions\nfrom ovis_app.conversation import Message\n"
        "from ovis_app.limits import Limits\n"
        "def said(asked, system):\n    time.sleep(0.01)\n"
        "    return [Message('assistant', 'word ' * 3000, finish='end') for _ in asked]\n"
        "out = Path(sys.argv[2]); todo = batch_files.left_to_ask(questions(Path(sys.argv[1])).rows, out)\n"
        "for _ in batch_files.run(todo, out, said, limits=Limits(), size=3): print('.', flush=True)\n"
    )
    for rows_before_the_kill in (1, 17):
        with subprocess.Popen(
            [sys.executable, "-c", code, str(source), str(out)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as running:
            assert running.stdout is not None
            for _ in range(rows_before_the_kill):
                running.stdout.readline()
            running.kill()
    todo = batch_files.left_to_ask(rows(source, ""), out)
    assert len(todo) <= 40 - 18
    list(batch_files.run(todo, out, fixed, limits=Limits(), size=3))
    answered = [json.loads(line) for line in out.read_text().splitlines()]
    assert [int(row["id"]) for row in answered] == list(range(1, 41))
    assert all(row["text"] == "word " * 3000 for row in answered)


def fixed(asked: Sequence[Conversation], system: str) -> list[Message]:
    return [Message("assistant", "word " * 3000, finish="end") for _ in asked]


def test_a_run_ends_with_what_came_of_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("notes.txt", "Thumbs.db", ".DS_Store", "._red.png"):
        (folder / name).write_bytes(b"\0\5\x16\7" if name.startswith(".") else b"text")
    command = ["batch", str(folder), "--backend", "fake", "--prompt", "What?", "--out", str(folder / "out.jsonl")]
    assert main(command) == 1, "a row failed"
    said = capsys.readouterr().err
    assert "3 answered, 1 failed" in said and "failed: broken.png" in said
    assert "4 (" in said and "._red.png" in said and "and 1 more" in said
    assert main(command) == 1
    assert "0 answered, 1 failed, 3 answered before" in capsys.readouterr().err
    (folder / "broken.png").unlink()
    assert main(command) == 0


@pytest.mark.parametrize(
    ("source", "out", "said"),
    [
        ("", "out.jsonl", "argument input: the name is empty"),
        ("~nobodyatall/x", "out.jsonl", "There is no file or folder ~nobodyatall/x."),
        ("pictures", "", "argument --out: the name is empty"),
        ("pictures", "round.jsonl", "round.jsonl can't be written: check the folder"),
        ("pictures", "x" * 300 + ".jsonl", "can't be read or isn't a file of answers"),
        ("round.jsonl", "round.jsonl", "--out is the input itself"),
        ("in.jsonl", "pictures/../in.jsonl", "--out is the input itself"),
    ],
)
def test_names_that_name_nothing_are_one_sentence(
    source: str, out: str, said: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder.parent)
    Path("round.jsonl").symlink_to("round.jsonl")
    Path("in.jsonl").write_text('{"prompt": "What?"}')
    try:
        code = main(["batch", source, "--backend", "fake", "--prompt", "What?", "--out", out])
    except SystemExit as end:
        code = int(str(end.code))
    err = capsys.readouterr().err
    assert code == 2 and said in err.splitlines()[-1]


def test_columns_that_are_not_read_are_named_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "in.csv").write_text("Prompt;Image;Note;Price\nWhat?;red.png;x;1\nWhy?;red.png;y;2\n")
    assert main(["batch", str(folder / "in.csv"), "--backend", "fake", "--out", str(folder / "out.csv")]) == 0
    assert "columns that aren't read: 2 (Note, Price)" in capsys.readouterr().err


def test_a_full_disk_is_a_sentence(folder: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    (folder / "out.jsonl").symlink_to(full)
    with pytest.raises(BatchError, match="free disk space"):
        list(batch_files.run(rows(folder, "What?"), folder / "out.jsonl", echo, limits=Limits(), size=2))


def test_pages_that_a_killed_run_left_are_swept(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = tmp_path / "temporary" / "ovis-left"
    left.mkdir(parents=True)
    (left / "lock").touch()
    (left / "page 1.png").write_bytes(b"secret")
    monkeypatch.setattr(tempfile, "tempdir", str(left.parent))
    assert run(rows(folder, "What?"), tmp_path / "out.jsonl") == (3, 1)
    assert list(left.parent.iterdir()) == []
