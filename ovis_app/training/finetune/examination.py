"""What a model says before it learns and after: some samples to judge by, and how many old questions it still answers.

Knows which questions are put, and how both outcomes are told side by side. Refuses to know how answers come about.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ovis_app.checkpoints.checkpoint import Checkpoint
from ovis_app.models.devices import SMALL
from ovis_app.models.ovis import Ovis
from ovis_app.training.finetune import answers
from ovis_app.training.finetune.answers import Asked
from ovis_app.training.finetune.plan import Plan

FEW = 5  # samples to judge by that are shown
TOGETHER = 12  # questions that a small model is asked at once
SHOWN = 200  # characters of an answer

Shares = Mapping[str, tuple[int, int]]  # of each kind: right answers, of how many


@dataclass(frozen=True)
class Outcome:
    """Answers to the samples to judge by, and how many old questions of each kind were answered right."""

    said: tuple[str, ...] = ()
    old: Shares = field(default_factory=dict)

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Outcome:
        """From JSON."""
        return cls(tuple(value["said"]), {kind: (good, of) for kind, (good, of) in value["old"].items()})

    def as_json(self) -> dict[str, Any]:
        return {"said": list(self.said), "old": {kind: list(share) for kind, share in self.old.items()}}


@dataclass(frozen=True)
class Examination:
    """Questions: `judged` are of samples to judge by, `old` of what was known before."""

    judged: tuple[Asked, ...] = ()
    old: tuple[Asked, ...] = ()
    together: int = 1

    @classmethod
    def of(cls, plan: Plan) -> Examination:
        """Raises MediaError."""
        judged = tuple(answers.of_samples(plan.validation[:FEW], plan.encoder))
        old = tuple(answers.of_mini(plan.checkpoint) if plan.spec.bundled else ())
        old += tuple(answers.of_samples(plan.old_questions, plan.encoder))
        return cls(judged, old, TOGETHER if 0 < plan.spec.parameters < SMALL else 1)

    def logged(self, value: object) -> Outcome | None:
        """The outcome that a log has of these questions, in JSON; None where it isn't one."""
        try:
            found = Outcome.of(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, KeyError, AttributeError):
            return None
        kinds = Counter(one.kind for one in self.old)
        fits = len(found.said) == len(self.judged) and all(isinstance(one, str) for one in found.said)
        fits = fits and {kind: of for kind, (_, of) in found.old.items()} == kinds
        return found if fits and all(type(good) is int for good, _ in found.old.values()) else None

    @property
    def number(self) -> int:
        return len(self.judged) + len(self.old)

    def __bool__(self) -> bool:
        return self.number > 0

    def of_model(self, model: Ovis, checkpoint: Checkpoint) -> Outcome:
        """The outcome of a model as it is now."""
        asked = (*self.judged, *self.old)
        said = answers.answers(model, checkpoint, asked, together=self.together)
        known = said[len(self.judged) :]
        return Outcome(tuple(said[: len(self.judged)]), answers.shares(self.old, known))

    def told(self, before: Outcome, after: Outcome) -> Iterator[str]:
        """Both outcomes, in lines for people."""
        for asked, first, then in zip(self.judged, before.said, after.said, strict=True):
            yield f"asked:  {_short(asked.text)}"
            yield f"wanted: {_short(asked.wanted)}"
            yield f"before: {_short(first)}"
            yield f"after:  {_short(then)}"
        if self.old:
            yield _kept(before.old, after.old)


def _short(text: str) -> str:
    """One line of a text."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else f"{line[:SHOWN]}..."


def _kept(before: Shares, after: Shares) -> str:
    """How much of what was known is known still."""
    number = sum(of for _, of in before.values())
    first, then = (sum(good for good, _ in found.values()) for found in (before, after))
    lost = {kind: good - after[kind][0] for kind, (good, _) in before.items() if after[kind][0] < good}
    worst = sorted(lost, key=lambda kind: -lost[kind])[:5]
    named = "; ".join(f"{kind}: {before[kind][0]} -> {after[kind][0]} of {before[kind][1]}" for kind in worst)
    most = f"; most went of {named}" if named else ""
    return f"old questions: {first} of {number} were answered right before, {then} are now{most}"
