"""Many questions from a file: every row gets its answer or its error, and a second run goes on where one ended."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from ovis_app import batch_files
from ovis_app.backends.local import offline
from ovis_app.backends.local.offline import OfflineAnswers
from ovis_app.cli import main
from ovis_app.conversation import Conversation, Message
from ovis_app.generation import GenerationSettings
from ovis_app.limits import Limits
from ovis_app.settings import Settings

GOLDEN = Path(__file__).parent / "fixtures" / "golden"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "pictures"
    place.mkdir()
    for number, color in enumerate(("red", "green", "blue")):
        Image.new("RGB", (60 + 30 * number, 60), color).save(place / f"{color}.png")
    (place / "broken.png").write_bytes(b"not a picture")
    return place


def echo(asked: Sequence[Conversation]) -> list[Message]:
    return [Message("assistant", f"{c.messages[-1].text} {c.messages[-1].media[0].name}", finish="end") for c in asked]


def answers(out: Path) -> dict[str, dict[str, object]]:
    return {row["id"]: row for row in map(json.loads, out.read_text().splitlines())}


def run(asked: list[batch_files.Row], out: Path, size: int = 2) -> tuple[int, int]:
    return batch_files.run(asked, out, echo, limits=Limits(), size=size, progress=lambda _: None)


def test_a_folder_is_a_row_per_file_and_an_error_stays_in_its_row(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    assert run(batch_files.rows(folder, "What?"), out) == (3, 1)
    rows = answers(out)
    assert rows["red.png"]["text"] == "What? red.png"
    assert "broken.png" in str(rows["broken.png"]["error"]) and rows["broken.png"]["text"] == ""


def test_a_second_run_keeps_what_is_done_and_tries_the_rest_again(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    run(batch_files.rows(folder, "What?"), out)
    (folder / "broken.png").unlink()
    Image.new("RGB", (9, 9)).save(folder / "broken.png")
    with out.open("a") as file:
        file.write('{"id": "half')  # what an interrupted run leaves
    assert run(batch_files.rows(folder, "What?"), out) == (1, 0)
    whole = [json.loads(line) for line in out.read_text().splitlines() if line.endswith("}")]
    assert whole[-1]["id"] == "broken.png" and whole[-1]["error"] == ""


def test_csv_in_and_out(folder: Path, tmp_path: Path) -> None:
    source, out = folder / "in.csv", tmp_path / "out.csv"
    source.write_text("id,image,prompt\na,red.png,Colour?\nb,green.png,\n", encoding="utf-8")
    run(batch_files.rows(source, "What?"), out)
    with out.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["id"], row["text"]) for row in rows] == [("a", "Colour? red.png"), ("b", "What? green.png")]


@pytest.mark.parametrize("kept", [30, 45, 60, 75, 90])
def test_an_interrupted_csv_goes_on_where_it_was_cut(folder: Path, tmp_path: Path, kept: int) -> None:
    """Answers of several lines, cut anywhere: within quotes too."""
    source, out = folder / "in.csv", tmp_path / "out.csv"
    source.write_text('id,image,prompt\na,red.png,"One\n""two"""\nb,green.png,"Three\nfour"\n', encoding="utf-8")
    run(batch_files.rows(source, ""), out)
    whole = out.read_bytes()
    out.write_bytes(whole[: len(whole) * kept // 100])
    run(batch_files.rows(source, ""), out)
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
    media, _ = batch_files.attach_all([(folder / "blue.png", "blue.png")], Limits())
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
    media, _ = batch_files.attach_all([(folder / "blue.png", "blue.png")], Limits())
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
    with pytest.raises(batch_files.BatchError, match="twice"):
        batch_files.rows(folder / "in.jsonl", "")
    (folder / "in.jsonl").write_text(content.replace('"id": 2', '"id": 3').replace("\\u2028", "\u2028"), "utf-8")
    assert [row.id for row in batch_files.rows(folder / "in.jsonl", "")] == ["0", "2", "3"]


def test_where_everything_is_answered_no_model_is_loaded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = folder.parent / "answers.jsonl"
    rows = batch_files.rows(folder, "What is it?")
    out.write_text("".join(json.dumps({"id": row.id, "finish": "end", "error": ""}) + "\n" for row in rows))
    monkeypatch.setattr(offline, "loaded_model", lambda *_: pytest.fail("a model was loaded"))
    assert main(["batch", str(folder), "--prompt", "What is it?", "--out", str(out)]) == 0
