"""What a checkpoint's weights are, against the model that its config asks for: names, shapes, numbers, and the few
facts of its language model that change every answer and that no shape shows.

Knows headers and configs; reads no weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import torch

from ovis_app.checkpoints.checkpoint import Placed, placed, shapes_of
from ovis_app.checkpoints.gptq import Packed
from ovis_app.checkpoints.safetensors import Stored
from ovis_app.doctor.finding import Finding, judged, not_judged
from ovis_app.doctor.known import KNOWN, alike, rope_base, row_of
from ovis_app.models.config import OvisConfig
from ovis_app.zoo import ModelSpec

REFUSES = "refuses to load it: a model with other weights would answer nonsense"
LOADED_AS = "reads every number into the precision that it computes in"
NEAR = 0.03  # of a known number of parameters


def findings(
    folder: Path, spec: ModelSpec, config: OvisConfig, tensors: Mapping[str, Stored], raw: Mapping[str, Any]
) -> Iterator[Finding]:
    """Raises BackendError where no model can be built to hold them against."""
    found = placed(shapes_of(folder, config, tensors), tensors, config)
    yield names(found, len(tensors))
    yield shapes(found, tensors)
    yield numbers(tensors, raw)
    yield size(spec, config, tensors)
    yield rope(config)
    yield context(config)


def names(found: Placed, count: int) -> Finding:
    """Whether each parameter has its tensors, and no layer more than the model has."""
    wrong = [
        f"{name} is missing" if not some else f"{name} has {some} of {all}"
        for name, (some, all) in found.lacking.items()
    ]
    wrong += [f"{name} has no place" for name in found.odd] + [f"{name} is there twice" for name in found.twice]
    spare = len(found.homeless) - len(found.odd)
    told = f"{count:,} tensors{f', {spare} of which nothing is computed with' if spare else ''}"
    return judged("tensor names", _some(wrong) or told, "every weight of the model, once", same=not wrong, does=REFUSES)


def shapes(found: Placed, tensors: Mapping[str, Stored]) -> Finding:
    wrong = [f"{name} is {' x '.join(map(str, tensors[name].shape))}" for name in found.misshapen]
    return judged(
        "tensor shapes", _some(wrong) or "as its config.json asks for", "those that its config.json asks for",
        same=not wrong, does=REFUSES,
    )  # fmt: skip


def numbers(tensors: Mapping[str, Stored], raw: Mapping[str, Any]) -> Finding:
    """In which precision they were released; config.json names one, which may be that of a part of them."""
    counts = Counter(str(one.dtype).removeprefix("torch.") for one in tensors.values() if not isinstance(one, Packed))
    packed = sum(isinstance(one, Packed) for one in tensors.values())
    said = ", ".join(f"{count:,} {name}" for name, count in counts.most_common())
    said += f", {packed:,} of fewer bits" if packed else ""
    named = str(raw.get("torch_dtype") or raw.get("dtype") or "")
    odd = [one for one in counts if not getattr(torch, one).is_floating_point or one == "float64"]
    return judged(
        "tensor types", said, f"float32, float16 or bfloat16{f' ({named} in config.json)' if named else ''}",
        same=not odd, does=LOADED_AS,
    )  # fmt: skip


def size(spec: ModelSpec, config: OvisConfig, tensors: Mapping[str, Stored]) -> Finding:
    """The sizes of its language model and tower against those of the row that its name has."""
    llm, row = config.llm_config, alike(config)
    count = sum(prod(one.shape) for one in tensors.values()) / 1e9
    said = f"{llm.model_type}, {llm.num_hidden_layers} layers of {llm.hidden_size}, {count:.3g} B parameters"
    if spec.guessed or spec.llm is None or (spec.folder is not None and not spec.bundled):
        return Finding("size", "ok", f"{said}{f', as {row.name} has them' if row else '; of no released size'}")
    own = spec.llm
    wanted = f"{own.layers} layers, {spec.parameters:.3g} B parameters, as {spec.name} has them"
    same = llm.num_hidden_layers == own.layers and abs(count - spec.parameters) < NEAR * spec.parameters
    return judged("size", said, wanted, same=same, does="follows config.json; memory is counted by the row")


def rope(config: OvisConfig) -> Finding:
    """The base of rotary positions: another one reads short questions well, and long ones ever worse."""
    facts = dict(getattr(config.llm_config, "rope_parameters", None) or {})
    base, kind = facts.get("rope_theta"), facts.get("rope_type") or "default"
    known = KNOWN[config.llm_config.model_type]
    if not isinstance(base, int | float):
        return not_judged("rope base", "several, or none that is named")
    return judged(
        "rope base", f"{base:,.0f}, {kind}", f"{rope_base(config):,.0f}, {known.rope_type}",
        same=base == rope_base(config) and kind == known.rope_type, does="computes positions as the file says",
    )  # fmt: skip


def context(config: OvisConfig) -> Finding:
    row = row_of(config)
    return judged(
        "context", f"{config.max_context:,} tokens", f"{row.context:,}", same=config.max_context == row.context,
        does=f"answers within {min(config.max_context, row.context):,} tokens",
    )  # fmt: skip


def _some(wrong: Sequence[str], most: int = 3) -> str:
    """The first few, and how many more there are."""
    more = len(wrong) - most
    return "; ".join(wrong[:most]) + (f" and {more:,} more" if more > 0 else "")
