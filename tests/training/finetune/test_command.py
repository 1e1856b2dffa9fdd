"""`ovis finetune --dry-run` says what would be learnt, or in a sentence why not; without it a plan is handed on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ovis_app import cli
from ovis_app.cli import finetune
from ovis_app.cli.common import BadInput
from ovis_app.training.finetune import plan as plan_module
from ovis_app.training.finetune.dataset import Collator, SampleDataset
from ovis_app.training.finetune.plan import Plan
from tests.training.finetune.made import entry, gpt, human, picture, written


@pytest.fixture
def data(tmp_path: Path) -> Path:
    picture(tmp_path / "a.png", (200, 150))
    said = [entry("<image>\nWhat is it?", f"A blorp {n}.", id=f"b{n}", image="a.png") for n in range(18)]
    said.append({"id": "two", "conversations": [human("Hi"), gpt("Hello."), human("Who?"), gpt("Me.")]})
    said.append(entry("<image><image>\nWhich?", "Image 1.", image=["a.png", "a.png"]))
    return written(tmp_path / "data.json", said)


def never(plan: Plan) -> None:
    raise AssertionError("began to train")


def test_a_dry_run_tells_what_would_be_learnt(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert finetune.run([str(data), "--dry-run", "--val", "0.1", "--mix", "mini:0.2"], never) == 0
    told = capsys.readouterr().out
    first, old, judged = told.splitlines()[:3]
    learnt = sum(int(number) for number in re.findall(r"(\d+) (?:with|text only)", first))
    assert first.startswith(f"to learn from: {learnt} samples (") and learnt == 18 + 5
    assert old == "of these 5 old ones mixed in, others in each epoch" and judged.startswith("to judge by: 2 samples (")
    assert re.search(r"tokens: \d+ in the median, [\d,]+ in the longest \(.+\); \d+\.\d% of them are learnt", told)
    assert (
        "what learns: a LoRA of rank 16 on llm, tower, head, vte at 0.001; 14 epochs of 4 x 1 samples a step, 84 steps"
        in told
    )
    assert re.search(r"memory: about \d+\.\d GB on \w+, \d+\.\d GB are free", told)


def test_the_learnt_part_of_a_sample_is_marked(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = written(data.parent / "one.json", [entry("<image>\nWhat is it?", "A blorp.", id="x", image="a.png")])
    assert finetune.run([str(one), "--dry-run", "--mix", "none"], never) == 0
    told = capsys.readouterr().out
    assert "x of one.json, what is learnt between ⟦ and ⟧:" in told
    shown = r"""  <\|im_start\|>user
  <\d+ visual tokens>
  What is it\?<\|im_end\|>
  <\|im_start\|>assistant
  <think>

  </think>

  ⟦A blorp\.<\|im_end\|>⟧
