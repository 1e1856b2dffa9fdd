"""Peak memory of encoding many visual tokens: `python -m benchmarks.memory`.

6,272 visual tokens (a clip of eight frames) over a table of 65,536 words: the visual softmax in row chunks beside the
whole at once. Each way runs in a process of its own; what is printed is its peak over the weights.
"""

from __future__ import annotations

import multiprocessing
import resource
import statistics

import torch

from benchmarks import report


def peak(rows: int, tokens: int, words: int, answer: multiprocessing.SimpleQueue[float]) -> None:
    """Puts the peak over the weights, in bytes, of encoding `tokens` visual tokens `rows` at a time."""
    from benchmarks.shapes import random_model
    from ovis_app.models import ovis

    torch.set_num_threads(1)
    model = random_model("tiny", words=words)
    ovis.SOFTMAX_ROWS = rows
    frames = tokens // 784
    pixels = torch.rand(tokens * 4, 768)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with torch.inference_mode():
        model.encode(pixels, [(frames, 56, 56)])
    answer.put((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)


def measured(rows: int, tokens: int, words: int) -> float:
    context = multiprocessing.get_context("spawn")
    answer = context.SimpleQueue()
    process = context.Process(target=peak, args=(rows, tokens, words, answer))
    process.start()
    process.join()
    return float(answer.get())


def main() -> None:
    parser = report.arguments(__doc__, repeats=1)
    parser.add_argument("--tokens", type=int, default=6272)
    parser.add_argument("--words", type=int, default=65536)
    options = parser.parse_args()
    from ovis_app.models.ovis import SOFTMAX_ROWS

    ways = ((SOFTMAX_ROWS, f"{SOFTMAX_ROWS} rows at a time"), (options.tokens, "all rows at once"))
    peaks = {
        name: statistics.median(measured(rows, options.tokens, options.words) for _ in range(options.repeats)) / 1e9
        for rows, name in ways
    }
    print(f"Peak over the weights, {options.tokens:,} visual tokens, {options.words:,} words, float32\n")
    print(report.table(("way", "peak, GB"), list(peaks.items())))
    ours, whole = peaks.values()
    report.finish(options, "memory", [report.Headline("memory_visual", ours, whole, "GB")], details={"peaks": peaks})


if __name__ == "__main__":
    main()
