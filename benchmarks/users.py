"""Tokens a second for several users at once: `python -m benchmarks.users`.

Ours is the batched engine, asked from as many threads as there are users. The other way is one at a time: the solo
engine behind a queue. The same random weights and prompts, in turn, in one run. `--vllm` also asks vLLM, where it is
installed, with text alone.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor

from benchmarks.report import Headline, arguments, finish, table
from benchmarks.shapes import device_of, random_model
from ovis_app.checkpoints.tokenizer import Ending
from ovis_app.engine import solo
from ovis_app.engine.batched import BatchedEngine
from ovis_app.engine.decode import Decoder, warm_up
from ovis_app.engine.pages import Sizes
from ovis_app.generation import GenerationSettings
from ovis_app.models.ovis import Ovis
from ovis_app.models.prompt import VISUAL_ATOM

USERS = (1, 2, 4, 8, 16, 32)
GOAL = 8.0  # of 16 users at once over one, on a GPU


@dataclass(frozen=True)
class Prompt:
    """A prompt as engines take it; see `ovis_app.engine.slots.Prompt`."""

    ids: Tensor
    mask: Tensor
    keys: tuple[int, ...]
    visual: Tensor | None


class FirstToken:
    """A streamer that notes when the first token came."""

    def __init__(self, start: float) -> None:
        self.start, self.seconds = start, 0.0

    def put(self, value: Tensor) -> None:
        if value.numel() and not self.seconds:
            self.seconds = time.perf_counter() - self.start

    def end(self) -> None:
        pass


@dataclass(frozen=True)
class Rate:
    """What all users together got: tokens a second, and the median wait for a first token in seconds."""

    tokens: float
    first: float


_numbers = count()


def prompts(model: Ovis, users: int, tokens: int, visual: int) -> list[Prompt]:
    """Prompts that nobody has asked before, of `tokens` tokens, `visual` of them a picture's."""
    made = []
    for number in (next(_numbers) for _ in range(users)):
        noise = torch.Generator().manual_seed(number)
        text = torch.randint(1, 8000, (tokens - visual - (2 if visual else 0),), generator=noise).tolist()
        picture = [-301, *[VISUAL_ATOM] * visual, -302] if visual else []
        ids = text[:8] + picture + text[8:]
        keys = tuple(-(1 << 21) - number if token == VISUAL_ATOM else token for token in ids)
        rows = torch.randn(visual, model.config.llm_config.hidden_size, generator=noise) * 0.02
        rows = rows.to(model.device, model.dtype)
        made.append(Prompt(torch.tensor(ids), torch.ones(len(ids)).long(), keys, rows if visual else None))
    return made


def rate(asked: Sequence[Prompt], answer: Callable[[Prompt, Any], Tensor]) -> Rate:
    """All prompts at once, each from a thread of its own."""
    start = time.perf_counter()
    heard = [FirstToken(start) for _ in asked]
    with ThreadPoolExecutor(len(asked)) as threads:
        tokens = sum(len(ids) for ids in threads.map(answer, asked, heard))
    return Rate(tokens / (time.perf_counter() - start), statistics.median(one.seconds for one in heard))


def one_at_a_time(
    model: Ovis, settings: GenerationSettings, ending: Ending, decoder: Decoder | None
) -> Callable[[Prompt, Any], Tensor]:
    """The solo engine behind a queue, as fast as whoever is alone has it: an answer begins once those that came before
    are over."""
    queue = ThreadPoolExecutor(1)

    def answer(prompt: Prompt, streamer: Any) -> Tensor:
        embeddings = solo.embeddings(model, prompt.ids, prompt.visual)
        return solo.generate(model, embeddings, settings, ending=ending, streamer=streamer, decoder=decoder)

    return lambda prompt, streamer: queue.submit(answer, prompt, streamer).result()


def vllm_rates(model: Ovis, users: Sequence[int], options: argparse.Namespace) -> dict[int, float]:
    """Tokens a second of vLLM on the same language model, with prompts of text."""
    from vllm import LLM, SamplingParams

    with tempfile.TemporaryDirectory() as folder:
        model.llm.save_pretrained(folder)
        other = LLM(folder, skip_tokenizer_init=True, dtype=str(model.dtype).removeprefix("torch."))
    params = SamplingParams(temperature=0.0, max_tokens=options.new, ignore_eos=True, detokenize=False)
    found = {}
    for number in users:
        asked = [{"prompt_token_ids": one.ids.tolist()} for one in prompts(model, number, options.tokens, 0)]
        start = time.perf_counter()
        other.generate(asked, params, use_tqdm=False)
        found[number] = number * options.new / (time.perf_counter() - start)
    return found


