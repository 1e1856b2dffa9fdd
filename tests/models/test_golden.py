"""Every Ovis computes what its original computes: each recorded golden case is a test of its own.

The bundled cases are of three generations; OVIS_GOLDEN names folders with more.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence as SequenceOf
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from ovis_app.checkpoints.load import load
from ovis_app.checkpoints.tokenizer import Ending
from ovis_app.engine.engine import Engine
from ovis_app.engine.sequence import Sequence
from ovis_app.engine.thinking_budget import ThinkingBudget
from ovis_app.generation import GenerationSettings
from ovis_app.models.families.table import FAMILIES
from ovis_app.models.inputs import PixelPrompt, assemble, chat_format
from ovis_app.models.ovis import Ovis
from ovis_app.models.preprocess.cells import best_grid
from ovis_app.models.preprocess.tiling import tile_ids
from ovis_app.models.preprocess.values import Visual
from ovis_app.models.prompt import (
    IMAGE,
    PLACEHOLDERS,
    VIDEO,
    VISUAL_ATOM,
    PromptTokenizer,
    Turn,
    encode_original,
    encode_turns,
    expand,
)
from ovis_app.training.finetune.formats import Turn as Said
from ovis_app.training.finetune.labels import labelled
from tests.engine.engines import engine_made
from tests.engine.prompts import Written
from tests.golden_cases import BUNDLED, Case, cases, folders, read_cases

ROLES = {"system": "system", "human": "user", "gpt": "assistant"}


@cache
def checkpoint(folder: Path, dtype: torch.dtype = torch.float32) -> tuple[Ovis, PromptTokenizer, Any]:
    model = load(folder / "checkpoint", dtype=dtype)
    tokenizer = AutoTokenizer.from_pretrained(
        folder / "checkpoint", config=model.config.llm_config, trust_remote_code=False
    )
    return model, PromptTokenizer(tokenizer), tokenizer


def each(*kinds: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", list(cases(*kinds)), ids=str)


def visuals(case: Case) -> list[Visual]:
    """The case's media, with the limits that it was recorded with."""
    data = case.data
    limits = {name: data[name] for name in ("min_pixels", "max_pixels", "max_partition") if data.get(name) is not None}
    images = [Visual("image", (case.image(name),), **limits) for name in data["images"]]
    clips = [Visual("video", tuple(case.image(n) for n in names), **limits) for names in data.get("videos", ())]
    return images + clips


def close(actual: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)


def assert_near(actual: torch.Tensor, expected: torch.Tensor, *, share: float) -> None:
    """For bfloat16: the distance is at most this share of the whole, however large a checkpoint's logits are. Of some
    tiny ones they spread by less than 0.5, of others their largest error is nearly that: no one number fits both."""
    assert float((actual - expected).norm()) < share * float(expected.norm())


def places(ids: list[int]) -> int:
    return sum(token in (IMAGE, VIDEO) for token in ids)


def prompt_of(case: Case) -> PixelPrompt:
    """The recorded prompt string with the original's habits; pictures beyond its places are left out, as there."""
    model, tokenizer, _ = checkpoint(case.folder)
    ids = encode_original(tokenizer, case.data["prompt"])
    return assemble(model.config, tokenizer, ids, visuals(case)[: places(ids)])


def as_recorded(prompt: PixelPrompt, tokens_per_tile: int | None) -> list[int]:
    """The prompt's ids as the recordings write them: tiles as one visual atom each."""
    ids = prompt.ids.tolist()
    if tokens_per_tile is None:
        return ids
    out: list[int] = []
    run = 0
    for token in ids:
        run = run + 1 if token == -300 else 0
        if run == 0 or run % tokens_per_tile == 1 or tokens_per_tile == 1:
            out.append(token)
    return out


