"""How fast the fused step's kernels read, by how their work is cut: `python -m benchmarks.tiles` on a GPU.

For each product of a decode step, the tile that `engine/fused/tiles.py` chooses beside every other that is tried: bytes
of weights over the time of one launch. Each launch reads another layer's weight, so that no cache holds it, and all are
one CUDA graph, as in the app. Then attention by its tile, and whole steps without the host's part. Kernels are compiled
beforehand, by as many processes as there are processors.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.report import table
from benchmarks.shapes import SHAPES, Shape, random_model
from ovis_app.engine.fused import triton_kernels as kernels
from ovis_app.engine.fused.tiles import PROCESSORS, WARPS, Tile, power_of_two

COLD = 400 << 20  # bytes that launches go through before one comes back to the same: several times any cache
BYTES = (8192, 16384, 32768, 65536)  # of weights that a program has under way
LINES = (256, 512, 1024, 2048)  # inputs at a time
SPLITS = (1, 2, 4, 8)
WARP_COUNTS = (4, 8)
DTYPE = torch.bfloat16


@dataclass(frozen=True)
class Product:
    """One product of a step. `parts` are splits of the product before that it sums."""

    name: str
    outputs: int
    inputs: int
    norm: bool = False
    gated: bool = False
    parts: int = 0
    whole: bool = False  # its inputs can't be split

    def chosen(self) -> Tile:
        return Tile.of(
            self.outputs, self.inputs, itemsize=2, plain=not self.norm,
            **({"most_splits": 1} if self.whole else {}),
        )  # fmt: skip

    @property
    def weight_bytes(self) -> int:
        return 2 * self.outputs * self.inputs * (2 if self.gated else 1)


@dataclass(frozen=True)
class Cut:
    """A tile, and warps of its program."""

    n: int
    k: int
    splits: int
    warps: int


def products(size: Shape) -> list[Product]:
    head = size.size or size.hidden // size.heads
    joined, width = (size.heads + 2 * size.groups) * head, size.heads * head
    out = Product("out", size.hidden, width)
    down = Product("down", size.hidden, size.forward)
    return [
        Product("qkv", joined, size.hidden, norm=True, parts=down.chosen().splits),
        out,
        Product("gate_up", size.forward, size.hidden, norm=True, gated=True, parts=out.chosen().splits, whole=True),
        down,
        Product("head", size.tokens, size.hidden, norm=True, parts=down.chosen().splits, whole=True),
    ]


def cuts(product: Product) -> Iterator[Cut]:
    """The chosen one first."""
    tile = product.chosen()
    first = Cut(tile.n, tile.k, tile.splits, WARPS)
    yield first
    tiles = 2 if product.gated else 1
    for size, k, splits, warps in itertools.product(BYTES, LINES, SPLITS, WARP_COUNTS):
        n = size // (2 * k * tiles)
        small = n < 1 or n > 64 or splits * k > product.inputs
        cut = Cut(n, k, splits, warps)
        if not small and not (product.whole and splits > 1) and cut != first:
            yield cut


def meta(product: Product, cut: Cut, rows: int) -> dict[str, Any]:
    return {
        "N": product.outputs, "K": product.inputs, "ROWS": rows, "PARTS": product.parts,
        "KEEP": product.norm and product.name != "head", "NORM": product.norm, "GATED": product.gated,
        "SPLITS": cut.splits, "TILE_N": cut.n, "TILE_K": cut.k, "LANE": 8, "num_warps": cut.warps,
    }  # fmt: skip


def compile_one(work: tuple[Product, Cut, int]) -> str:
    product, cut, rows = work
    half, full = DTYPE, torch.float32
    inputs = full if product.norm else half
    norm, out = half, half if product.gated else full
    try:
        kernels.product.warmup(
            inputs, full if product.parts else inputs, full if product.norm else inputs, norm, half, out, full, 1e-6,
            grid=(1,), **meta(product, cut, rows),
        )  # fmt: skip
    except Exception as error:
        return f"{product.name} {cut}: {type(error).__name__}"
    return ""


def timed(launch: Callable[[], None], count: int) -> float:
    """Seconds of one of `count` launches that `launch` makes, as a graph."""
    if not torch.cuda.is_available():
        start = time.perf_counter()
        launch()
        return (time.perf_counter() - start) / count
    launch()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        launch()
    best = float("inf")
    for _ in range(4):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        best = min(best, begin.elapsed_time(end) / 1000 / count)
    return best


def time_product(product: Product, cut: Cut, rows: int, weights: list[Tensor], buffers: dict[str, Tensor]) -> float:
    grid = (-(-product.outputs // cut.n), cut.splits)
    inputs = buffers["full"] if product.norm else buffers["half"]
    out = buffers["half_out"] if product.gated else buffers["full_out"]
    parts = buffers["parts"] if product.parts else inputs
    kept = buffers["kept"] if product.norm else inputs
    norm = buffers["norm"] if product.norm else weights[0]
    options = meta(product, cut, rows)

    def launch() -> None:
        for weight in weights:
            kernels.product[grid](inputs, parts, kept, norm, weight, out, buffers["squares"], 1e-6, **options)

    return timed(launch, len(weights))


def measure(name: str, device: str, rows_of: list[int], workers: int) -> list[dict[str, Any]]:
    size = SHAPES[name]
    work = [(product, cut, rows) for product in products(size) for rows in rows_of for cut in cuts(product)]
    start = time.perf_counter()
    if workers:
        with multiprocessing.get_context("spawn").Pool(workers) as pool:
            problems = [one for one in pool.imap_unordered(compile_one, work, chunksize=4) if one]
        print(f"{name}: {len(work)} kernels compiled in {time.perf_counter() - start:.0f} s; {len(problems)} can't be", problems[:3], flush=True)
    most, wide = max(rows_of), max(size.hidden, size.forward, size.tokens)
    made = {"device": device}
    buffers = {
        "full": torch.randn(most * size.hidden, **made), "kept": torch.zeros(most * size.hidden, **made),
        "half": torch.randn(most * size.forward, dtype=DTYPE, **made), "norm": torch.ones(size.hidden, dtype=DTYPE, **made),
        "parts": torch.randn(8 * most * size.hidden, **made), "squares": torch.zeros(8 * most, **made),
        "full_out": torch.zeros(8 * most * max(size.hidden * 3, size.tokens // 8 + 1), **made),
        "half_out": torch.zeros(most * wide, dtype=DTYPE, **made),
    }  # fmt: skip
    found = []
    for product in products(size):
        count = max(COLD // product.weight_bytes, 2)
        weights = [torch.randn(product.weight_bytes // 2, dtype=DTYPE, **made) * 0.02 for _ in range(count)]
        for rows in rows_of:
            begun = time.perf_counter()
            for cut in cuts(product):
                if time.perf_counter() - begun > 12:
                    print("no time for all of", product.name, rows)
                    break
                try:
                    seconds = time_product(product, cut, rows, weights, buffers)
                except Exception as error:
                    print(product.name, cut, type(error).__name__, str(error)[:80])
                    continue
                found.append({"shape": name, "product": product.name, "rows": rows, "n": cut.n, "k": cut.k, "splits": cut.splits, "warps": cut.warps, "us": seconds * 1e6, "tbs": product.weight_bytes / seconds / 1e12})
        plain = timed(lambda: [torch.nn.functional.linear(buffers["half"][: product.inputs][None], one.view(-1, product.inputs)) for one in weights] and None, count) if product.inputs <= size.forward else 0.0
        found.append({"shape": name, "product": product.name, "rows": 1, "n": 0, "k": 0, "splits": 0, "warps": 0, "us": plain * 1e6, "tbs": product.weight_bytes / max(plain, 1e-9) / 1e12})
        del weights
    return found


def best(found: list[dict[str, Any]]) -> str:
    rows = []
    for _, group in itertools.groupby(found, key=lambda one: (one["shape"], one["product"], one["rows"])):
        tried = list(group)
        chosen = tried[0]
        for one in [chosen, *sorted(tried[1:], key=lambda one: one["us"])[:4]]:
            rows.append((one["shape"], one["product"], one["rows"], one["n"], one["k"], one["splits"], one["warps"], f"{one['us']:.1f}", f"{one['tbs']:.2f}"))
    return table(("shape", "product", "rows", "n", "k", "splits", "warps", "us", "TB/s"), rows)


def attention(name: str, device: str) -> list[dict[str, Any]]:
    """`attend` and `combine` of one layer, by tile, stages, warps and splits."""
    size = SHAPES[name]
    head = size.size or size.hidden // size.heads
    found = []
    for rows, context in ((1, 1000), (1, 16000), (16, 1000), (64, 1000)):
        blocks = rows * -(-context // 16)
        layers = max(COLD // (4 * size.groups * blocks * 16 * head), 2)
        pool = [torch.randn(2, size.groups, blocks * 16, head, dtype=DTYPE, device=device) for _ in range(layers)]
        stride = -(-rows // 4) * 4
        tables = torch.zeros(blocks // rows, stride, dtype=torch.int32, device=device)
        tables[:, :rows] = torch.randperm(blocks, device=device).view(rows, -1).T.int()
        lengths = torch.full((rows,), context, dtype=torch.int32, device=device)
        query = torch.randn(rows, size.heads * head, dtype=DTYPE, device=device)
        attended = torch.zeros_like(query)
        for tile, stages, warps, splits in itertools.product((32, 64, 128), (2, 3, 5), (2, 4), (8, 16, 32, 64)):
            if rows * size.groups * splits > 8192:
                continue
            most = max(splits, 32)
            sums = torch.zeros(rows * size.heads * splits * head, device=device)
            tops, totals = torch.zeros(2, rows * size.heads * splits, device=device)

            def launch(only: bool = False) -> None:
                for keys, values in pool:
                    kernels.attend[(rows, size.groups, splits)](
                        query, keys, values, tables, lengths, sums, tops, totals, head**-0.5, stride, keys.shape[1],
                        HEADS=size.heads, GROUPS=size.groups, SIZE=head, PADDED=max(power_of_two(head), 16),
                        GROUP=max(power_of_two(size.heads // size.groups), 16), BLOCK=16, TILE=tile, WIDE=False,
                        num_warps=warps, num_stages=stages,
                    )  # fmt: skip
                    if not only:
                        kernels.combine[(rows * size.heads,)](sums, tops, totals, attended, splits, SIZE=head, PADDED=power_of_two(head), MOST=most)

            try:
                whole = timed(launch, layers)
            except Exception as error:
                print("attend", tile, stages, warps, type(error).__name__, str(error)[:80])
                continue
            found.append({"shape": name, "rows": rows, "context": context, "tile": tile, "stages": stages, "warps": warps, "splits": splits, "us": whole * 1e6, "tbs": 4 * size.groups * rows * context * head / whole / 1e12})
    return found


def profiled(launch: Callable[[], Any], label: str) -> None:
    try:
        from torch.profiler import ProfilerActivity, profile

        launch()
        with profile(activities=[ProfilerActivity.CUDA]) as seen:
            for _ in range(5):
                launch()
            torch.cuda.synchronize()
        rows = sorted(seen.key_averages(), key=lambda one: -one.device_time_total)[:12]
        print(label, [(one.key[:40], one.count // 5, round(one.device_time_total / 5)) for one in rows], flush=True)
    except Exception as error:
        print("no profile:", error)


@torch.inference_mode()
def steps(name: str, device: str) -> list[tuple[Any, ...]]:
    """Whole recorded steps, without the host: microseconds and tokens a second."""
    from ovis_app.engine.decode_step import DecodeStep
    from ovis_app.engine.fused.fused_step import FusedStep
    from ovis_app.engine.fused.graphs import Graphs
    from ovis_app.engine.fused.trial import SHARED, made_up
    from ovis_app.engine.kv_pool import KVPool

    model = random_model(name, device=device)
    step = DecodeStep(model.llm, context=2048)
    pool = KVPool(model.llm, SHARED + 64, 16)
    fused = FusedStep(step, pool, context=2048, most_rows=64, record=Graphs(torch.device(device)).record)
    begin = time.perf_counter()
    for _ in fused.prepare(seconds=60):
        pass
    print(f"{name}: sizes {fused.ready} ready in {time.perf_counter() - begin:.1f} s; {fused.why}", flush=True)
    rows = []
    for size in fused.ready:
        tokens, positions, batch = made_up(step, pool, size, 2048)
        fused._inputs[size].fill(tokens, positions, batch)
        launch = fused._ready[size]
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(20):
            launch()
        torch.cuda.synchronize()
        device_us = (time.perf_counter() - start) / 20 * 1e6
        start = time.perf_counter()
        for _ in range(20):
            fused(tokens, positions, batch).float().argmax(-1).tolist()
        with_host = (time.perf_counter() - start) / 20 * 1e6
        if size in (1, 16):
            profiled(partial(fused.run, fused._inputs[size], pool), f"{name}, {size} rows")
        rows.append((name, size, f"{device_us:.0f}", f"{with_host:.0f}", f"{size / with_host * 1e6:.0f}"))
    del model, step, fused, pool
    torch.cuda.empty_cache()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", nargs="+", default=["9b", "2b"])
    parser.add_argument("--rows", type=int, nargs="+", default=[1])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--json")
    parser.add_argument("--only", nargs="+", default=["steps", "products", "attention"])
    options = parser.parse_args()
    workers = min(os.cpu_count() or 1, 14) if options.device == "cuda" else 0
    found: dict[str, Any] = {}
    if "steps" in options.only:
        for name in options.shape:
            print(table(("shape", "rows", "graph, us", "with host, us", "tokens/s"), steps(name, options.device)), flush=True)
    for name in options.shape:
        if "products" in options.only:
            found[name] = measure(name, options.device, options.rows, workers)
            print(best(found[name]), flush=True)
        if "attention" in options.only:
            found[f"attention {name}"] = tried = attention(name, options.device)
            for _, group in itertools.groupby(tried, key=lambda one: (one["rows"], one["context"])):
                for one in sorted(group, key=lambda one: one["us"])[:5]:
                    print(one)
                print([one for one in tried if one["tile"] == 32 and one["stages"] == 5 and one["warps"] == 4][:0])
        if options.json:
            with open(options.json, "w", encoding="utf-8") as file:
                json.dump(found, file)


if __name__ == "__main__":
    main()