"""
    assert re.search(re.sub(r"\n  \n", "\n\n", shown), re.sub(r"(?m)^ +$", "", told))
    assert "no old ones mixed in\nto judge by: none\n" in told


def test_a_plan_is_handed_on_with_all_that_training_needs(data: Path, tmp_path: Path) -> None:
    plans: list[Plan] = []

    def take(plan: Plan) -> None:
        dataset = SampleDataset(plan.training, plan.encoder)
        batch = Collator(plan.checkpoint.tokenizer.ending.pad)([dataset[number] for number in range(8)])
        assert batch["input_ids"].shape[1] == max(length.tokens for length in plan.lengths[:8])
        assert len(plan.encoder.example(plan.validation[0])["labels"])
        plans.append(plan)

    words = [str(data), "--out", str(tmp_path / "out"), "--max-tokens", "1024", "--train", "llm:1e-4", "--seed", "5",
             "--mix", "mini:0.1"]  # fmt: skip
    assert finetune.run(words, take) == 0
    assert finetune.run(words, take) == 0
    first, second = plans
    assert first.choices.parts == (("llm", 1e-4),) and first.choices.max_tokens == 1024 and not first.resume
    assert [s.id for s in first.training] == [s.id for s in second.training] and first.facts == second.facts
    assert len(first.validation) == 1 and first.old == 2
    epochs = [{sample.id for sample in epoch} for epoch in (first.training, *first.later)]
    old = [{id for id in epoch if id.startswith("drawn-")} for epoch in epochs]
    assert len(epochs) == 14 and len(set.union(*old)) == 28 and all(len(one) == 2 for one in old)
    assert all(epoch - mixed == epochs[0] - old[0] for epoch, mixed in zip(epochs, old, strict=True))
    with pytest.raises(BadInput, match="no run to resume in out"):
        finetune.run([*words, "--resume"], never)
    assert not (tmp_path / "out").exists()


def test_samples_that_are_too_long_are_counted_or_named(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(data), "--dry-run", "--mix", "none", "--max-tokens", "100"]
    assert finetune.run(words, never) == 0
    assert "left out, as they are longer than 100 tokens: 1" in capsys.readouterr().out
    with pytest.raises(
        BadInput, match=r"1 sample can't be used.*\n  data.json, sample 20: is \d+ tokens long, and 100"
    ):
        finetune.run([*words, "--too-long", "error"], never)
    with pytest.raises(BadInput, match="Every sample is longer than 16 tokens"):
        finetune.run([*words[:-1], "16"], never)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["gone.json", "--dry-run"], "There is no file gone.json"),
        ([".", "--dry-run"], "is a folder: name a list"),
        (["DATA"], "--out is missing"),
        (["DATA", "--dry-run", "--model", "nosuch"], "there is no model called nosuch"),
        (["DATA", "--dry-run", "--method", "full", "--quantize", "int4"], "--quantize int4 is for --method lora"),
        (["DATA", "--dry-run", "--image-dir", "gone"], "there is no folder gone"),
        (["DATA", "--dry-run", "--mix", "gone.json"], "There is no file gone.json"),
        (["DATA", "--dry-run", "--min-pixels", "9", "--max-pixels", "4"], "."),
        (["DATA", "--dry-run", "--sets", "a"], "--sets chooses sets of a datainfo"),
        (["DATA", "--dry-run", "--model", "Ovis1.6-Gemma2-9B"], "has 2 pictures, and Ovis1.6-Gemma2-9B looks at one"),
        (["DATA", "--out", "out", "--model", "Ovis2-34B", "--method", "full", "--device", "cpu"], "takes more than"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_loaded(data: Path, words: list[str], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        finetune.run([str(data) if word == "DATA" else word for word in words], never)


def test_memory_that_is_too_little_is_said_with_what_to_lower(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "bytes_available", lambda *_: 10**9)
    words = [str(data), "--out", str(data.parent / "out"), "--mix", "none", "--batch", "200", "--dtype", "float32"]
    with pytest.raises(BadInput, match=r"takes about \d\.\d GB and 1.0 GB are free: --"):
        finetune.run(words, never)
    assert not (data.parent / "out").exists()


def test_the_first_five_bad_samples_are_named_then_how_many(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On the command line: exit code 2, and nothing was written."""
    said = [entry("<image>", image=f"gone{number}.png", id=f"m{number}") for number in range(8)]
    bad, out = written(data.parent / "bad.json", [entry(), *said]), data.parent / "out"
    assert cli.main(["finetune", str(bad), "--out", str(out)]) == 2 and not out.exists()
    first, *named, last = capsys.readouterr().err.splitlines()
    assert "8 samples can't be used" in first and last == "  and 3 more" and len(named) == 5
    for number, line in enumerate(named):
        assert line.startswith(f"  bad.json, m{number}: there is no file “gone{number}.png” in ")
    for words in (["--out", ""], ["--out", "x" * 300]):
        try:
            code = cli.main(["finetune", str(data), *words])
        except SystemExit as end:  # from the reader of flags
            code = int(end.code or 0)
        assert code == 2 and len(capsys.readouterr().err.splitlines()) == 1


def test_bad_samples_are_refused_or_left_out(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = written(data.parent / "bad.json", [entry("Hi", ""), entry("Hi", "Yo"), entry("Ho", "Yo")])
    with pytest.raises(BadInput, match=r"bad.json, sample 1: has an empty answer in turn 2"):
        finetune.run([str(bad), "--dry-run"], never)
    assert finetune.run([str(bad), "--dry-run", "--skip-bad", "--mix", "none"], never) == 0
    assert "left out, as they can't be used: 1" in capsys.readouterr().out
