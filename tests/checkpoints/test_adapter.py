"""An adapter changes what it says and nothing else; what doesn't fit is one sentence before any weight is read."""

from __future__ import annotations

import json
import os
import struct
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ovis_app import zoo
from ovis_app.backends.local import model_pool
from ovis_app.backends.local.backend import LocalBackend
from ovis_app.checkpoints import safetensors
from ovis_app.checkpoints.adapter import Adapter
from ovis_app.checkpoints.adapter_config import AdapterConfig
from ovis_app.checkpoints.checkpoint import Checkpoint, check_shapes, read_headers
from ovis_app.checkpoints.load import load
from ovis_app.errors import AdapterError, BackendError
from ovis_app.limits import Limits
from ovis_app.models.config import OvisConfig
from ovis_app.models.ovis import Ovis
from ovis_app.settings import Settings
from tests.adapters import FAMILIES, MODULE, PREFIX, checkpoint, logits, pair, written
from tests.models_on_cpu import loaded_on_cpu

BASE = checkpoint("ovis2.5")
TABLE = "llm.model.embed_tokens"


@cache
def shapes() -> Ovis:
    config = OvisConfig.read(BASE)
    return check_shapes(BASE, config, read_headers(BASE, config))


def looked_over(adapter: Path, base: str = "/models/this") -> Adapter:
    return Adapter.read(adapter, shapes(), base=zoo.adapted(base, str(adapter)))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_product_is_added_to_its_weight_alone(family: str, tmp_path: Path) -> None:
    tensors = pair(MODULE, 96, 64)
    adapter = written(tmp_path / "mine", tensors)
    before, after = load(checkpoint(family)).state_dict(), load(checkpoint(family), adapter=adapter).state_dict()
    a, b = tensors.values()
    torch.testing.assert_close(after[f"{MODULE}.weight"], before[f"{MODULE}.weight"] + b @ a * 2, rtol=0, atol=1e-6)
    assert [name for name in before if not torch.equal(before[name], after[name])] == [f"{MODULE}.weight"]


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        ({"lora_alpha": 3}, 1.5),
        ({"use_rslora": True, "lora_alpha": 4}, 4 / 2**0.5),
        ({"alpha_pattern": {"down_proj": 6}}, 3.0),
        ({"alpha_pattern": {r"layers\.[01]\.mlp\.(up|down)_proj": 6}}, 3.0),
        ({"alpha_pattern": {"proj": 6, "layers.1": 9}, "lora_alpha": 2}, 1.0),
        ({"r": 8, "rank_pattern": {r".*\.0\.mlp.down_proj": 2}}, 2.0),
        ({"r": 8, "rank_pattern": {f"^{MODULE}": 2}, "alpha_pattern": {MODULE: 1}, "use_rslora": True}, 2**-0.5),
    ],
    ids=str,
)
def test_ranks_and_strengths_are_those_of_the_module(config: dict[str, Any], scale: float, tmp_path: Path) -> None:
    tensors = pair(MODULE, 96, 64)
    before = load(BASE).get_parameter(f"{MODULE}.weight")
    after = load(BASE, adapter=written(tmp_path, tensors, **config)).get_parameter(f"{MODULE}.weight")
    a, b = tensors.values()
    torch.testing.assert_close(after - before, b @ a * scale, rtol=1e-3, atol=1e-6)


def test_trained_rows_reach_the_head_that_shares_them(tmp_path: Path) -> None:
    rows = torch.full((2, 64), 0.5)
    adapter = written(
        tmp_path, {f"{PREFIX}{TABLE}.token_adapter.trainable_tokens_delta": rows}, trainable_token_indices=[7, 3]
    )
    before, model = load(BASE), load(BASE, adapter=adapter)
    table = model.get_parameter(f"{TABLE}.weight")
    assert model.llm.lm_head.weight is table
    assert torch.equal(table[[7, 3]], rows)
    others = [row for row in range(len(table)) if row not in (3, 7)]
    assert torch.equal(table[others], before.get_parameter(f"{TABLE}.weight")[others])


def test_a_head_that_the_file_repeats_is_changed_with_its_table(tmp_path: Path) -> None:
    base = tmp_path / "base"
    copied(base)
    tensors = load_file(base / "model.safetensors")
    save_file({**tensors, "llm.lm_head.weight": tensors[f"{TABLE}.weight"].clone()}, base / "model.safetensors")
    delta = f"{PREFIX}{TABLE}.token_adapter.trainable_tokens_delta"
    adapter = written(tmp_path / "a", {delta: torch.ones(1, 64)}, trainable_token_indices={TABLE: [5]})
    model = load(base, adapter=adapter)
    assert (
        model.llm.lm_head.weight is model.get_parameter(f"{TABLE}.weight") and model.llm.lm_head.weight[5].eq(1).all()
    )


