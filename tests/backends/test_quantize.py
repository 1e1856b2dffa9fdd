"""A model's weights in fewer bits, by a change like any other: what it takes is told before, nothing of the old weights
is in an answer of the new ones, and where it can't be that is a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from ovis_app.backends.local import model_pool
from ovis_app.backends.local.backend import LocalBackend
from ovis_app.checkpoints import bitsandbytes
from ovis_app.errors import BackendError
from ovis_app.limits import Limits
from ovis_app.settings import Settings
from ovis_app.zoo import MINI
from tests.backends.test_model_switch import answer, ask
from tests.waiting import until

TALK = ask("Which colours can you name?")


def opened(quantize: str = "none") -> LocalBackend:
    return LocalBackend(Settings(device="cpu", quantize=quantize), Limits())


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalBackend]:
    monkeypatch.setattr(model_pool, "_models", {})
    with closing(opened()) as here:
        yield here


def changed(backend: LocalBackend, quantize: str | None) -> None:
    backend.change(MINI.id, quantize)
    until(lambda: backend.status().change is None)
    assert backend.status().problem == ""


def test_the_model_that_answers_is_loaded_again_in_other_bits_and_back(backend: LocalBackend) -> None:
    first, full = answer(backend, TALK), backend.status().resources
    assert first.error == "" and full is not None
    changed(backend, "int4")
    fewer = backend.status().resources
    assert backend.status().quantize == "int4" and fewer is not None and fewer.weights < 0.8 * full.weights
    quantized = answer(backend, TALK)
    assert quantized.stats is not None and quantized.stats.cached_tokens == 0  # nothing of the other weights
    with pytest.raises(BackendError, match="answers already"):
        backend.change(MINI.id, "int4")
    changed(backend, None)  # as the process was told to
    again = answer(backend, TALK)
    assert backend.status().quantize == "none" and again.text == first.text and again.stats is not None
    assert again.stats.cached_tokens == 0
    with closing(opened("int4")) as fresh:
        assert answer(fresh, TALK).text == quantized.text


def test_each_way_tells_what_it_takes_and_what_cannot_be_is_a_sentence(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(backend, TALK)
    ways = {offer.model.name: offer.ways for offer in backend.offers()}["Ovis2.5-2B"]
    assert [way.quantize for way in ways] == ["none", "int8", "int4"]
    assert ways[0].needed > ways[1].needed > ways[2].needed and not any(way.obstacle for way in ways)
    monkeypatch.setattr(bitsandbytes, "find_spec", lambda _: None)
    assert "pip install bitsandbytes" in backend.offers()[0].ways[2].obstacle
    with pytest.raises(BackendError, match="needs bitsandbytes"):
        backend.change(MINI.id, "int8")
    assert backend.status().quantize == "none" and answer(backend, TALK).error == ""
