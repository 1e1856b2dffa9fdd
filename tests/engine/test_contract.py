"""What the engine refuses by itself, whatever a page let through, and what it says when memory runs out."""

from __future__ import annotations

from dataclasses import fields
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from PIL import Image

from ovis_app import chat
from ovis_app.backends.local.backend import LocalBackend
from ovis_app.conversation import Conversation, Media, Message
from ovis_app.errors import BackendError
from ovis_app.generation import GenerationSettings, Request
from ovis_app.limits import Limits
from ovis_app.models.ovis import Ovis
from ovis_app.settings import Settings
from tests.engine.driven import engine, text
from tests.engine.prompts import tiny

CHECKPOINT = Path(__file__).parent.parent / "fixtures" / "golden" / "ovis2.5" / "public-a" / "checkpoint"
RANGES = {  # what makes sense at all; whole numbers are ints here
    "max_new_tokens": (1, 65536),
    "temperature": (0.0, 5.0),
    "top_p": (0.01, 1.0),
    "top_k": (0, 100_000),
    "repetition_penalty": (0.5, 2.0),
    "seed": (0, 2**32 - 1),
    "thinking_budget": (1, 65536),
    "min_pixels": (1, 2**26),
    "max_pixels": (1024, 2**26),
    "max_partition": (1, 64),
    "frames": (1, 256),
}
SHORT = GenerationSettings(max_new_tokens=8)
SWITCHES = [field.name for field in fields(GenerationSettings) if isinstance(field.default, bool)]

no_numbers = st.one_of(
    st.booleans(),
    st.text(max_size=8),
    st.sampled_from(["1", "0.5", "nan", "inf", "None", "1e3"]),
    st.binary(max_size=4),
    st.lists(st.integers(), max_size=2),
    st.just(object()),
    st.complex_numbers(),
    st.decimals(),
    st.fractions(),
    st.just(torch.tensor(1)),
)
no_amounts = st.sampled_from([float("nan"), float("inf"), -float("inf"), 10**400, -(10**400), Decimal("NaN")])


@pytest.fixture(scope="module")
def backend() -> LocalBackend:
    return LocalBackend(Settings(model=str(CHECKPOINT), device="cpu"), Limits())


def ask(settings: GenerationSettings, *media: Media) -> Request:
    return Request(Conversation((Message("user", "What is it?", media),)), settings)


def outside(name: str) -> st.SearchStrategy[Any]:
    """Numbers beyond the range of `name`, and fractions where it counts."""
    low, high = RANGES[name]
    found = [
        st.integers(max_value=int(low) - 1),
        st.integers(min_value=int(high) + 1),
        st.floats(max_value=low, exclude_max=True),
        st.floats(min_value=high, exclude_min=True),
    ]
    if isinstance(low, int):
        found.append(st.floats(low, high, exclude_min=True, exclude_max=True).filter(lambda value: value != int(value)))
    return st.one_of(*found)


def test_every_number_has_a_range() -> None:
    """A setting that is added must be checked, and tested here."""
    assert {*RANGES, *SWITCHES, "system", "stop"} == {field.name for field in fields(GenerationSettings)}


@pytest.mark.parametrize("name", RANGES)
@examples(max_examples=40, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_no_number_out_of_range_gets_in(backend: LocalBackend, name: str, data: st.DataObject) -> None:
    """Refused by name, in one sentence, before anything is queued: no model is loaded for it."""
    bad = data.draw(st.one_of(no_numbers, no_amounts, outside(name)))
    with pytest.raises(BackendError, match=f"^{name} must be") as refused:
        next(iter(backend.stream(ask(GenerationSettings(**{name: bad})))))
    assert "\n" not in str(refused.value) and str(refused.value).endswith(".")
    assert not backend._worker.busy


@pytest.mark.parametrize("bad", [{"temperature": float("nan")}, {"top_p": "0.5"}, {"seed": -1}, {"top_k": True}])
def test_every_engine_refuses_by_itself(bad: dict[str, Any]) -> None:
    settings, driven = GenerationSettings(**bad), engine()
    for ask_it in (driven.generate, lambda written, settings: tiny("ovis2.5").plain(written, settings)):
        with pytest.raises(BackendError, match=f"^{next(iter(bad))} must be"):
            ask_it(text(), settings)
    assert not driven.step(), "it was refused before anything was queued"


@pytest.mark.parametrize("name", SWITCHES)
@pytest.mark.parametrize("bad", [None, 0, 1, "true", "", float("nan"), [True]])
def test_a_switch_is_on_or_off(backend: LocalBackend, name: str, bad: object) -> None:
    with pytest.raises(BackendError, match=f"^{name} must be true or false"):
        next(iter(backend.stream(ask(GenerationSettings(**{name: bad})))))


@pytest.mark.parametrize("bad", ["x", ["x"], ("",), ("x", 5), ("x" * 201,), ("x",) * 17, None])
def test_stops_are_a_few_short_texts(backend: LocalBackend, bad: object) -> None:
    with pytest.raises(BackendError, match=r"^stop must be"):
        next(iter(backend.stream(ask(GenerationSettings(stop=bad)))))


@examples(max_examples=100, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_every_number_in_range_is_taken_as_its_own_type(data: st.DataObject) -> None:
    """An int where it counts, a float where it measures, since samplers take nothing else."""
    given_values: dict[str, Any] = {}
    for name, (low, high) in RANGES.items():
        whole = isinstance(low, int)
        number = data.draw(st.integers(low, high) if whole else st.floats(low, high), label=name)
        given_values[name] = data.draw(st.sampled_from([number, float(number)])) if whole else number
    given_values["min_pixels"] = None
    checked = GenerationSettings(**given_values).check()
    for name, (low, _) in RANGES.items():
        if name != "min_pixels":
            assert getattr(checked, name) == given_values[name]
            assert type(getattr(checked, name)) is type(low)


def test_what_is_remembered_makes_room_for_what_is_read(
    backend: LocalBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a small GPU both don't fit: the answer comes all the same."""
    first, second = (picture(tmp_path, color) for color in ("blue", "green"))
    list(chat.reply(backend, ask(SHORT, first)))
    cache, whole = backend._session._encoder.cache, Ovis.encode
    assert cache.bytes

    def crowded(*arguments: Any, **options: Any) -> Any:
        if cache.bytes:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(*arguments, **options)

    monkeypatch.setattr(Ovis, "encode", crowded)
    *_, after = chat.reply(backend, ask(SHORT, second))
    assert after.messages[-1].error == "" and after.messages[-1].stats.answer_tokens


def test_a_picture_that_runs_out_of_memory_ends_one_answer_and_the_next_works(
    backend: LocalBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What to lower is said, and what was remembered is given back."""
    request = ask(SHORT, picture(tmp_path, "red"))
    *_, before = chat.reply(backend, request)
    cache, tried = backend._session._encoder.cache, list[int]()
    cache.clear()

    def full(*arguments: Any, **options: Any) -> Any:
        tried.append(1)
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(Ovis, "encode", full)
        *_, failed = chat.reply(backend, request)
    message = failed.messages[-1]
    assert message.finish == "error" and "ran out of memory: lower max pixels" in message.error
    assert len(tried) == 2, "once more with the caches emptied"
    *_, after = chat.reply(backend, request)
    assert after.messages[-1].error == "" and after.messages[-1].text == before.messages[-1].text


def picture(folder: Path, color: str) -> Media:
    path = folder / f"{color}.png"
    Image.new("RGB", (96, 64), color).save(path)
    return Media("image", path, path.name)
