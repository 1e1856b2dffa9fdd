"""The Ovis2.5 family: how its conversations become one prompt with pixels. Its tower is siglip2_navit.py.

Knows prompt rows, resolutions and decoded pictures; refuses to know files, threads and generation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from ovis_app.models.config import OvisConfig
from ovis_app.models.native_resolution import Grid, patches
from ovis_app.models.prompt import FIRST_INDICATOR, IMAGE, QWEN3, VIDEO, PromptTokenizer, Turn, encode_turns, expand
from ovis_app.models.siglip2_navit import NaViTConfig

CHAT = QWEN3
IMAGE_INDICATOR, VIDEO_INDICATOR = FIRST_INDICATOR, FIRST_INDICATOR - 2


@dataclass(frozen=True)
class Visual:
    """One decoded picture (a single frame) or clip, with the resolution that it was sent with."""

    kind: str  # image or video
    frames: tuple[Image.Image, ...]
    min_pixels: int
    max_pixels: int


@dataclass(frozen=True)
class Prompt:
    """Everything that the model needs of a question. `ids` hold negative placeholders for visual tokens."""

    ids: Tensor  # [tokens], long
    pixel_values: Tensor | None  # [patches, values], float32
    grids: tuple[Grid, ...]
    visual_tokens: int


def user_content(text: str, kinds: Sequence[str]) -> tuple[str | int, ...]:
    """A user's turn: a line for each picture or clip, then the text."""
    content: list[str | int] = []
    for kind in kinds:
        content += [IMAGE if kind == "image" else VIDEO, "\n"]
    return (*content, text)


def prepare(
    config: OvisConfig,
    tokenizer: PromptTokenizer,
    turns: Sequence[Turn],
    visuals: Sequence[Visual],
    *,
    thinking: bool,
) -> Prompt:
    """The prompt of a conversation whose placeholders stand for `visuals` in order. Raises ValueError when they differ
    in number."""
    return assemble(config, encode_turns(tokenizer, CHAT, turns, thinking=thinking), visuals)


def assemble(config: OvisConfig, ids: Sequence[int], visuals: Sequence[Visual]) -> Prompt:
    """Pixels for `visuals`, and `ids` with each placeholder expanded to its visual tokens."""
    tower = NaViTConfig.read(config.vision_config)
    rows: list[Tensor] = []
    grids: list[Grid] = []
    spans: list[tuple[int, int]] = []
    for visual in visuals:
        pixel_rows, grid = patches(
            visual.frames,
            patch_size=tower.patch_size,
            stride=tower.hidden_stride,
            min_pixels=visual.min_pixels,
            max_pixels=visual.max_pixels,
        )
        rows.append(pixel_rows)
        grids.append(grid)
        spans.append(
            (IMAGE_INDICATOR if visual.kind == "image" else VIDEO_INDICATOR, len(pixel_rows) // tower.hidden_stride**2)
        )
    return Prompt(
        ids=torch.tensor(expand(ids, spans), dtype=torch.long),
        pixel_values=torch.cat(rows) if rows else None,
        grids=tuple(grids),
        visual_tokens=sum(count for _, count in spans),
    )
