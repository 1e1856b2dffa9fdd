"""Tokens a second of one answer: `python -m benchmarks.decode`.

Ours is the engine with one person. The other way is transformers' `generate`, as the original calls it. Same random
weights, same prompts, greedy, one run. Beside them stands the limit: a token can't take less time than it takes to read
what it must, which is the language model without its input table, and the conversation's keys and values. Then the same
with quantized weights, the host's own work a token, and Ovis-mini.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from benchmarks import ways
from benchmarks.report import Headline, arguments, finish, table
from benchmarks.shapes import MINI, SHAPES, device_of, random_model
from benchmarks.ways import Prompt, Way
from ovis_app.checkpoints import bitsandbytes
from ovis_app.checkpoints.load import load
from ovis_app.doctor import speed
from ovis_app.engine.engine import Engine
from ovis_app.engine.model_runner import ModelRunner
from ovis_app.engine.scheduler import Chunk
from ovis_app.engine.streamer import TokenStreamer
from ovis_app.generation import GenerationSettings
from ovis_app.models import memory_speed
from ovis_app.models.ovis import Ovis

GPU_PROMPTS, CPU_PROMPTS = (1000, 4000, 16000), (64, 250, 1000)
OF_LIMIT = {"2b": 0.60, "9b": 0.75}  # goals of a GPU
QUANTIZED = ("int8", "int4")
NO_LIBRARY = "int8 and int4: bitsandbytes isn't installed."
EXPERTS = "int8 and int4: experts aren't quantized."
NO_GPU = "decoding on a GPU: there is none here."
HOST = {
    "greedy": GenerationSettings(max_new_tokens=256),
    "temperature, top-k, top-p": GenerationSettings(max_new_tokens=256, temperature=0.7),
    "with a repetition penalty": GenerationSettings(max_new_tokens=256, temperature=0.7, repetition_penalty=1.1),
}


class Idle(ModelRunner):
    """A model that takes no time, which leaves the host's own work."""

    def run(self, chunks: Sequence[Chunk]) -> Tensor | None:
        ends = sum(chunk.last for chunk in chunks)
        return torch.zeros(ends, self.model.llm.config.vocab_size, device=self.model.device) if ends else None


def asked(tokens: int) -> Prompt:
    return ways.prompt(tokens, tokens, torch.empty(0))


def rate(way: Way, prompt: Prompt) -> float:
    """Tokens a second after the first, as a reader of the stream counts them."""
    heard = TokenStreamer()
    heard.begin(Tokenizer.from_file(str(MINI / "tokenizer.json")))
    way(prompt, heard)
    assert heard.first_time is not None and heard.last_time is not None and heard.count > 1
    return (heard.count - 1) / (heard.last_time - heard.first_time)


def rates(engine: Engine, options: argparse.Namespace, prompts: Sequence[int]) -> dict[int, tuple[float, float]]:
    """Medians of tokens a second by prompt length: ours, then `generate`; the ways take turns."""
    settings = GenerationSettings(max_new_tokens=options.new)
    found = {}
    for tokens in prompts:
        prompt = asked(tokens)
        runs = [
            (rate(ways.ours(engine, settings), prompt), rate(ways.one_at_a_time(engine.runner.model, settings), prompt))
            for _ in range(options.repeats + 1)
        ][1:]  # the first warms up
        found[tokens] = (statistics.median(run[0] for run in runs), statistics.median(run[1] for run in runs))
    return found


def ours_alone(model: Ovis, options: argparse.Namespace, tokens: int) -> float:
    """The median of tokens a second by our engine, of a prompt of `tokens` tokens."""
    settings = GenerationSettings(max_new_tokens=options.new)
    with ways.engine_over(model, people=1, tokens=tokens + options.new) as engine:
        runs = [rate(ways.ours(engine, settings), asked(tokens)) for _ in range(options.repeats + 1)]
    return statistics.median(runs[1:])


def host_seconds(engine: Engine, settings: GenerationSettings) -> float:
    """Seconds a token of choosing, streaming and stopping; the model's step is left out."""
    runner = engine.runner
    engine.runner = Idle(runner.model, runner.pool)
    found = 1 / statistics.median(rate(ways.ours(engine, settings), asked(64)) for _ in range(3))
    engine.runner = runner
    return found


