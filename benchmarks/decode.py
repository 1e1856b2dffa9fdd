"""Tokens a second of one answer: `python -m benchmarks.decode`.

Ours is the decoder of the solo engine: static buffers, a compiled step, CUDA graphs. The other way is transformers'
`generate` with its growing cache, as the original calls it. Same random weights, same prompts, greedy, one run. Beside
them stands the limit: one token can't take less than reading the weights once.

Without a GPU nothing can be recorded. Then the same steps are launched one by one, from which a CPU gains nothing,
and what remains to be measured is the host's own work a token, which must hide behind the GPU's.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.report import Headline, arguments, finish, table
from benchmarks.shapes import MINI, device_of, random_model
from ovis_app.checkpoints.tokenizer import Ending
from ovis_app.engine import solo
from ovis_app.engine.decode import Decoder, Eager, Graphs, cache_shape, warm_up
from ovis_app.engine.streamer import TokenStreamer
from ovis_app.generation import GenerationSettings
from ovis_app.models.ovis import Ovis

GPU_PROMPTS, CPU_PROMPTS = (1000, 4000, 16000), (1000, 250)
BANDWIDTH = {"H200": 4.8e12, "H100": 3.35e12, "A100": 2.0e12, "L40S": 0.864e12, "L4": 0.3e12, "4090": 1.008e12}
NO_GPU = (
    "decoding on a GPU (this machine has none): recorded graphs, the compiled step, and both goals, at least 3 x "
    "generate and 0.8 of the limit for --shape 9b"
)
HOST = {
    "greedy": GenerationSettings(max_new_tokens=256),
    "temperature, top-k, top-p": GenerationSettings(max_new_tokens=256, temperature=0.7),
    "with a repetition penalty": GenerationSettings(max_new_tokens=256, temperature=0.7, repetition_penalty=1.1),
}
Way = Callable[[Tensor, GenerationSettings, TokenStreamer], None]


class Idle(Eager):
    """A model that takes no time, which leaves the host's own work."""

    def run(self, chunks: int) -> None: ...


def streamer() -> TokenStreamer:
    from tokenizers import Tokenizer

    made = TokenStreamer()
    made.begin(Tokenizer.from_file(str(MINI / "tokenizer.json")))
    return made


def way(model: Ovis, decoder: Decoder | None) -> Way:
    """An answer to a prompt of ids, by the decoder or by `generate`."""

    def answer(ids: Tensor, settings: GenerationSettings, heard: TokenStreamer) -> None:
        ending = Ending((model.llm.config.vocab_size - 1,), 0)
        embeddings = solo.embeddings(model, ids, None)
        solo.generate(model, embeddings, settings, ending=ending, streamer=heard, decoder=decoder)

    return answer


def rate(answer: Way, ids: Tensor, settings: GenerationSettings) -> float:
    """Tokens a second after the first, as a reader of the stream counts them."""
    heard = streamer()
    answer(ids, settings, heard)
    assert heard.first_time is not None and heard.last_time is not None and heard.count > 1
    return (heard.count - 1) / (heard.last_time - heard.first_time)


def rates(ways: dict[str, Way], options: argparse.Namespace) -> dict[int, dict[str, float]]:
    """Medians of tokens a second by prompt length and way; the ways take turns."""
    settings = GenerationSettings(max_new_tokens=options.new)
    found: dict[int, dict[str, float]] = {}
    for tokens in options.prompts:
        ids = torch.randint(1, 8000, (tokens,), generator=torch.Generator().manual_seed(tokens))
        runs: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(options.repeats + 1):
            for name, answer in ways.items():
                runs[name].append(rate(answer, ids, settings))
        found[tokens] = {name: statistics.median(values[1:]) for name, values in runs.items()}  # the first warms up
    return found


def host_seconds(model: Ovis, settings: GenerationSettings) -> float:
    """Seconds of Python a token: choosing, streaming, stopping; the model's step is left out."""
    decoder = Decoder(model.llm, 1024, runner=Idle)
    ids = torch.randint(1, 8000, (64,))
    return 1 / statistics.median(rate(way(model, decoder), ids, settings) for _ in range(3))