def test_whole_modules_are_replaced(tmp_path: Path) -> None:
    table = torch.randn(load(BASE).vte.weight.shape)
    model = load(BASE, adapter=written(tmp_path, {f"{PREFIX}vte.weight": table}, modules_to_save=["vte"]))
    assert torch.equal(model.vte.weight, table)


def test_an_adapter_that_learnt_nothing_changes_nothing(tmp_path: Path) -> None:
    """Its file ends in zeros, and is whole all the same."""
    tensors = pair(MODULE, 96, 64)
    _, b = tensors
    tensors[b] = torch.zeros_like(tensors[b])
    assert torch.equal(logits(load(BASE, adapter=written(tmp_path, tensors))), logits(load(BASE)))


def copied(folder: Path, base: Path = BASE) -> Path:
    folder.mkdir(parents=True)
    for file in base.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


# --- what is refused ------------------------------------------------------------------------------------------------


def config(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: written(folder, **changes) and None  # type: ignore[func-returns-value]


def of(*tensors: dict[str, torch.Tensor], **changes: Any) -> Callable[[Path], None]:
    whole = {name: value for part in tensors for name, value in part.items()}
    return lambda folder: written(folder, whole, **changes) and None  # type: ignore[func-returns-value]


def damaged(file: str, data: bytes | None) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        written(folder)
        whole = (folder / file).read_bytes()
        (folder / file).write_bytes(whole[:-100] if data is None else data)

    return damage


def header(*tensors: str, of: int = 1280) -> Callable[[Path], None]:
    """A file whose header says this of so many bytes."""

    def write(folder: Path) -> None:
        written(folder)
        said = f"{{{', '.join(tensors)}}}".encode()
        body = struct.pack("<Q", len(said)) + said + b"\1" * of
        (folder / "adapter_model.safetensors").write_bytes(body)

    return write


def told(end: str, shape: str, begin: int, last: int) -> str:
    """A tensor as a header tells it."""
    offsets = f'"data_offsets": [{begin}, {last}]'
    return f'"{PREFIX}{MODULE}.{end}.weight": {{"dtype": "F32", "shape": {shape}, {offsets}}}'


def crowded(folder: Path) -> None:
    """A header of very many tensors; it isn't even closed, so that whoever parses it finds it damaged."""
    written(folder)
    said = b"{" + b'"a": {"shape": [], "data_offsets": []}, ' * 100_001
    (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(said)) + said)


def wordy(folder: Path) -> None:
    """A header of little but a name."""
    written(folder)
    said = b'{"' + b"a" * 17_000_000 + b'": []'
    (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(said)) + said)


def piped(folder: Path) -> None:
    """Where a pipe lies that nobody writes into."""
    written(folder)
    (folder / "adapter_config.json").unlink()
    os.mkfifo(folder / "adapter_config.json")


def pickled(folder: Path) -> None:
    written(folder)
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")


def without_weights(folder: Path) -> None:
    written(folder)
    (folder / "adapter_model.safetensors").unlink()


