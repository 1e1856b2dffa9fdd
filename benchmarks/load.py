"""Memory and time of loading a checkpoint, and what quantizing it changes: `python -m benchmarks.load`.

Peak resident size over the process's own before loading, beside the size of the loaded weights: the app's loader, the
naive way (the whole state dict, then load_state_dict) and transformers' from_pretrained. Each runs in a process of its
own on the same random checkpoint in bfloat16. Quantized, the least that it could peak at stands as the other way: the
weights that are there in the end. Then Ovis-mini in 8 and 4 bits: bytes, pace, and greedy answers that are
the same as unquantized.
"""

from __future__ import annotations

import multiprocessing
import queue
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import torch

from benchmarks import report

WAYS = ("ours", "naive", "from_pretrained")
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}
ALIKE = 20  # questions of each kind whose answers are compared
KINDS = ("count", "what is at", "description", "word", "color", "position", "is there", "history")


def loaded(way: str, folder: Path, dtype: torch.dtype, quantize: str) -> Any:
    """The model, in one of the ways."""
    from ovis_app.checkpoints.load import load
    from ovis_app.models.config import OvisConfig
    from ovis_app.models.ovis import Ovis

    if way == "ours":
        return load(folder, dtype=dtype, quantize=quantize)
    if way == "from_pretrained":
        return Ovis.from_pretrained(folder, config=OvisConfig.read(folder), dtype=dtype, local_files_only=True)
    from safetensors.torch import load_file

    model = Ovis(OvisConfig.read(folder)).to(dtype)
    model.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    return model


def measure(way: str, folder: Path, dtype: torch.dtype, quantize: str, answer: Any) -> None:
    """Puts (peak over the baseline, bytes of the weights, seconds)."""
    from ovis_app.checkpoints import bitsandbytes as quantizing
    from ovis_app.checkpoints import load as _  # noqa: F401 (what libraries take is not the weights')

    if quantize != "none":
        quantizing.library()
    before = psutil.Process().memory_info().rss
    started = time.perf_counter()
    model = loaded(way, folder, dtype, quantize)
    for value in model.parameters():  # what is mapped and was never read isn't loaded yet
        value.detach().view(-1)[::1024].sum()
    seconds = time.perf_counter() - started
    answer.put((peak_memory() - before, held(model), seconds))


def peak_memory() -> int:
    """Bytes that were resident at once at most. Linux hands `ru_maxrss` on to a process that is started, which would
    show what the one that made the checkpoint took."""
    status = Path("/proc/self/status")
    if status.is_file():
        lines = status.read_text("utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def held(model: torch.nn.Module) -> int:
    """Bytes of the weights, and of the scales that quantized ones have beside them."""
    scales = [getattr(weight, "SCB", None) for weight in model.parameters()]
    scales += [getattr(getattr(weight, "quant_state", None), "absmax", None) for weight in model.parameters()]
    return sum(value.nbytes for value in {*model.parameters(), *scales} - {None})


def alone(work: Callable[..., None], *arguments: Any) -> Any:
    """What `work` puts in the queue, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    process = context.Process(target=work, args=(*arguments, answer))
    process.start()
    while True:
        try:
            found = answer.get(timeout=1.0)
            break
        except queue.Empty:
            if not process.is_alive():
                raise SystemExit("a measurement failed; its error stands above") from None
    process.join()
    return found


def answers(quantize: str, answer: Any) -> None:
    """Puts (answers of Ovis-mini to fresh questions, bytes of its language model, tokens a second)."""
    from benchmarks.shapes import MINI
    from ovis_app.checkpoints.load import load
    from ovis_app.training.mini.evaluate import Answerer, cases

    torch.set_num_threads(1)
    asker = Answerer(MINI)
    asker.model = load(MINI, quantize=quantize)
    asked = [case for kind in KINDS for case in cases(kind, ALIKE)]
    started = time.perf_counter()
    said = asker.answers(asked)
    seconds = time.perf_counter() - started
    tokens = sum(len(asker.tokenizer.trusted(text)) for text in said)
    answer.put((said, sum(value.nbytes for value in set(asker.model.llm.parameters())), tokens / seconds))


def memory(folder: Path, precisions: Sequence[str]) -> list[tuple[Any, ...]]:
    """Rows: precision, quantization, way, weights, peak over the baseline, their ratio, seconds."""
    rows = []
    for name in precisions:
        for way, quantize in (*((way, "none") for way in WAYS), ("ours", "int8"), ("ours", "int4")):
            peak, weights, seconds = alone(measure, way, folder, DTYPES[name], quantize)
            rows.append((name, quantize, way, weights / 1e9, peak / 1e9, peak / weights, seconds))
    return rows


def agreement() -> list[tuple[Any, ...]]:
    """Rows: quantization, bytes of Ovis-mini's language model, tokens a second, share of answers that are the same."""
    found = {quantize: alone(answers, quantize) for quantize in ("none", "int8", "int4")}
    plain = found["none"][0]
    return [
        (quantize, held / 1e6, pace, sum(map(str.__eq__, said, plain)) / len(plain))
        for quantize, (said, held, pace) in found.items()
    ]


def main() -> None:
    parser = report.arguments(__doc__, shape="44m", repeats=1)
    parser.add_argument("--only", choices=("memory", "answers"), help="one half")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES), help="precisions to load in")
    options = parser.parse_args()
    headline: list[report.Headline] = []
    details: dict[str, Any] = {"shape": options.shape}
    if options.only != "answers":
        from benchmarks.shapes import checkpoint

        with tempfile.TemporaryDirectory() as made:
            folder = checkpoint(options.shape, Path(made) / "random", dtype=torch.bfloat16)
            rows = memory(folder, options.dtypes)
        columns = ("loaded as", "quantized", "way", "weights GB", "peak GB", "peak / weights", "seconds")
        print(report.table(columns, rows))
        ways = {(row[0], row[2]): row for row in rows if row[1] == "none"}
        for name in options.dtypes:
            ours, naive = ways[name, "ours"][4], ways[name, "naive"][4]
            headline.append(report.Headline(f"load_peak_{name}", ours, naive, "GB"))
        for name, quantize, _, weights, peak, _, _ in rows:
            if quantize != "none" and name == options.dtypes[0]:
                headline.append(report.Headline(f"peak_{quantize}", peak, weights, "GB"))
        details["memory"] = rows
    if options.only != "memory":
        rows = agreement()
        print()
        print(report.table(("Ovis-mini", "language model MB", "tokens/s", "same answers"), rows))
        details["answers"] = rows
    report.finish(options, "load", headline, details=details)


if __name__ == "__main__":
    main()
