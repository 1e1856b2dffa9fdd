"""The KV pool: keys and values of every layer, in blocks that sequences share.

Knows tensors and devices; refuses to know who holds which block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel


@dataclass(frozen=True)
class KVShape:
    """What a language model keeps of one token."""

    layers: int
    heads: int  # of keys and values
    head_size: int

    @classmethod
    def of(cls, config: PreTrainedConfig) -> KVShape:
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return cls(config.num_hidden_layers, heads, size)

    def token_bytes(self, dtype: torch.dtype) -> int:
        return 2 * self.layers * self.heads * self.head_size * dtype.itemsize


class KVPool:
    """`keys[layer]` and `values[layer]` are [heads, tokens, head size], each on its layer's device: head first, so that
    a run of blocks is a view that a product takes as it is. Memory that was never written isn't taken on a CPU."""

    def __init__(self, llm: PreTrainedModel, blocks: int, block_size: int) -> None:
        """Raises torch.OutOfMemoryError."""
        self.shape, self.blocks, self.block_size = KVShape.of(llm.config.get_text_config()), blocks, block_size
        size = (self.shape.heads, blocks * block_size, self.shape.head_size)
        devices = layer_devices(llm)
        self.keys = [torch.empty(size, dtype=llm.dtype, device=device) for device in devices]
        self.values = [torch.empty(size, dtype=llm.dtype, device=device) for device in devices]
        self._kept: dict[torch.device, Tensor] = {}

    @property
    def bytes(self) -> int:
        return sum(tensor.nbytes for tensor in (*self.keys, *self.values))

    def write(self, layer: int, slots: Tensor, keys: Tensor, values: Tensor) -> None:
        """Puts `keys` and `values` [heads, tokens, head size] at `slots` [tokens]: block * block size + place."""
        self.keys[layer].index_copy_(1, slots, keys)
        self.values[layer].index_copy_(1, slots, values)

    def gathered(self, layer: int, blocks: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [heads, blocks times block size, head size] of `blocks` [blocks], copied together into memory
        that is kept for it and holds until the next call: fresh memory would take ten times as long on a CPU."""
        heads, size, wide = self.shape.heads, self.block_size, self.shape.head_size
        count = heads * len(blocks) * size * wide
        kept = self._kept.get(blocks.device)
        if kept is None or kept.shape[1] < count:
            kept = self.keys[layer].new_empty(2, count + count // 4)
            self._kept[blocks.device] = kept
        out = []
        for number, pool in enumerate((self.keys[layer], self.values[layer])):
            to = kept[number, :count].view(heads, len(blocks), size * wide)
            torch.index_select(pool.view(heads, self.blocks, size * wide), 1, blocks, out=to)
            out.append(to.view(heads, len(blocks) * size, wide))
        return out[0], out[1]


def layer_devices(llm: PreTrainedModel) -> list[torch.device]:
    """Where each layer of a language model lies."""
    layers = cast(nn.ModuleList, llm.get_submodule("model.layers"))
    return [next(layer.parameters()).device for layer in layers]
