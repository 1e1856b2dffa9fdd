"""What a loaded model does is held against what was planned: Ovis-mini gives no warning at all, models of random
weights none but that their answers are wrong, and a planted lie is found and named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ovis_app import zoo
from ovis_app.backends.local import model_pool
from ovis_app.doctor import both_ways, examination, loaded, speed
from ovis_app.doctor.examination import examined
from ovis_app.doctor.finding import Finding
from ovis_app.doctor.loaded import new_tokens
from ovis_app.doctor.memory_used import judged_peak
from ovis_app.engine.capabilities import Capabilities
from ovis_app.engine.decode_step import DecodeStep
from ovis_app.engine.memory_plan import MemoryPlan
from ovis_app.models import memory_speed
from ovis_app.settings import Settings
from ovis_app.stop import Stop, Stopped
from ovis_app.zoo import MINI
from tests.doctor.checkpoints import honest
from tests.doctor.test_files import NORM, tensors

ANSWERS = ("counting", "reading", "seeing a color")
ON_CPU = Settings(device="cpu", dtype="float32", prefix_cache=64 << 20, visual_cache=8 << 20)


@pytest.fixture(autouse=True)
def little_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_speed, "BLOCK", {"cpu": 1 << 20})


def found(name: str, settings: Settings = ON_CPU) -> dict[str, Finding]:
    """Of a loaded model, by name."""
    lines = examined(zoo.resolve(name), settings, quick=False, progress=lambda words, share: None)
    return {one.name: one for one in lines}


def test_ovis_mini_gives_no_warning() -> None:
    lines = found(MINI.id)
    assert {one.name for one in lines.values() if one.verdict != "ok"} == {"tokens a second"}  # too small to tell
    assert {*ANSWERS, "new tokens", "prefix reuse", "memory at work", "memory bandwidth", "engine"} <= set(lines)
    assert int(lines["engine"].found.split()[0]) >= both_ways.TOKENS


@pytest.mark.parametrize("family", ["ovis1.6", "ovis2", "ovis2.5", "ovis2.6"])
def test_random_weights_are_wrong_about_pictures_and_right_about_all_else(family: str, tmp_path: Path) -> None:
    lines = found(str(honest(family, tmp_path / "mine")))
    assert {one.name for one in lines.values() if one.verdict == "differs"} == set(ANSWERS)
    assert not [one for one in lines.values() if one.verdict == "failed"]
    assert lines["engine"].verdict == lines["prefix reuse"].verdict == "ok"
    assert lines["counting"].expected and "these weights" in lines["counting"].does


def test_an_engine_that_says_other_tokens_and_a_slow_card_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = both_ways.plain.generate

    def another(*arguments: Any, **options: Any) -> Any:
        ids = whole(*arguments, **options).clone()
        ids[3] = (ids[3] + 1) % 1000
        return ids

    monkeypatch.setattr(both_ways.plain, "generate", another)
    monkeypatch.setattr(speed, "FEW_BYTES", 0)
    monkeypatch.setattr(memory_speed, "measured", lambda device: 1e15)
    lines = found(MINI.id)
    assert [one.name for one in lines.values() if one.verdict != "ok"] == ["tokens a second", "engine"]
    assert "after 3, " in lines["engine"].found and "apart in scores" in lines["engine"].found
    assert "0% of the" in lines["tokens a second"].found and "slowly" in lines["tokens a second"].does


def test_a_card_is_held_against_its_data_sheet() -> None:
    slow, sound = (speed.bandwidth(found, 3.35e12) for found in (1e12, 2.9e12))
    assert slow.verdict == "differs" and "3,350" in slow.expected and "throttled" in slow.report
    assert sound.verdict == "ok"
    assert speed.tokens(20, 5e9, 3e12, "cuda").verdict == "differs"
    assert speed.tokens(400, 5e9, 3e12, "cuda").verdict == "ok"
    old = loaded.new_tokens(Capabilities("by hand", "torch", "the card is older than Ampere"), "cuda:0")
    assert old.verdict == "differs" and "older than Ampere" in old.does and "fused" in old.expected


def test_more_memory_than_planned_is_named() -> None:
    plan = MemoryPlan(weights=10**9, working=10**9, kv=10**9, token=1000, prefix_cache=0)
    assert judged_peak(3 * 10**9, plan, 0).verdict == "ok"
    much = judged_peak(4 * 10**9, plan, 0)
    assert much.verdict == "differs" and "4.00 GB" in much.found and "3.00 GB" in much.expected


def test_what_there_is_no_time_for_isnt_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examination, "SECONDS", -1.0)
    lines = found(MINI.id, Settings(device="cpu", prefix_cache=0))
    late = (*ANSWERS, "tokens a second", "engine")
    assert {lines[name].verdict for name in late} == {"not judged"} and "time was over" in lines["counting"].found
    assert lines["prefix reuse"].verdict == "not judged" and "nothing is remembered" in lines["prefix reuse"].found


def test_a_faster_step_whose_trial_fails_is_named_before_anything_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def tried(step: DecodeStep) -> Iterator[None]:
        yield
        step.why = "it doesn't compute what the step in torch does"

    monkeypatch.setattr(DecodeStep, "prepare", tried)
    monkeypatch.setattr(
        loaded, "new_tokens", lambda can, device: new_tokens(can, "cuda:0")
    )  # where there are such steps
    line = found(MINI.id)["new tokens"]
    assert line.verdict == "differs" and "doesn't compute what" in line.does and "by hand" in line.found


@pytest.mark.parametrize("line", ["loaded", "counting", "tokens a second"])
def test_whoever_stops_it_is_heard_at_once(line: str) -> None:
    stop, seen = Stop(), list[str]()
    with pytest.raises(Stopped):
        for one in examined(MINI, ON_CPU, quick=False, progress=lambda words, share: None, stop=stop):
            seen.append(one.name)
            if one.name == line:
                stop.set()
    assert seen[-1] == line or (line, seen[-1]) == ("loaded", "new tokens")


def test_without_room_for_a_copy_its_line_isnt_judged_and_the_others_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(memory_speed, "COPIES", 0)
    monkeypatch.setattr(memory_speed.torch, "zeros_like", full)
    monkeypatch.setattr(both_ways, "compared", lambda *_: Finding("engine", "ok", "the same"))
    lines = found(MINI.id)
    assert lines["tokens a second"].verdict == "not judged" and "no memory for a copy" in lines["tokens a second"].found
    assert lines["engine"].verdict == "ok" and "loaded" in lines and lines["loaded"].verdict == "ok"


def test_memory_that_runs_out_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(both_ways, "compared", full)
    lines = found(MINI.id)
    assert lines["loaded"].verdict == "failed" and lines["loaded"].found == "memory ran out"
    assert lines["counting"].verdict == "ok"


def test_what_cant_be_loaded_isnt_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = honest("ovis2.5", tmp_path / "mine")
    tensors(lambda weights: weights.pop(NORM))(folder)
    monkeypatch.setattr(model_pool, "loaded_model", None)
    line = found(str(folder))["loaded"]
    assert line.verdict == "not judged" and "tensor names keeps it" in line.found
