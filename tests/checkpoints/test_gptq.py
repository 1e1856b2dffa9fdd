"""Files released by GPTQ answer by exactly the values that they hold, kept as integers or unpacked, on a processor too.

What they hold is worked out here once more, number by number, by who packed them.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ovis_app.checkpoints import gptq, memory_fit, safetensors
from ovis_app.checkpoints.checkpoint import Checkpoint
from ovis_app.checkpoints.load import load
from ovis_app.engine.plain import generate
from ovis_app.errors import BackendError
from ovis_app.generation import GenerationSettings
from ovis_app.models.ovis import Ovis
from ovis_app.models.quantized_linear import QuantizedLinear
from tests.engine.prompts import Written

GOLDEN = Path(__file__).resolve().parent.parent / "fixtures" / "golden"


@dataclass(frozen=True)
class Way:
    """How a checkpoint is quantized and written."""

    bits: int = 4
    group: int = 32  # inputs; -1: all of them
    act_order: bool = False  # inputs are grouped in another order than they stand
    symmetric: bool = True
    layout: str = "gptq"
    family: str = "ovis2"


WAYS = (
    Way(),
    Way(act_order=True, family="ovis2.5"),
    Way(symmetric=False, family="ovis1.6"),
    Way(act_order=True, symmetric=False, layout="gptq_v2"),
    Way(group=-1, symmetric=False),
    Way(bits=8),
    Way(bits=8, act_order=True, symmetric=False),
    Way(bits=8, group=-1, layout="gptq_v2", family="ovis1.6"),
)


def packed(weight: Tensor, way: Way, rng: random.Random) -> tuple[dict[str, Tensor], Tensor]:
    """The four tensors of a weight [outputs, inputs] in the released layout, and the values that they hold."""
    outputs, inputs = weight.shape
    size = inputs if way.group == -1 else way.group
    groups, per_word, most = inputs // size, 32 // way.bits, 2**way.bits - 1
    order = list(range(inputs))
    if way.act_order:
        rng.shuffle(order)
    group_of = [0] * inputs
    for place, column in enumerate(order):
        group_of[column] = place // size
    values, held = weight.double().numpy(), np.zeros((outputs, inputs))
    words = np.zeros((inputs // per_word, outputs), dtype=np.uint64)
    zeros = np.zeros((groups, outputs // per_word), dtype=np.uint64)
    scales = np.zeros((groups, outputs), dtype=np.float16)
    for out in range(outputs):
        for group in range(groups):
            row = [values[out, column] for column in range(inputs) if group_of[column] == group]
            low, high = min(*row, 0.0), max(*row, 0.0)
            if way.symmetric:
                low, high = -max(high, -low), max(high, -low)
            scale = np.float16((high - low) / most)
            zero = (most + 1) // 2 if way.symmetric else round(-low / float(scale))
            scales[group, out] = scale
            written = (zero - (way.layout == "gptq")) % (most + 1)
            zeros[group, out // per_word] |= np.uint64(written << way.bits * (out % per_word))
            for column in range(inputs):
                if group_of[column] == group:
                    integer = min(max(round(values[out, column] / float(scale)) + zero, 0), most)
                    words[column // per_word, out] |= np.uint64(integer << way.bits * (column % per_word))
                    held[out, column] = float(scale) * (integer - zero)
    tensors = {
        "qweight": torch.from_numpy(words.astype(np.uint32).view(np.int32)),
        "qzeros": torch.from_numpy(zeros.astype(np.uint32).view(np.int32)),
        "scales": torch.from_numpy(scales),
        "g_idx": torch.tensor(group_of, dtype=torch.int32),
    }
    return tensors, torch.from_numpy(held).float()


@cache
def quantized(way: Way) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A golden checkpoint's weights as released in fewer bits, and the same with the values that those hold."""
    rng = random.Random(7)
    weights = load_file(GOLDEN / way.family / "public-a" / "checkpoint" / "model.safetensors")
    released, plain = {}, {}
    for name, tensor in weights.items():
        if not (name.startswith("llm.model.layers.") and name.endswith("_proj.weight")):
            released[name] = plain[name] = tensor
            continue
        tensor[0] = tensor[0].abs()  # a row without negative values, whose zero point is 0
        parts, plain[name] = packed(tensor, way, rng)
        released |= {f"{name.removesuffix('weight')}{part}": value for part, value in parts.items()}
    return released, plain


