"""What OvisOCR2 is asked, as its own class of transformers takes it: ids, patches, and which ids are a picture's.

Knows the prompt and the pixels. Source: Qwen2-VL's preprocessing and the chat format of Qwen3.5, which it is made of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ovis_app.models.preprocess.native_resolution import patches
from ovis_app.models.preprocess.pixel_format import PixelFormat
from ovis_app.models.preprocess.values import Grid
from ovis_app.models.prompt import QWEN3, Part, PromptTokenizer, Turn, encode_turns

BEFORE, PICTURE, BEHIND = "<|vision_start|>", "<|image_pad|>", "<|vision_end|>"
CONTROLS = (BEFORE, PICTURE, BEHIND, "<|im_start|>", "<|im_end|>")  # that the tokenizer must have


@dataclass(frozen=True)
class Sheet:
    """A picture as the tower takes it: rows [t*h*w, 3 * times * patch * patch], and their grid in patches."""

    rows: Tensor
    grid: Grid
    tokens: int
    size: tuple[int, int]  # width and height in pixels


@dataclass(frozen=True)
class Tower:
    """How a checkpoint's tower takes pictures: the sides of its patches, how many make a token, how many moments."""

    patch: int
    stride: int
    times: int
    pixels: PixelFormat

    @classmethod
    def read(cls, vision: Any, facts: Mapping[str, Any]) -> Tower:
        """By the config of the tower, and preprocessor_config.json. Raises ValueError for what makes no sense."""
        sides = (vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size)
        if not all(type(side) is int and 0 < side <= 64 for side in sides):
            raise ValueError(f"patches of {sides}")
        return cls(*sides, PixelFormat.read(facts, "ovis_ocr2"))

    def sheet(self, picture: Image.Image, *, min_pixels: int, max_pixels: int) -> Sheet:
        """A picture, of which each moment of a patch is the same."""
        rows, grid = patches(
            [picture], self.pixels, patch_size=self.patch, stride=self.stride,
            min_pixels=min_pixels, max_pixels=max_pixels,
        )  # fmt: skip
        moments = rows.view(len(rows), 3, 1, -1).expand(-1, -1, self.times, -1).reshape(len(rows), -1)
        size = (grid[2] * self.patch, grid[1] * self.patch)
        return Sheet(moments, grid, len(rows) // self.stride**2, size)


def encode(tokenizer: PromptTokenizer, turns: Sequence[tuple[str, str, Sequence[Sheet]]]) -> Tensor:
    """Ids [1, tokens] of a conversation's turns, each its role, its text and the pictures before that."""
    encoded = [Turn(role, (*_pictures(tokenizer, sheets), text)) for role, text, sheets in turns]
    return torch.tensor([encode_turns(tokenizer, QWEN3, encoded, thinking=False)])


def _pictures(tokenizer: PromptTokenizer, sheets: Sequence[Sheet]) -> list[Part]:
    before, picture, behind = map(tokenizer.control, (BEFORE, PICTURE, BEHIND))
    return [part for sheet in sheets for part in (before, *[picture] * sheet.tokens, behind)]
