"""Questions that a model is asked before it learns and after: some to judge by, and old ones, not to be forgotten.

Knows prompts and greedy answers; refuses to know what is learnt. Old questions are drawn by Ovis-mini's own world, of
every kind that it knows, or come from the files of old samples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import pad

from ovis_app.checkpoints.checkpoint import Checkpoint
from ovis_app.models.devices import few_threads
from ovis_app.models.inputs import PixelPrompt, assemble, chat_format
from ovis_app.models.ovis import Ovis
from ovis_app.models.preprocess.values import Grid
from ovis_app.models.prompt import VISUAL_ATOM, encode_turns
from ovis_app.training.finetune.dataset import Encoder
from ovis_app.training.finetune.formats import IMAGE, VIDEO
from ovis_app.training.finetune.labels import UNLEARNT
from ovis_app.training.finetune.samples import Sample
from ovis_app.training.mini.evaluate import KINDS, cases, right

OF_A_KIND = 3  # old questions of each kind that Ovis-mini knows
LONGEST = 200  # tokens of an answer


@dataclass(frozen=True)
class Asked:
    """A question, what is wanted, and who says whether an answer is right."""

    kind: str
    text: str
    wanted: str
    prompt: PixelPrompt
    judge: Callable[[str], bool]


def of_samples(samples: Sequence[Sample], encoder: Encoder) -> Iterator[Asked]:
    """The last answers of samples that end with one. Raises MediaError."""
    for sample in samples:
        if sample.turns[-1].role == "gpt":
            yield _of(sample, encoder)


def of_mini(checkpoint: Checkpoint, number: int = OF_A_KIND, *, kinds: Iterable[str] = KINDS) -> Iterator[Asked]:
    """Questions of kinds that Ovis-mini knows, which no training saw."""
    tokenizer = checkpoint.tokenizer.prompts
    for kind in kinds:
        for case in cases(kind, number):
            asked = case.asked
            ids = encode_turns(tokenizer, chat_format(checkpoint.config), asked.turns, thinking=asked.thinking)
            prompt = assemble(checkpoint.config, tokenizer, ids, case.visuals)
            said = "".join(part for part in asked.turns[-1].content if isinstance(part, str))
            yield Asked(kind, said, asked.answer, prompt, partial(right, case))


@torch.inference_mode()
def answers(model: Ovis, checkpoint: Checkpoint, asked: Sequence[Asked], *, together: int = 1) -> list[str]:
    """What the model says, greedily."""
    training = model.training
    model.eval()
    try:
        order = sorted(range(len(asked)), key=lambda place: (len(asked[place].wanted), len(asked[place].prompt.ids)))
        said: dict[int, str] = {}
        for begin in range(0, len(order), together):
            chosen = order[begin : begin + together]
            rows = [_embedded(model, asked[place].prompt) for place in chosen]
            said |= zip(chosen, _generated(model, checkpoint, rows), strict=True)
        return [said[place] for place in range(len(asked))]
    finally:
        model.train(training)


def shares(asked: Sequence[Asked], said: Sequence[str]) -> dict[str, tuple[int, int]]:
    """How many answers of each kind are right, of how many."""
    good = Counter(one.kind for one, words in zip(asked, said, strict=True) if one.judge(words))
    return {kind: (good[kind], number) for kind, number in Counter(one.kind for one in asked).items()}


def _of(sample: Sample, encoder: Encoder) -> Asked:
    """The question is all that stands before what is learnt last, as it stands while it is learnt."""
    tensors = encoder.example(sample)
    ids, labels = tensors["input_ids"], tensors["labels"]
    learnt = (labels != UNLEARNT).nonzero()[:, 0].tolist()
    begin = next(place for place in reversed(learnt) if place - 1 not in set(learnt))
    grids: list[Grid] = [tuple(grid) for grid in tensors["grids"].tolist()] if "grids" in tensors else []
    seen, mask = int((ids[:begin] == VISUAL_ATOM).sum()), tensors["attention_mask"][:begin]
    prompt = PixelPrompt(ids[:begin], mask, tensors.get("pixel_values"), tuple(grids), seen)
    wanted = sample.turns[-1].text.strip()
    question = next(turn.text for turn in reversed(sample.turns) if turn.role == "human")
    text = question.replace(IMAGE, "").replace(VIDEO, "").strip()
    return Asked(sample.kind, text, wanted, prompt, lambda answer: answer.strip() == wanted)


def _embedded(model: Ovis, prompt: PixelPrompt) -> tuple[Tensor, Tensor]:
    visual = None
    if prompt.pixel_values is not None:
        dtype = next(model.visual_tokenizer.parameters()).dtype
        visual = model.encode(prompt.pixel_values.to(model.device, dtype), prompt.grids)
    return model.embed(prompt.ids, visual)[0], prompt.mask.to(model.device)


def _generated(model: Ovis, checkpoint: Checkpoint, rows: Sequence[tuple[Tensor, Tensor]]) -> list[str]:
    """Of prompts [tokens, hidden] with their masks, filled up on the left."""
    length, ending = max(len(row) for row, _ in rows), checkpoint.tokenizer.ending
    with few_threads(model.llm):
        out = model.llm.generate(
            inputs_embeds=torch.stack([pad(row, (0, 0, length - len(row), 0)) for row, _ in rows]),
            attention_mask=torch.stack([pad(mask, (length - len(mask), 0)) for _, mask in rows]),
            do_sample=False, max_new_tokens=LONGEST, eos_token_id=list(ending.eos), pad_token_id=ending.pad,
            use_cache=True,
        )  # fmt: skip
    ends = {*ending.eos, ending.pad}
    kept = [[token for token in ids.tolist() if token not in ends] for ids in out]
    return [checkpoint.tokenizer.decoder.decode(ids, skip_special_tokens=False) for ids in kept]
