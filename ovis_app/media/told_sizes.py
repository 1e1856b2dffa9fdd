"""How large the pictures of a file are that isn't opened: of a clip those that `sample_frames` gives, of a picture what
`open_image` does.

Knows sizes and limits; no pixels and no files. A clip of which only keyframes can be taken has fewer frames than this.
"""

from __future__ import annotations

import math

from ovis_app.conversation import Detail, Size
from ovis_app.limits import Limits
from ovis_app.media.split import box_of


def frame_sizes(told: Size, detail: Detail, limits: Limits) -> tuple[tuple[int, int], ...]:
    """Width and height of each picture that the model gets of a file: of a clip, whose detail has `frames`, several."""
    width, height = told.width, told.height
    if detail.frames is None:
        if detail.piece is None:
            return ((width, height),)
        left, upper, right, lower = box_of(width, height, detail.piece)
        return ((right - left, lower - upper),)
    count = max(min(detail.frames, told.frames) - (len(detail.excerpt.dropped) if detail.excerpt else 0), 1)
    shrink = min(1.0, limits.frame_side / max(width, height), math.sqrt(limits.clip_pixels / count / (width * height)))
    return ((max(1, int(width * shrink)), max(1, int(height * shrink))),) * count
