"""The Ovis1.6 family: the tiles of Ovis2 on SigLIP, with Gemma 2 or Llama 3.2. Trained on one picture at a time."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from ovis_app.models.config import OvisConfig
from ovis_app.models.families import ovis2
from ovis_app.models.vision.aimv2_siglip import Siglip
from ovis_app.models.vision.siglip2_navit import Layer, NaViTConfig


def tower(config: OvisConfig) -> nn.Module:
    facts = NaViTConfig.read({**config.vision_config, "use_rope": False})
    return Siglip(facts, config.hidden_stride)


FAMILY = replace(ovis2.FAMILY, name="ovis1_6", tower=tower, tower_layer=Layer)
