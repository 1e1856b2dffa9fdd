"""Pixels to patch rows at native resolution, the way of Ovis2.5. Knows PIL and numpy, no files and no models.

Source: the preprocessing released with AIDC-AI/Ovis2.5 (smart_resize after Qwen2-VL).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ovis_app.models.preprocess.pixel_format import PixelFormat
from ovis_app.models.preprocess.values import Grid

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


def patches(
    frames: Sequence[Image.Image],
    pixel_format: PixelFormat,
    *,
    patch_size: int,
    stride: int,
    min_pixels: int,
    max_pixels: int,
) -> tuple[Tensor, Grid]:
    """Patch rows of one image (one frame) or one clip (all frames take the first one's size).

    Returns float32 rows [t*h*w, 3 * patch * patch], in stride x stride blocks, and their grid (t, h, w).
    """
    first = frames[0]
    height, width = smart_resize(
        first.height, first.width, factor=patch_size * stride, min_pixels=min_pixels, max_pixels=max_pixels
    )
    planes = np.stack(
        [pixel_format.values(frame.convert("RGB"), width, height) for frame in frames]
    )  # [t, 3, height, width]
    rows, columns = height // patch_size, width // patch_size
    split = planes.reshape(
        len(frames), 3, rows // stride, stride, patch_size, columns // stride, stride, patch_size
    )  # [t, c, h/s, s, p, w/s, s, p]
    ordered = split.transpose(0, 2, 5, 3, 6, 1, 4, 7).reshape(len(frames) * rows * columns, -1)
    return torch.from_numpy(np.ascontiguousarray(ordered)), (len(frames), rows, columns)
