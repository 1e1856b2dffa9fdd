"""What ZeroGPU's own package says when there is no GPU, told in one sentence. The errors are those that it raises."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from spaces.zero import client
from spaces.zero.api import QueueEvent, QuotaInfos, ScheduleMetadata

from ovis_app.backends import gpu_refusals
from ovis_app.backends.gpu_refusals import SHORTER, sentence_of


class Headers(dict[str, str]):
    """Of a visitor whom Hugging Face knows; spaces wants an object with attributes."""


ANONYMOUS = SimpleNamespace(headers=Headers())
SIGNED_IN = SimpleNamespace(headers=Headers({"x-ip-token": "e30.e30.e30", "x-gradio-user": "app"}))
PROGRAM = SimpleNamespace(headers=Headers({"x-ip-token": "e30.e30.e30"}))


def raised(monkeypatch: pytest.MonkeyPatch, answer: Any, asking: Any, **meta: Any) -> Exception:
    """What spaces raises where its server answers so."""
    server = SimpleNamespace(schedule=lambda **_: (answer, ScheduleMetadata(**meta)))
    monkeypatch.setattr(client, "api_client", lambda: server)
    monkeypatch.setattr(client.utils, "self_cgroup_device_path", lambda: "/")
    with pytest.raises(Exception) as caught:  # which one is what is asked
        client.schedule(1, asking, timedelta(seconds=40))
    return caught.value


def failing() -> Iterator[QueueEvent]:
    yield QueueEvent(event="ping")
    yield QueueEvent(event="failed")


LEFT, SPENT, NEVER = (timedelta(hours=3, minutes=20), timedelta(0), timedelta(seconds=-1))


@pytest.mark.parametrize("asking", [SIGNED_IN, PROGRAM], ids=["page", "program"])
@pytest.mark.parametrize("auth", ["regular", "pro", None])
def test_too_little_time_left_says_how_much_and_when_again(
    monkeypatch: pytest.MonkeyPatch, asking: Any, auth: str | None
) -> None:
    error = raised(monkeypatch, QuotaInfos(left=12, wait=LEFT), asking, auth=auth)
    assert sentence_of(error) == (
        f"This question asks for 40 s of GPU time and you have 12 s left: {SHORTER}, or try again in 3:20:00."
    )


def test_others_refusals_each_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def said(answer: Any, asking: Any, **meta: Any) -> str:
        return sentence_of(raised(monkeypatch, answer, asking, **meta))

    assert said(QuotaInfos(left=0, wait=LEFT), ANONYMOUS) == gpu_refusals.ANONYMOUS
    assert said(QuotaInfos(left=0, wait=SPENT), SIGNED_IN) == gpu_refusals.RUNS
    assert said(QuotaInfos(left=0, wait=NEVER), PROGRAM) == gpu_refusals.TOO_LONG_ASKED
    over = QuotaInfos(left=0, wait=LEFT)
    assert said(over, SIGNED_IN, approve_result="pending-overquota-exceeded") == gpu_refusals.PENDING
    assert said(failing(), ANONYMOUS) == gpu_refusals.NO_GPU
    assert said(failing(), SIGNED_IN) == gpu_refusals.NO_GPU
    assert said(httpx.codes.SERVICE_UNAVAILABLE, SIGNED_IN) == gpu_refusals.NO_GPU
    assert said(httpx.codes.UNAUTHORIZED, SIGNED_IN) == gpu_refusals.RELOAD
    assert said(httpx.codes.BAD_GATEWAY, SIGNED_IN) == gpu_refusals.UNKNOWN


def test_what_spaces_has_never_said_is_a_sentence_without_its_words() -> None:
    class Strange(Exception):
        title, message = "ZeroGPU <b>new</b>", "<a href='https://example.org'>secret</a>"

    assert sentence_of(Strange()) == gpu_refusals.UNKNOWN == sentence_of(RuntimeError("secret"))


def test_numbers_that_are_worded_anew_leave_a_sentence() -> None:
    error = SimpleNamespace(title="ZeroGPU quota exceeded", message="You have no more than 3 s.")
    assert sentence_of(error) == gpu_refusals.SPENT  # type: ignore[arg-type]
