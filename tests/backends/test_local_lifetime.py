"""How the local backend's model comes, what it holds, and how answers and the process end."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from ovis_app import chat
from ovis_app.backends.local import model_pool
from ovis_app.backends.local.backend import LocalBackend
from ovis_app.checkpoints import memory_fit
from ovis_app.checkpoints.hub import Progress
from ovis_app.engine import open_engine
from ovis_app.engine.capabilities import Capabilities
from ovis_app.engine.decode_step import DecodeStep
from ovis_app.errors import BackendError
from ovis_app.generation import Answer, Done, GenerationSettings, Waiting
from ovis_app.limits import Limits
from ovis_app.settings import Settings
from tests.backends.local_asking import CHECKPOINT, SHORT, answer, ask, backend, long_answers
from tests.models_on_cpu import loaded_on_cpu
from tests.waiting import PATIENCE, until

__all__ = ["backend", "long_answers"]  # fixtures


def test_six_first_users_load_the_model_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[str] = []
    whole = model_pool.load_weights

    def counting(folder: Path, *rest: object, **options: object) -> object:
        loads.append(str(folder))
        return whole(folder, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(model_pool, "load_weights", counting)
    monkeypatch.setattr(model_pool, "_models", {})
    spec = LocalBackend(Settings(model=str(CHECKPOINT)), Limits()).spec
    threads = [threading.Thread(target=loaded_on_cpu, args=(spec,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loads) == 1


def test_a_model_that_cannot_fit_is_refused_before_any_download(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_fit, "bytes_available", lambda *_: int(8e9))
    monkeypatch.setattr(model_pool, "folder_of", lambda *_: pytest.fail("it was fetched"))
    backend = LocalBackend(Settings(model="Ovis2.5-9B", device="cpu", dtype="float32"), Limits())
    message = answer(backend, ask("Hi"))
    assert "Ovis2.5-9B needs about 40 GB" in message.error and "8 GB are free" in message.error
    assert "try Ovis2-1B" in message.error
    backend = LocalBackend(Settings(model="Ovis2.5-2B", device="cpu", dtype="float32"), Limits())
    assert "--dtype bfloat16" in answer(backend, ask("Hi")).error


@pytest.fixture
def broken_folder(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "mine"
    folder.mkdir()
    for file in CHECKPOINT.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    yield folder


def test_damaged_checkpoints_are_one_sentence(broken_folder: Path) -> None:
    def error() -> str:
        with pytest.raises(BackendError) as caught:
            spec = LocalBackend(Settings(model=str(broken_folder)), Limits()).spec
            loaded_on_cpu(spec, "float32")
        assert str(broken_folder.parent) not in str(caught.value)
        return str(caught.value)

    weights = broken_folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    assert "damaged" in error()
    weights.unlink()
    assert "safetensors" in error()
    weights.write_bytes(whole)
    (broken_folder / "config.json").write_text('{"model_type": "llama"}')
    assert "no Ovis" in error()
    (broken_folder / "config.json").unlink()
    assert "no model at" in error() or "config.json" in error()


def test_the_status_says_who_gets_how_much_memory_and_how_tokens_are_made(backend: LocalBackend) -> None:
    answer(backend, ask("Hi"))
    status = backend.status()
    assert status.resources is not None and "by hand" in status.engine
    assert status.resources.tokens >= backend.spec.context and status.resources.weights > 100_000
    assert status.resources.conversations >= 2**30  # the prefix cache alone


def test_the_status_tells_of_a_faster_step_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is found out behind the first answers, when the model has long been loaded."""
    monkeypatch.setattr(Capabilities, "of", lambda model, **_: Capabilities("fused", "triton", recorded=True))
    monkeypatch.setattr(open_engine, "_fused", lambda step, *_, **__: step)
    backend = LocalBackend(Settings(model=str(CHECKPOINT), device="cpu"), Limits())
    with closing(backend):
        answer(backend, ask("Hello!"))
        assert backend.status().engine == "decode fused, recorded, attention in triton"
        monkeypatch.setattr(DecodeStep, "why", "its scores differ")
        assert backend.status().engine == "decode by hand, attention in torch (its scores differ)"


def test_blocks_are_taken_by_an_answer_and_remembered_after_it(backend: LocalBackend) -> None:
    events = backend.stream(ask("Tell me something long.", settings=replace(SHORT, max_new_tokens=64)))
    while isinstance(next(events), Waiting):
        pass
    assert (during := backend.occupancy()).blocks_used and during.blocks and during.device_bytes is None
    assert isinstance(list(events)[-1], Done)
    after = backend.occupancy()
    assert after.blocks_used == 0 and after.blocks_cached and after.blocks == during.blocks


def test_closing_the_stream_ends_generate_within_one_token(backend: LocalBackend, long_answers: list[int]) -> None:
    settings = GenerationSettings(max_new_tokens=400)
    with closing(backend.stream(ask("go on", settings=settings))) as events:
        for event in events:
            if isinstance(event, Answer):
                break
    closed_at = max(long_answers)
    until(lambda: not backend._worker.busy and not backend._answers.busy)
    assert max(long_answers) <= closed_at + 3  # the token under way when it was closed, not the 400 asked for


def test_closing_before_the_first_event_does_no_work(backend: LocalBackend, long_answers: list[int]) -> None:
    conversations = chat.reply(backend, ask("never mind"))
    next(conversations)
    conversations.close()
    time.sleep(0.05)
    assert long_answers == []


def test_whoever_waits_and_whoever_asks_later_hears_that_it_is_being_shut_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun = threading.Event()

    def slow(_: object, progress: Progress) -> object:
        begun.set()
        while True:
            progress("Loading slowly", 0.5)
            time.sleep(0.01)

    monkeypatch.setattr(model_pool, "_load", slow)
    monkeypatch.setattr(model_pool, "_models", {})
    backend = LocalBackend(Settings(model=str(CHECKPOINT), device="cpu"), Limits())
    loading, waiting, late = (backend.stream(ask("Hi")) for _ in range(3))
    assert isinstance(next(loading), Waiting) and isinstance(next(waiting), Waiting)
    assert begun.wait(PATIENCE)
    backend.close()
    for events in (loading, waiting, late):
        with pytest.raises(BackendError, match="shut down"):
            list(islice(events, 600))  # a minute of those that say to wait


def test_the_process_ends_well_under_a_running_answer() -> None:
    """Leaving in the middle of an answer, as Ctrl-C does, is no crash."""
    code = (
        "from ovis_app.backends.local.backend import LocalBackend\n"
        "from ovis_app.limits import Limits\n"
        "from ovis_app.settings import Settings\n"
        "from ovis_app.conversation import Conversation, Message\n"
        "from ovis_app.generation import Answer, GenerationSettings, Request\n"
        f"backend = LocalBackend(Settings(model={str(CHECKPOINT)!r}, device='cpu'), Limits())\n"
        "settings = GenerationSettings(max_new_tokens=20000, temperature=3.0, top_p=1.0)\n"
        "events = backend.stream(Request(Conversation((Message('user', 'go on'),)), settings))\n"
        "next(event for event in events if isinstance(event, Answer))\n"
        "keep = events\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=False)
    assert done.returncode == 0, done.stderr