HALF = {name: value for name, value in pair(MODULE, 96, 64).items() if "lora_A" in name}
NAN = {name: value * float("nan") for name, value in pair(MODULE, 96, 64).items()}
ROWS = {f"{PREFIX}{TABLE}.token_adapter.trainable_tokens_delta": torch.ones(1, 64)}
APART = {f"{PREFIX}{TABLE}.lora_embedding_{x}": torch.ones(size) for x, size in (("A", (2, 704)), ("B", (64, 2)))}
VTE = f"{PREFIX}vte"
TWICE = {f"{VTE}.weight": torch.ones(128, 64), f"{VTE}.modules_to_save.weight": torch.zeros(128, 64)}
A, B = told("lora_A", "[2, 96]", 0, 768), told("lora_B", "[64, 2]", 768, 1280)
NORM = {f"{PREFIX}llm.model.norm.lora_{x}.weight": torch.ones(s) for x, s in (("A", (2,)), ("B", (64, 2)))}
BAD = pytest.mark.parametrize(
    ("write", "said"),
    [
        (config(peft_type="IA3"), "uses IA3, which"),
        (config(peft_type=None), "uses a method that it doesn't name"),
        (config(use_dora=True), "uses DoRA, which"),
        (config(use_qalora=True), "uses QALoRA"),
        (config(lora_bias=True), "uses lora_bias"),
        (config(bias="all"), "uses bias=all"),
        (config(fan_in_fan_out=True), "uses fan_in_fan_out"),
        (config(init_lora_weights="pissa_niter_4"), "uses init_lora_weights=pissa_niter_4"),
        (config(target_parameters=["a"]), "uses target_parameters"),
        (config(something_new={"a": 1}), "uses something_new"),
        (config(r=0), "adapter_config.json that is damaged"),
        (config(r="8"), "adapter_config.json that is damaged"),
        (config(lora_alpha=float("inf")), "adapter_config.json that is damaged"),
        (config(alpha_pattern={"(a+)+$": 3}), "uses the pattern (a+)+$, which"),
        (config(rank_pattern=dict.fromkeys((f"^{n}.*" for n in range(40)), 3)), "uses the pattern ^0.*, which"),
        (config(alpha_pattern={"[": 3}), "adapter_config.json that is damaged"),
        (config(rank_pattern=[3]), "adapter_config.json that is damaged"),
        (config(trainable_token_indices=5), "adapter_config.json that is damaged"),
        (damaged("adapter_config.json", b"{"), "adapter_config.json that is damaged"),
        (damaged("adapter_config.json", b"[" * 100_000), "adapter_config.json that is damaged"),
        (damaged("adapter_config.json", b"[]"), "adapter_config.json that is damaged"),
        (damaged("adapter_model.safetensors", None), "is damaged: adapter_model.safetensors is incomplete"),
        (damaged("adapter_model.safetensors", b""), "is damaged: adapter_model.safetensors"),
        (pickled, "is pickled, which could run code"),
        (without_weights, "has no adapter_model.safetensors"),
        (of(), "is empty"),
        (of(HALF), "1 of its tensors have no place there, or another shape, as llm.model.layers.0.mlp.down_proj"),
        (of(pair(MODULE, 64, 96)), "doesn't fit this"),
        (of(pair(MODULE, 96, 64, r=3)), "doesn't fit this"),
        (of(pair("llm.model.layers.77.mlp.down_proj", 96, 64)), "doesn't fit this"),
        (of({f"{PREFIX}model.language_model.norm.weight": torch.ones(64)}), "doesn't fit this"),
        (of({f"{PREFIX}vte.weight": torch.ones(3, 64)}), "doesn't fit this"),
        (of(ROWS), "doesn't fit this"),
        (of(ROWS, trainable_token_indices=[704]), "doesn't fit this"),
        (of(ROWS, trainable_token_indices=[-1]), "doesn't fit this"),
        (of(pair("llm.lm_head", 64, 704)), "embeddings or the output layer apart"),
        (of({f"{PREFIX}{TABLE}.weight": torch.ones(704, 64)}), "embeddings or the output layer apart"),
        (of(APART, ensure_weight_tying=True), "embeddings or the output layer apart"),
        (of(NORM), "doesn't fit this"),
        (of(pair("llm.base_model.layers.0.mlp.down_proj", 96, 64)), "doesn't fit this"),
        (of(pair(MODULE, 96, 64, r=1025), r=1025), "uses a rank of 1,025, which"),
        (piped, "There is no adapter_config.json in mine"),
        (of(TWICE), "changes vte.weight twice: save it again"),
        (
            of(pair(MODULE, 96, 64), {"vte.weight": torch.ones(128, 64), f"{VTE}.weight": torch.zeros(128, 64)}),
            "changes vte.weight twice",
        ),
        (of(pair(MODULE, 96, 64), pair(f"../{MODULE}", 96, 64)), "doesn't fit this"),
        (
            of({n.removeprefix(PREFIX): v for n, v in pair(MODULE, 96, 64).items()}, pair(MODULE, 96, 64)),
            "proj.weight twice",
        ),
        (header(A, told("lora_B", "[64, 2]", 0, 512), of=768), "has a header that makes no sense"),
        (header(A, told("lora_B", "[64, 2]", 800, 1312), of=1312), "has a header that makes no sense"),
        (header(A, A.replace("0, 768", "768, 1536"), B.replace("768, 1280", "1536, 2048"), of=2048), "no sense"),
        (header(A.replace("[2, 96]", "[2.5, 96]"), B), "has a header that makes no sense"),
        (header(A.replace("[2, 96]", "[-2, -96]"), B), "has a header that makes no sense"),
        (header(A.replace("[2, 96]", f"[{2**62}, {2**62}]"), B), "has a header that makes no sense"),
        (header(A.replace("[2, 96]", f"[2, 96{', 1' * 20}]"), B), "has a header that makes no sense"),
        (header(A.replace("F32", r"\u001b[2J\n" + "F" * 99), B), "safetensors holds �[2J�FFFFFFFFFFFFFFF numbers"),
        (crowded, "In the adapter mine, adapter_model.safetensors tells of more than 100,000 tensors, which this app"),
        (wordy, "begins with more than 16 MB about its tensors"),
        (config(rank_pattern={f"m{n}": 3 for n in range(5000)}), "uses 5,000 patterns, which"),
        (config(peft_type="\x1b[2J\n\ud800"), "uses �[2J��, which"),
        (config(**{"\x1b]0;x\x07": 1}), "uses �]0;x�, which"),
        (config(bias="\r\n"), "uses bias=��, which"),
        (config(base_model_name_or_path="a\n\x1b[31mb"), "was trained on a��[31mb, not on this"),
        (config(base_model_name_or_path=["a"]), "adapter_config.json that is damaged"),
        (of({f"{PREFIX}\x1b[31m\n": torch.ones(1)}), "or another shape, as �[31m�. Name"),
        (config(base_model_name_or_path="AIDC-AI/Ovis2.5-9B"), "was trained on Ovis2.5-9B, not on this"),
        (config(base_model_name_or_path="/home/me/other"), "was trained on other, not on this"),
    ],
)


