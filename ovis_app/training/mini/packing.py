"""Conversations about the same pictures, packed so that the pictures are read once and every question is asked alone.

A row is a shared prefix and branches; a mask keeps branches apart and positions restart after the prefix, so each
branch sees exactly the prompt that the app would send. Refuses to know scenes and how answers come about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface

from ovis_app.models.families.ovis2_5 import span
from ovis_app.models.ovis import Ovis
from ovis_app.models.preprocess.values import Grid
from ovis_app.models.prompt import FIRST_INDICATOR, QWEN3, VISUAL_ATOM, PromptTokenizer, Turn, encode_turns, expand
from ovis_app.training.mini.architecture import visual_tokens

UNASKED = -100
END = "<|im_end|>"


@dataclass(frozen=True)
class Picture:
    """Patch rows of one image or clip."""

    kind: str  # image or video
    rows: Tensor
    grid: Grid


@dataclass(frozen=True)
class Question:
    """A conversation that ends with the user, and what the assistant should say."""

    turns: tuple[Turn, ...]
    answer: str
    thinking: bool = False


@dataclass(frozen=True)
class Sample:
    """Questions about the same pictures, which are numbered within the batch, in the order of their placeholders."""

    pictures: tuple[int, ...]
    questions: tuple[Question, ...]


@dataclass(frozen=True)
class Packed:
    """[rows, length] each. `visual` is a row of the batch's visual embeddings or -1; `labels` are the next tokens."""

    ids: Tensor
    labels: Tensor
    positions: Tensor
    branches: Tensor  # 0: the prefix, -1: padding
    visual: Tensor


def pack(samples: Sequence[Sample], pictures: Sequence[Picture], tokenizer: PromptTokenizer) -> Packed:
    starts, total = [], 0
    for picture in pictures:
        starts.append(total)
        total += visual_tokens(picture.grid)
    rows = [_row(sample, pictures, starts, tokenizer) for sample in samples]
    length = max(len(row[0]) for row in rows)
    fills = (0, UNASKED, 0, -1, -1)
    columns = [torch.tensor([row[i] + [fill] * (length - len(row[i])) for row in rows]) for i, fill in enumerate(fills)]
    return Packed(*columns)


def _row(
    sample: Sample, pictures: Sequence[Picture], starts: Sequence[int], tokenizer: PromptTokenizer
) -> tuple[list[int], list[int], list[int], list[int], list[int]]:
    counts = [visual_tokens(pictures[i].grid) for i in sample.pictures]
    spans = [span(pictures[i].kind, count) for i, count in zip(sample.pictures, counts, strict=True)]
    places = [starts[i] + k for i, count in zip(sample.pictures, counts, strict=True) for k in range(count)]
    prompts = [expand(encode_turns(tokenizer, QWEN3, q.turns, thinking=q.thinking), spans) for q in sample.questions]
    shared = _shared(prompts)
    ids, labels = list(prompts[0][:shared]), [UNASKED] * shared
    positions, branches = list(range(shared)), [0] * shared
    visual = _visual(ids, places)
    for number, (prompt, question) in enumerate(zip(prompts, sample.questions, strict=True), 1):
        rest, answer = prompt[shared:], tokenizer.trusted(question.answer + END)
        branch = rest + answer[:-1]
        ids += branch
        labels += [UNASKED] * (len(rest) - 1) + answer
        positions += range(shared, shared + len(branch))
        branches += [number] * len(branch)
        visual += _visual(prompt, places)[shared:] + [-1] * (len(answer) - 1)
    return ids, labels, positions, branches, visual


def _shared(prompts: Sequence[Sequence[int]]) -> int:
    """How many first tokens all prompts have in common; each keeps at least one of its own."""
    most = min(map(len, prompts)) - 1
    return next((i for i in range(most) if len({prompt[i] for prompt in prompts}) > 1), most)


def _visual(ids: Sequence[int], places: Sequence[int]) -> list[int]:
    remaining = iter(places)
    return [next(remaining) if token == VISUAL_ATOM else -1 for token in ids]


def allowed(branches: Tensor) -> Tensor:
    """[rows, length, length], True where a token may look: back into the prefix and its own branch."""
    length = branches.shape[1]
    same = branches[:, :, None] == branches[:, None, :]
    seen = (same | (branches[:, None, :] == 0)) & torch.ones(length, length, dtype=torch.bool).tril()
    return seen | torch.eye(length, dtype=torch.bool)


def attention_bias(branches: Tensor, heads: int, groups: int) -> Tensor:
    """What is added to the scores, laid out as `attend` wants it: [rows * groups, heads / groups * length, length]."""
    bias = torch.zeros(len(branches), branches.shape[1], branches.shape[1], dtype=torch.bfloat16)
    bias = bias.masked_fill(~allowed(branches), -30000.0)
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


def language_loss(model: Ovis, packed: Packed, visual: Tensor | None) -> tuple[Tensor, float]:
    """Mean loss over the asked tokens, and the share of answers that are right in every token."""
    config = model.llm.config
    config._attn_implementation = "packed"
    mask = {"full_attention": attention_bias(packed.branches, config.num_attention_heads, config.num_key_value_heads)}
    states = model.llm.model(
        inputs_embeds=embed(model, packed, visual), attention_mask=mask, position_ids=packed.positions, use_cache=False
    ).last_hidden_state
    asked = packed.labels != UNASKED
    logits = model.llm.lm_head(states[asked]).float()
    want = packed.labels[asked]
    loss = F.cross_entropy(logits, want)
    answers = (torch.arange(len(packed.ids))[:, None] * 1000 + packed.branches)[asked]
    wrong = answers[logits.argmax(1) != want]
    return loss, 1 - len(wrong.unique()) / len(answers.unique())
