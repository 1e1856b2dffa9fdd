"""How fast tokens come for what a device's memory can: each has to read the weights that it is multiplied by, and the
conversation's keys and values.

Knows bytes and seconds; refuses to know what is said, and how fast the memory is.
"""

from __future__ import annotations

from typing import Any

import torch

from ovis_app.doctor.finding import Finding, judged, not_judged
from ovis_app.engine.kv_pool import KVShape
from ovis_app.models.devices import FEW_BYTES
from ovis_app.models.ovis import Ovis

COPIED = 0.5  # share of a data sheet's figure that a copy gets where nothing is wrong; 0.8 to 0.95 are usual
LEAST = {"cuda": 0.25, "cpu": 0.15}  # share of the limit; goals are 0.6 and more
SLOW_CARD = "name the card, and whether others use it: it may be shared, throttled or divided"


def needed_bytes(model: Ovis, context: float) -> float:
    """Bytes that a token must read: the language model without a table of embeddings that one row is taken of, of its
    experts those that are chosen, and the keys and values of `context` tokens."""
    config: Any = model.llm.config.get_text_config()
    used = config.num_experts_per_tok / config.num_experts if getattr(config, "num_experts", 0) else 1
    weights = sum(value.nbytes * (used if ".experts." in name else 1) for name, value in model.llm.named_parameters())
    table: int = 0 if model.llm.config.tie_word_embeddings else model.llm.get_input_embeddings().weight.nbytes
    return float(weights - table + KVShape.of(config).token_bytes(model.dtype) * context)


def bandwidth(speed: float, known: float | None) -> Finding:
    """What the memory does, against the data sheet where there is one."""
    found = f"{speed / 1e9:,.0f} GB a second by a copy"
    if known is None:
        return Finding("memory bandwidth", "ok", found)
    return judged(
        "memory bandwidth", found, f"about {known / 1e9:,.0f} by its data sheet", same=speed >= COPIED * known,
        does="answers as fast as that allows", report=SLOW_CARD,
    )  # fmt: skip


def tokens(rate: float | None, needed: float, speed: float, device: str) -> Finding:
    """Tokens a second against those that the memory allows."""
    if rate is None:
        return not_judged("tokens a second", "no answer was long enough to tell")
    limit = speed / needed
    found = f"{rate:,.1f}, {rate / limit:.0%} of the {limit:,.0f} that {needed / 1e9:.2f} GB a token allow"
    if needed < FEW_BYTES:
        return not_judged("tokens a second", f"{rate:,.1f}: a model so small doesn't wait for its memory")
    least = LEAST.get(torch.device(device).type, 0.0)
    return judged(
        "tokens a second", found, f"{least:.0%} at least", same=rate >= least * limit, does="answers, slowly",
        report="report this table (--json), and what else ran",
    )  # fmt: skip
