"""What an Ovis is: a visual tokenizer, a table of visual embeddings that it indexes, and a causal language model.

Knows modules and weights; refuses to know prompts, pictures as files, and how tokens are generated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from ovis_app.models.config import OvisConfig
from ovis_app.models.families.table import FAMILIES
from ovis_app.models.preprocess.values import Grid, Pixels
from ovis_app.models.prompt import FIRST_INDICATOR, VISUAL_ATOM
from ovis_app.stop import NEVER, Stop
from ovis_app.turns import Turns

# What is encoded at a time, which bounds memory and changes no result: frames and tiles never see each other.
SOFTMAX_ROWS = 256  # rows of the visual softmax; at 65,532 columns they would be the memory peak
PATCHES = 16384
CPU_PATCHES = 2048  # activations of more leave a processor's caches, and take longer
TILE = 1024  # patches of a tile, at most
TOWER_LAYERS = ("Layer", "AIMv2Block")


class VisualTokenizer(nn.Module):
    """Pixels -> features of the tower, then a probability over visual words for each visual token."""

    def __init__(self, config: OvisConfig) -> None:
        super().__init__()
        self.family = FAMILIES[config.family]
        self.one_hot = config.tokenize_function == "st_argmax"
        tower = self.family.tower(config)
        words = config.visual_vocab_size - self.family.indicators
        self.add_module(self.family.tower_name, tower)
        self.head = nn.Sequential(nn.Linear(cast(int, tower.feature_size), words, bias=False), nn.LayerNorm(words))

    def features(self, pixel_values: Tensor, grids: Sequence[Grid]) -> Tensor:
        """Merged patches of the tower, [visual tokens, features]."""
        return self.get_submodule(self.family.tower_name)(pixel_values, [tuple(map(int, grid)) for grid in grids])

    def probabilities(self, features: Tensor) -> Tensor:
        """[visual tokens, visual words]; rows sum to 1."""
        logits = self.head(features)
        if self.one_hot:
            return torch.zeros_like(logits).scatter_(-1, logits.argmax(-1, keepdim=True), 1.0)
        return torch.softmax(logits, dim=-1, dtype=torch.float32 if self.family.softmax_in_float32 else None)

    def forward(self, pixel_values: Tensor, grids: Sequence[Grid]) -> Tensor:
        return self.probabilities(self.features(pixel_values, grids))


class Ovis(PreTrainedModel):
    """An Ovis of any generation. Attribute names are the released weights' names."""

    config: OvisConfig
    config_class = OvisConfig
    base_model_prefix = ""
    _supports_sdpa = True
    _supports_flash_attn = True
    _no_split_modules = [*TOWER_LAYERS]  # noqa: RUF012
    _keys_to_ignore_on_load_unexpected = [r"visual_tokenizer\.backbone\.vision_model\.head\."]  # noqa: RUF012

    def __init__(self, config: OvisConfig) -> None:
        super().__init__(config)
        self.llm = AutoModelForCausalLM.from_config(
            config.llm_config, attn_implementation=config.attention, trust_remote_code=False
        )
        self.attention = config.attention
        self.visual_tokenizer = VisualTokenizer(config)
        self.vte = nn.Embedding(config.visual_vocab_size, config.llm_config.hidden_size)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Random weights for a model that is trained from nothing; loaded weights are left alone."""
        if isinstance(module, nn.Linear | nn.Conv2d) and not _loaded(module.weight):
            nn.init.normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding) and not _loaded(module.weight):
            nn.init.normal_(module.weight, std=0.02)
        elif isinstance(module, nn.LayerNorm) and not _loaded(module.weight):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)

    @property
    def words(self) -> Tensor:
        """Embeddings of the visual words, [visual words, hidden]: the table without its indicator rows."""
        return self.vte.weight[: -self.visual_tokenizer.family.indicators]

    @property
    def indicators(self) -> Tensor:
        """Embeddings of the ids -301, -302, ... [indicators, hidden]."""
        return self.vte.weight[-self.visual_tokenizer.family.indicators :]

    def encode(
        self, pixel_values: Tensor, grids: Sequence[Grid] = (), *, stop: Stop = NEVER, turns: Turns | None = None
    ) -> Tensor:
        """Visual embeddings [visual tokens, hidden] of all pictures and frames, in order. `turns` is entered for each
        micro-batch, and whoever waits is let go first between two layers. Raises Stopped there once `stop` is set."""
        words, turns = self.words, Turns() if turns is None else turns
        parts: list[Tensor] = []

        def between_layers(*_: object) -> None:
            stop.check()
            turns.pause()

        layers = [module for module in self.visual_tokenizer.modules() if type(module).__name__ in TOWER_LAYERS]
        hooks = [layer.register_forward_pre_hook(between_layers) for layer in layers]
        try:
            for pixels, frames in micro_batches(pixel_values, grids):
                with turns:
                    for rows in self.visual_tokenizer.features(pixels, frames).split(SOFTMAX_ROWS):
                        parts.append(self.visual_tokenizer.probabilities(rows).to(words.dtype) @ words)
        finally:
            for hook in hooks:
                hook.remove()
        return torch.cat(parts)

    def encode_many(
        self, pictures: Sequence[Pixels], *, stop: Stop = NEVER, turns: Turns | None = None
    ) -> tuple[Tensor, ...]:
        """Visual embeddings [visual tokens, hidden] of each picture, clip or tile group, the tower taking as many
        together as it may. Each stands in memory of its own, so that forgetting one frees it."""
        if not pictures:
            return ()
        values = torch.cat([picture.values for picture in pictures]).to(device=self.device, dtype=self.dtype)
        grids = [grid for picture in pictures for grid in picture.grids]
        whole = self.encode(values, grids, stop=stop, turns=turns)
        return tuple(part.clone() for part in whole.split([picture.tokens for picture in pictures]))

    def embed(self, ids: Tensor, visual: Tensor | None) -> Tensor:
        """Embeddings [1, tokens, hidden] of prompt ids [tokens] whose negative ids are visual: -300 takes the next row
        of `visual` [visual tokens, hidden], -301 - i is indicator i. Ids on a CPU make no GPU wait. Raises ValueError
        when rows and places differ."""
        device = self.device
        embeddings = self.llm.get_input_embeddings()(ids.clamp(min=0).to(device))  # Gemma 2 scales its text rows here
        scale = getattr(self.llm.get_input_embeddings(), "embed_scale", None)
        atoms, marks = ids == VISUAL_ATOM, ids <= FIRST_INDICATOR
        rows = 0 if visual is None else len(visual)
        if int(atoms.sum()) != rows:
            raise ValueError(f"{int(atoms.sum())} places for {rows} visual tokens")
        indicators = (FIRST_INDICATOR - ids[marks]).to(device)
        for places, values in ((atoms, visual), (marks, self.indicators[indicators] if len(indicators) else None)):
            if values is not None and len(values):
                scaled = values if scale is None else values * scale.to(values.dtype)
                embeddings = embeddings.index_copy(0, places.nonzero()[:, 0].to(device), scaled.to(embeddings.dtype))
        return embeddings[None]

    def set_attention(self, name: str) -> None:
        """How the language model attends, by its name among transformers' attentions; it began as config.attention.
        Costs nothing where it does so already."""
        if name != self.attention:
            self.llm.set_attn_implementation(name)
            self.attention = name


def micro_batches(pixel_values: Tensor, grids: Sequence[Grid]) -> Iterator[tuple[Tensor, tuple[Grid, ...]]]:
    """Tiles a few at a time, or whole frames up to a number of patches at a time."""
    most = CPU_PATCHES if pixel_values.device.type == "cpu" else PATCHES
    if not len(grids):
        yield from ((tiles, ()) for tiles in pixel_values.split(max(most // TILE, 1)))
        return
    start = end = 0
    batch: list[Grid] = []
    for frames, rows, columns in grids:
        for _ in range(int(frames)):
            patches = int(rows) * int(columns)
            if batch and end - start + patches > most:
                yield pixel_values[start:end], tuple(batch)
                start, batch = end, []
            batch.append((1, int(rows), int(columns)))
            end += patches
    yield pixel_values[start:end], tuple(batch)


def _loaded(parameter: Tensor) -> bool:
    return bool(getattr(parameter, "_is_hf_initialized", False))
