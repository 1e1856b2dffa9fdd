"""A model that learns: an adapter on its linear layers, or its own weights, each part with a learning rate.

Knows modules and peft. Refuses to know data, steps and folders.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovis_app.models.learning import UNUSED, learn, part_of
from ovis_app.models.ovis import Ovis
from ovis_app.training.finetune.choices import Choices

LEARNABLE = (nn.Linear, nn.Embedding)  # what gets matrices of an adapter; a quantized Linear is one too
WORDS = ("lm_head", "embed_tokens", "position_embedding")  # but these
WRAPPED = "base_model.model."  # before every name in a model that peft wrapped
ALIKE, OTHERS = 0.97, 8  # cosine of two rows that look alike; rows that look like so many others were never learnt
PIECE = 2**14  # rows of a table that are compared at a time


def prepared(model: Ovis, choices: Choices, tokens: Collection[int]) -> nn.Module:
    """The same model, ready to learn what was chosen; `tokens` are those of the samples."""
    if choices.method == "full":
        learn(model, choices.part_names)
        return model
    return with_adapter(model, choices, alike(model, tokens) if "llm" in choices.part_names else ())


def with_adapter(model: Ovis, choices: Choices, rows: Collection[int]) -> nn.Module:
    """The model with an adapter that changes nothing yet. `rows` of the words' table learn by themselves."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(choices.seed)  # of the matrices that don't begin with zeros
    model.requires_grad_(False)
    tables = [WORDS[1]] if _tied(model) else [WORDS[1], WORDS[0]]
    config = LoraConfig(
        r=choices.rank,
        lora_alpha=choices.alpha,
        lora_dropout=choices.dropout,
        target_modules=pattern(targets(model, choices.part_names)),
        trainable_token_indices={table: sorted(rows) for table in tables} if rows else None,
    )
    with warnings.catch_warnings():  # of transformers, about names that peft asks for
        warnings.simplefilter("ignore", FutureWarning)
        return get_peft_model(model, config)


def targets(model: Ovis, parts: Collection[str]) -> list[str]:
    """The modules of some parts that get an adapter's matrices."""
    found = []
    for part in parts:
        root = part_of(model, part)
        prefix = next(name for name, module in model.named_modules() if module is root)
        for name, module in root.named_modules(prefix=prefix):
            applied = not {*UNUSED, *WORDS}.intersection(name.split("."))
            if isinstance(module, LEARNABLE) and applied:
                found.append(name)
    return found


def pattern(names: Collection[str]) -> str:
    """One regular expression for names of modules, the same for every layer."""
    layers = {re.sub(r"(?<=\\\.)\d+(?=\\\.)", r"\\d+", re.escape(name)) for name in names}
    return "|".join(sorted(layers))


@torch.no_grad()
def alike(model: Ovis, tokens: Collection[int]) -> list[int]:
    """Those of the tokens whose embeddings look like many others': they were never learnt, so nothing that stands
    behind them can tell them apart, and they can't be said."""
    chosen = torch.tensor(sorted(token for token in tokens if token >= 0), dtype=torch.long)
    table: Tensor = model.get_input_embeddings().weight  # type: ignore[assignment]
    mine = F.normalize(table[chosen.to(table.device)].float(), dim=-1)
    counts = torch.zeros(len(chosen), dtype=torch.long, device=table.device)
    for rows in table.split(PIECE):
        others = F.normalize(rows.float(), dim=-1)
        for part, count in zip(mine.split(256), counts.split(256), strict=True):
            count += (part @ others.T > ALIKE).sum(-1)
    return chosen[counts.cpu() > OTHERS].tolist()  # each looks like itself too


def groups(model: nn.Module, choices: Choices) -> list[dict[str, Any]]:
    """The parameters that learn, each part's with its rate, as an optimizer takes them."""
    found: dict[str, list[nn.Parameter]] = {part: [] for part in choices.part_names}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            found[_part(name.removeprefix(WRAPPED))].append(parameter)
    return [{"params": found[part], "lr": rate} for part, rate in choices.parts]


def learnt_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def unwrapped(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """What learnt of a model that nobody wrapped, by the names of its parameters."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            yield name, parameter.detach()


def _part(name: str) -> str:
    if name.startswith("visual_tokenizer."):
        return "head" if name.startswith("visual_tokenizer.head.") else "tower"
    return name.partition(".")[0]


def _tied(model: Ovis) -> bool:
    return model.get_output_embeddings().weight is model.get_input_embeddings().weight
