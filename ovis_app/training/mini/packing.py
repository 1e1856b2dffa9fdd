"""Conversations about the same pictures, packed so that the pictures are read once and every question is asked alone.

A row is a trunk, the longest prompt, and branches that leave it where their own prompts differ; a mask keeps branches
apart and positions go on from where they left, so each answer sees exactly the prompt that the app would send. So every
answer of a long conversation is learnt: the trunk has earlier answers as a history repeats them, without the empty
thought that an answer begins behind. Refuses to know scenes and how answers come about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface

from ovis_app.models.families.ovis2_5 import span
from ovis_app.models.ovis import Ovis
from ovis_app.models.preprocess.values import Grid
from ovis_app.models.prompt import (
    FIRST_INDICATOR,
    IMAGE,
    QWEN3,
    VIDEO,
    VISUAL_ATOM,
    PromptTokenizer,
    Turn,
    encode_turns,
    expand,
)
from ovis_app.training.mini.architecture import visual_tokens
from ovis_app.training.mini.summary import Shown, Summary

UNASKED = -100
IMAGE_END = FIRST_INDICATOR - 1
SUMMARY_LAYER, SUMMARY_WEIGHT = 3, 0.1  # behind which layer the summary is probed; more, and it shakes the answers
END = "<|im_end|>"


@dataclass(frozen=True)
class Picture:
    """Patch rows of one image or clip."""

    kind: str  # image or video
    rows: Tensor
    grid: Grid
    shown: Shown = frozenset()  # what an image shows, for the summary


@dataclass(frozen=True)
class Question:
    """A conversation that ends with the user, and what the assistant should say."""

    turns: tuple[Turn, ...]
    answer: str
    thinking: bool = False


@dataclass(frozen=True)
class Sample:
    """Questions about the same pictures, which are numbered within the batch, in the order of their placeholders. A
    question has a place for each of them, or for the first few."""

    pictures: tuple[int, ...]
    questions: tuple[Question, ...]


@dataclass(frozen=True)
class Packed:
    """[rows, length] each, and what each row's images show, in their order."""

    ids: Tensor
    labels: Tensor  # the next tokens, or UNASKED
    positions: Tensor
    branches: Tensor  # 0: the trunk, -1: padding
    forks: Tensor  # of a branch: how many tokens of the trunk it sees
    visual: Tensor  # a row of the batch's visual embeddings, or -1
    images: Tensor  # which image a token of the trunk shows or ends, from 1; 0: none
    shown: tuple[tuple[Shown, ...], ...]

    @property
    def asked(self) -> int:
        return int((self.labels != UNASKED).sum())


@dataclass
class _Row:
    """One row of Packed in the making."""

    ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    branches: list[int] = field(default_factory=list)
    forks: list[int] = field(default_factory=list)
    visual: list[int] = field(default_factory=list)
    images: list[int] = field(default_factory=list)
    shown: tuple[Shown, ...] = ()

    def add(
        self, ids: Sequence[int], labels: Sequence[int], branch: int, fork: int, visual: Sequence[int],
        images: Sequence[int] = (),
    ) -> None:  # fmt: skip
        amount = len(ids)
        self.ids += ids
        self.labels += labels
        self.positions += range(fork, fork + amount)
        self.branches += [branch] * amount
        self.forks += [fork] * amount
        self.visual += visual
        self.images += images or [0] * amount


FILLS = {"ids": 0, "labels": UNASKED, "positions": 0, "branches": -1, "forks": 0, "visual": -1, "images": 0}


def pack(samples: Sequence[Sample], pictures: Sequence[Picture], tokenizer: PromptTokenizer) -> Packed:
    starts, total = [], 0
    for picture in pictures:
        starts.append(total)
        total += visual_tokens(picture.grid)
    rows = [_row(sample, pictures, starts, tokenizer) for sample in samples]
    length = max(len(row.ids) for row in rows)
    columns = {
        name: torch.tensor([getattr(row, name) + [fill] * (length - len(row.ids)) for row in rows])
        for name, fill in FILLS.items()
    }
    return Packed(**columns, shown=tuple(row.shown for row in rows))


def _row(sample: Sample, pictures: Sequence[Picture], starts: Sequence[int], tokenizer: PromptTokenizer) -> _Row:
    counts = [visual_tokens(pictures[i].grid) for i in sample.pictures]
    spans = [span(pictures[i].kind, count) for i, count in zip(sample.pictures, counts, strict=True)]
    places = [starts[i] + k for i, count in zip(sample.pictures, counts, strict=True) for k in range(count)]
    prompts = [_prompt(question, spans, tokenizer) for question in sample.questions]
    trunk, row = max(prompts, key=len), _Row()
    row.add(trunk, [UNASKED] * len(trunk), 0, 0, _visual(trunk, places), _images(trunk))
    stills = [pictures[i].shown for i in sample.pictures if pictures[i].kind == "image"]
    row.shown = tuple(stills[: max(row.images)])
    for number, (prompt, question) in enumerate(zip(prompts, sample.questions, strict=True), 1):
        fork = _shared(prompt, trunk)
        rest, answer = prompt[fork:], tokenizer.trusted(question.answer + END)
        visual = _visual(prompt, places)[fork:] + [-1] * (len(answer) - 1)
        row.add(rest + answer[:-1], [UNASKED] * (len(rest) - 1) + answer, number, fork, visual)
    return row


