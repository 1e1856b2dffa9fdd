"""Prompts, most of them golden cases, as sequences whose keys and values are in a pool: steps can go on from there."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from functools import cache
from pathlib import Path

import torch
from transformers import AutoTokenizer

from ovis_app.checkpoints.load import load
from ovis_app.engine.model_runner import ModelRunner
from ovis_app.engine.scheduler import Chunk
from ovis_app.engine.sequence import Sequence
from ovis_app.models.inputs import assemble
from ovis_app.models.ovis import Ovis
from ovis_app.models.preprocess.values import Visual
from ovis_app.models.prompt import IMAGE, VIDEO, PromptTokenizer, encode_original
from tests.engine.prompts import tiny
from tests.golden_cases import BUNDLED, Case, cases

FAMILIES = ("ovis2.5", "ovis2", "llama")  # Qwen 3, Qwen 2 and a Llama of random weights
LIMITS = ("min_pixels", "max_pixels", "max_partition")


@cache
def checkpoint(folder: Path) -> tuple[Ovis, PromptTokenizer]:
    model = load(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder, config=model.config.llm_config, trust_remote_code=False)
    return model, PromptTokenizer(tokenizer)


def prompts(family: str, *, most: int | None = None) -> tuple[Ovis, list[Sequence]]:
    """A model and its golden cases, those with pictures and without by turns; a Llama has none, and gets its own."""
    if family == "llama":
        made, questions = tiny("llama"), [[("What is 1?", (("image", 1),))], [("Hello! Two and three?", ())]]
        written = [made.written(turns) for turns in questions]
        return made.model, [Sequence(one.ids.tolist(), one.keys, one.visual) for one in written]
    folder = BUNDLED / family / "public-a"
    model, tokenizer = checkpoint(folder / "checkpoint")
    known = sorted(cases("generate", folder=folder), key=lambda case: not case.data["images"])
    known = [case for pair in zip(known, reversed(known), strict=True) for case in pair][: len(known)]
    return model, [sequence(model, tokenizer, case) for case in known[:most]]


@torch.inference_mode()
def sequence(model: Ovis, tokenizer: PromptTokenizer, case: Case) -> Sequence:
    ids, data = encode_original(tokenizer, case.data["prompt"]), case.data
    limits = {name: data[name] for name in LIMITS if data.get(name) is not None}
    media = [Visual("image", (case.image(name),), **limits) for name in data["images"]]
    media += [Visual("video", tuple(map(case.image, names)), **limits) for names in data.get("videos", ())]
    places = sum(token in (IMAGE, VIDEO) for token in ids)
    prompt = assemble(model.config, tokenizer, ids, media[:places])  # the original left the rest out
    visual = None if prompt.pixel_values is None else model.encode(prompt.pixel_values, prompt.grids)
    seen = prompt.ids[prompt.mask.bool()].tolist()
    return Sequence(seen, seen, visual)


def prefilled(runners: SequenceOf[ModelRunner], sequences: SequenceOf[Sequence], room: int) -> list[Chunk]:
    """What decodes next, for sequences whose keys and values are now in the pools of all runners, in blocks that are a
    run for the first, and in no order for the rest, with `room` for more tokens."""
    size, begin = runners[0].pool.block_size, 1
    for number, one in enumerate(sequences):
        end = begin - (-(len(one) + room) // size)
        blocks = range(begin, end)
        one.block_table = list(blocks) if number == 0 else [*blocks[::2][::-1], *blocks[1::2]]
        begin = end
    chunks = [Chunk(one, one.pending) for one in sequences]
    for runner in runners:
        logits = runner.run(chunks)
    assert logits is not None
    return go_on(sequences, logits.argmax(-1).tolist())


def go_on(sequences: SequenceOf[Sequence], tokens: SequenceOf[int]) -> list[Chunk]:
    """What decodes next, after one more token each."""
    for one, token in zip(sequences, tokens, strict=True):
        one.computed = len(one)
        one.append(token)
    return [Chunk(one, 1) for one in sequences]
