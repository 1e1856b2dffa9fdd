"""A Space on ZeroGPU, simulated: each answer in a process that is forked after this one has computed, all that crosses
pickled, calls refused and killed. `tests/stand_ins/spaces` stands for the package that does it there."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from contextvars import copy_context
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ovis_app import chat
from ovis_app.backends import gpu_refusals, open_backend
from ovis_app.backends.gpu_time import LEAST
from ovis_app.backends.local import gpu_placed, gpu_request, media_encoder, model_pool
from ovis_app.backends.local.backend import LocalBackend
from ovis_app.backends.local.gpu_answer import OVER
from ovis_app.backends.local.gpu_placed import REMEMBERS_NOTHING
from ovis_app.backends.zerogpu import CHOSEN, ZeroGpuBackend
from ovis_app.checkpoints import tokenizer
from ovis_app.checkpoints.tokenizer import Ending
from ovis_app.conversation import Conversation, Media, Message
from ovis_app.engine.answer import RunningAnswer
from ovis_app.errors import FAILED, BackendError, RequestError
from ovis_app.generation import Answer, Done, Event, GenerationSettings, Request, Waiting
from ovis_app.limits import Limits
from ovis_app.models.ovis import Ovis
from ovis_app.settings import Settings
from ovis_app.stop import NEVER
from ovis_app.zoo import MINI
from tests.stand_ins import spaces
from tests.waiting import until

CHECKPOINT = Path(__file__).parent.parent / "fixtures" / "golden" / "ovis2.5" / "public-a" / "checkpoint"
SETTINGS = Settings(model=str(CHECKPOINT), device="cpu", dtype="float32", zerogpu=True)
SHORT = GenerationSettings(max_new_tokens=12)
LONG = GenerationSettings(max_new_tokens=400)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="ZeroGPU forks")


@pytest.fixture
def backend() -> Iterator[ZeroGpuBackend]:
    spaces.refusal = None
    backend = ZeroGpuBackend(SETTINGS, Limits(), spaces.GPU)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.ones(600, 600) @ torch.ones(600, 600)  # on both: a thread that is forked now and computes on both hangs
    yield backend
    torch.set_num_threads(threads)
    spaces.refusal = None
    backend.close()


@pytest.fixture
def long_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer ends by itself, and a token takes a moment."""
    whole = RunningAnswer.take

    def slow(self: RunningAnswer, *arguments: Any) -> bool:
        time.sleep(0.02)
        return whole(self, *arguments)

    monkeypatch.setattr(RunningAnswer, "take", slow)
    monkeypatch.setattr(tokenizer, "ending_of", lambda *_: Ending((703,), 608))


def picture(folder: Path, color: str) -> Media:
    path = folder / f"{color}.png"
    Image.new("RGB", (96, 64), color).save(path)
    return Media("image", path, path.name)


def ask(text: str, *media: Media, settings: GenerationSettings = SHORT) -> Request:
    return Request(Conversation((Message("user", text, media),)), settings)


def answer(backend: Any, request: Request) -> Message:
    *_, last = chat.reply(backend, request)
    assert last.messages[:-1] == (*request.conversation.messages[:-1], last.messages[-2])
    assert last.messages[-2].text == request.conversation.messages[-1].text
    return last.messages[-1]


def ended(*workers: BaseProcess) -> None:
    """By themselves, not killed."""
    for worker in workers:
        until(lambda worker=worker: worker.exitcode is not None, "the process went on")  # type: ignore[misc]
        assert worker.exitcode == 0


def test_a_forked_process_gives_the_answers_of_this_one(backend: ZeroGpuBackend, tmp_path: Path) -> None:
    local = LocalBackend(replace(SETTINGS, zerogpu=False), Limits())
    red, blue = picture(tmp_path, "red"), picture(tmp_path, "blue")
    seeded = replace(SHORT, temperature=1.0, seed=3)
    for request in (
        ask("What is it?"),
        ask("Which is it, which?", red, blue, red, settings=seeded),  # one of them twice
        Request(
            Conversation((Message("user", "One?", (red,)), Message("assistant", "Red."), Message("user", "And?"))),
            GenerationSettings(max_new_tokens=130, thinking=True, thinking_budget=4),
        ),
    ):
        there, here = answer(backend, request), answer(local, request)
        assert there.error == "" and (there.text, there.thinking, there.finish) == (
            here.text,
            here.thinking,
            here.finish,
        )
        assert there.stats is not None and here.stats is not None
        assert there.stats.prompt_tokens == here.stats.prompt_tokens
        assert there.stats.visual_tokens == here.stats.visual_tokens
        assert there.stats.first_token_seconds is not None and there.stats.first_token_seconds > 0
    local.close()


