"""Which visual word each visual token of a picture is taken for, and how sure of it the model is.

Knows the visual tokenizer's probabilities; refuses to know files, and what is made of the numbers.
"""

from __future__ import annotations

import math
from contextlib import closing

import torch

from ovis_app.models.ovis import Ovis
from ovis_app.models.preprocess.values import Pixels
from ovis_app.sight import VisualWords
from ovis_app.stop import NEVER, Stop
from ovis_app.turns import Turns


def visual_words(model: Ovis, picture: Pixels, *, stop: Stop = NEVER, turns: Turns | None = None) -> VisualWords:
    """Those of all visual tokens of a picture, tile after tile. The language model has no part in it. Raises Stopped
    once `stop` is set."""
    rows: list[int] = []
    shares: list[float] = []
    bits: list[float] = []
    values = picture.values.to(device=model.device, dtype=model.dtype)
    with torch.inference_mode(), closing(model.features(values, picture.grids, stop=stop, turns=turns)) as several:
        for features in several:
            odds = model.visual_tokenizer.probabilities(features).float()  # [visual tokens, visual words]
            best = odds.max(-1)
            rows += best.indices.tolist()
            shares += best.values.tolist()
            bits += (torch.special.entr(odds).sum(-1) / math.log(2)).tolist()
    return VisualWords(tuple(rows), tuple(shares), tuple(bits))
