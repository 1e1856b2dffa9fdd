"""Random models of a given size, made on the fly: benchmarks need shapes, not weights that know anything."""

from __future__ import annotations

import torch

from ovis_app.models.config import OvisConfig
from ovis_app.models.ovis import Ovis

# hidden, layers, heads, key-value heads, feed-forward; then the tower's hidden, layers, heads, feed-forward
SHAPES = {
    "tiny": ((64, 2, 4, 2, 96), (48, 2, 2, 80)),
    "44m": ((512, 8, 8, 4, 1536), (384, 6, 6, 1024)),
    "2b": ((2048, 28, 16, 8, 6144), (1152, 27, 16, 4304)),
    "9b": ((4096, 36, 32, 8, 12288), (1152, 27, 16, 4304)),
}


def random_model(shape: str, *, words: int = 4096, tokens: int = 8192, seed: int = 0) -> Ovis:
    """An Ovis2.5 of that shape with random weights, in float32 on the CPU."""
    (hidden, layers, heads, groups, forward), (width, depth, tower_heads, tower_forward) = SHAPES[shape]
    config = OvisConfig.from_released(
        {
            "llm_config": {
                "model_type": "qwen3",
                "hidden_size": hidden,
                "num_hidden_layers": layers,
                "num_attention_heads": heads,
                "num_key_value_heads": groups,
                "intermediate_size": forward,
                "head_dim": hidden // heads,
                "vocab_size": tokens,
                "max_position_embeddings": 40960,
                "tie_word_embeddings": True,
            },
            "vit_config": {
                "hidden_size": width,
                "num_hidden_layers": depth,
                "num_attention_heads": tower_heads,
                "intermediate_size": tower_forward,
            },
            "visual_vocab_size": words,
        }
    )
    torch.manual_seed(seed)
    return Ovis(config).eval()
