"""Pixels to patch rows at native resolution, the way of Ovis2.5. Knows PIL and numpy, no files and no models.

Source: the preprocessing released with AIDC-AI/Ovis2.5.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ovis_app.models.preprocess.pixel_format import PixelFormat
from ovis_app.models.preprocess.smart_resize import smart_resize
from ovis_app.models.preprocess.values import Grid


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
    pictures = (frame if frame.mode == "RGB" else frame.convert("RGB") for frame in frames)  # a copy of 60 MP is 240 MB
    planes = np.stack([pixel_format.values(picture, width, height) for picture in pictures])  # [t, 3, height, width]
    rows, columns = height // patch_size, width // patch_size
    split = planes.reshape(
        len(frames), 3, rows // stride, stride, patch_size, columns // stride, stride, patch_size
    )  # [t, c, h/s, s, p, w/s, s, p]
    ordered = split.transpose(0, 2, 5, 3, 6, 1, 4, 7).reshape(len(frames) * rows * columns, -1)
    return torch.from_numpy(np.ascontiguousarray(ordered)), (len(frames), rows, columns)