def read_bytes(model: Ovis, tokens: int) -> dict[str, int]:
    """Bytes that one token reads: what it must (the language model without a table of embeddings that only one row is
    taken of, and the cache), and all weights, which is the coarser figure."""
    weights = sum(weight.nbytes for weight in model.llm.parameters())
    config = model.llm.config
    table_bytes = 0 if config.tie_word_embeddings else model.llm.get_input_embeddings().weight.nbytes
    whole = sum(weight.nbytes for weight in model.parameters())
    return {"needed": weights - table_bytes + cache_shape(model.llm).token_bytes * tokens, "weights": whole}


def bandwidth(device: str) -> tuple[float, str]:
    """Bytes a second of the GPU's memory: from its data sheet where the name is known, else as measured here."""
    name = torch.cuda.get_device_name(device)
    known = next((value for key, value in BANDWIDTH.items() if key in name), None)
    if known is not None:
        return known, "data sheet"
    block = torch.empty(1 << 30, dtype=torch.int8, device=device)
    times = []
    for _ in range(5):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(10):
            block.add_(1)
        torch.cuda.synchronize()
        times.append((time.perf_counter() - start) / 10)
    return 2 * block.nbytes / min(times), "measured"


def decoders(model: Ovis, room: int) -> dict[str, Decoder | None]:
    """Ours first, then the other ways. On a GPU also what graphs alone bring."""
    if model.llm.device.type != "cuda":
        return {"launched one by one": Decoder(model.llm, room), "generate": None}
    start = time.perf_counter()
    ours = warm_up(model, context=room)
    if ours is None:
        raise SystemExit("Nothing could be recorded: see the log, or try a smaller --shape.")
    print(f"Warmed up in {time.perf_counter() - start:.1f} s, {len(ours.sizes)} graphs, for {room:,} tokens\n")
    graphs = Decoder(model.llm, room, runner=Graphs)
    graphs.record(lambda done, total: None)
    return {"compiled and recorded": ours, "recorded": graphs, "generate": None}


def limits(model: Ovis, tokens: int, device: str) -> dict[str, Any]:
    """Tokens a second that the GPU's memory allows at most."""
    speed, source = bandwidth(device)
    sizes = read_bytes(model, tokens)
    return {
        "bytes_per_second": speed,
        "bytes_per_second_from": source,
        **{f"tokens_per_second_{name}": speed / size for name, size in sizes.items()},
    }


def headline(row: dict[str, float], bound: dict[str, Any]) -> list[Headline]:
    """The two goals, of the shape 9b: against `generate`, and against the memory's limit as weights / bandwidth."""
    ours = next(iter(row.values()))
    return [
        Headline("decode", ours, row["generate"], "tokens/s", 3.0),
        Headline("decode_of_limit", ours, bound["tokens_per_second_weights"], "tokens/s", 0.8),
    ]


def parsed() -> argparse.Namespace:
    parser = arguments(__doc__, shape="44m")
    parser.add_argument("--new", type=int, default=0, help="new tokens of each answer (256 on a GPU, else 48)")
    parser.add_argument("--prompts", type=int, nargs="+", help="prompt lengths in tokens; the headline is of the first")
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
    made = decoders(model, max(options.prompts) + options.new)
    found = rates({name: way(model, decoder) for name, decoder in made.items()}, options)
    rows = [
        (tokens, f"{next(iter(row.values())) / row['generate']:.3g} x", *row.values()) for tokens, row in found.items()
    ]
    print(f"Tokens a second of one answer: shape {options.shape}, {options.device}\n")
    print(table(("prompt", "ratio", *(f"{name}, tokens/s" for name in made)), rows))
    host = {name: 1000 * host_seconds(model, settings) for name, settings in HOST.items()}
    print("\nThe host's own work a token, with a model that takes no time:\n")
    print(table(("sampling", "ms"), list(host.items())))
    details: dict[str, Any] = {"shape": options.shape, "rates": found, "host_ms": host}
    if not options.gpu:
        finish(options, "decode", [], details=details, unmeasured=[NO_GPU])
        return
    details["limits"] = bound = limits(model, options.prompts[0], options.device)
    print("\nWhat the GPU's memory allows:\n")
    print(table(("limit", "value"), list(bound.items())))
    finish(options, "decode", headline(found[options.prompts[0]], bound), details=details)


if __name__ == "__main__":
    main()
