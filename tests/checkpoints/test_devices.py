"""Where a model goes and whether it fits: refused before anything is fetched, with what would fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ovis_app import zoo
from ovis_app.backends.local import model_pool
from ovis_app.checkpoints import bitsandbytes, device_map, memory_fit
from ovis_app.checkpoints.device_map import finish, of_map, plan
from ovis_app.checkpoints.load import load, skeleton
from ovis_app.engine import plain
from ovis_app.errors import BackendError
from ovis_app.generation import GenerationSettings
from ovis_app.models import devices
from ovis_app.models.config import OvisConfig
from tests.checkpoints.test_gptq import Way, checkpoint
from tests.engine.engines import engine_over
from tests.engine.prompts import ENDING, tiny
from tests.models_on_cpu import loaded_on_cpu, on_cpu

GOLDEN = Path(__file__).resolve().parent.parent / "fixtures" / "golden"
TINY = zoo.resolve(str(GOLDEN / "ovis2.5" / "public-a" / "checkpoint"))


def row(name: str) -> zoo.ModelSpec:
    found = zoo.find(name)
    assert found is not None
    return found


@pytest.mark.parametrize("wanted", ["cpu:9", "cuda:99", "mps:1", "tpu"])
def test_a_device_that_is_not_there_is_refused(wanted: str) -> None:
    with pytest.raises(BackendError, match=wanted):
        devices.choose_device(wanted)


def test_precision_follows_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    large = row("Ovis2.5-2B")
    monkeypatch.setattr(devices, "cpu_has_bfloat16", lambda: True)
    assert devices.choose_dtype("auto", "cpu", large) == torch.bfloat16
    assert devices.choose_dtype("auto", "cpu", zoo.MINI) == torch.float32
    assert devices.choose_dtype("auto", "cpu", TINY) == torch.float32
    assert devices.choose_dtype("float32", "cpu", large) == torch.float32
    monkeypatch.setattr(devices, "cpu_has_bfloat16", lambda: False)
    assert devices.choose_dtype("auto", "cpu", large) == torch.float32
    assert devices.choose_dtype("auto", "mps", large) == torch.float32


@pytest.mark.parametrize(("family", "attention"), [("ovis1.6", "eager"), ("ovis2", "sdpa"), ("ovis2.5", "sdpa")])
def test_attention_is_what_the_model_can(family: str, attention: str) -> None:
    """Gemma 2 caps its logits, which only eager attention does."""
    model = load(GOLDEN / family / "public-a" / "checkpoint")
    assert model.llm.config._attn_implementation == attention
    assert model.llm.model.layers[0].self_attn.config._attn_implementation == attention


def test_a_small_model_answers_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside one busy core, two threads take ten times as long a token as one."""
    small, seen = tiny("ovis2.5"), []
    prompt = small.written([("Hello", ())])

    class Streamer:
        def put(self, value: torch.Tensor) -> None:
            seen.append(torch.get_num_threads())

        def end(self) -> None:
            pass

    def threads() -> set[int]:
        seen.clear()
        settings = GenerationSettings(max_new_tokens=3)
        plain.generate(small.model, prompt, settings, ending=ENDING, streamer=Streamer())
        with engine_over(small.model) as engine:
            engine.generate(prompt, settings, streamer=Streamer())
        return set(seen)

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert threads() == {1} and torch.get_num_threads() == 2
        monkeypatch.setattr(devices, "FEW_BYTES", 0)
        assert threads() == {2}
    finally:
        torch.set_num_threads(before)


def test_flash_attention_where_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "is_flash_attn_2_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 6) if device.index else (7, 5))
    assert devices.choose_attention("qwen3", "cuda", torch.float16) == "sdpa", "a T4 has none"
    assert devices.choose_attention("qwen3", "cuda:1", torch.bfloat16) == "flash_attention_2"
    assert devices.choose_attention("qwen3", "cuda:1", torch.float32) == "sdpa"
    assert devices.choose_attention("qwen3", "cpu", torch.bfloat16) == "sdpa"
    assert devices.choose_attention("gemma2", "cuda:1", torch.bfloat16) == "eager"


def fitted(name: str, gigabytes: float, monkeypatch: pytest.MonkeyPatch, **how: str) -> memory_fit.Fit:
    monkeypatch.setattr(memory_fit, "bytes_available", lambda *_: int(gigabytes * 1e9))
    return memory_fit.fit(row(name), on_cpu(row(name), "bfloat16", **how))


