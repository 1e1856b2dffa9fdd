"""What a recorded step reads, at places that never move. Knows tensors; refuses to know what becomes of them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ovis_app.engine.attention.torch_attention import AttentionBatch

NOWHERE = -1  # the slot of a row that is padding
HEADER = 4  # tokens, positions, slots, lengths
ALIGNED = 4  # numbers in 16 bytes: kernels are compiled anew for addresses of less


class Inputs:
    """`tokens`, `positions`, `slots` and `lengths` [rows], and `tables` of blocks [blocks, stride], whose column is a
    row's. Padding has no slot and no length. One copy brings them all to the device."""

    def __init__(self, rows: int, *, blocks: int, device: torch.device) -> None:
        """For up to `blocks` blocks a row. All rows are padding until they are filled."""
        self.rows, self.stride = rows, -(-rows // ALIGNED) * ALIGNED
        size = (HEADER + blocks) * self.stride
        self._host = torch.zeros(size, dtype=torch.int32, pin_memory=device.type == "cuda")
        self._lines = self._host.numpy().reshape(-1, self.stride)  # numpy takes a tenth of the time for a few numbers
        self._device = torch.zeros(size, dtype=torch.int32, device=device)
        lines = self._device.view(-1, self.stride)
        self.tokens, self.positions, self.slots, self.lengths = lines[:HEADER, :rows]
        self.tables = lines[HEADER:]
        self.pad()

    def pad(self) -> None:
        """Makes all rows padding."""
        self._clear()
        self._send(0)

    def fill(self, tokens: Tensor, positions: Tensor, batch: AttentionBatch) -> None:
        """For `tokens` [up to rows] at `positions`; the rest are padding."""
        lines, count, size, most = self._clear(), len(tokens), batch.pool.block_size, 0
        for line, values in enumerate((tokens, positions, batch.slots)):
            lines[line, :count] = values.numpy()
        for span in batch.spans:
            used = -(-span.context // size)
            most = max(most, used)
            first = span.first // size
            table = np.arange(first, first + used) if span.blocks is None else span.blocks.numpy()
            for number in range(span.rows):  # a draft sees the rows before it, all of which are written by then
                row = span.start + number
                lines[3, row] = span.context - span.rows + 1 + number
                lines[HEADER : HEADER + used, row] = table
        self._send(most)

    def _clear(self) -> np.ndarray:
        self._lines[:HEADER] = 0
        self._lines[2] = NOWHERE
        return self._lines

    def _send(self, blocks: int) -> None:
        size = (HEADER + blocks) * self.stride
        self._device[:size].copy_(self._host[:size], non_blocking=True)  # whoever fills next has the logits by then