def _prompt(question: Question, spans: Sequence[Sequence[int]], tokenizer: PromptTokenizer) -> list[int]:
    ids = encode_turns(tokenizer, QWEN3, question.turns, thinking=question.thinking)
    return expand(ids, spans[: sum(token in (IMAGE, VIDEO) for token in ids)])


def _shared(prompt: Sequence[int], trunk: Sequence[int]) -> int:
    """How many first tokens a prompt has in common with the trunk; it keeps at least one of its own."""
    most = len(prompt) - 1
    return next((i for i in range(most) if prompt[i] != trunk[i]), most)


def _visual(ids: Sequence[int], places: Sequence[int]) -> list[int]:
    remaining = iter(places)
    return [next(remaining) if token == VISUAL_ATOM else -1 for token in ids]


def _images(ids: Sequence[int]) -> list[int]:
    """For each token the number of the image that it shows or ends, from 1; 0 for all others."""
    numbers, number, inside = [], 0, False
    for token in ids:
        if token == FIRST_INDICATOR:
            number, inside = number + 1, True
        numbers.append(number if inside and token != FIRST_INDICATOR else 0)
        inside = inside and token != IMAGE_END
    return numbers


def allowed(branches: Tensor, forks: Tensor) -> Tensor:
    """[rows, length, length], True where a token may look: back into its own branch, and the trunk up to its fork."""
    length = branches.shape[1]
    same = branches[:, :, None] == branches[:, None, :]
    trunk = (branches[:, None, :] == 0) & (torch.arange(length) < forks[:, :, None])
    seen = (same | trunk) & torch.ones(length, length, dtype=torch.bool).tril()
    return seen | torch.eye(length, dtype=torch.bool)


def attention_bias(packed: Packed, heads: int, groups: int) -> Tensor:
    """What is added to the scores, laid out as `attend` wants it: [rows * groups, heads / groups * length, length]."""
    rows, length = packed.branches.shape
    bias = torch.zeros(rows, length, length, dtype=torch.bfloat16)
    bias = bias.masked_fill(~allowed(packed.branches, packed.forks), -30000.0)
    return bias.repeat(1, heads // groups, 1).repeat_interleave(groups, dim=0)


def attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor, scaling: float, **_: object
) -> tuple[Tensor, None]:
    """Plain attention of grouped heads. On CPU its backward takes half the time of the fused one at this size."""
    rows, heads, length, size = query.shape
    groups = key.shape[1]
    grouped = query.reshape(rows * groups, heads // groups * length, size)
    keys, values = (states.reshape(rows * groups, length, size) for states in (key, value))
    scores = torch.baddbmm(attention_mask.to(query.dtype), grouped, keys.transpose(1, 2), alpha=scaling)
    mixed = torch.bmm(scores.softmax(-1), values)
    return mixed.view(rows, heads, length, size).transpose(1, 2), None


AttentionInterface.register("packed", attend)


def embed(model: Ovis, packed: Packed, visual: Tensor | None) -> Tensor:
    """[rows, length, hidden] from text, indicators and the batch's visual embeddings [visual tokens, hidden]."""
    hidden = model.llm.get_input_embeddings()(packed.ids.clamp(min=0))
    marks = packed.ids <= FIRST_INDICATOR
    hidden = hidden.masked_scatter(marks[..., None], model.indicators[FIRST_INDICATOR - packed.ids[marks]])
    seen = packed.visual >= 0
    if visual is not None and seen.any():
        hidden = hidden.masked_scatter(seen[..., None], visual[packed.visual[seen]].to(hidden.dtype))
    return hidden


def language_loss(
    model: Ovis, packed: Packed, visual: Tensor | None, summary: Summary | None = None
) -> tuple[Tensor, dict[str, float]]:
    """Mean loss over the asked tokens, with the summary's where there is one, and measures by name: `right` is the
    share of answers that are right in every token."""
    config = model.llm.config
    config._attn_implementation = "packed"
    mask = {"full_attention": attention_bias(packed, config.num_attention_heads, config.num_key_value_heads)}
    out = model.llm.model(
        inputs_embeds=embed(model, packed, visual), attention_mask=mask, position_ids=packed.positions, use_cache=False,
        output_hidden_states=summary is not None,
    )  # fmt: skip
    asked = packed.labels != UNASKED
    logits = model.llm.lm_head(out.last_hidden_state[asked]).float()
    want = packed.labels[asked]
    loss = F.cross_entropy(logits, want)
    answers = (torch.arange(len(packed.ids))[:, None] * 1000 + packed.branches)[asked]
    wrong = answers[logits.argmax(1) != want]
    measures = {"loss": loss.item(), "right": 1 - len(wrong.unique()) / len(answers.unique())}
    seen, ends = packed.images > 0, (packed.ids == IMAGE_END) & (packed.branches == 0)
    if summary is not None and seen.any():
        states = out.hidden_states[min(SUMMARY_LAYER, len(out.hidden_states) - 1)]
        shown = [picture for row in packed.shown for picture in row]
        extra, more = summary.loss(states[seen].float(), packed.images[seen], states[ends].float(), shown)
        loss, measures = loss + SUMMARY_WEIGHT * extra, {**measures, **more}
    return loss, measures
