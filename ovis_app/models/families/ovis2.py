"""The Ovis2 family: tiles, AIMv2 and Qwen2.5; a clip is its frames as pictures.

Knows prompt rows, tiles and decoded pictures; refuses to know files, threads and generation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from ovis_app.models.config import OvisConfig
from ovis_app.models.families.base import Family
from ovis_app.models.preprocess.cells import Layout, best_grid, seen_size
from ovis_app.models.preprocess.tiling import tile_ids, tiles
from ovis_app.models.preprocess.values import Outline, Pixels, Visual
from ovis_app.models.prompt import IMAGE, Part
from ovis_app.models.vision.aimv2_siglip import AIMv2, AIMv2Block, AIMv2Config, merged_tokens


def tower(config: OvisConfig) -> nn.Module:
    return AIMv2(AIMv2Config.read(config.vision_config), config.hidden_stride)


def user_content(text: str, media: Sequence[tuple[str, int]]) -> tuple[Part, ...]:
    """One picture stands on a line of its own, several are numbered, a clip's frames are lines without numbers."""
    content: list[Part] = []
    for number, (kind, places) in enumerate(media, start=1):
        label = f"Image {number}: " if len(media) > 1 and kind == "image" else ""
        for _ in range(places):
            content += [label, IMAGE, "\n"] if label else [IMAGE, "\n"]
    return (*content, text)


def inline(kind: str, places: int) -> tuple[Part, ...]:
    """A picture as nothing but itself, a clip's frames with line ends between them."""
    return (IMAGE, *("\n", IMAGE) * (places - 1))


def spread(visual: Visual) -> tuple[Visual, ...]:
    """A clip as one uncut picture a frame."""
    if visual.kind == "image":
        return (visual,)
    return tuple(replace(visual, kind="image", frames=(frame,), max_partition=1) for frame in visual.frames)


def pixels(config: OvisConfig, visual: Visual) -> Pixels:
    """The whole picture and its tiles, with the indicators that lay out the grid."""
    picture, side, tokens = visual.frames[0], _side(config), _tile_tokens(config)
    values, grid = tiles(picture, config.pixel_format, side=side, max_partition=visual.max_partition)
    seen = seen_size(*picture.size, grid, side=side)
    return Pixels(values, (), tile_ids(grid, tokens), tokens * len(values), seen)


def outlined(config: OvisConfig, outline: Outline) -> tuple[tuple[int, ...], ...]:
    """The ids of a picture of that size, or of each frame of a clip."""
    return tuple(tile_ids(_grid(config, outline, size), _tile_tokens(config)) for size in outline.sizes)


def seen(config: OvisConfig, outline: Outline) -> tuple[int, int]:
    """Width and height of a picture or frame of that size in its tiles."""
    size = outline.sizes[0]
    return seen_size(*size, _grid(config, outline, size), side=_side(config))


def _grid(config: OvisConfig, outline: Outline, size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of tiles; a clip's frames aren't cut."""
    most = 1 if outline.kind == "video" else outline.max_partition
    return best_grid(*size, side=_side(config), max_partition=most)


def layout(config: OvisConfig) -> Layout:
    """How a tile is divided: the last patches of a row may share a visual token with nothing."""
    facts, stride = config.vision_config, config.hidden_stride
    across = -(-(facts["image_size"] // facts["patch_size"]) // stride)
    return Layout(facts["patch_size"] * stride, _side(config), across)


def _side(config: OvisConfig) -> int:
    """Of a tile, in pixels; older files have a number in place of a height and a width."""
    facts = config.preprocessor or {}
    size = facts.get("crop_size") or facts.get("size") or {}
    return int((size if isinstance(size, int) else size.get("height")) or config.vision_config["image_size"])


def _tile_tokens(config: OvisConfig) -> int:
    """Visual tokens of a tile."""
    patch_side = config.vision_config["image_size"] // config.vision_config["patch_size"]
    return merged_tokens(patch_side, config.hidden_stride)


FAMILY = Family(
    name="ovis2",
    indicators=5,
    tower_name="backbone",
    tower=tower,
    tower_layer=AIMv2Block,
    pixels=pixels,
    outlined=outlined,
    seen=seen,
    user_content=user_content,
    inline=inline,
    spread=spread,
    layout=layout,
    softmax_in_float32=False,
    masks_padding=True,
)
