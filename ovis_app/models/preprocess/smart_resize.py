"""How large a model of native resolution sees a picture. Knows arithmetic alone, so that it lives without torch.

Source: the preprocessing released with AIDC-AI/Ovis2.5 (smart_resize after Qwen2-VL).
"""

from __future__ import annotations

import math

MAX_ASPECT = 200


def smart_resize(height: int, width: int, *, factor: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """The (height, width) in pixels, multiples of `factor`, that the model sees; its area lies between the two limits
    wherever the picture's shape allows it. Very thin pictures keep at least one `factor` a side, where the original
    reaches zero and raises."""
    if height < factor or width < factor:
        if height < width:
            height, width = factor, round(factor / height * width)
        else:
            height, width = round(factor / width * height), factor
    elif max(height, width) / min(height, width) > MAX_ASPECT:
        height, width = min(height, MAX_ASPECT * width), min(width, MAX_ASPECT * height)
    rows, columns = round(height / factor), round(width / factor)  # banker's rounding, as the original
    if rows * columns * factor**2 > max_pixels:
        shrink = math.sqrt(height * width / max_pixels)
        rows, columns = math.floor(height / shrink / factor), math.floor(width / shrink / factor)
    elif rows * columns * factor**2 < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        rows, columns = math.ceil(height * grow / factor), math.ceil(width * grow / factor)
    rows, columns = max(rows, 1), max(columns, 1)
    most = max(max_pixels // factor**2, 1)  # a thin side kept at one factor must not push the other over the limit
    return min(rows, most) * factor, min(columns, most) * factor
