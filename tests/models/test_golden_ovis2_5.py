"""Ovis2.5 computes what the original computes: every recorded golden case, one test each."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, LogitsProcessor

from ovis_app.engine import solo
from ovis_app.engine.budget import ThinkingBudget
from ovis_app.generation import GenerationSettings
from ovis_app.models.ovis import Ovis, load
from ovis_app.models.ovis2_5 import CHAT, Prompt, Visual, assemble, user_content
from ovis_app.models.prompt import PromptTokenizer, Turn, encode_original, encode_training, encode_turns, expand
from tests.golden_cases import Case, cases, read_cases

GENERATION = "ovis2.5"


@cache
def checkpoint(folder: Path) -> tuple[Ovis, PromptTokenizer, object]:
    tokenizer = AutoTokenizer.from_pretrained(folder / "checkpoint", trust_remote_code=False)
    return load(folder / "checkpoint"), PromptTokenizer(tokenizer), tokenizer


def each(*kinds: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", list(cases(GENERATION, *kinds)), ids=str)


def visuals(case: Case) -> list[Visual]:
    data = case.data
    limits = data["min_pixels"], data["max_pixels"]
    images = [Visual("image", (case.image(name),), *limits) for name in data["images"]]
    clips = [Visual("video", tuple(case.image(name) for name in names), *limits) for names in data["videos"]]
    return images + clips


def close(actual: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)


@each("generate")
def test_golden_generate(case: Case) -> None:
    model, tokenizer, _ = checkpoint(case.folder)
    data, arrays = case.data, case.arrays
    prompt = assemble(model.config, encode_original(tokenizer, data["prompt"]), visuals(case))
    assert prompt.ids.tolist() == arrays["input_ids"][0].tolist()
    if prompt.pixel_values is not None:
        assert [list(grid) for grid in prompt.grids] == arrays["grid_thws"].tolist()
        rows = prompt.pixel_values.numpy()[arrays["pixel_values_rows_idx"]]
        assert np.array_equal(rows, arrays["pixel_values_rows"]), "pixels differ"
        with torch.inference_mode():
            visual = model.encode(prompt.pixel_values, prompt.grids).numpy()
        close(visual[arrays["visual_embeds_rows_idx"]], arrays["visual_embeds_rows"], 1e-5)
    embeddings = solo.embeddings(model, prompt)
    with torch.inference_mode():
        logits = model.llm(inputs_embeds=embeddings).logits[0, -1].numpy()
    close(logits, arrays["last_logits"], 1e-4)
    settings = GenerationSettings(max_new_tokens=data["max_new_tokens"])
    ending = solo.Ending(tuple(data["eos_token_id"]), data["eos_token_id"][0])
    ids = solo.generate(model, embeddings, settings, ending=ending).tolist()
    assert ids[: data["n_safe"]] == arrays["generated_ids"].tolist()[: data["n_safe"]]


@each("labels")
def test_golden_labels(case: Case) -> None:
    _, tokenizer, _ = checkpoint(case.folder)
    turns = history_turns(case.data["conversations"])
    ids, labels = encode_training(tokenizer, CHAT, turns)
    prompt = assemble(checkpoint(case.folder)[0].config, ids, visuals(case))
    assert prompt.ids.tolist() == case.arrays["input_ids"][0].tolist()
    learnt = [label for label in case.arrays["labels"][0].tolist() if label != -100]
    assert [label for label in labels if label != -100] == learnt


def history_turns(conversations: list[dict[str, str]]) -> list[Turn]:
    """Recorded messages as turns; the recordings write placeholders into the text."""
    roles = {"system": "system", "human": "user", "gpt": "assistant"}
    turns = []
    for message in conversations:
        text = message["value"]
        kinds = []
        for tag, kind in (("<image>\n", "image"), ("<video>\n", "video")):
            while text.startswith(tag):
                text, kinds = text.removeprefix(tag), [*kinds, kind]
        turns.append(Turn(roles[message["from"]], user_content(text, kinds)))
    return turns


class Forced(LogitsProcessor):
    """Forces the recorded token at the recorded step."""

    def __init__(self, tokens: dict[int, int]) -> None:
        self.tokens = tokens

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        token = self.tokens.get(input_ids.shape[1])
        if token is not None:
            scores[:] = torch.finfo(scores.dtype).min
            scores[:, token] = 0
        return scores


def earlier_visuals(case: Case) -> list[Visual]:
    """Pictures of the turns before: recorded with the chat case that asked them."""
    history = case.data["history_conversations"][:-2]
    found: list[Visual] = []
    for end in range(2, len(history) + 1, 2):
        for other in cases(GENERATION, "chat"):
            if other.folder == case.folder and other.data["history_conversations"] == history[:end]:
                found += visuals(other)
                break
    return found


def chat_prompt(case: Case, model: Ovis, tokenizer: PromptTokenizer) -> Prompt:
    history = case.data["history_conversations"]
    turns = history_turns([*history[:-2], {"from": "human", "value": case.data["prompt_user"]}])
    thinking = case.data["chat_kwargs"].get("enable_thinking", False)
    ids = encode_turns(tokenizer, CHAT, turns, thinking=thinking)
    return assemble(model.config, ids, [*earlier_visuals(case), *visuals(case)])


@each("chat")
def test_golden_chat(case: Case) -> None:
    model, tokenizer, hub_tokenizer = checkpoint(case.folder)
    data, options = case.data, case.data["chat_kwargs"]
    token_ids = read_cases(case.folder)["token_ids"]
    prompt = chat_prompt(case, model, tokenizer)
    assert len(prompt.ids) == data["n_input"]
    early = tokenizer.trusted(CHAT.early_stop)
    assert early == read_cases(case.folder)["early_stop_ids"]
    budget = None
    if options.get("enable_thinking") and options.get("thinking_budget"):
        end = tokenizer.control(CHAT.think_end)
        budget = ThinkingBudget(budget=options["thinking_budget"], early_stop=early, think_end=end)
    ids = solo.generate(
        model,
        solo.embeddings(model, prompt),
        GenerationSettings(max_new_tokens=options["max_new_tokens"]),
        ending=solo.Ending((token_ids["<|im_end|>"],), token_ids["<|endoftext|>"]),
        budget=budget,
        processors=(Forced({int(step): token for step, token in data["force"].items()}),),
    ).tolist()
    assert ids == case.arrays["answer_ids"].tolist()
    assert recorded_text(hub_tokenizer, ids, token_ids, options) == (data["thinking"], data["response"])


def recorded_text(tokenizer: object, ids: list[int], tokens: dict[str, int], options: dict) -> tuple[str, str]:
    """(thinking, answer) as the recordings write them: the thought keeps its closing tag."""
    end = tokens["</think>"]
    cut = ids.index(end) + 1 if options.get("enable_thinking") and end in ids else 0
    decode = lambda part: tokenizer.decode(part, skip_special_tokens=True).strip()  # type: ignore[attr-defined]  # noqa: E731
    return decode(ids[:cut]), decode(ids[cut:])


@each("error")
def test_golden_error(case: Case) -> None:
    """Where the original fails on a thin picture we answer; where the prompt itself is wrong we say so."""
    model, tokenizer, _ = checkpoint(case.folder)
    written = encode_original(tokenizer, "".join(turn["value"] for turn in case.data["conversations"]))
    places = sum(token in (-200, -201) for token in written)
    media = visuals(case)
    if places != len(media):
        with pytest.raises(ValueError, match="places for"):
            assemble(model.config, written, media)
        return
    prompt = assemble(model.config, written, media)
    embeddings = solo.embeddings(model, prompt)
    assert torch.isfinite(embeddings).all()
    assert embeddings.shape[1] == len(prompt.ids)


def test_expand_refuses_too_few_places() -> None:
    with pytest.raises(ValueError, match="1 places for 2"):
        expand([-200], [(-301, 4), (-301, 4)])


def test_golden_directories_are_found() -> None:
    assert list(cases(GENERATION, "generate")), "no golden cases: the bundled ones are missing"