def test_the_verdict_is_of_the_weights_and_of_the_conversation(monkeypatch: pytest.MonkeyPatch) -> None:
    verdicts = [fitted("Ovis2.5-2B", size, monkeypatch).verdict for size in (5.0, 8.0, 16.0)]
    assert verdicts == ["too big", "tight", "fits"]
    assert fitted("Ovis2.5-9B", 12.0, monkeypatch).verdict == "too big"
    assert fitted("Ovis2.5-9B", 12.0, monkeypatch, quantize="int4").verdict == "tight"
    freed = memory_fit.fit(row("Ovis2.5-9B"), on_cpu(row("Ovis2.5-9B"), "bfloat16"), freed=10**11)
    assert freed.verdict == "fits"


@pytest.mark.parametrize("spec", [spec for spec in zoo.MODELS if not spec.bundled], ids=lambda spec: spec.name)
def test_rows_hold_what_an_estimate_needs(spec: zoo.ModelSpec) -> None:
    """The layers' Linear modules and the keys and values, as the shapes have them."""
    assert spec.llm is not None
    assert 0.25 < spec.llm.linears / spec.parameters < 0.96
    found = memory_fit.fit(spec, on_cpu(spec, "bfloat16"))
    assert found.needed > found.least > found.weights > 0.9 * spec.bytes
    assert bool(spec.quantization) == ("GPTQ" in spec.name) and (spec.bytes < 1.3 * spec.parameters * 1e9) == bool(
        spec.quantization
    )


def test_a_folder_is_estimated_by_its_files() -> None:
    model = load(GOLDEN / "ovis2.5" / "public-a" / "checkpoint")
    held = sum(value.nbytes for value in set(model.parameters()))
    found = memory_fit.fit(TINY, on_cpu(TINY, "float32"))
    assert found.weights == pytest.approx(held, rel=0.05)
    config = model.llm.config
    cache = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * 4 * TINY.context
    assert found.cache == cache


def test_a_name_that_tells_a_size_is_believed() -> None:
    unknown = zoo.resolve("someone/Ovis2.5-9B-for-cats")
    assert unknown.parameters == 9.0 and memory_fit.fit(unknown, on_cpu(unknown, "bfloat16")).weights == 18 * 10**9


def refusal(spec: zoo.ModelSpec, monkeypatch: pytest.MonkeyPatch, gigabytes: float, dtype: str = "bfloat16") -> str:
    monkeypatch.setattr(memory_fit, "bytes_available", lambda *_: int(gigabytes * 1e9))
    monkeypatch.setattr(model_pool, "folder_of", lambda *_: pytest.fail("it was fetched"))
    with pytest.raises(BackendError) as caught:
        loaded_on_cpu(spec, dtype)
    return str(caught.value)


def test_a_refusal_names_what_would_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    said = refusal(row("Ovis2.5-9B"), monkeypatch, 12)
    assert said == ("Ovis2.5-9B needs about 20 GB and 12 GB are free: add --quantize int4, or try Ovis2-4B.")
    assert "add --dtype bfloat16, or try Ovis2-2B" in refusal(row("Ovis2.5-2B"), monkeypatch, 12, "float32")
    assert "add --quantize int4, or try" in refusal(row("Ovis2-34B-GPTQ-Int8"), monkeypatch, 35)
    assert refusal(row("Ovis2-34B"), monkeypatch, 1).endswith("use a larger machine.")