@each("generate")
def test_golden_generate(case: Case) -> None:
    model, _, _ = checkpoint(case.folder)
    data, arrays = case.data, case.arrays
    prompt = prompt_of(case)
    per_tile = int(arrays["n_tokens_per_crop"]) if "n_tokens_per_crop" in arrays else None
    assert as_recorded(prompt, per_tile) == arrays["input_ids"][0].tolist()
    if prompt.pixel_values is not None:
        if "grid_thws" in arrays:
            assert [list(grid) for grid in prompt.grids] == arrays["grid_thws"].tolist()
        compare_visuals(model, prompt, arrays)
    embeddings = embedded(model, prompt)
    mask, kept = prompt.mask, slice(None)
    longest = read_config(case.folder).get("multimodal_max_length")
    if longest and embeddings.shape[1] > longest:  # the original cuts; the app refuses such a prompt instead
        kept = slice(None, longest) if model.config.family == "ovis1_6" else slice(-longest, None)
        embeddings, mask = embeddings[:, kept], mask[kept]
    if "attention_mask" in arrays:
        assert mask.tolist() == arrays["attention_mask"][0].tolist()
    close(last_logits(model, embeddings, mask).numpy(), arrays["last_logits"], 1e-4)
    settings = GenerationSettings(max_new_tokens=data["max_new_tokens"])
    ids = engine_of(case).generate(written(model, prompt, kept), settings).tolist()
    assert ids[: data["n_safe"]] == arrays["generated_ids"].tolist()[: data["n_safe"]]


@pytest.mark.long
@each("generate")
def test_golden_with_what_is_remembered(case: Case) -> None:
    """Asked after half of it was computed, and again, a case gives the same tokens, and computes a block at most."""
    model, _, _ = checkpoint(case.folder)
    data, prompt = case.data, prompt_of(case)
    longest = read_config(case.folder).get("multimodal_max_length")
    if longest and len(prompt.ids) > longest:
        pytest.skip("the original cut this prompt")
    settings = GenerationSettings(max_new_tokens=data["max_new_tokens"])
    engine, half = engine_of(case), slice(None, len(prompt.ids) // 2)
    engine.blocks.clear()
    engine.generate(written(model, prompt, half), settings)
    for _ in range(2):
        asked = written(model, prompt)
        seen = asked.mask.bool()
        kept = Sequence(asked.ids[seen].tolist(), [key for key, one in zip(asked.keys, seen, strict=True) if one])
        known = len(engine.blocks.known(kept)) * engine.blocks.block_size
        ids = engine.generate(asked, settings).tolist()
        assert ids[: data["n_safe"]] == case.arrays["generated_ids"].tolist()[: data["n_safe"]]
    assert len(kept) - known <= engine.blocks.block_size


@pytest.mark.parametrize("folder", folders(), ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def test_golden_cases_beside_one_another(folder: Path) -> None:
    """All cases of a folder at once: each gives the tokens that it gives alone."""
    model, _, _ = checkpoint(folder)
    longest = read_config(folder).get("multimodal_max_length")
    answers = []
    for case in cases("generate", folder=folder):
        prompt = prompt_of(case)
        if not longest or len(prompt.ids) <= longest:
            settings = GenerationSettings(max_new_tokens=case.data["max_new_tokens"])
            engine = engine_of(case)
            answers.append((case, engine, engine.add(written(model, prompt), settings)))
    for engine in {id(engine): engine for _, engine, _ in answers}.values():
        engine.run()
    for case, _, answer in answers:
        safe = case.data["n_safe"]
        assert answer.wait().tolist()[:safe] == case.arrays["generated_ids"].tolist()[:safe], str(case)


def engine_of(case: Case) -> Engine:
    """One for each checkpoint and ending; whoever asks drives it."""
    return engine_for(case.folder, tuple(case.data["eos_token_id"]))


@cache
def engine_for(folder: Path, eos: tuple[int, ...]) -> Engine:
    model, _, _ = checkpoint(folder)
    return engine_made(model, Ending(eos, eos[0]), blocks=1024)


@torch.inference_mode()
def written(model: Ovis, prompt: PixelPrompt, kept: slice = slice(None)) -> Written:
    """A prompt as the engine takes it, or a part of it; pictures are named by what they become."""
    visual = encoded(model, prompt)
    rows = torch.zeros(len(prompt.ids), dtype=torch.bool)
    rows[kept] = True
    keys = prompt.ids.tolist()
    if visual is not None:
        name = int.from_bytes(hashlib.sha256(visual.numpy().tobytes()).digest()[:6]) + 1000
        keys = [-name if token == VISUAL_ATOM else token for token in keys]
        visual = visual[rows[prompt.ids == VISUAL_ATOM]]
    return Written(prompt.ids[kept], prompt.mask[kept], tuple(keys[kept]), visual)


@torch.inference_mode()
def embedded(model: Ovis, prompt: PixelPrompt) -> torch.Tensor:
    return model.embed(prompt.ids, encoded(model, prompt))


@torch.inference_mode()
def embedded_with(model: Ovis, prompt: PixelPrompt, visual: torch.Tensor | None) -> torch.Tensor:
    return model.embed(prompt.ids, visual)


@torch.inference_mode()
def encoded(model: Ovis, prompt: PixelPrompt) -> torch.Tensor | None:
    if prompt.pixel_values is None:
        return None
    return model.encode(prompt.pixel_values.to(model.dtype), prompt.grids)


def read_config(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "checkpoint" / "config.json").read_text(encoding="utf-8")))


