"""The fixed-size towers: AIMv2 of Ovis2 and SigLIP of Ovis1.6. Tiles in, features of merged patches out.

Attribute names are the released checkpoints' names; features are the last block's output, before the final norm.
Sources: the model code released with AIDC-AI/Ovis2 and apple/aimv2 (arXiv 2411.14402), SigLIP (arXiv 2303.15343).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from ovis_app.models.preprocess.values import Grid
from ovis_app.models.vision.segment_attention import Segments
from ovis_app.models.vision.siglip2_navit import Encoder, NaViTConfig


def merge(hidden: Tensor, stride: int) -> Tensor:
    """Patch features [tiles, patches, d] -> [tiles * merged, stride^2 * d]: row-major stride x stride squares, the grid
    padded with zeros at its right and bottom."""
    tiles, patches, size = hidden.shape
    side = int(patches**0.5)
    missing = -side % stride
    plane = F.pad(hidden.view(tiles, side, side, size), (0, 0, 0, missing, 0, missing))
    merged = (side + missing) // stride
    squares = plane.view(tiles, merged, stride, merged, stride, size).transpose(2, 3)
    return squares.reshape(tiles * merged * merged, stride**2 * size)


def merged_tokens(side: int, stride: int) -> int:
    """Visual tokens of one tile whose grid has `side` patches a side."""
    return (-(-side // stride)) ** 2


@dataclass(frozen=True)
class AIMv2Config:
    """The facts of `backbone_config` that shape the tower."""

    hidden_size: int = 1024
    intermediate_size: int = 2816
    num_hidden_layers: int = 24
    num_attention_heads: int = 8
    num_channels: int = 3
    image_size: int = 448
    patch_size: int = 14
    rms_norm_eps: float = 1e-5
    qkv_bias: bool = False
    use_bias: bool = False

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> AIMv2Config:
        known = {f.name for f in fields(cls)}
        return cls(**{key: value for key, value in raw.items() if key in known and value is not None})


class AIMv2Attention(nn.Module):
    def __init__(self, config: AIMv2Config) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.qkv = nn.Linear(config.hidden_size, config.hidden_size * 3, bias=config.qkv_bias)
        self.proj = nn.Linear(config.hidden_size, config.hidden_size, bias=config.use_bias)

    def forward(self, hidden: Tensor) -> Tensor:
        tiles, patches, size = hidden.shape
        states = self.qkv(hidden).view(tiles, patches, 3, self.heads, size // self.heads)
        query, key, value = states.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).reshape(tiles, patches, size))


class AIMv2MLP(nn.Module):
    def __init__(self, config: AIMv2Config) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size, bias=config.use_bias)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size, bias=config.use_bias)
        self.fc3 = nn.Linear(config.hidden_size, config.intermediate_size, bias=config.use_bias)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.fc2(F.silu(self.fc1(hidden)) * self.fc3(hidden))


class AIMv2Block(GradientCheckpointingLayer):
    def __init__(self, config: AIMv2Config) -> None:
        super().__init__()
        self.attn = AIMv2Attention(config)
        self.norm_1 = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.mlp = AIMv2MLP(config)
        self.norm_2 = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = hidden + self.attn(self.norm_1(hidden))
        return hidden + self.mlp(self.norm_2(hidden))


class AIMv2Patchifier(nn.Module):
    def __init__(self, config: AIMv2Config) -> None:
        super().__init__()
        self.proj = nn.Conv2d(config.num_channels, config.hidden_size, config.patch_size, config.patch_size)
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(self, tiles: Tensor) -> Tensor:
        return self.norm(self.proj(tiles).flatten(2).transpose(1, 2))


class AIMv2Preprocessor(nn.Module):
    def __init__(self, config: AIMv2Config) -> None:
        super().__init__()
        self.patchifier = AIMv2Patchifier(config)
        patches = (config.image_size // config.patch_size) ** 2
        self.pos_embed = nn.Parameter(torch.zeros(1, patches, config.hidden_size))

    def forward(self, tiles: Tensor) -> Tensor:
        return self.patchifier(tiles) + self.pos_embed


class AIMv2Trunk(nn.Module):
    def __init__(self, config: AIMv2Config) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(AIMv2Block(config) for _ in range(config.num_hidden_layers))
        self.post_trunk_norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)  # in the file, never applied


class AIMv2(nn.Module):
    """tiles [tiles, 3, side, side] -> features [tiles * merged, stride^2 * hidden]."""

    def __init__(self, config: AIMv2Config, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.feature_size = config.hidden_size * stride**2
        self.preprocessor = AIMv2Preprocessor(config)
        self.trunk = AIMv2Trunk(config)

    def forward(self, pixel_values: Tensor, grids: Sequence[Grid] = ()) -> Tensor:
        hidden = self.preprocessor(pixel_values)
        for block in self.trunk.blocks:
            hidden = block(hidden)
        return merge(hidden, self.stride)


class SiglipEmbeddings(nn.Module):
    def __init__(self, config: NaViTConfig) -> None:
        super().__init__()
        self.patch_embedding = nn.Conv2d(config.num_channels, config.hidden_size, config.patch_size, config.patch_size)
        self.position_embedding = nn.Embedding(config.positions_side**2, config.hidden_size)

    def forward(self, tiles: Tensor) -> Tensor:
        return self.patch_embedding(tiles).flatten(2).transpose(1, 2) + self.position_embedding.weight


class SiglipVisionModel(nn.Module):
    """The encoder is the one of siglip2_navit.py, without rotary positions: a tile is one segment."""

    def __init__(self, config: NaViTConfig) -> None:
        super().__init__()
        self.embeddings = SiglipEmbeddings(config)
        self.encoder = Encoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)  # in the file, never applied

    def forward(self, pixel_values: Tensor) -> Tensor:
        hidden = self.embeddings(pixel_values)
        tiles, patches, size = hidden.shape
        segments = [Segments.of([patches] * tiles, hidden.device)] * len(self.encoder.layers)
        return self.encoder(hidden.reshape(tiles * patches, size), None, segments).view(tiles, patches, size)


class Siglip(nn.Module):
    """tiles [tiles, 3, side, side] -> features [tiles * merged, stride^2 * hidden]."""

    def __init__(self, config: NaViTConfig, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.feature_size = config.hidden_size * stride**2
        self.vision_model = SiglipVisionModel(config)

    def forward(self, pixel_values: Tensor, grids: Sequence[Grid] = ()) -> Tensor:
        return merge(self.vision_model(pixel_values), self.stride)
