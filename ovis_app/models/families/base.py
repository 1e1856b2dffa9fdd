"""What one generation of Ovis decides for itself; everything else is common. A family's file fills one row of these."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from ovis_app.models.config import OvisConfig
from ovis_app.models.preprocess.cells import Layout
from ovis_app.models.preprocess.values import Outline, Pixels, Visual
from ovis_app.models.prompt import Part
from ovis_app.places import Place, ahead, parts


@dataclass(frozen=True)
class Family:
    """A generation: its tower, its rows of the visual table, its pixels and the way it writes a question."""

    name: str
    indicators: int  # last rows of the visual embedding table
    tower_name: str  # under `visual_tokenizer` in the weights
    tower: Callable[[OvisConfig], nn.Module]
    tower_layer: type[nn.Module]  # one of the tower's blocks: where it stops, is checkpointed and may be sharded
    pixels: Callable[[OvisConfig, Visual], Pixels]
    outlined: Callable[[OvisConfig, Outline], tuple[tuple[int, ...], ...]]  # the ids that `pixels` gives each part
    seen: Callable[[OvisConfig, Outline], tuple[int, int]]  # width and height that it gives the first
    user_content: Callable[[str, Sequence[tuple[str, int]]], tuple[Part, ...]]  # text, and (kind, placeholders) each
    inline: Callable[[str, int], tuple[Part, ...]]  # one of them, within the text
    spread: Callable[[Visual], tuple[Visual, ...]]  # a visual as one value per placeholder
    layout: Callable[[OvisConfig], Layout]  # which part of a picture each visual token covers
    softmax_in_float32: bool  # otherwise in the dtype of the weights
    masks_padding: bool  # pad ids inside a prompt are hidden from attention, as in the original

    def placed_content(
        self, text: str, media: Sequence[tuple[str, int]], places: Sequence[Place]
    ) -> tuple[Part, ...]:  # fmt: skip
        """A question whose media stand at places of its text: as written there, with nothing around them."""
        first = ahead(places)
        if first == len(media):
            return self.user_content(text, media)
        content = list(self.user_content("", media[:first])[:-1])
        for part in parts(text, places):
            content += [part] if isinstance(part, str) else self.inline(*media[part])
        return tuple(content)