@pytest.mark.parametrize("spec", [spec for spec in zoo.MODELS if spec.quantization], ids=lambda spec: spec.name)
def test_what_was_released_in_fewer_bits_needs_its_files_size(
    spec: zoo.ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a processor too; more where the rest is loaded in more precision, and otherwise where it's quantized anew."""
    monkeypatch.setattr(memory_fit, "bytes_available", lambda *_: 10**12)
    released = memory_fit.fit(spec, on_cpu(spec, "bfloat16"))
    assert released.weights == spec.bytes and released.verdict == "fits"
    rest = spec.parameters - spec.llm.linears
    assert memory_fit.fit(spec, on_cpu(spec, "float32")).weights == pytest.approx(spec.bytes + 2e9 * rest)
    plain = replace(spec, quantization="", size=0)
    for bits in memory_fit.QUANTIZE:
        again, anew = (memory_fit.fit(one, on_cpu(one, "bfloat16", bits)).weights for one in (spec, plain))
        assert again == anew


def test_a_folder_quantized_by_gptq_says_so(tmp_path: Path) -> None:
    way = Way()
    folder = checkpoint(tmp_path, way)
    spec, plain = zoo.resolve(str(folder)), zoo.resolve(str(tmp_path / "plain"))
    assert spec.quantization == "GPTQ, 4 bits"
    assert spec.bytes == (folder / "model.safetensors").stat().st_size
    assert spec.parameters == pytest.approx(plain.parameters, rel=0.1)
    loaded = loaded_on_cpu(spec)
    assert loaded.model.num_parameters() == loaded_on_cpu(plain).model.num_parameters()


@pytest.mark.parametrize("family", ["ovis1.6", "ovis2", "ovis2.5"])
def test_layers_are_spread_over_gpus_and_answers_stay(family: str) -> None:
    """A plan for two GPUs with room for half of the layers each; and one CPU with accelerate between the layers."""
    checkpoint = GOLDEN / family / "public-a" / "checkpoint"
    whole = load(checkpoint)
    empty = skeleton(OvisConfig.read(checkpoint), torch.float32)
    layers = sum(value.nbytes for value in empty.llm.model.layers.parameters())
    others = sum(value.nbytes for value in set(empty.parameters())) - layers
    placed = plan(empty, {0: others + layers, 1: layers})
    assert set(placed.values()) == {0, 1} and placed[""] == 0
    rule = of_map({name: f"cuda:{number}" for name, number in placed.items()})
    last = len(empty.llm.model.layers) - 1
    assert rule("visual_tokenizer.head.0.weight") == rule("llm.lm_head.weight") == torch.device("cuda:0")
    assert rule("llm.model.layers.0.mlp.up_proj.weight") == torch.device("cuda:0")
    assert rule(f"llm.model.layers.{last}.mlp.up_proj.weight") == torch.device("cuda:1")
    layered = load(checkpoint)
    finish(layered, of_map({"": "cpu"}), hooks=True)
    ids = torch.arange(20)
    with torch.inference_mode():
        ours = [model.llm(inputs_embeds=model.embed(ids, None)).logits for model in (whole, layered)]
    assert torch.equal(*ours)
    assert hasattr(layered.llm.model.layers[0], "_hf_hook")
    small = tiny(family)
    prompt, settings = small.written([("What is it?", ())]), GenerationSettings(max_new_tokens=8)
    wanted = plain.generate(whole, prompt, settings, ending=ENDING).tolist()
    for by_hand in (True, False):  # layers that are really on several devices go through the modules
        with engine_over(layered, by_hand=by_hand) as engine:
            assert engine.generate(prompt, settings).tolist() == wanted


@pytest.mark.parametrize("bits", ["none", "int8", "int4"])
def test_what_is_spread_is_measured_by_its_bits(bits: str) -> None:
    """Before anything is loaded, as large as it is afterwards: 8 bits are twice 4, and only the layers have them."""
    loaded = load(zoo.MINI_FOLDER, quantize=bits)
    values = set(loaded.parameters())
    for module in loaded.llm.modules():
        state = getattr(module, "quant_state", None) or getattr(module, "state", None)
        if isinstance(module, torch.nn.Linear) and state is not None:
            scales = getattr(state, "absmax", getattr(state, "SCB", None))
            values.add(module.weight.SCB if scales is None else scales)
    empty = skeleton(OvisConfig.read(zoo.MINI_FOLDER), torch.float32)
    small = {f"llm.{name}" for name in bitsandbytes.prepare(empty.llm, bits, "cpu")} if bits != "none" else set()
    assert device_map.size(empty, small, bits) == pytest.approx(sum(value.nbytes for value in values), rel=0.02)


def test_a_revision_of_a_known_model_keeps_its_facts() -> None:
    spec = zoo.resolve("Ovis2.5-2B@v1.0")
    assert (spec.repository, spec.revision) == ("AIDC-AI/Ovis2.5-2B", "v1.0")
    assert spec.parameters == row("Ovis2.5-2B").parameters and spec.thinking
    assert zoo.resolve(spec.id) == spec and spec.link == "https://huggingface.co/AIDC-AI/Ovis2.5-2B"
    assert zoo.resolve("ovis-mini@v1").folder is None
    assert replace(spec, id="a/b@refs/pr/3").revision == "refs/pr/3"
