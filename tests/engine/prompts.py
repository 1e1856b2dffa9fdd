"""Prompts with real pictures and clips for tests of engines, and tiny models of each family that answer them.

Knows models and prompts; needs no files but the golden checkpoints.
"""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from PIL import Image
from torch import Tensor
from transformers import AutoTokenizer

from ovis_app.checkpoints.load import load
from ovis_app.checkpoints.tokenizer import Ending
from ovis_app.engine import plain
from ovis_app.engine.thinking_budget import ThinkingBudget
from ovis_app.generation import GenerationSettings
from ovis_app.models.config import OvisConfig
from ovis_app.models.families.table import FAMILIES
from ovis_app.models.inputs import attention_mask, chat_format
from ovis_app.models.ovis import Ovis
from ovis_app.models.preprocess.values import Visual
from ovis_app.models.prompt import VISUAL_ATOM, PromptTokenizer, Turn, encode_turns, expand
from tests import experts

GOLDEN = Path(__file__).parent.parent / "fixtures" / "golden"
ENDING = Ending((1,), 0)
WINDOW = 24  # tokens that half of Gemma 2's layers look back
COLORS = ("red", "green", "blue", "white")


@dataclass(frozen=True)
class Written:
    """A prompt as engines take it."""

    ids: Tensor
    mask: Tensor
    keys: tuple[int, ...]
    visual: Tensor | None
    begun: int = 0


@dataclass(frozen=True)
class Tiny:
    """A tiny model of one family with what writes its prompts."""

    model: Ovis
    prompts: PromptTokenizer

    @cache  # noqa: B019 - one per model and process
    def seen(self, kind: str, number: int) -> tuple[tuple[int, ...], Tensor, int]:
        """Ids, embeddings and content name of a picture or clip of that number."""
        image = Image.linear_gradient("L").resize((64 + 28 * number, 56)).convert("RGB")
        image.paste(COLORS[number % 4], (0, 0, 20 + 4 * number, 20))
        frames = (image, image.rotate(180)) if kind == "video" else (image,)
        visual = Visual(kind, frames, min_pixels=1, max_pixels=96 * 96, max_partition=2)
        family = FAMILIES[self.model.config.family]
        ids, rows = [], []
        with torch.inference_mode():
            for part in family.spread(visual):
                pixels = family.pixels(self.model.config, part)
                rows.append(self.model.encode(pixels.values, pixels.grids))
                ids.append(pixels.ids)
        assert len(ids) == 1, "one placeholder each keeps these tests simple"
        return ids[0], torch.cat(rows), -(1 << 20) - 1000 * number - (kind == "video")

    def written(
        self, turns: list[tuple[str, tuple[tuple[str, int], ...]]], *, thinking: bool = False
    ) -> Written:  # fmt: skip
        """The prompt of turns (text, ((kind, number), ...)): questions and answers by turns, a question last."""
        family = FAMILIES[self.model.config.family]
        seen = [self.seen(*what) for _, media in turns for what in media]
        said = [
            Turn("assistant" if place % 2 else "user", family.user_content(text, [(kind, 1) for kind, _ in media]))
            for place, (text, media) in enumerate(turns)
        ]
        ids = encode_turns(self.prompts, chat_format(self.model.config), said, thinking=thinking)
        whole = torch.tensor(expand(ids, [one for one, _, _ in seen]))
        keys = expand(ids, [[name if token == VISUAL_ATOM else token for token in one] for one, _, name in seen])
        visual = torch.cat([rows for _, rows, _ in seen]) if seen else None
        return Written(whole, attention_mask(self.model.config, self.prompts, whole), tuple(keys), visual)

    def random_turns(self, rng: random.Random) -> list[tuple[str, tuple[tuple[str, int], ...]]]:
        """A conversation of one to three questions, some with pictures, some with a clip."""
        turns: list[tuple[str, tuple[tuple[str, int], ...]]] = []
        for turn in range(rng.choice((1, 1, 2, 3))):
            if turn:
                turns.append((f"It is {rng.randrange(5)}.", ()))
            kinds = rng.choice(((), (), ("image",), ("image", "image"), ("video",)))
            if self.model.config.family not in ("ovis2_5", "ovis2_6"):  # a clip has a placeholder for each frame there
                kinds = tuple("image" for _ in kinds)
            turns.append((f"What is {rng.randrange(4)}?", tuple((kind, rng.randrange(4)) for kind in kinds)))
        return turns

    def plain(self, written: Written, settings: GenerationSettings, budget: ThinkingBudget | None = None) -> list[int]:
        """What transformers' `generate` answers. The model attends as it was made to from then on: an engine
        over it is to be made anew."""
        ids = plain.generate(self.model, written, settings, ending=ENDING, budget=budget)
        return [int(token) for token in ids]


def _tokenizer(folder: Path, config: OvisConfig) -> PromptTokenizer:
    return PromptTokenizer(AutoTokenizer.from_pretrained(folder, config=config.llm_config, trust_remote_code=False))


@cache
def tiny(family: str) -> Tiny:
    """ "ovis2.6" is a Qwen 3 of random experts, "ovis2.5" Qwen 3, "ovis2" Qwen 2, "ovis1.6" Gemma 2 whose window is
    shorter than most prompts; "llama" is an Ovis1.6 of random weights with Llama 3."""
    if family == "llama":
        return Tiny(*_llama(GOLDEN / "ovis1.6" / "public-a" / "checkpoint"))
    if family == "ovis2.6":
        with TemporaryDirectory() as place:
            made = experts.checkpoint(Path(place) / "checkpoint")
            model = load(made)
            return Tiny(model, _tokenizer(made, model.config))
    folder = GOLDEN / family / "public-a" / "checkpoint"
    if family != "ovis1.6":
        model = load(folder)
        return Tiny(model, _tokenizer(folder, model.config))
    with TemporaryDirectory() as place:
        rolling = Path(place) / "checkpoint"
        shutil.copytree(folder, rolling)
        raw = json.loads((rolling / "config.json").read_text("utf-8"))
        raw["llm_config"]["sliding_window"] = WINDOW
        (rolling / "config.json").write_text(json.dumps(raw), "utf-8")
        model = load(rolling)
        return Tiny(model, _tokenizer(rolling, model.config))


def _llama(folder: Path) -> tuple[Ovis, PromptTokenizer]:
    raw = json.loads((folder / "config.json").read_text("utf-8"))
    raw["llm_config"] = {
        "model_type": "llama",
        "vocab_size": raw["llm_config"]["vocab_size"],
        "hidden_size": raw["hidden_size"],
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 96,
        "head_dim": 16,
        "max_position_embeddings": 2048,
    }
    config = OvisConfig.from_released(raw, json.loads((folder / "preprocessor_config.json").read_text("utf-8")))
    torch.manual_seed(0)
    model = Ovis(config).eval()
    with torch.no_grad():
        for parameter in model.llm.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8)  # random weights answer with more than one token only when they are not small
    return model, _tokenizer(folder, OvisConfig.read(folder))