@BAD
def test_a_bad_adapter_is_a_sentence_before_weights_are_read(
    write: Callable[[Path], None], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safetensors.Reader, "read", lambda *_: pytest.fail("weights were read"))
    write(tmp_path / "mine")
    with pytest.raises(AdapterError) as caught:
        looked_over(tmp_path / "mine")
    sentence = str(caught.value)
    assert said in sentence and str(tmp_path) not in sentence and sentence.endswith(".")
    assert sentence.isprintable()


def test_numbers_that_the_model_cannot_hold_are_refused(tmp_path: Path) -> None:
    """Not a number, and in half precision also what is too large."""
    with pytest.raises(AdapterError, match=r"makes numbers of llm.*that float32 can't hold"):
        load(BASE, adapter=written(tmp_path / "nan", NAN))
    large = written(tmp_path / "large", pair("llm.model.layers.0.mlp.down_proj", 512, 192, size=3e3))
    with pytest.raises(AdapterError, match="that float16 can't hold"):
        load(zoo.MINI_FOLDER, adapter=large)


def test_patterns_that_would_take_for_ever_are_refused_at_once(tmp_path: Path) -> None:
    begun = time.process_time()
    for pattern in ("(.*)*$", "(a|a)*", "((.+)+)+!", ".*.*.*x", "(?:a{1,9}){1,9}", r"(l)\1*", ".?" * 40, "(.|.)" * 30):
        with pytest.raises(AdapterError, match="uses the pattern"):
            AdapterConfig.read(written(tmp_path, alpha_pattern={pattern: 3}), "mine")
    names = {f"{number:09}": 3 for number in range(4096)}  # as long as the module's own
    config = AdapterConfig.read(written(tmp_path, rank_pattern=names, alpha_pattern=names), "mine")
    assert {config.scale(MODULE) for _ in range(200)} == {2.0}
    assert time.process_time() - begun < 10.0


