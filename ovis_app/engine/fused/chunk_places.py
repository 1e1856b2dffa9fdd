"""Where the rows of a step with prompts are: positions, slots, and who looks at what, in one copy to the device.

Knows spans and tiles; refuses to know what is computed with them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ovis_app.engine.attention.torch_attention import AttentionBatch
from ovis_app.engine.fused.inputs import ALIGNED

TILE_ROWS = 64  # of one span, that a program of attention looks at the tokens with


@dataclass(frozen=True)
class ChunkPlaces:
    """`positions` and `slots` [rows]; `spans` [3, stride]: first row, rows and context of each; `tables` [blocks,
    stride] of their blocks; `tiles` [2, count]: span and first row of each tile. All int32, each beginning at 16
    bytes."""

    positions: Tensor
    slots: Tensor
    spans: Tensor
    tables: Tensor
    tiles: Tensor

    @classmethod
    def of(cls, positions: Tensor, batch: AttentionBatch, device: torch.device) -> ChunkPlaces:
        size, spans = batch.pool.block_size, batch.spans
        stride = -(-len(spans) // ALIGNED) * ALIGNED
        used = [-(-span.context // size) for span in spans]
        facts, tables = np.zeros((3, stride), np.int32), np.zeros((max(used), stride), np.int32)
        for number, (span, count) in enumerate(zip(spans, used, strict=True)):
            facts[:, number] = span.start, span.rows, span.context
            first = span.first // size
            tables[:count, number] = np.arange(first, first + count) if span.blocks is None else span.blocks
        # Those that see most tokens begin first: whoever ends last ends soonest then.
        tiles = [(number, first) for number, span in enumerate(spans) for first in range(0, span.rows, TILE_ROWS)]
        tiles.sort(key=lambda tile: tile[1] + TILE_ROWS + spans[tile[0]].context - spans[tile[0]].rows, reverse=True)
        parts = [positions.numpy(), batch.slots.numpy(), facts, tables, np.array(tiles, np.int32).T]
        starts = np.cumsum([0, *(-(-part.size // ALIGNED) * ALIGNED for part in parts)])
        host = torch.zeros(int(starts[-1]), dtype=torch.int32, pin_memory=device.type == "cuda")
        for start, part in zip(starts, parts, strict=False):
            host.numpy()[start : start + part.size] = part.reshape(-1)
        there = host.to(device, non_blocking=True)
        views = [there[start : start + part.size].view(part.shape) for start, part in zip(starts, parts, strict=False)]
        return cls(*views)
