"""A conversation with decoded pictures as one prompt: token ids, pixels and mask. The same steps for every family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ovis_app.models.config import OvisConfig
from ovis_app.models.families import FAMILIES
from ovis_app.models.prompt import FORMATS, ChatFormat, PromptTokenizer, Turn, encode_turns, expand
from ovis_app.models.visual import Grid, Visual


@dataclass(frozen=True)
class Prompt:
    """Everything that the model needs of a question. `ids` hold negative placeholders for visual tokens."""

    ids: Tensor  # [tokens], long
    mask: Tensor  # [tokens], long: 0 where attention must not look
    pixel_values: Tensor | None  # [patches, values] or [tiles, 3, side, side], float32
    grids: tuple[Grid, ...]
    visual_tokens: int


def chat_format(config: OvisConfig) -> ChatFormat:
    """The chat format that the checkpoint's language model was trained with."""
    return FORMATS[config.llm_config.model_type]


def prepare(
    config: OvisConfig, tokenizer: PromptTokenizer, turns: Sequence[Turn], visuals: Sequence[Visual], *, thinking: bool
) -> Prompt:
    """The prompt of a conversation whose placeholders stand for `visuals` in order. Raises ValueError when they differ
    in number."""
    ids = encode_turns(tokenizer, chat_format(config), turns, thinking=thinking)
    return assemble(config, tokenizer, ids, visuals)


def assemble(config: OvisConfig, tokenizer: PromptTokenizer, ids: Sequence[int], visuals: Sequence[Visual]) -> Prompt:
    """Pixels for `visuals`, and `ids` with each placeholder expanded to its visual tokens."""
    family = FAMILIES[config.family]
    pixels = [family.pixels(config, part) for visual in visuals for part in family.spread(visual)]
    whole = torch.tensor(expand(ids, [part.ids for part in pixels]), dtype=torch.long)
    hidden = whole == tokenizer.pad if family.masks_padding and tokenizer.pad is not None else whole != whole
    return Prompt(
        ids=whole,
        mask=(~hidden).long(),
        pixel_values=torch.cat([part.values for part in pixels]) if pixels else None,
        grids=tuple(grid for part in pixels for grid in part.grids),
        visual_tokens=sum(part.tokens for part in pixels),
    )