def quantized(model: Ovis, bits: str) -> Ovis:
    """The model, with the linear layers of its language model quantized."""
    llm = model.llm
    weights = {name: module.weight.detach() for name, module in bitsandbytes.linears(llm).items()}
    storage = bitsandbytes.prepare(llm, bits, model.device.type)
    for name, weight in weights.items():
        bitsandbytes.put(llm.get_submodule(name), weight, storage[f"{name}.weight"], model.device)
    return model


def limit(model: Ovis, options: argparse.Namespace) -> dict[str, Any]:
    """Tokens a second that the device's memory allows at most, half way through an answer to the first prompt."""
    known = memory_speed.sheet(options.device)
    read, source = (memory_speed.measured(options.device), "measured") if known is None else (known, "data sheet")
    needed = speed.needed_bytes(model, options.prompts[0] + options.new / 2)
    return {
        "bytes_per_second": read,
        "bytes_per_second_from": source,
        "bytes_needed": needed,
        "tokens_per_second_needed": read / needed,
    }


def mini(options: argparse.Namespace) -> tuple[float, float]:
    """Tokens a second of Ovis-mini: ours, then `generate`."""
    model = load(MINI, device=options.device)
    with ways.engine_over(model, people=1, tokens=64 + options.new) as engine:
        return rates(engine, options, (64,))[64]


def parsed() -> argparse.Namespace:
    parser = arguments(__doc__, shape="44m")
    parser.add_argument("--new", type=int, default=0, help="new tokens of each answer (256 on a GPU, else 48)")
    parser.add_argument("--prompts", type=int, nargs="+", help="prompt lengths in tokens; the headline is of the first")
    parser.add_argument("--bits", nargs="*", choices=QUANTIZED, default=QUANTIZED, help="quantized weights (int8 int4)")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    options.device = device_of(options.device)
    options.gpu = options.device.startswith("cuda")
    options.new = options.new or (256 if options.gpu else 48)
    options.prompts = options.prompts or (GPU_PROMPTS if options.gpu else CPU_PROMPTS)
    return options


def main() -> None:
    options = parsed()
    model = random_model(options.shape, device=options.device)
    with ways.engine_over(model, people=1, tokens=max(*options.prompts, 320) + options.new) as engine:
        found = rates(engine, options, options.prompts)
        host = {name: 1000 * host_seconds(engine, settings) for name, settings in HOST.items()}
    bound, small = limit(model, options), mini(options)
    rows = [(tokens, f"{ours / other:.3g} x", ours, other) for tokens, (ours, other) in found.items()]
    print(f"Tokens a second of one answer: shape {options.shape}, {options.device}\n")
    print(table(("prompt", "ratio", "ours, tokens/s", "generate, tokens/s"), rows))
    print(f"\nWhat the memory allows:\n\n{table(('limit', 'value'), list(bound.items()))}")
    print("\nThe host's own work a token, with a model that takes no time:\n")
    print(table(("sampling", "ms"), list(host.items())))
    ours, other = found[options.prompts[0]]
    headline = [
        Headline("decode", ours, other, "tokens/s", None if options.gpu else 1.5),
        Headline("decode_of_limit", ours, bound["tokens_per_second_needed"], "tokens/s", OF_LIMIT.get(options.shape)),
        Headline("decode_mini", *small, "tokens/s"),
    ]
    unmeasured = [] if options.gpu else [NO_GPU]
    if SHAPES[options.shape].experts is not None:
        unmeasured.append(EXPERTS)
    elif importlib.util.find_spec("bitsandbytes") is None:
        unmeasured.append(NO_LIBRARY)
    else:
        for bits in options.bits:
            made = quantized(random_model(options.shape, device=options.device), bits)
            headline.append(Headline(f"decode_{bits}", ours_alone(made, options, options.prompts[0]), ours, "tokens/s"))
            del made
    details: dict[str, Any] = {"shape": options.shape, "rates": found, "host_ms": host, "limits": bound}
    finish(options, "decode", headline, details=details, unmeasured=unmeasured)


if __name__ == "__main__":
    main()