@torch.inference_mode()
def compare_visuals(model: Ovis, prompt: PixelPrompt, arrays: dict[str, np.ndarray]) -> None:
    assert prompt.pixel_values is not None
    rows = prompt.pixel_values.flatten(1).numpy()
    recorded = arrays["pixel_values_rows"]
    rows = rows.reshape(-1, recorded.shape[1])
    assert np.array_equal(rows[arrays["pixel_values_rows_idx"]], recorded), "pixels differ"
    visual = model.encode(prompt.pixel_values, prompt.grids).numpy()
    close(visual[arrays["visual_embeds_rows_idx"]], arrays["visual_embeds_rows"], 1e-5)


@torch.inference_mode()
def last_logits(model: Ovis, embeddings: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    positions = (mask.cumsum(0) - 1).clamp(min=0)
    model.set_attention(model.config.attention)
    output = model.llm(inputs_embeds=embeddings, attention_mask=mask[None], position_ids=positions[None])
    return output.logits[0, -1].float()


def turns_of(conversations: list[dict[str, str]]) -> list[Turn]:
    """Recorded messages as turns; the recordings write placeholders into the text."""
    return [Turn(ROLES[message["from"]], parts(message["value"])) for message in conversations]


def parts(text: str) -> tuple[str | int, ...]:
    for tag, placeholder in PLACEHOLDERS.items():
        if tag in text:
            before, _, after = text.partition(tag)
            return (*parts(before), placeholder, *parts(after)) if before else (placeholder, *parts(after))
    return (text,) if text else ()


@each("generate")
def test_golden_prompt_from_turns(case: Case) -> None:
    """The app's own road from messages to ids gives the recorded prompt, wherever no control string was typed."""
    model, tokenizer, _ = checkpoint(case.folder)
    conversations = case.data["conversations"]
    if any(token in message["value"] for message in conversations for token in tokenizer.controls):
        pytest.skip("a typed control string is text in the app")
    thinking = bool(case.data.get("enable_thinking", False))
    ids = encode_turns(tokenizer, chat_format(model.config), turns_of(conversations), thinking=thinking)
    assert ids == encode_original(tokenizer, case.data["prompt"])


@pytest.mark.long
@each("generate")
def test_golden_bfloat16(case: Case) -> None:
    """In bfloat16 the last logits stay near float32's."""
    model, _, _ = checkpoint(case.folder, torch.bfloat16)
    prompt = prompt_of(case)
    longest = read_config(case.folder).get("multimodal_max_length")
    if longest and len(prompt.ids) > longest:
        pytest.skip("the original cut this prompt")
    visual = encoded(model, prompt)
    if model.visual_tokenizer.one_hot and visual is not None:
        exact, _, _ = checkpoint(case.folder)
        visual = words_of_both(exact, model, prompt)
    logits = last_logits(model, embedded_with(model, prompt, visual), prompt.mask)
    assert_near(logits, torch.from_numpy(case.arrays["last_logits"]), share=0.15)


@torch.inference_mode()
def words_of_both(exact: Ovis, rough: Ovis, prompt: PixelPrompt) -> torch.Tensor:
    """Compares one-hot visual tokens of a model in float32 and in bfloat16, up to where they can be: rounding may turn
    a near tie, and another word is another row of the table, with logits as far as you like. So the tower's features
    must be near, a word that bfloat16 chooses must be as good as float32's but for rounding, and most must be the same.
    Returns the embeddings of float32's words, from which on logits can be compared again."""
    assert prompt.pixel_values is not None
    features = exact.visual_tokenizer.features(prompt.pixel_values, prompt.grids)
    rounded = rough.visual_tokenizer.features(prompt.pixel_values.to(rough.dtype), prompt.grids)
    assert_near(rounded.float(), features, share=0.05)
    scores = exact.visual_tokenizer.head(features)
    rows = rough.encode(prompt.pixel_values.to(rough.dtype), prompt.grids)
    same = (rows[:, None] == rough.words).all(-1)  # [visual tokens, words]
    assert same.any(-1).all(), "a visual token is no row of the table"
    words, chosen = scores.argmax(-1), same.float().argmax(-1)
    best, good = (scores.gather(-1, which[:, None])[:, 0] for which in (words, chosen))
    assert (best - good).max() < 0.25 * scores.std()
    assert (words == chosen).float().mean() > 0.7
    return rough.words[words]


@cache
def one_hot(generation: str, dtype: torch.dtype) -> Ovis:
    """The bundled checkpoint, as if it had been released with one-hot visual tokens."""
    model = load(BUNDLED / generation / "public-a" / "checkpoint", dtype=dtype)
    model.visual_tokenizer.one_hot = True
    return model


@pytest.mark.long
@pytest.mark.parametrize("generation", ["ovis1.6", "ovis2"])
def test_one_hot_visual_tokens_in_bfloat16(generation: str) -> None:
    exact, rough = one_hot(generation, torch.float32), one_hot(generation, torch.bfloat16)
    compared = 0
    for case in cases("generate", folder=BUNDLED / generation / "public-a"):
        prompt = prompt_of(case)
        if prompt.pixel_values is not None:
            embeddings = embedded_with(rough, prompt, words_of_both(exact, rough, prompt))
            expected = last_logits(exact, embedded(exact, prompt), prompt.mask)
            assert_near(last_logits(rough, embeddings, prompt.mask), expected, share=0.15)
            compared += 1
    assert compared > 15


@each("labels")
def test_golden_labels(case: Case) -> None:
    model, tokenizer, _ = checkpoint(case.folder)
    family = FAMILIES[model.config.family]
    turns = [Said(turn["from"], turn["value"]) for turn in case.data["conversations"]]
    spans = [family.pixels(model.config, visual).ids for visual in visuals(case)]
    found = labelled(tokenizer, chat_format(model.config), family, turns).with_visuals(spans)
    assert list(found.ids) == case.arrays["input_ids"][0].tolist()
    assert list(found.labels) == case.arrays["labels"][0].tolist()


class Forced(ThinkingBudget):
    """Forces the recorded token at the recorded step, else what a budget forces."""

    def __init__(self, tokens: dict[int, int], budget: ThinkingBudget | None) -> None:
        self.tokens, self.rule = tokens, budget
        super().__init__(
            budget=10**9 if budget is None else budget.budget,
            early_stop=[] if budget is None else budget.early_stop,
            think_end=-1 if budget is None else budget.think_end,
        )

    def forced(self, generated: SequenceOf[int]) -> int | None:
        token = self.tokens.get(len(generated))
        return token if token is not None or self.rule is None else self.rule.forced(generated)


def earlier_visuals(case: Case) -> list[Visual]:
    """Pictures of the turns before: recorded with the chat case that asked them."""
    history = case.data["history_conversations"][:-2]
    found: list[Visual] = []
    for end in range(2, len(history) + 1, 2):
        for other in cases("chat", folder=case.folder):
            if other.data["history_conversations"] == history[:end]:
                found += visuals(other)
                break
    return found


@each("chat")
def test_golden_chat(case: Case) -> None:
    model, tokenizer, hub_tokenizer = checkpoint(case.folder)
    data, options = case.data, case.data["chat_kwargs"]
    token_ids, chat = read_cases(case.folder)["token_ids"], chat_format(model.config)
    turns = turns_of([*data["history_conversations"][:-2], {"from": "human", "value": data["prompt_user"]}])
    ids = encode_turns(tokenizer, chat, turns, thinking=options.get("enable_thinking", False))
    prompt = assemble(model.config, tokenizer, ids, [*earlier_visuals(case), *visuals(case)])
    assert len(prompt.ids) == data["n_input"]
    early = tokenizer.trusted(chat.early_stop)
    assert early == read_cases(case.folder)["early_stop_ids"]
    budget = None
    if options.get("enable_thinking") and options.get("thinking_budget"):
        end = tokenizer.control(chat.think_end)
        budget = ThinkingBudget(budget=options["thinking_budget"], early_stop=early, think_end=end)
    forced = Forced({int(step): token for step, token in data["force"].items()}, budget)
    settings = GenerationSettings(max_new_tokens=options["max_new_tokens"])
    engine = engine_for(case.folder, (token_ids["<|im_end|>"],))
    answer = engine.generate(written(model, prompt), settings, budget=forced).tolist()
    assert answer == case.arrays["answer_ids"].tolist()
    assert recorded_text(hub_tokenizer, answer, token_ids, options) == (data["thinking"], data["response"])


def recorded_text(tokenizer: Any, ids: list[int], tokens: dict[str, int], options: dict[str, Any]) -> tuple[str, str]:
    """(thinking, answer) as the recordings write them: the thought keeps its closing tag."""
    end = tokens["</think>"]
    cut = ids.index(end) + 1 if options.get("enable_thinking") and end in ids else 0

    def decode(part: list[int]) -> str:
        return str(tokenizer.decode(part, skip_special_tokens=True)).strip()

    return decode(ids[:cut]), decode(ids[cut:])


@each("error")
def test_golden_error(case: Case) -> None:
    """Where the original fails on a picture or a system text we answer; where the prompt itself is wrong we say so."""
    model, tokenizer, _ = checkpoint(case.folder)
    turns = turns_of(case.data["conversations"])
    ids = encode_turns(tokenizer, chat_format(model.config), turns, thinking=False)
    media = visuals(case)
    if places(ids) != len(media):
        with pytest.raises(ValueError, match="places for"):
            assemble(model.config, tokenizer, ids, media)
        return
    prompt = assemble(model.config, tokenizer, ids, media)
    embeddings = embedded(model, prompt)
    assert torch.isfinite(embeddings).all()
    assert embeddings.shape[1] == len(prompt.ids)


GRIDS = [file for folder in folders() for file in [folder / "partition_grids.json"] if file.is_file()]


@pytest.mark.parametrize("file", GRIDS, ids=lambda file: f"{file.parent.parent.name}-{file.parent.name}")
def test_golden_tile_grids(file: Path) -> None:
    """The tile grid of every recorded picture size."""
    recorded = json.loads(file.read_text(encoding="utf-8"))
    compared = 0
    for row in recorded["grids"]:
        if "error" in row:
            continue
        grid = best_grid(row["w"], row["h"], side=recorded["side"], max_partition=row["max_partition"])
        assert list(tile_ids(grid, 1)) == row["placeholders"], row
        compared += 1
    assert compared > 100


def test_expand_refuses_too_few_places() -> None:
    with pytest.raises(ValueError, match="1 places for 2"):
        expand([IMAGE], [(-301, -300, -302), (-301, -300, -302)])


def test_golden_directories_are_found() -> None:
    generations = {read_cases(folder)["generation"] for folder in folders()}
    assert generations >= {"ovis1.6", "ovis2", "ovis2.5"}
    assert set(FAMILIES) == {"ovis1_6", "ovis2", "ovis2_5", "ovis2_6"}
