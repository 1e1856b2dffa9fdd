"""The native-resolution SigLIP 2 tower of Ovis2.5: patch rows of any number of images to features.

Knows shapes and attention; refuses to know pixels, prompts or language models. Attribute names are the released
checkpoint's names. Patch rows come in stride x stride blocks (see native_resolution.py), and features leave so too.
Source: the model code released with AIDC-AI/Ovis2.5 and the SigLIP 2 paper (arXiv 2502.14786).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer

from ovis_app.models.preprocess.values import Grid
from ovis_app.models.vision.segment_attention import Segments, attend


@dataclass(frozen=True)
class NaViTConfig:
    """The facts of `vit_config` that shape the tower."""

    hidden_size: int = 1152
    intermediate_size: int = 4304
    num_hidden_layers: int = 27
    num_attention_heads: int = 16
    num_channels: int = 3
    num_patches: int = -1  # -1: a Conv2d embeds patches; > 0: a Linear, with as many learned positions
    image_size: int = 512
    patch_size: int = 16
    hidden_act: str = "gelu_pytorch_tanh"
    layer_norm_eps: float = 1e-6
    hidden_stride: int = 2
    window_size: int = 112
    fullatt_block_indexes: str | None = None  # "1|3": those layers see a whole frame, the others a window
    temporal_patch_size: int = 1
    preserve_original_pe: bool = True
    use_rope: bool = True

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> NaViTConfig:
        known = {f.name for f in fields(cls)}
        return cls(**{key: value for key, value in raw.items() if key in known and value is not None})

    @property
    def patch_values(self) -> int:
        return self.num_channels * self.patch_size**2 * self.temporal_patch_size

    @property
    def positions_side(self) -> int:
        return int(self.num_patches**0.5) if self.num_patches > 0 else self.image_size // self.patch_size

    def is_full(self, layer: int) -> bool:
        """Whether `layer` attends to whole frames."""
        if not isinstance(self.fullatt_block_indexes, str):
            return True
        return layer in {int(index) for index in self.fullatt_block_indexes.split("|")}


class Embeddings(nn.Module):
    def __init__(self, config: NaViTConfig) -> None:
        super().__init__()
        self.config = config
        if config.num_patches > 0:
            self.patch_embedding: nn.Module = nn.Linear(config.patch_values, config.hidden_size)
        else:
            self.patch_embedding = nn.Conv2d(
                config.num_channels, config.hidden_size, config.patch_size, config.patch_size
            )
        if config.preserve_original_pe:
            self.position_embedding = nn.Embedding(config.positions_side**2, config.hidden_size)

    def forward(self, pixel_values: Tensor, grids: Sequence[Grid]) -> Tensor:
        config, embed = self.config, self.patch_embedding
        if type(embed) is nn.Conv2d:  # a patch-sized convolution over one patch is a matrix product
            hidden = F.linear(pixel_values, embed.weight.flatten(1), embed.bias)
        elif config.num_patches > 0:
            hidden = embed(pixel_values)
        else:  # a convolution that an adapter wraps
            side = config.patch_size
            hidden = embed(pixel_values.view(-1, config.num_channels, side, side)).flatten(1)
        if config.preserve_original_pe:
            planes = {plane: self.positions(*plane) for plane in {grid[1:] for grid in grids}}
            hidden = hidden + torch.cat([planes[grid[1:]].repeat(grid[0], 1) for grid in grids])
        return hidden  # [patches, hidden]

    def positions(self, rows: int, columns: int) -> Tensor:
        """The learned positions resized to one frame, in block order: [rows * columns, hidden]."""
        side = self.config.positions_side
        table = self.position_embedding.weight.view(1, side, side, -1).permute(0, 3, 1, 2)
        resized = F.interpolate(table.float(), (rows, columns), mode="bicubic", align_corners=False)
        ordered = in_blocks(resized[0].permute(1, 2, 0), self.config.hidden_stride)
        return ordered.to(table.dtype)


def in_blocks(plane: Tensor, stride: int) -> Tensor:
    """[rows, columns, d] in row-major order -> [rows*columns, d] in stride x stride blocks."""
    rows, columns, size = plane.shape
    blocks = plane.view(rows // stride, stride, columns // stride, stride, size)
    return blocks.transpose(1, 2).reshape(rows * columns, size)


def rotary(grids: Sequence[Grid], head_dim: int, stride: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """cos and sin of the 2D rotary positions, [patches, head_dim] each, float32: row angles, then column angles."""
    half = head_dim // 2
    inv_freq = 1.0 / 10000 ** (torch.arange(0, half, 2, dtype=torch.float32, device=device) / half)
    angles = []
    for frames, rows, columns in grids:
        place = torch.cartesian_prod(torch.arange(rows, device=device), torch.arange(columns, device=device))
        ordered = in_blocks(place.view(rows, columns, 2), stride).repeat(frames, 1)
        angles.append((ordered[:, :, None] * inv_freq).flatten(1))  # [patches, half]
    whole = torch.cat(angles).repeat(1, 2)
    return whole.cos(), whole.sin()


def rotate(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotates the NeoX halves of `states` [patches, heads, head_dim], in float32."""
    first, second = states.float().chunk(2, dim=-1)
    turned = torch.cat((-second, first), dim=-1)
    return (states.float() * cos[:, None] + turned * sin[:, None]).to(states.dtype)