def test_a_picture_is_decoded_once_while_the_oldest_turns_are_left_out(
    backend: ZeroGpuBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    whole = media_encoder.open_image
    monkeypatch.setattr(
        media_encoder, "open_image", lambda media, limits: opened.append(media.name) or whole(media, limits)
    )
    said = "many words " * 4000
    turns = [Message("user", said), Message("assistant", "Yes."), Message("user", said), Message("assistant", "No.")]
    asked = Conversation((*turns, Message("user", "And this?", (picture(tmp_path, "red"),))))
    request = Request(asked, replace(SHORT, drop_old_turns=True))
    work = gpu_request.prepared_work(request, note=lambda _: None, stop=NEVER, started=0.0)
    assert work.prepared.dropped > 0 and len(work.pixels) == 1 and opened == ["red.png"]


def test_every_answer_has_a_process_of_its_own_and_finds_nothing_of_the_last(backend: ZeroGpuBackend) -> None:
    before = len(spaces.workers)
    answer(backend, ask("Once."))
    answer(backend, ask("Once."))
    assert len(spaces.workers) == before + 2
    ended(*spaces.workers[before:])
    until(lambda: backend.status().phase == "ready")
    status = backend.status()
    assert REMEMBERS_NOTHING in status.engine
    assert status.resources is not None and status.resources.tokens == gpu_placed.here().loaded.context


def test_the_time_asked_for_grows_with_the_request_and_with_what_answers_took(
    backend: ZeroGpuBackend, long_answers: None
) -> None:
    def asked_for(tokens: int, *, wait: bool) -> int:
        with closing(backend.stream(ask("Go on.", settings=GenerationSettings(max_new_tokens=tokens)))) as events:
            next(event for event in events if isinstance(event, Done if wait else Answer))
        until(lambda: backend.status().phase == "ready")
        return spaces.asked[-1][0]

    before = asked_for(400, wait=False)
    assert LEAST <= asked_for(30, wait=True) <= before, "computed for a GPU, a tiny model's tokens take no time"
    assert asked_for(400, wait=False) >= before + 8, "but those took 20 ms each"


def test_stop_ends_the_process_within_a_step(backend: ZeroGpuBackend, long_answers: None) -> None:
    with closing(backend.stream(ask("go on", settings=LONG))) as events:
        for event in events:
            if isinstance(event, Answer):
                break
        assert backend.status().phase == "answering"
    ended(spaces.workers[-1])
    until(lambda: backend.status().phase == "ready")
    assert spaces.yields[-1] < 100, "it made all of the 400 tokens"


def test_something_is_heard_all_the_time_while_a_gpu_is_waited_for_and_a_step_is_long(
    backend: ZeroGpuBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Ovis.encode

    def slow(self: Ovis, *arguments: Any, **options: Any) -> Tensor:
        time.sleep(0.8)
        return whole(self, *arguments, **options)

    monkeypatch.setattr(Ovis, "encode", slow)
    heard: list[Event] = list(backend.stream(ask("What?", picture(tmp_path, "red"))))
    notes = [event.note for event in heard if isinstance(event, Waiting)]
    assert notes.count("Looking at what is attached") >= 3
    assert isinstance(heard[-1], Done)


def test_a_refused_call_is_a_sentence_and_the_next_one_is_answered(backend: ZeroGpuBackend) -> None:
    spaces.refusal = (
        "ZeroGPU quota exceeded",
        "You have exceeded your free ZeroGPU quota (60s requested vs. 12s left). Try again in 3:20:10. ",
    )
    before = len(spaces.workers)
    message = answer(backend, ask("What is it?"))
    assert message.finish == "error" and "12 s left" in message.error and "3:20:10" in message.error
    assert len(spaces.workers) == before
    spaces.refusal = None
    assert answer(backend, ask("What is it?")).error == ""


def test_the_quota_is_that_of_who_asks(backend: ZeroGpuBackend) -> None:
    for name in ("ada", "grace"):
        copy_context().run(lambda name=name: (spaces.visitor.set(name), answer(backend, ask("Hello."))))  # type: ignore[misc]
    assert spaces.visitors[-2:] == ["ada", "grace"]


def test_a_killed_process_is_a_sentence_and_what_was_said_stays(backend: ZeroGpuBackend, long_answers: None) -> None:
    killed = False
    for conversation in chat.reply(backend, ask("go on", settings=LONG)):
        if conversation.messages[-1].text and not killed:
            pid = spaces.workers[-1].pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            killed = True
    last = conversation.messages[-1]
    assert last.error == gpu_refusals.TAKEN_AWAY and last.text and conversation.messages[0].text == "go on"
    assert answer(backend, ask("Again.", settings=replace(SHORT, max_new_tokens=2))).error == ""


def test_an_answer_whose_time_is_over_ends_with_a_sentence_before_it_is_killed(
    backend: ZeroGpuBackend, long_answers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "_deadline", 4)
    monkeypatch.setattr(backend._time, "seconds", lambda _: 40)
    message = answer(backend, ask("go on", settings=LONG))
    assert message.error == OVER and message.text and spaces.asked[-1][0] == 4
    ended(spaces.workers[-1])


def test_what_needs_no_gpu_is_refused_without_one(backend: ZeroGpuBackend, tmp_path: Path) -> None:
    before = len(spaces.asked)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    assert "broken.png" in answer(backend, ask("What?", Media("image", broken, "broken.png"))).error
    endless = ask("many words " * 15_000)
    assert "tokens long" in answer(backend, endless).error
    with pytest.raises(RequestError, match="tokens long"):  # the question is the cause: programs hear so
        list(backend.stream(endless))
    assert backend.count(endless) > 15_000
    with pytest.raises(BackendError, match=CHOSEN):
        backend.change("Ovis2.5-2B")
    assert backend.offers() == [] and len(spaces.asked) == before


def test_a_failure_in_the_process_is_a_sentence_without_its_words(
    backend: ZeroGpuBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> object:
        raise RuntimeError("secret /path/to/weights")

    monkeypatch.setattr(Ovis, "embed", broken)
    assert answer(backend, ask("What?")).error == FAILED


class NoCuda(TorchFunctionMode):
    """What `spaces` does in the process that has no GPU: what is made or put there is on the processor."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if kwargs.get("device") is not None and torch.device(kwargs["device"]).type == "cuda":
            self.placed += 1
            kwargs["device"] = "cpu"
        if function is Tensor.to:
            args = tuple("cpu" if isinstance(one, torch.device) and one.type == "cuda" else one for one in args)
        return function(*args, **kwargs)

    placed = 0


CUDA = (
    "init", "is_available", "device_count", "current_device", "synchronize", "is_bf16_supported", "mem_get_info",
    "get_device_capability", "get_device_properties", "memory_reserved", "empty_cache",
)  # fmt: skip


def test_loading_puts_weights_on_the_gpu_by_name_and_asks_it_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    here = os.getpid()

    def forbidden(real: Callable[..., object]) -> Callable[..., object]:
        def asked(*arguments: object, **options: object) -> object:
            assert os.getpid() != here, f"{real.__name__} was asked in the process that forks"
            return real(*arguments, **options)

        return asked

    for name in CUDA:
        monkeypatch.setattr(torch.cuda, name, forbidden(getattr(torch.cuda, name)))
    monkeypatch.setattr(model_pool, "_models", {})
    with NoCuda() as mode:
        backend = ZeroGpuBackend(Settings(zerogpu=True), Limits(), spaces.GPU)
    assert mode.placed > 50
    assert gpu_placed.here().loaded.model.dtype == torch.bfloat16
    assert answer(backend, ask("What is it?")).error == ""
    backend.close()


def test_a_model_that_is_too_large_is_refused_before_it_is_fetched() -> None:
    with pytest.raises(BackendError, match=r"48 GB of ZeroGPU's size large: set OVIS_ZEROGPU_SIZE to xlarge\."):
        gpu_placed.place(Settings(model="Ovis2-34B", zerogpu=True), Limits())
    with pytest.raises(BackendError, match="OVIS_ZEROGPU_SIZE to xlarge"):  # its values are unpacked
        gpu_placed.place(Settings(model="Ovis2-34B-GPTQ-Int4", zerogpu=True), Limits())
    with pytest.raises(BackendError, match="can't be quantized on ZeroGPU"):
        gpu_placed.place(Settings(quantize="int4", zerogpu=True), Limits())


def test_the_size_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spaces", spaces)
    backend = open_backend(replace(SETTINGS, model=MINI.id, zerogpu_size="xlarge"), Limits(), late=True)
    del spaces.asked[:]
    assert isinstance(backend, ZeroGpuBackend) and backend.status().model == MINI
    assert answer(backend, ask("Hello", settings=replace(SHORT, max_new_tokens=2))).error == ""
    assert [size for _, size in spaces.asked] == ["xlarge"]
    backend.close()
