"""An Ovis2.6 computes what transformers' own mixture of experts does behind our eye; what is wrong with one is said."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ovis_app import zoo
from ovis_app.backends.local.gpu_placed import cost_of
from ovis_app.backends.local.model_pool import LoadedModel
from ovis_app.checkpoints.checkpoint import Checkpoint
from ovis_app.checkpoints.hub import folder_of
from ovis_app.checkpoints.load import load
from ovis_app.errors import BackendError
from ovis_app.models.ovis import Ovis
from tests import experts
from tests.adapters import prompt
from tests.engine.driven import SHORT
from tests.engine.engines import engine_over
from tests.engine.prompts import Tiny, tiny
from tests.experts import checkpoint, language_model
from tests.models_on_cpu import loaded_on_cpu, on_cpu


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("ovis2.6") / "checkpoint")


@pytest.fixture(scope="module")
def model(folder: Path) -> Ovis:
    return load(folder)


def embedded(model: Ovis) -> Tensor:
    ids, pixels = prompt(model, tokens=30)
    return model.embed(torch.tensor(ids), model.encode(pixels["pixel_values"], pixels["grids"]))


@torch.inference_mode()
def test_logits_are_those_of_transformers_own_mixture(model: Ovis) -> None:
    """Its own code, by its loop over experts, with the weights that were released one by one."""
    theirs, rows = language_model(), embedded(model)
    theirs.set_experts_implementation("eager")
    expected = theirs(inputs_embeds=rows).logits
    torch.testing.assert_close(model.llm(inputs_embeds=rows).logits, expected, atol=1e-4, rtol=1e-4)
    assert expected.std() > 0.5


def test_greedy_answers_are_theirs(model: Ovis) -> None:
    """Through the engine, the decode step by hand, with a picture; theirs by `generate` over the same embeddings."""
    small = Tiny(model, tiny("ovis2.5").prompts)
    written = small.written([("What is it?", (("image", 1),))])
    theirs, own = language_model(), model.llm
    theirs.set_experts_implementation("eager")
    try:
        model.llm = theirs
        expected = small.plain(written, SHORT)
    finally:
        model.llm = own
    with engine_over(model) as driven:
        assert driven.runner.decode_step is not None
        assert driven.generate(written, SHORT).tolist() == expected
    assert len(set(expected)) > 3


def test_the_config_and_the_row_are_a_2_6s(folder: Path, model: Ovis) -> None:
    spec = zoo.resolve(str(folder))
    assert (model.config.family, spec.family) == ("ovis2_6", "ovis2_6")
    assert spec.thinking and spec.thinks_unasked and model.config.max_context == spec.context == 65536
    assert spec.llm is not None and 0 < spec.llm.active < spec.llm.linears
    assert zoo.find("ATH-MaaS/Ovis2.6-30B-A3B") is not None


def test_a_dense_2_6_is_one_too(tmp_path: Path) -> None:
    """As a config may say: a Qwen3 behind the same eye."""
    shutil.copytree(experts.EYE, tmp_path / "dense")
    raw = json.loads((experts.EYE / "config.json").read_text("utf-8"))
    raw |= {"model_type": "ovis2_6", "architectures": ["Ovis2_6ForCausalLM"]}
    (tmp_path / "dense" / "config.json").write_text(json.dumps(raw), "utf-8")
    dense, same = load(tmp_path / "dense"), load(experts.EYE)
    assert dense.config.family == "ovis2_6"
    with torch.inference_mode():
        assert torch.equal(
            dense.llm(inputs_embeds=embedded(dense)).logits, same.llm(inputs_embeds=embedded(same)).logits
        )


FIRST = "llm.model.layers.1.mlp.experts"


@pytest.mark.parametrize(
    ("change", "config", "sentence"),
    [
        (lambda t: t.pop(f"{FIRST}.3.up_proj.weight"), {}, "lacks experts: layer 1 has 15 of 16 tensors of theirs"),
        (lambda t: [t.pop(name) for name in list(t) if name.startswith(FIRST)], {}, "layer 1 has 0 of 8"),
        (lambda t: t.update({f"{FIRST}.down_proj": torch.zeros(8, 64, 32)}), {}, "has the experts of layer 1 twice"),
        (lambda t: t.update({f"{FIRST}.8.down_proj.weight": torch.zeros(64, 32)}), {},
         f"has more experts than the 8 that its config.json names, as {FIRST}.8.down_proj.weight"),
        (lambda t: t.update({"llm.model.layers.1.mlp.gate.weight": torch.zeros(6, 64)}), {},
         "the router of layer 1 chooses among 6 experts, and config.json names 8"),
        (lambda t: None, {"num_experts": 6}, "more experts than the 6"),
        (lambda t: None, {"num_experts": 0}, "No model can be built from this config.json"),
        (lambda t: None, {"moe_intermediate_size": 16}, "don't fit its config.json"),
        (lambda t: None, {"model_type": "qwen3_next"}, "The language model of this checkpoint is qwen3_next, which"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_experts_is_said(
    tmp_path: Path, change: Callable[[dict[str, Tensor]], None], config: dict[str, Any], sentence: str
) -> None:
    folder = checkpoint(tmp_path / "mine", change=change, **config)
    with pytest.raises(BackendError) as refused:
        Checkpoint.read(folder, "mine")
    said = str(refused.value)
    assert sentence in said and said.endswith(".") and "\n" not in said


@pytest.mark.parametrize("name", ["AIDC-AI/Ovis2.6-80B-A3B", "ATH-MaaS/Ovis2.6-80B-A3B", "Ovis2.6-80B-A3B"])
def test_the_80b_is_refused_before_anything_is_fetched(name: str) -> None:
    spec = zoo.resolve(name)
    for use in (loaded_on_cpu, folder_of):
        with pytest.raises(BackendError, match="has linear attention, which this app doesn't compute"):
            use(spec)


def test_experts_are_not_quantized_and_that_is_said_before_a_download(folder: Path) -> None:
    """With how large they are."""
    said = r"is 62\.8 GB, nearly all of it experts, which can't be quantized here: leave --quantize out"
    with pytest.raises(BackendError, match=said):
        loaded_on_cpu(zoo.resolve("Ovis2.6-30B-A3B"), "bfloat16", "int8")
    with pytest.raises(BackendError, match=r"checkpoint is 0\.0 GB, nearly all of it experts"):
        load(folder, quantize="int4")


def test_a_token_is_reckoned_with_the_experts_that_it_has(model: Ovis) -> None:
    """Two of eight: else a GPU would be asked for several times as long."""
    body = dict(model.llm.get_submodule("model.layers").named_parameters())
    of_experts = sum(value.numel() for name, value in body.items() if ".experts." in name)
    cost = cost_of(LoadedModel(zoo.MINI, on_cpu(zoo.MINI), None, model))  # type: ignore[arg-type]
    all_of_them = sum(value.numel() for value in body.values())
    assert cost.token_flops == 2 * (all_of_them - of_experts * 6 // 8) and of_experts > 0


PEAK = """
import sys, psutil, torch
from pathlib import Path
from ovis_app import zoo
from ovis_app.checkpoints.load import load

