"""Who gets how much of a device's memory: weights, the vision tower at work, room to work, and the KV pool.

One plan a loaded model, made before the pool is. Knows bytes; refuses to know how any of it is used.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from ovis_app.checkpoints.memory_fit import bytes_available, working_memory
from ovis_app.engine.block_manager import BLOCK_SIZE
from ovis_app.engine.kv_pool import KVShape, layer_devices
from ovis_app.errors import BackendError
from ovis_app.models.ovis import Ovis

LEAST = 1024  # tokens: with fewer in the pool nobody's conversation fits
MOST_CONTEXTS = 64  # that the pool holds: as many as are answered at once
CPU_SHARE = 0.8  # of what is free, at most


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes on the device where the model's tables are."""

    weights: int
    working: int  # the vision tower at its micro-batch, logits, activations
    kv: int
    token: int  # keys and values of one token
    prefix_cache: int  # of `kv`, what may be kept for prompts to come

    @classmethod
    def of(
        cls, model: Ovis, *, context: int, prefix_cache: int, gpu_memory: float, encoder_cache: int = 0,
        conversations: int = MOST_CONTEXTS,
    ) -> MemoryPlan:  # fmt: skip
        """For a loaded model and so many conversations, each of `context` tokens at most. On a GPU all, with
        `encoder_cache` bytes of encoded pictures, is at most the share `gpu_memory` of each card; on a CPU the pool
        holds the prefix cache and one conversation beside it. Raises BackendError where there isn't room for anybody.
        """
        weights = sum(value.nbytes for value in model.parameters())
        token = KVShape.of(model.llm.config.get_text_config()).token_bytes(model.dtype)
        working = working_memory(model)
        if model.device.type == "cuda":
            kv = _room_on_gpus(model, working + encoder_cache, gpu_memory)
            kept = kv if prefix_cache else 0  # what is left on a card has no other use
            advice = "raise --gpu-memory, add --quantize int4, or take a smaller model"
        else:
            kept = prefix_cache
            kv = min(prefix_cache + context * token, int(bytes_available("cpu") * CPU_SHARE) - working)
            advice = "close what else uses memory, or take a smaller model"
        kv = min(kv, conversations * context * token)
        if kv < min(LEAST, context) * token:
            raise BackendError(f"Beside this model there is no memory for a conversation: {advice}.")
        return cls(weights, working, kv, token, min(kept, kv))

    @property
    def tokens(self) -> int:
        """That the pool holds."""
        return self.blocks * BLOCK_SIZE

    @property
    def blocks(self) -> int:
        return -(-self.kv // (self.token * BLOCK_SIZE))  # a context is to fit, whether or not it ends with a block

    @property
    def cached_blocks(self) -> int:
        return self.prefix_cache // (self.token * BLOCK_SIZE)


def _room_on_gpus(model: Ovis, taken: int, gpu_memory: float) -> int:
    """Bytes of all layers' keys and values that fit where each layer is, with `taken` on the tables' device."""
    layers = Counter(str(device) for device in layer_devices(model.llm))
    rooms = []
    for device, count in layers.items():
        free = bytes_available(device, gpu_memory) - (taken if device == str(model.device) else 0)
        rooms.append(free * layers.total() // count)
    return min(rooms)