def window_order(grids: Sequence[Grid], config: NaViTConfig, device: torch.device) -> tuple[Tensor, list[int]]:
    """The patches of each window side by side, frames still together: their indices, and each window's length. Windows
    are squares of window_size // stride // patch_size merged patches, cut at the frame's edge."""
    side, stride = config.window_size // config.hidden_stride // config.patch_size, config.hidden_stride
    order, offset = [], 0
    for frames, rows, columns in grids:
        height, width, block = rows // stride, columns // stride, stride**2
        merged = torch.arange(height * width * block).view(height, width, block)
        windows = [
            merged[top : top + side, left : left + side].flatten()
            for top in range(0, height, side)
            for left in range(0, width, side)
        ]
        for _ in range(frames):
            order += [window + offset for window in windows]
            offset += rows * columns
    return torch.cat(order).to(device), [len(window) for window in order]


class Attention(nn.Module):
    def __init__(self, config: NaViTConfig) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.k_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.v_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.out_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden: Tensor, turn: tuple[Tensor, Tensor] | None, segments: Segments) -> Tensor:
        split = (len(hidden), self.heads, -1)
        query, key = self.q_proj(hidden).view(split), self.k_proj(hidden).view(split)
        value = self.v_proj(hidden).view(split)
        if turn is not None:
            query, key = rotate(query, *turn), rotate(key, *turn)
        return self.out_proj(attend(query, key, value, segments).flatten(1))


class MLP(nn.Module):
    def __init__(self, config: NaViTConfig) -> None:
        super().__init__()
        self.activation = ACT2FN[config.hidden_act]
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.fc2(self.activation(self.fc1(hidden)))


class Layer(GradientCheckpointingLayer):
    def __init__(self, config: NaViTConfig) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.self_attn = Attention(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = MLP(config)

    def forward(self, hidden: Tensor, turn: tuple[Tensor, Tensor] | None, segments: Segments) -> Tensor:
        hidden = hidden + self.self_attn(self.layer_norm1(hidden), turn, segments)
        return hidden + self.mlp(self.layer_norm2(hidden))


class Encoder(nn.Module):
    def __init__(self, config: NaViTConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))

    def forward(self, hidden: Tensor, turn: tuple[Tensor, Tensor] | None, segments: Sequence[Segments]) -> Tensor:
        """The last block's output, before the final norm: [patches, hidden] in and out, segments for each block."""
        for layer, within in zip(self.layers, segments, strict=True):
            hidden = layer(hidden, turn, within)
        return hidden


class VisionModel(nn.Module):
    def __init__(self, config: NaViTConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)  # in the file, never applied

    def forward(self, pixel_values: Tensor, grids: Sequence[Grid]) -> Tensor:
        config, device = self.config, pixel_values.device
        hidden = self.embeddings(pixel_values, grids)
        head_dim = config.hidden_size // config.num_attention_heads
        turn = rotary(grids, head_dim, config.hidden_stride, device) if config.use_rope else None
        frames = Segments.of([rows * columns for count, rows, columns in grids for _ in range(count)], device)
        if config.fullatt_block_indexes is None:
            return self.encoder(hidden, turn, [frames] * config.num_hidden_layers)
        order, lengths = window_order(grids, config, device)
        windows = Segments.of(lengths, device)
        seen = [frames if config.is_full(number) else windows for number in range(config.num_hidden_layers)]
        turn = None if turn is None else (turn[0][order], turn[1][order])
        return torch.empty_like(hidden).index_copy_(0, order, self.encoder(hidden[order], turn, seen))


class NaViT(nn.Module):
    """pixel_values [patches, channels * patch^2] and grids -> features [patches / stride^2, stride^2 * hidden]."""

    def __init__(self, config: NaViTConfig) -> None:
        super().__init__()
        self.config = config
        self.vision_model = VisionModel(config)

    @property
    def feature_size(self) -> int:
        return self.config.hidden_size * self.config.hidden_stride**2

    def forward(self, pixel_values: Tensor, grids: Sequence[Grid]) -> Tensor:
        return self.vision_model(pixel_values, grids).view(-1, self.feature_size)
