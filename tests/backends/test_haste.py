"""A thought that somebody wants to end ends as its budget would have ended it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from ovis_app import chat
from ovis_app.backends.local.backend import LocalBackend
from ovis_app.conversation import Conversation, Message
from ovis_app.engine.thinking_budget import ThinkingBudget
from ovis_app.generation import GenerationSettings, Request
from ovis_app.limits import Limits
from ovis_app.settings import Settings
from ovis_app.stop import Haste
from tests.golden_cases import BUNDLED

THINKS = GenerationSettings(max_new_tokens=120, thinking=True, thinking_budget=60)
ONE = replace(THINKS, thinking_budget=1)


class Impatient(Haste):
    """Asks at once."""

    def offer(self, budget: int, end: Callable[[], None]) -> None:
        super().offer(budget, end)
        self.ask()


def answered(backend: LocalBackend, settings: GenerationSettings, haste: Haste | None = None) -> Message:
    request = Request(Conversation((Message("user", "What is it?"),)), settings, haste=haste)
    *_, last = chat.reply(backend, request)
    assert not last.messages[-1].error, last.messages[-1].error
    return last.messages[-1]


@pytest.mark.parametrize("engine", ["auto", "plain"])
def test_a_thought_that_is_to_end_is_one_whose_budget_is_spent(engine: str) -> None:
    settings = Settings(model=str(BUNDLED / "ovis2.5" / "public-a" / "checkpoint"), device="cpu", engine=engine)
    backend = LocalBackend(settings, Limits())
    hurried, spent = answered(backend, THINKS, Impatient()), answered(backend, ONE)
    assert (hurried.thinking, hurried.text) == (spent.thinking, spent.text) and "limited time" in hurried.thinking
    patient, heard = Haste(), answered(backend, THINKS)
    assert answered(backend, THINKS, patient).thinking == heard.thinking != hurried.thinking and patient.budget == 60
    unthinking = Impatient()
    answered(backend, replace(THINKS, thinking=False, max_new_tokens=2), unthinking)
    assert unthinking.budget == 0 and not unthinking.ask()
    backend.close()


def test_a_thought_that_has_ended_stays_as_it_is() -> None:
    rule = ThinkingBudget(budget=9, early_stop=[7, 8], think_end=8)
    rule.end_now()
    rule.settle(4)
    assert [rule.forced([1, 2, 3, 4]), rule.forced([1, 2, 3, 4, 7])] == [7, 8]
    rule.settle(6)  # what is forced isn't forced again
    assert rule.forced([1, 2, 3, 4, 7, 8]) is None
    ended = ThinkingBudget(budget=9, early_stop=[7, 8], think_end=8)
    ended.end_now()
    ended.settle(3)
    assert ended.forced([1, 8, 2]) is None and ended.budget == 3
