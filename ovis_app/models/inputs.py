"""A conversation with decoded pictures as one prompt: token ids, pixels and mask. The same steps for every family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ovis_app.models.config import OvisConfig
from ovis_app.models.families.table import FAMILIES
from ovis_app.models.preprocess.values import Grid, Visual
from ovis_app.models.prompt import FORMATS, ChatFormat, PromptTokenizer, expand


@dataclass(frozen=True)
class PixelPrompt:
    """Everything that the model needs of a question. `ids` hold negative placeholders for visual tokens."""

    ids: Tensor  # [tokens], long
    mask: Tensor  # [tokens], long: 0 where attention must not look
    pixel_values: Tensor | None  # [patches, values] or [tiles, 3, side, side], float32
    grids: tuple[Grid, ...]
    visual_tokens: int


def chat_format(config: OvisConfig) -> ChatFormat:
    """The chat format that the checkpoint's language model was trained with."""
    return FORMATS[config.llm_config.model_type]


def assemble(
    config: OvisConfig, tokenizer: PromptTokenizer, ids: Sequence[int], visuals: Sequence[Visual]
) -> PixelPrompt:
    """Pixels for `visuals`, and `ids` with each placeholder expanded to its visual tokens."""
    family = FAMILIES[config.family]
    pixels = [family.pixels(config, part) for visual in visuals for part in family.spread(visual)]
    whole = torch.tensor(expand(ids, [part.ids for part in pixels]), dtype=torch.long)
    return PixelPrompt(
        ids=whole,
        mask=attention_mask(config, tokenizer, whole),
        pixel_values=torch.cat([part.values for part in pixels]) if pixels else None,
        grids=tuple(grid for part in pixels for grid in part.grids),
        visual_tokens=sum(part.tokens for part in pixels),
    )


def attention_mask(config: OvisConfig, tokenizer: PromptTokenizer, ids: Tensor) -> Tensor:
    """[tokens], long: 0 where the original hides a padding id inside a prompt from attention."""
    if not FAMILIES[config.family].masks_padding or tokenizer.pad is None:
        return torch.ones_like(ids)
    return (ids != tokenizer.pad).long()
