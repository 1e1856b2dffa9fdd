"""Fine-tuning: what comes out is what was learnt, what is said is true, and nothing else has changed."""

from __future__ import annotations

import json
import re
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ovis_app import cli
from ovis_app.checkpoints.load import load
from ovis_app.cli import finetune
from ovis_app.errors import BackendError
from ovis_app.models.ovis import Ovis
from ovis_app.training.finetune import answers
from ovis_app.training.finetune import train as entrance
from ovis_app.training.finetune.plan import Plan
from ovis_app.training.finetune.run_folder import RunFolder
from ovis_app.training.finetune.train import train
from tests.adapters import checkpoint, logits
from tests.training.finetune import runs
from tests.training.finetune.made import entry, written

pytest.importorskip("peft", reason="peft isn't installed: pip install '.[finetune]'")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with samples."""
    path = tmp_path_factory.mktemp("samples")
    runs.samples(path)
    return path


@pytest.fixture(autouse=True)
def short_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has learnt nothing talks for ever."""
    monkeypatch.setattr(answers, "LONGEST", 4)


def weights(model: Path) -> dict[str, torch.Tensor]:
    return load_file(model / "model.safetensors")


def dtypes(model: Path) -> dict[str, str]:
    with safe_open(model / "model.safetensors", "pt") as file:
        return {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118 - no mapping


@pytest.mark.parametrize("family", ["ovis2.5", pytest.param("ovis1.6", marks=pytest.mark.long)])
def test_an_adapter_learns_and_merged_it_is_the_same_model(
    family: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = folder / family
    words = runs.words(folder, "--merge", "--train", "llm", "--lr", "1e-2", family=family, out=family)
    assert cli.main(["finetune", *words]) == 0
    told = capsys.readouterr().out
    losses = [loss for _, loss in runs.losses(out)]
    assert len(losses) == 8 and sum(losses[-3:]) < sum(losses[:3]) * 0.9
    line = r"step 8/8  loss \d+\.\d+  lr \S+  gradient \S+  \S+ samples/s  \d+\.\d\d GB  0:00 left"
    assert re.search(line, told) and f"--adapter {out / 'adapter'}" in told
    base = checkpoint(family)
    adapted, merged = logits(load(base, adapter=out / "adapter")), logits(load(out / "merged"))
    torch.testing.assert_close(merged, adapted, rtol=0, atol=1e-4)
    assert (merged - logits(load(base))).abs().max() > 1e-3
    before, after = weights(base), weights(out / "merged")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(name.startswith("llm.model.layers.") for name in changed)
    assert dtypes(base) == dtypes(out / "merged")
    assert {file.name for file in base.iterdir()} == {file.name for file in (out / "merged").iterdir()}


def test_what_a_run_was_and_did_lies_in_its_folder(folder: Path) -> None:
    out = folder / "told"
    assert runs.run(runs.words(folder, "--val", "0.3", "--rank", "4", out="told")) == 0
    begun = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert begun["flags"]["rank"] == 4 and begun["versions"]["torch"] == torch.__version__ and begun["data"]
    log = runs.log(out)
    steps = [record for record in log if "loss" in record]
    assert [record["step"] for record in steps] == list(range(1, 7))
    assert {"learning_rate", "grad_norm", "samples_per_second", "memory", "seconds_left"} <= steps[0].keys()
    assert steps[0]["memory"] > 1e8 and steps[-1]["seconds_left"] == 0
    assert [record["step"] for record in log if "val_loss" in record] == [3, 6]
    (before,), (after,) = ([r[when] for r in log if when in r] for when in ("before", "after"))
    assert len(before["said"]) == len(after["said"]) == 2
    with Image.open(out / "loss.png") as plot:
        assert plot.format == "PNG" and len(plot.convert("RGB").getcolors(1 << 16)) > 5
    assert {stat.S_IMODE(file.stat().st_mode) for file in (out / "adapter").iterdir()} == {0o644}, "others serve it"
    about = json.loads((out / "adapter" / "adapter_config.json").read_text(encoding="utf-8"))
    assert about["base_model_name_or_path"] == "checkpoint" and about["peft_type"] == "LORA"


@pytest.mark.parametrize("parts", ["llm", pytest.param("tower,head:1e-4", marks=pytest.mark.long)])
def test_all_weights_of_some_parts_learn(parts: str, folder: Path) -> None:
    out = folder / f"full-{parts[:3]}"
    words = runs.words(folder, "--method", "full", "--train", parts, out=out.name)
    assert runs.run(words) == 0
    before, after = weights(checkpoint("ovis2.5")), weights(out / "merged")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    begins = ("llm.",) if parts == "llm" else ("visual_tokenizer.",)
    assert changed and all(name.startswith(begins) for name in changed)
    assert not any("post_layernorm" in name for name in changed)
    load(out / "merged")
    losses = [loss for _, loss in runs.losses(out)]
    assert not (out / "adapter").exists() and losses[-1] < losses[0]


def test_an_adapter_of_a_quantized_model_goes_into_the_whole_one(folder: Path) -> None:
    out = folder / "int4"
    assert runs.run(runs.words(folder, "--quantize", "int4", "--merge", "--epochs", "1", out="int4")) == 0
    base = checkpoint("ovis2.5")
    adapted = logits(load(base, adapter=out / "adapter"))
    torch.testing.assert_close(logits(load(out / "merged")), adapted, rtol=0, atol=1e-4)
    four = logits(load(base, adapter=out / "adapter", quantize="int4"))
    assert (four - logits(load(base, quantize="int4"))).abs().max() > 1e-4
    assert len(runs.losses(out)) == 4


@pytest.mark.long
def test_spared_memory_changes_nothing(folder: Path) -> None:
    for name, more in (("plain", ()), ("spared", ("--checkpointing",))):
        assert runs.run(runs.words(folder, "--epochs", "1", *more, out=name)) == 0
    assert runs.losses(folder / "plain") == runs.losses(folder / "spared")
    one, other = (folder / name / "adapter" / "adapter_model.safetensors" for name in ("plain", "spared"))
    assert one.read_bytes() == other.read_bytes()


def test_words_that_were_never_learnt_get_rows_of_their_own(folder: Path, tmp_path: Path) -> None:
    """Of a model in which their embeddings look like one another: so they can be told apart and said."""
    model = runs.copy(checkpoint("ovis2.5"), tmp_path / "model")
    values = weights(model)
    table = values["llm.model.embed_tokens.weight"]
    zib = ids_of(model, "zib")
    table[200:260] = table[200] + torch.randn(60, table.shape[1]) * 1e-4
    for id in zib:
        table[id] = table[200]
    save_file(values, model / "model.safetensors", metadata={"format": "pt"})
    words = runs.words(folder, "--train", "llm", "--merge", out="rows")
    words[words.index("--model") + 1] = str(model)
    assert runs.run(words) == 0
    after = weights(folder / "rows" / "merged")["llm.model.embed_tokens.weight"]
    changed = {int(row) for row in (after != table).any(-1).nonzero()}
    assert set(zib) <= changed and len(changed) < 80
    saved = load_file(folder / "rows" / "adapter" / "adapter_model.safetensors")
    assert any("token_adapter" in name for name in saved)


def ids_of(model: Path, text: str) -> list[int]:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model)(text, add_special_tokens=False)["input_ids"]


def test_a_loss_that_is_no_number_ends_it(folder: Path, tmp_path: Path) -> None:
    model = runs.copy(checkpoint("ovis2.5"), tmp_path / "model")
    values = weights(model)
    values["llm.model.norm.weight"].fill_(float("nan"))
    save_file(values, model / "model.safetensors", metadata={"format": "pt"})
    words = runs.words(folder, out="nan")
    words[words.index("--model") + 1] = str(model)
    with pytest.raises(BackendError, match=r"no number any more at step 1: .*--lr.*\(\w+ of data.json, \d+ tokens\)"):
        runs.run(words)
    assert RunFolder(folder / "nan").newest() is None


def test_too_little_memory_says_what_to_lower(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, real = list[object](), Ovis.forward

    def forward(model: Ovis, *given: Any, **more: Any) -> Any:
        calls.append(more)
        if len(calls) == 6:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return real(model, *given, **more)

    monkeypatch.setattr(Ovis, "forward", forward)
    sentence = r"too little at step 6: lower --max-tokens or --max-pixels or --batch \(or add --checkpointing"
    with pytest.raises(BackendError, match=sentence):
        runs.run(runs.words(folder, out="memory"))
    assert RunFolder(folder / "memory").checkpoints()[-1][0] == 4


def test_without_peft_it_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entrance, "find_spec", lambda name: None)
    with pytest.raises(BackendError, match=r"needs peft: pip install"):
        runs.run(runs.words(folder, out="none"))
    assert not (folder / "none").exists()


def test_old_samples_of_a_file_are_asked_before_and_after(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = written(tmp_path / "old.json", [entry(f"Old {number}?", "Yes.", id=f"o{number}") for number in range(9)])
    words = runs.words(folder, "--mix", f"{old}:0.2", "--epochs", "1", out="mixed")
    assert runs.run(words) == 0
    assert re.search(r"old questions: \d of 7 were answered right before, \d are now", capsys.readouterr().out)
    begun = json.loads((folder / "mixed" / "run.json").read_text(encoding="utf-8"))
    assert begun["flags"]["mix"] == [[str(old), 0.2]]


def test_two_runs_never_share_a_folder(folder: Path) -> None:
    def begun_meanwhile(plan: Plan) -> None:
        """Both had looked at the folder while nothing was in it."""
        with RunFolder(plan.out).taken(plan), pytest.raises(BackendError, match="Another process trains in twice now"):
            train(plan)
        with pytest.raises(BackendError, match="twice holds a run: add --resume"):
            train(plan)
        with RunFolder(plan.out).taken(replace(plan, resume=True)):
            assert not RunFolder(plan.out).records()

    assert finetune.run(runs.words(folder, out="twice"), begun_meanwhile) == 0
