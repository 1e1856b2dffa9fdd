"""What an Ovis is: a visual tokenizer, a table of visual embeddings that it indexes, and a causal language model.

Knows modules and weights; refuses to know prompts, pictures as files, how tokens are generated, and what trains it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from typing import Any, cast

import torch
from PIL import Image
from torch import Tensor, distributed, nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from ovis_app.models.config import OvisConfig
from ovis_app.models.families.table import FAMILIES
from ovis_app.models.preprocess.values import Grid, Pixels, Visual
from ovis_app.models.prompt import FIRST_INDICATOR, VISUAL_ATOM
from ovis_app.stop import NEVER, Stop
from ovis_app.turns import Turns

# What is encoded at a time, which bounds memory and changes no result: frames and tiles never see each other.
SOFTMAX_ROWS = 256  # rows of the visual softmax; at 65,532 columns they would be the memory peak
PATCHES = 16384
CPU_PATCHES = 2048  # activations of more leave a processor's caches, and take longer
TILE = 1024  # patches of a tile, at most
UNLEARNT = -100  # the label of a token that nothing is learnt from, as in transformers


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
            hard = torch.zeros_like(logits).scatter_(-1, logits.argmax(-1, keepdim=True), 1.0)
            if not logits.requires_grad:
                return hard
            soft = logits.softmax(-1)  # straight through: what learns gets the gradient of the softmax
            return hard - soft.detach() + soft
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
    supports_gradient_checkpointing = True
    _tied_weights_keys = {"llm.lm_head.weight": "llm.model.embed_tokens.weight"}  # noqa: RUF012
    _keys_to_ignore_on_load_unexpected = [r"visual_tokenizer\.backbone\.vision_model\.head\."]  # noqa: RUF012

    def __init__(self, config: OvisConfig) -> None:
        super().__init__(config)
        self.llm = AutoModelForCausalLM.from_config(
            config.llm_config, attn_implementation=config.attention, trust_remote_code=False
        )
        self.attention = config.attention
        self.visual_tokenizer = VisualTokenizer(config)
        self.vte = nn.Embedding(config.visual_vocab_size, config.llm_config.hidden_size)
        self._no_split_modules = {self.visual_tokenizer.family.tower_layer.__name__}
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.llm.get_input_embeddings()

    def get_output_embeddings(self) -> nn.Module:
        return self.llm.get_output_embeddings()

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
        return self._table(0, self.config.visual_vocab_size - self.visual_tokenizer.family.indicators)

    @property
    def indicators(self) -> Tensor:
        """Embeddings of the ids -301, -302, ... [indicators, hidden]."""
        size = self.config.visual_vocab_size
        return self._table(size - self.visual_tokenizer.family.indicators, size)

    def _table(self, begin: int, end: int) -> Tensor:
        """Rows of the visual embedding table. What an adapter makes of them shows in its forward alone."""
        if type(self.vte) is nn.Embedding:
            return self.vte.weight[begin:end]
        return self.vte(torch.arange(begin, end, device=self.device))

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        pixel_values: Tensor | None = None,
        grids: Sequence[Grid] | Tensor = (),
        labels: Tensor | None = None,
        **options: Any,
    ) -> CausalLMOutputWithPast:
        """What training asks for: the loss of `labels` [rows, tokens], UNLEARNT where there is none, and the logits of
        those places alone that a label follows in any row; without labels all logits. `input_ids` [rows, tokens] are as
        in `embed`; where the mask is 0 nothing is seen and positions stand still, as in answers. Pixels are of all rows
        in order. `options` go to the loss, as a trainer's `num_items_in_batch`."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        embeddings = self._embedded(input_ids, pixel_values, grids)
        kept: dict[str, Any] = {} if labels is None else learnt(labels)
        out = self.llm(
            inputs_embeds=embeddings,
            attention_mask=mask,
            position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
            labels=labels,
            use_cache=False,
            **kept,
            **options,
        )
        if kept and bool((kept["shift_labels"] == UNLEARNT).all()):
            out.loss = out.logits.float().sum() * 0  # the mean of nothing is no number
        return out

    def _embedded(self, ids: Tensor, pixel_values: Tensor | None, grids: Sequence[Grid] | Tensor) -> Tensor:
        """Embeddings [rows, tokens, hidden]. Where there is no picture, one that counts nothing is seen: processes that
        train together wait for one another's gradients of the vision, or for its weights where those are sharded."""
        learns = torch.is_grad_enabled() and _learns(self.visual_tokenizer, self.vte)
        frames = grids.tolist() if isinstance(grids, Tensor) else grids
        blank = pixel_values is None and (learns or _with_others())
        if blank:
            picture = blank_picture(self.config)
            pixel_values, frames = picture.values, picture.grids
        visual = None
        if pixel_values is not None:
            dtype = next(self.visual_tokenizer.parameters()).dtype
            with torch.set_grad_enabled(learns):
                visual = self.encode(pixel_values.to(self.device, dtype), frames)
        embeddings = self.embed(ids.flatten(), None if blank else visual).view(*ids.shape, -1)
        return embeddings + 0 * visual.sum() if blank and visual is not None else embeddings

    def encode(
        self, pixel_values: Tensor, grids: Sequence[Grid] = (), *, stop: Stop = NEVER, turns: Turns | None = None
    ) -> Tensor:
        """Visual embeddings [visual tokens, hidden] of all pictures and frames, in order. `turns` is entered for each
        micro-batch, and whoever waits is let go first between two layers. Raises Stopped there once `stop` is set."""
        words = self.words
        with closing(self.features(pixel_values, grids, stop=stop, turns=turns)) as several:
            return torch.cat([self._weighted(rows, words) for rows in several])

    def features(
        self, pixel_values: Tensor, grids: Sequence[Grid] = (), *, stop: Stop = NEVER, turns: Turns | None = None
    ) -> Generator[Tensor, None, None]:
        """Features of the tower, some rows [visual tokens, features] at a time, in order: what is made of them is made
        in the same turn. `turns`, `stop` as in `encode`."""
        turns = Turns() if turns is None else turns

        def between_layers(*_: object) -> None:
            stop.check()
            turns.pause()

        layer = self.visual_tokenizer.family.tower_layer
        layers = [module for module in self.visual_tokenizer.modules() if isinstance(module, layer)]
        hooks = [layer.register_forward_pre_hook(between_layers) for layer in layers]
        try:
            for pixels, frames in micro_batches(pixel_values, grids):
                with turns:
                    yield from self.visual_tokenizer.features(pixels, frames).split(SOFTMAX_ROWS)
        finally:
            for hook in hooks:
                hook.remove()

    def _weighted(self, rows: Tensor, words: Tensor) -> Tensor:
        """Visual embeddings of some rows of features. Their probabilities, 256 kB a row in the released models, aren't
        kept for a gradient but computed again."""

        def weighted(rows: Tensor, words: Tensor) -> Tensor:
            return self.visual_tokenizer.probabilities(rows).to(words.dtype) @ words

        head = self.visual_tokenizer.head
        if torch.is_grad_enabled() and (rows.requires_grad or words.requires_grad or _learns(head)):
            return checkpoint(weighted, rows, words, use_reentrant=False)
        return weighted(rows, words)

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
        table = self.llm.get_input_embeddings()
        embeddings = table(ids.clamp(min=0).to(device))  # Gemma 2 scales its text rows here
        # An adapter may wrap the table.
        scale = next((part.embed_scale for part in table.modules() if hasattr(part, "embed_scale")), None)
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
    if _with_others():  # who shares a tower goes through it as often as the others
        most = max(len(pixel_values) * TILE, 1)
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


def learnt(labels: Tensor) -> dict[str, Tensor]:
    """The places of labels [rows, tokens] that a label follows in any row, at least one, and the labels behind them
    [rows, places], under the names that transformers' language models have for them."""
    following = labels[:, 1:]
    places = (following != UNLEARNT).any(0).nonzero()[:, 0]
    if not len(places):
        places = places.new_zeros(1)
        following = following.new_full((len(labels), 1), UNLEARNT)
    return {"logits_to_keep": places, "shift_labels": following[:, places]}


def blank_picture(config: OvisConfig) -> Pixels:
    """The smallest picture that a model can be shown."""
    return FAMILIES[config.family].pixels(config, Visual("image", (Image.new("RGB", (8, 8)),), max_partition=1))


def _with_others() -> bool:
    """Whether several processes train together."""
    return distributed.is_available() and distributed.is_initialized()


def _learns(*modules: nn.Module) -> bool:
    return any(parameter.requires_grad for module in modules for parameter in module.parameters())


def _loaded(parameter: Tensor) -> bool:
    return bool(getattr(parameter, "_is_hf_initialized", False))
