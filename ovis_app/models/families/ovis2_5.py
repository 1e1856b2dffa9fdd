"""The Ovis2.5 family: native resolution, SigLIP 2 and Qwen3. Its tower is siglip2_navit.py.

Knows prompt rows, resolutions and decoded pictures; refuses to know files, threads and generation.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ovis_app.models.config import OvisConfig
from ovis_app.models.families.base import Family
from ovis_app.models.preprocess.cells import Layout
from ovis_app.models.preprocess.native_resolution import patches
from ovis_app.models.preprocess.smart_resize import smart_resize
from ovis_app.models.preprocess.values import Outline, Pixels, Visual
from ovis_app.models.prompt import FIRST_INDICATOR, IMAGE, VIDEO, VISUAL_ATOM, Part
from ovis_app.models.vision.siglip2_navit import Layer, NaViT, NaViTConfig

INDICATOR = {"image": FIRST_INDICATOR, "video": FIRST_INDICATOR - 2}  # the start; the end is one below


def tower(config: OvisConfig) -> nn.Module:
    return NaViT(NaViTConfig.read(config.vision_config))


def user_content(text: str, media: Sequence[tuple[str, int]]) -> tuple[Part, ...]:
    """A line for each picture or clip, then the text."""
    lines: list[Part] = []
    for kind, _ in media:
        lines += [*inline(kind, 1), "\n"]
    return (*lines, text)


def inline(kind: str, places: int) -> tuple[Part, ...]:
    return (IMAGE if kind == "image" else VIDEO,)


def span(kind: str, tokens: int) -> tuple[int, ...]:
    """The ids of a picture's or a whole clip's visual tokens, between their indicators."""
    first = INDICATOR[kind]
    return (first, *(VISUAL_ATOM,) * tokens, first - 1)


def pixels(config: OvisConfig, visual: Visual) -> Pixels:
    """One pair of indicators around all the visual tokens of a picture or of all of a clip's frames."""
    facts = NaViTConfig.read(config.vision_config)
    rows, grid = patches(
        visual.frames,
        config.pixel_format,
        patch_size=facts.patch_size,
        stride=facts.hidden_stride,
        min_pixels=visual.min_pixels,
        max_pixels=visual.max_pixels,
    )
    tokens = len(rows) // facts.hidden_stride**2
    seen = (grid[2] * facts.patch_size, grid[1] * facts.patch_size)
    return Pixels(rows, (grid,), span(visual.kind, tokens), tokens, seen)


def outlined(config: OvisConfig, outline: Outline) -> tuple[tuple[int, ...], ...]:
    """The span of a picture or clip of that size, all frames taking the first one's."""
    side, (width, height) = _token_side(config), seen(config, outline)
    return (span(outline.kind, len(outline.sizes) * (height // side) * (width // side)),)


def seen(config: OvisConfig, outline: Outline) -> tuple[int, int]:
    """Width and height of a picture or frame of that size as the tower has it."""
    width, height = outline.sizes[0]
    height, width = smart_resize(
        height, width, factor=_token_side(config), min_pixels=outline.min_pixels, max_pixels=outline.max_pixels
    )
    return width, height


def _token_side(config: OvisConfig) -> int:
    """Of what a visual token covers, in pixels."""
    facts = NaViTConfig.read(config.vision_config)
    return facts.patch_size * facts.hidden_stride


def layout(config: OvisConfig) -> Layout:
    facts = NaViTConfig.read(config.vision_config)
    return Layout(facts.patch_size * facts.hidden_stride)


FAMILY = Family(
    name="ovis2_5",
    indicators=4,
    tower_name="vit",
    tower=tower,
    tower_layer=Layer,
    pixels=pixels,
    outlined=outlined,
    seen=seen,
    user_content=user_content,
    inline=inline,
    spread=lambda visual: (visual,),
    layout=layout,
    softmax_in_float32=True,
    masks_padding=False,
)