def peak():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
"""
LOADED = """
load(zoo.MINI_FOLDER, dtype=torch.bfloat16)  # what libraries keep is not a model's
before = psutil.Process().memory_info().rss
model = load(Path(sys.argv[1]), dtype=torch.bfloat16)
print(peak() - before, sum(value.nbytes for value in set(model.parameters())))
"""
SEEN = """
import json
from ovis_app.checkpoints.memory_fit import SMALL_RESERVE, working_memory
from ovis_app.models.config import OvisConfig
from ovis_app.models.ovis import Ovis
from ovis_app.models.vision import siglip2_navit
from tests.experts import EYE, LLM

siglip2_navit.attend = lambda query, key, value, segments: value.clone()  # its result is all that it takes, but time

raw = json.loads((EYE / "config.json").read_text())
eye = {"hidden_size": 216, "intermediate_size": 807, "num_attention_heads": 3, "num_hidden_layers": 1}
raw |= {"model_type": "ovis2_6_moe", "llm_config": LLM, "vit_config": raw["vit_config"] | eye}
model = Ovis(OvisConfig.from_released(raw)).eval()
with torch.inference_mode():
    model.encode(torch.zeros(16, 768), [(1, 4, 4)])
    pixels = torch.zeros(180 * 180, 768)
    before = psutil.Process().memory_info().rss
    rows = model.encode(pixels, [(1, 180, 180)])
assert len(rows) == 8100
print(peak() - before, working_memory(model) - round(SMALL_RESERVE))
"""
told = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the system tells no peak of a process's memory"
)


def measured(program: str, *arguments: str) -> list[int]:
    words = [sys.executable, "-c", PEAK + program, *arguments]
    run = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert run.returncode == 0, run.stderr
    return [int(word) for word in run.stdout.split()]


@told
def test_experts_are_read_straight_into_place(tmp_path: Path) -> None:
    """They are in memory once, however many they are."""
    wide = {"hidden_size": 64, "moe_intermediate_size": 8192, "num_experts": 32}
    folder = checkpoint(tmp_path / "wide", language_model(**wide).to(torch.bfloat16), **wide)
    peak, held = measured(LOADED, str(folder))
    assert held > 190e6 and held * 0.98 < peak < held * 1.1


@told
def test_the_largest_picture_takes_no_more_memory_than_is_kept_free_for_it() -> None:
    """2880 x 2880 pixels, 8,100 visual tokens, which no micro-batch divides."""
    peak, kept = measured(SEEN)
    assert 0.4 * kept < peak < kept
