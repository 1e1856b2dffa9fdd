"""Quantized while it is read: less memory, nearly the same answers, and pictures see what they saw."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from ovis_app import zoo
from ovis_app.backends.local import model_pool
from ovis_app.backends.local.model_pool import LoadedModel
from ovis_app.checkpoints import bitsandbytes
from ovis_app.checkpoints.load import load
from ovis_app.engine.plain import generate
from ovis_app.errors import BackendError
from ovis_app.generation import GenerationSettings
from ovis_app.models.ovis import Ovis
from ovis_app.training.mini.evaluate import Answerer, cases
from tests.engine.engines import engine_over
from tests.engine.prompts import Written
from tests.models_on_cpu import loaded_on_cpu

GOLDEN = Path(__file__).resolve().parent.parent / "fixtures" / "golden"
FAMILIES = ("ovis1.6", "ovis2", "ovis2.5")
BITS = ("int8", "int4")


@pytest.fixture(scope="module")
def plain() -> Ovis:
    return load(zoo.MINI_FOLDER)


@pytest.fixture(scope="module", params=BITS)
def small(request: pytest.FixtureRequest) -> tuple[str, Ovis]:
    return request.param, load(zoo.MINI_FOLDER, quantize=request.param)


def held(module: torch.nn.Module) -> int:
    return sum(value.nbytes for value in set(module.parameters()))


def test_only_the_layers_of_the_language_model_are_quantized(plain: Ovis, small: tuple[str, Ovis]) -> None:
    bits, model = small
    kept = {name: value for name, value in plain.state_dict().items() if not name.startswith("llm.model.layers")}
    values = model.state_dict()
    assert all(torch.equal(values[name], value) for name, value in kept.items())
    share = {"int8": 1 / 4, "int4": 1 / 8}[bits] + 0.03
    assert held(model.llm.model.layers) < share * held(plain.llm.model.layers)
    linears = [module for module in plain.llm.model.layers.modules() if isinstance(module, torch.nn.Linear)]
    quantized = [module for module in model.llm.model.layers.modules() if type(module).__module__.startswith("bits")]
    assert len(quantized) == len(linears) == 35


def test_the_head_is_left_alone() -> None:
    llm = torch.nn.ModuleDict({"lm_head": torch.nn.Linear(64, 64), "up_proj": torch.nn.Linear(64, 64)})
    assert set(bitsandbytes.linears(llm)) == {"up_proj"}


@pytest.mark.parametrize("bits", BITS)
def test_rows_quantized_some_at_a_time_are_those_of_the_library(
    bits: str, plain: Ovis, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load(zoo.MINI_FOLDER, quantize=bits)
    monkeypatch.setattr(bitsandbytes, "PIECE", 1000)
    pieces = load(zoo.MINI_FOLDER, quantize=bits)
    library = bitsandbytes.library().nn
    for name, weight in plain.llm.model.layers.named_parameters():
        if not name.endswith("_proj.weight"):
            continue
        copy = weight.detach().clone()
        if bits == "int8":
            wanted = library.Int8Params(copy, requires_grad=False).to("cpu")
            scales = [wanted.SCB, *(model.llm.model.layers.get_parameter(name).SCB for model in (whole, pieces))]
        else:
            wanted = library.Params4bit(copy, quant_type="nf4", blocksize=64, compress_statistics=False).to("cpu")
            places = (wanted, *(model.llm.model.layers.get_parameter(name) for model in (whole, pieces)))
            scales = [place.quant_state.absmax for place in places]
        for model, scale in zip((whole, pieces), scales[1:], strict=True):
            assert torch.equal(model.llm.model.layers.get_parameter(name), wanted) and torch.equal(scale, scales[0])


def test_pictures_are_encoded_the_same(plain: Ovis, small: tuple[str, Ovis]) -> None:
    pixels = torch.linspace(-1, 1, 196 * 768).view(196, 768)
    with torch.inference_mode():
        assert torch.equal(plain.encode(pixels, [(1, 14, 14)]), small[1].encode(pixels, [(1, 14, 14)]))


def test_the_mini_answers_as_before(plain: Ovis, small: tuple[str, Ovis]) -> None:
    """Greedy answers to fresh questions; benchmarks/load.py counts many more."""
    asker = Answerer(zoo.MINI_FOLDER)
    asked = cases("count", 6) + cases("what is at", 6)
    said = []
    for model in (plain, small[1]):
        asker.model = model
        said.append(asker.answers(asked))
    assert sum(map(str.__eq__, *said)) >= 11


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_generates_quantized(family: str, bits: str) -> None:
    spec = zoo.resolve(str(GOLDEN / family / "public-a" / "checkpoint"))
    loaded = loaded_on_cpu(spec, "bfloat16", bits)
    with engine_over(loaded.model, loaded.tokenizer.ending) as engine:
        new = engine.generate(prompted(loaded, "Hello there"), GenerationSettings(max_new_tokens=4))
    assert 1 <= len(new) <= 4
    assert loaded_on_cpu(spec, "bfloat16") is not loaded


def test_a_missing_library_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(BackendError, match="pip install bitsandbytes"):
        load(zoo.MINI_FOLDER, quantize="int8")
    with pytest.raises(BackendError, match="needs a CPU or an NVIDIA GPU"):
        bitsandbytes.prepare(torch.nn.Linear(2, 2), "int8", "mps")


@pytest.mark.parametrize("imported", [False, True])
def test_no_compiled_code_is_fetched(imported: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """bitsandbytes would take a kernel from a hub repository where the package `kernels` is installed, and transformers
    imports that wherever it is."""
    package = ModuleType("kernels")
    monkeypatch.setitem(sys.modules, "kernels", package)
    if not imported:
        monkeypatch.delitem(sys.modules, "kernels")
    with bitsandbytes._without_downloads(), pytest.raises(ImportError):
        import kernels  # noqa: F401
    assert sys.modules.get("kernels") is (package if imported else None)


@pytest.mark.parametrize("bits", BITS)
def test_the_engine_answers_as_transformers_does(bits: str) -> None:
    """They share the quantized weights, also what the library keeps beside them."""
    model_pool.release()
    loaded = loaded_on_cpu(zoo.MINI, "float32", bits)
    prompt, settings = prompted(loaded, "Hello there, how are you?"), GenerationSettings(max_new_tokens=12)
    before = generated(loaded, prompt, settings)
    with engine_over(loaded.model, loaded.tokenizer.ending) as engine:
        assert engine.generate(prompt, settings).tolist() == before == generated(loaded, prompt, settings)


def prompted(loaded: LoadedModel, text: str) -> Written:
    ids = torch.tensor(loaded.tokenizer.prompts.trusted(text))
    return Written(ids, torch.ones_like(ids), tuple(ids.tolist()), None)


def generated(loaded: LoadedModel, prompt: Written, settings: GenerationSettings) -> list[int]:
    return generate(loaded.model, prompt, settings, ending=loaded.tokenizer.ending).tolist()
