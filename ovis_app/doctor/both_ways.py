"""The engine against transformers' `generate`, token by token, over the same prompts and weights.

Knows prompts and ids; refuses to know questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ovis_app.backends.local.model_pool import LoadedModel
from ovis_app.backends.local.prompt_builder import PreparedRequest
from ovis_app.doctor.finding import Finding, judged, not_judged
from ovis_app.engine import plain
from ovis_app.models.ovis import Ovis
from ovis_app.stop import Stop

TOKENS = 64  # that are compared
# Scores that two sound ways may give apart: measured 1e-4 in float32, and up to 0.28 of each way in half precision.
AS_GOOD = {torch.float32: 1e-3}
HALF = 0.5


@dataclass(frozen=True)
class Answered:
    """A prompt, and what the engine said of it."""

    prepared: PreparedRequest
    ids: tuple[int, ...]


def compared(loaded: LoadedModel, answers: Sequence[Answered], stop: Stop) -> Finding:
    """`generate` over the same prompts, until enough tokens are the same. The model attends as it was made to from then
    on: an engine over it is to be made anew."""
    same = 0
    for one in answers:
        if same >= TOKENS or stop.is_set():
            break
        ids = plain.generate(
            loaded.model, one.prepared.prompt, one.prepared.settings, ending=loaded.tokenizer.ending, stop=stop.is_set
        )  # fmt: skip
        theirs = [int(token) for token in ids]
        if stop.is_set():  # cut off: what it said is compared as far as it goes
            theirs, ours = theirs[: len(one.ids)], list(one.ids[: len(theirs)])
        else:
            ours = list(one.ids)
        at = next((n for n, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]), None)
        if at is None and len(ours) == len(theirs):
            same += len(ours)
            continue
        at = min(len(ours), len(theirs)) if at is None else at
        if at >= len(ours) or at >= len(theirs):
            return verdict(same + at, None, loaded.model.dtype)
        gap = apart(loaded.model, one, at, ours[at], theirs[at])
        if gap > AS_GOOD.get(loaded.model.dtype, HALF):
            return verdict(same + at, gap, loaded.model.dtype)
        same += at
    if not same:
        return not_judged("engine", "there was no time to compare a token")
    return Finding("engine", "ok", f"{same} greedy tokens as transformers' generate has them")


def verdict(at: int, gap: float | None, dtype: torch.dtype) -> Finding:
    how = "one of them ends there" if gap is None else f"{gap:.2g} apart in scores"
    return judged(
        "engine", f"another token than generate's after {at}, {how}",
        f"the same tokens, where two aren't within {AS_GOOD.get(dtype, HALF):g}", same=False,
        does="answers by the engine; --engine plain answers by generate",
    )  # fmt: skip


@torch.inference_mode()
def apart(model: Ovis, one: Answered, at: int, ours: int, theirs: int) -> float:
    """How far the scores of two tokens are apart at a place, as the modules compute them."""
    prompt = one.prepared.prompt
    ids = torch.cat([prompt.ids, torch.tensor(one.ids[:at], dtype=torch.long)])
    embeddings = model.embed(ids, prompt.visual)
    mask = torch.cat([prompt.mask, torch.ones(at, dtype=torch.long)])[None].to(embeddings.device)
    scores = model.llm(inputs_embeds=embeddings, attention_mask=mask, use_cache=False).logits[0, -1].float()
    return abs(float(scores[ours] - scores[theirs]))