def test_rows_are_looked_up_for_tables_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger may name many tables in as many tensors, each to be looked for among all."""
    monkeypatch.setattr(AdapterConfig, "indices", lambda *_: pytest.fail("a table that isn't there was looked up"))
    rows = {f"{PREFIX}{name}.token_adapter.trainable_tokens_delta": torch.ones(1, 64) for name in ("x", "llm.x")}
    with pytest.raises(AdapterError, match="2 of its tensors have no place"):
        looked_over(written(tmp_path, rows, trainable_token_indices={"x": [0]}))


def test_a_folders_name_is_shown_as_it_can_be(tmp_path: Path) -> None:
    """A stranger chose it: it moves no cursor, begins no line, and can be sent."""
    odd = written(tmp_path / os.fsdecode(b"a\n\x1b[31m<b>\xff") / "adapter")
    base = copied(tmp_path / "c\x1b[2J\n")
    assert zoo.adapted(str(base), str(odd)).name == "c�[2J�+a��[31m<b>�"
    (odd / "adapter_model.safetensors").unlink()
    with pytest.raises(AdapterError, match=r"The adapter a��\[31m<b>� has no"):
        looked_over(odd)
    (base / "config.json").write_text("{")
    with pytest.raises(BackendError, match=r"config.json in c�\[2J� is damaged"):
        OvisConfig.read(base)


def test_what_was_released_quantized_takes_no_adapter(tmp_path: Path) -> None:
    base = copied(tmp_path / "quantized")
    raw = json.loads((base / "config.json").read_text())
    raw["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (base / "config.json").write_text(json.dumps(raw))
    with pytest.raises(AdapterError, match="quantized, which was released quantized: name the model in full"):
        Checkpoint.read(base, "quantized", base=zoo.adapted(str(base), str(written(tmp_path / "a"))))


def test_its_base_is_known_by_any_of_its_names(tmp_path: Path) -> None:
    for name in (None, "", "/elsewhere/this", "This", "/hub/models--me--this/snapshots/c0ffee"):
        looked_over(written(tmp_path, base_model_name_or_path=name))
    for name in ("AIDC-AI/Ovis2.5-2B", "ATH-MaaS/Ovis2.5-2B", "ovis2.5-2b", "/models/Ovis2.5-2B", "Ovis2.5-2B@main"):
        looked_over(written(tmp_path, base_model_name_or_path=name), "AIDC-AI/Ovis2.5-2B@v1")


# --- where it is used -----------------------------------------------------------------------------------------------


def test_models_with_other_adapters_are_other_models(tmp_path: Path) -> None:
    """And so is one whose folder was written anew."""
    model_pool.release()
    one, two = written(tmp_path / "one"), written(tmp_path / "two", pair(MODULE, 96, 64, seed=2))
    rows = [zoo.adapted(str(BASE), adapter) for adapter in ("", str(one), str(two))]
    found = [loaded_on_cpu(row, "float32") for row in rows]
    assert len({tuple(logits(loaded.model)[-1].tolist()) for loaded in found}) == 3
    assert [row.name for row in rows] == ["checkpoint", "checkpoint+one", "checkpoint+two"]
    last = loaded_on_cpu(rows[2], "float32")
    assert loaded_on_cpu(rows[2], "float32") is last
    written(two, pair(MODULE, 96, 64, seed=3))
    anew = loaded_on_cpu(rows[2], "float32")
    assert not torch.equal(logits(anew.model), logits(last.model))
    model_pool.release()


def test_weights_that_are_written_anew_while_they_are_read_are_a_sentence(tmp_path: Path) -> None:
    """Their bytes would be taken for what stood there before."""
    adapter, times = written(tmp_path / "mine"), list[str]()
    row = zoo.adapted(str(BASE), str(adapter))

    def meanwhile(words: str, share: float | None) -> None:
        if share and not times:
            times.append(words)
            written(adapter, pair(MODULE, 96, 64, seed=9))

    with pytest.raises(BackendError, match=r"checkpoint\+mine were written anew while they were read: try again"):
        loaded_on_cpu(row, "float32", progress=meanwhile)
    assert torch.equal(logits(loaded_on_cpu(row, "float32").model), logits(load(BASE, adapter=adapter)))
    model_pool.release()


def test_a_folder_that_was_written_anew_is_loaded_anew(tmp_path: Path) -> None:
    base = copied(tmp_path / "mine")
    row = zoo.resolve(str(base))
    before = loaded_on_cpu(row, "float32")
    tensors = load_file(base / "model.safetensors")
    save_file({**tensors, "vte.weight": tensors["vte.weight"] + 1}, base / "model.safetensors")
    assert not torch.equal(loaded_on_cpu(row, "float32").model.vte.weight, before.model.vte.weight)
    model_pool.release()


def test_the_page_and_programs_hear_of_the_adapter(tmp_path: Path) -> None:
    """The model of the start has it whenever it is chosen; no folder of this machine is named."""
    adapter = written(tmp_path / "shop" / "adapter")
    settings = Settings(model=str(BASE), adapter=str(adapter), device="cpu")
    backend = LocalBackend(settings, Limits())
    try:
        spec = backend.status().model
        assert spec.name == "checkpoint+shop" and spec.public_id == "checkpoint+shop" and spec.is_called("checkpoint")
        assert backend.offers()[0].model.name == "checkpoint+shop"
    finally:
        backend.close()
    known = LocalBackend(Settings(model="ovis-mini", adapter=str(adapter), device="cpu"), Limits())
    try:
        assert [offer.model.name for offer in known.offers() if offer.model.bundled] == ["Ovis-mini+shop"]
    finally:
        known.close()


def test_an_adapter_in_the_place_of_a_model_is_told_so(tmp_path: Path) -> None:
    adapter = written(tmp_path / "shop")
    with pytest.raises(BackendError, match="shop is an adapter, not a model: name it with --adapter"):
        loaded_on_cpu(zoo.resolve(str(adapter)), "float32")