def facts(way: Way) -> dict[str, object]:
    return {
        "quant_method": "gptq",
        "bits": way.bits,
        "group_size": way.group,
        "desc_act": way.act_order,
        "sym": way.symmetric,
        "checkpoint_format": way.layout,
    }


def checkpoint(folder: Path, way: Way) -> Path:
    """The folder of a quantized checkpoint, with that of its values beside it."""
    released, plain = quantized(way)
    for place, weights in ((folder / "released", released), (folder / "plain", plain)):
        shutil.copytree(GOLDEN / way.family / "public-a" / "checkpoint", place)
        save_file(weights, place / "model.safetensors")
    config = folder / "released" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"quantization_config": facts(way)}))
    return folder / "released"


@pytest.fixture(params=[True, False], ids=["kept", "unpacked"])
def kept(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether there is too little memory for what integers stand for."""
    monkeypatch.setattr(memory_fit, "bytes_available", lambda *_: 0 if request.param else 10**12)
    return request.param


@torch.inference_mode()
def logits(model: Ovis) -> Tensor:
    return model.llm(inputs_embeds=model.embed(torch.arange(24), None)).logits.float()


def linears(model: Ovis) -> list[type[torch.nn.Module]]:
    layers = model.llm.model.layers
    return [type(module) for name, module in layers.named_modules() if name.endswith("_proj")]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_logits_are_those_of_the_values_that_were_released(way: Way, kept: bool, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, way)
    ours, theirs = load(folder), load(tmp_path / "plain")
    assert set(linears(ours)) == {QuantizedLinear if kept else torch.nn.Linear}
    assert torch.allclose(logits(ours), logits(theirs), atol=1e-4)
    assert not torch.allclose(logits(theirs), logits(load(GOLDEN / way.family / "public-a" / "checkpoint")), atol=1e-4)


def test_pieces_of_any_size_are_put_together(kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    way = Way(act_order=True, symmetric=False)
    folder = checkpoint(tmp_path, way)
    whole = logits(load(folder))
    monkeypatch.setattr(gptq, "PIECE", 700)
    assert torch.equal(logits(load(folder)), whole)


@pytest.mark.parametrize("bits", [4, 8])
def test_kept_integers_take_the_memory_that_they_were_released_in(
    bits: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = checkpoint(tmp_path, Way(bits=bits))
    monkeypatch.setattr(memory_fit, "bytes_available", lambda *_: 0)
    model = load(folder, dtype=torch.bfloat16)
    projections = [module for module in model.llm.model.layers.modules() if isinstance(module, QuantizedLinear)]
    held = sum(value.nbytes for module in projections for name, value in module.named_parameters() if name != "bias")
    count = sum(module.in_features * module.out_features for module in projections)
    assert held <= count * (bits / 8 + 2 / 32) + 2 * len(projections)  # and a scale for 32 of them


@pytest.mark.parametrize("bits", [4, 8])
def test_in_less_precision_kept_and_unpacked_are_the_same_weights(
    bits: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that an answer doesn't depend on how much memory happened to be free."""
    folder = checkpoint(tmp_path, Way(bits=bits, symmetric=False))
    full = load(folder, dtype=torch.bfloat16)
    monkeypatch.setattr(memory_fit, "bytes_available", lambda *_: 0)
    small = load(folder, dtype=torch.bfloat16)
    assert small.dtype == full.dtype == torch.bfloat16
    for name, module in small.llm.named_modules():
        if isinstance(module, QuantizedLinear):
            assert torch.equal(module.unpacked(), full.llm.get_submodule(name).weight), name


@pytest.mark.parametrize("quantize", ["int8", "int4"])
def test_asked_for_they_are_quantized_by_the_library(quantize: str, kept: bool, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, Way(bits=8, act_order=True))
    ours, theirs = load(folder, quantize=quantize), load(tmp_path / "plain", quantize=quantize)
    assert {kind.__module__.partition(".")[0] for kind in linears(ours)} == {"bitsandbytes", "torch"}
    assert linears(ours) == linears(theirs) and torch.allclose(logits(ours), logits(theirs), atol=1e-4)


def test_a_processor_answers_by_them(kept: bool, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, Way(act_order=True))
    tokenizer = Checkpoint.read(folder, "mine").tokenizer
    ids = torch.tensor(tokenizer.prompts.trusted("Hello there"))
    prompt = Written(ids, torch.ones_like(ids), tuple(ids.tolist()), None)
    said = [
        generate(load(place), prompt, GenerationSettings(max_new_tokens=8), ending=tokenizer.ending)
        for place in (folder, tmp_path / "plain")
    ]
    assert torch.equal(*said)


def test_loading_tells_all_bytes(kept: bool, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, Way(act_order=True))
    heard: list[tuple[str, float | None]] = []
    load(folder, progress=lambda words, share: heard.append((words, share)))
    total = sum(value.nbytes for value in load_file(folder / "model.safetensors").values())
    assert heard[-1] == (f"Loading released: {total / 1e3:.1f} of {total / 1e3:.1f} kB", 1.0)
    shares = [share for _, share in heard if share is not None]
    assert shares == sorted(shares)


def configured(**changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        config["quantization_config"] |= changes
        (folder / "config.json").write_text(json.dumps(config))

    return change


def changed(part: str, change: Callable[[Tensor], Tensor | None]) -> Callable[[Path], None]:
    """Does something to a tensor of two weights, or takes it away."""

    def damage(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        for layer in range(2):
            name = f"llm.model.layers.{layer}.mlp.down_proj.{part}"
            new = change(tensors.pop(name))
            if new is not None:
                tensors[name] = new.contiguous()
        save_file(tensors, folder / "model.safetensors")

    return damage


def unknown_words(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text()) | {"quantization_config": "yes"}
    (folder / "config.json").write_text(json.dumps(config))


TOGETHER = "The quantized weights in released don't fit together (2 layers lack tensors, or have some of other shapes)"
BAD = {
    "another method": (configured(quant_method="awq"), "released is quantized by awq, which this app can't read"),
    "another layout": (configured(checkpoint_format="marlin"), "released is packed for marlin, which this app"),
    "3 bits": (configured(bits=3), "released is quantized by GPTQ to 3 bits; this app reads 4 and 8"),
    "no words": (unknown_words, "released is quantized by a method that it doesn't name, which"),
    "twice the bits": (configured(bits=8), "don't fit"),
    "no scales": (changed("scales", lambda values: None), TOGETHER),
    "no zero points": (changed("qzeros", lambda values: None), TOGETHER),
    "no integers": (changed("qweight", lambda values: None), "don't fit its config.json"),
    "too few scales": (changed("scales", lambda values: values[:, :-8]), TOGETHER),
    "flat scales": (changed("scales", lambda values: values.flatten()), TOGETHER),
    "whole scales": (changed("scales", lambda values: values.to(torch.int16)), TOGETHER),
    "too few zero points": (changed("qzeros", lambda values: values[:-1]), TOGETHER),
    "too few groups": (changed("g_idx", lambda values: values[:-1]), TOGETHER),
    "too few outputs": (
        lambda folder: [
            changed(part, lambda values, end=end: values[:, :end])(folder)  # type: ignore[misc]
            for part, end in (("qweight", 32), ("scales", 32), ("qzeros", 4))
        ],
        "don't fit its config.json (2 tensors differ)",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_files_are_a_sentence_before_weights_are_read(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage, said = BAD[what]
    folder = checkpoint(tmp_path, Way())
    monkeypatch.setattr(safetensors.Reader, "read", lambda *_: pytest.fail("weights were read"))
    damage(folder)
    with pytest.raises(BackendError) as caught:
        Checkpoint.read(folder, "released")
    assert said in str(caught.value) and str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("group", [-1, 1, 3])
def test_inputs_in_groups_that_make_no_sense_are_a_sentence(group: int, kept: bool, tmp_path: Path) -> None:
    """Below the first, twice as many as may be, above the last."""
    folder = checkpoint(tmp_path, Way())
    changed("g_idx", lambda values: torch.full_like(values, group))(folder)
    with pytest.raises(BackendError, match=r"released are damaged: .*groups make no sense .*download it again"):
        load(folder)