def flags() -> argparse.ArgumentParser:
    parser = arguments(__doc__, shape="44m")
    parser.add_argument("--users", type=int, default=16, help="how many at most (16; up to 32)")
    parser.add_argument("--tokens", type=int, default=256, help="tokens of each prompt")
    parser.add_argument("--visual", type=int, default=128, help="how many of them are a picture's")
    parser.add_argument("--new", type=int, default=64, help="new tokens of each answer")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--vllm", action="store_true", help="also ask vLLM, if it is installed")
    return parser


def measured(
    model: Ovis,
    engine: BatchedEngine,
    users: Sequence[int],
    options: argparse.Namespace,
    decoder: Decoder | None = None,
) -> dict[int, tuple[Rate, Rate]]:
    """Medians of both ways, by users: ours, then one at a time."""
    settings = GenerationSettings(max_new_tokens=options.new)

    def ours(prompt: Prompt, streamer: Any) -> Tensor:
        return engine.generate(prompt, settings, streamer=streamer)

    def all_ways(number: int) -> list[Rate]:
        return [rate(prompts(model, number, options.tokens, options.visual), way) for way in ways]

    ways = (ours, one_at_a_time(model, settings, engine.ending, decoder))
    all_ways(2)  # nobody's first use of a kernel is measured
    found = {}
    for number in users:
        runs = [all_ways(number) for _ in range(options.repeats)]
        ours_rate, other_rate = (middle([run[place] for run in runs]) for place in (0, 1))
        found[number] = (ours_rate, other_rate)
    return found


def middle(rates: Sequence[Rate]) -> Rate:
    return Rate(statistics.median(one.tokens for one in rates), statistics.median(one.first for one in rates))


def summary(found: dict[int, tuple[Rate, Rate]], gpu: bool) -> list[Headline]:
    rows = [Headline(f"users_{n}", ours.tokens, other.tokens, "tokens/s") for n, (ours, other) in found.items()]
    if 16 in found and 1 in found:
        goal = GOAL if gpu else None
        rows.append(Headline("users_16_beside_one", found[16][0].tokens, found[1][1].tokens, "tokens/s", goal))
    return rows


def main() -> None:
    options = flags().parse_args()
    device = device_of(options.device)
    model = random_model(options.shape, device=device)
    users = [number for number in USERS if number <= options.users]
    ending = Ending((model.config.llm_config.vocab_size,), 0)  # no answer ends by itself
    room = (options.tokens + options.new) * max(users)
    sizes = None if device.startswith("cuda") else Sizes(pages=2 * room // 32 + 64, slots=2 * room + 64)
    decoder = warm_up(model, context=options.tokens + options.new)  # None without a GPU
    engine = BatchedEngine(model, ending, sizes)
    engine.warm()
    found = measured(model, engine, users, options, decoder)
    engine.close()
    rows = [
        (n, f"{ours.tokens / other.tokens:.2f} x", ours.tokens, other.tokens, ours.first, other.first)
        for n, (ours, other) in found.items()
    ]
    columns = ("users", "ratio", "at once, tokens/s", "one at a time, tokens/s", "first token, s", "one at a time, s")
    shape = f"{options.shape}, {device}; {options.tokens} tokens asked, {options.visual} visual; {options.new} new"
    print(f"Tokens a second of all users together: {shape}\n\n{table(columns, rows)}")
    details: dict[str, Any] = {"shape": options.shape, "tokens": options.tokens, "visual": options.visual}
    details["by_users"] = {
        n: {"ours": ours.tokens, "other": other.tokens, "first": ours.first, "other_first": other.first}
        for n, (ours, other) in found.items()
    }
    unmeasured = [] if device.startswith("cuda") else ["CUDA graphs and flash attention: there is no GPU here."]
    if options.vllm and importlib.util.find_spec("vllm") is None:
        unmeasured.append("vLLM: it isn't installed.")
    elif options.vllm:
        details["vllm"] = theirs = vllm_rates(model, users, options)
        lines = [(n, f"{found[n][0].tokens / theirs[n]:.2f} x", found[n][0].tokens, theirs[n]) for n in users]
        print(f"\nBeside vLLM:\n\n{table(('users', 'ratio', 'ours, tokens/s', 'vLLM, tokens/s'), lines)}")
    finish(options, "users", summary(found, device.startswith("cuda")), details=details, unmeasured=unmeasured)


if __name__ == "__main__":
    main()
