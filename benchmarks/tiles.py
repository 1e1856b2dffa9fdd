"""How fast the fused step reads, by how its work is cut: `python -m benchmarks.tiles`, on a GPU alone.

For each product of a decode step with one row: the cut that `engine/fused/tiles.py` chooses, the best ones of all that
are tried, and the library's; weights' bytes over the time of a launch. Each launch reads another weight, so that no
cache holds it, and all are one CUDA graph, as in the app. Then whole steps by rows. Kernels are compiled beforehand, by
as many processes as there are processors.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.report import arguments, finish, table
from benchmarks.shapes import SHAPES, Shape, random_model
from ovis_app.engine.decode_step import DecodeStep
from ovis_app.engine.fused import triton_kernels as kernels
from ovis_app.engine.fused.fused_step import FusedStep
from ovis_app.engine.fused.graphs import Graphs
from ovis_app.engine.fused.tiles import WARPS, Tile
from ovis_app.engine.fused.trial import SHARED, made_up
from ovis_app.engine.kv_pool import KVPool

COLD = 400 << 20  # bytes that launches go through before one comes back to the same: several times any cache
BYTES = (8192, 16384, 32768, 65536)  # of weights that a program has under way
INPUTS = (256, 512, 1024, 2048)  # of a tile
SPLITS = (1, 2, 4, 8)
WARP_COUNTS = (4, 8)
MOST_OUTPUTS = 64  # of a tile
DTYPE = torch.bfloat16
REPEATS, BEST = 4, 4
CONTEXT, MOST_ROWS, CALLS = 2048, 64, 20
MANY = 8  # parts, and splits, that buffers have room for


@dataclass(frozen=True)
class Product:
    """One product of a step. `parts` are splits of the product before that it sums."""

    name: str
    outputs: int
    inputs: int
    norm: bool = False
    gated: bool = False
    parts: int = 0
    most_splits: int = MANY

    @property
    def chosen(self) -> Tile:
        plain = not self.norm
        return Tile.of(
            self.outputs, self.inputs, itemsize=DTYPE.itemsize, plain=plain, most_splits=self.most_splits
        )  # fmt: skip

    @property
    def weight(self) -> tuple[int, int]:
        return self.outputs * (2 if self.gated else 1), self.inputs

    @property
    def bytes(self) -> int:
        return DTYPE.itemsize * self.weight[0] * self.weight[1]


@dataclass(frozen=True)
class Cut:
    """Outputs and inputs of a tile, splits of the inputs, and warps of a program. No outputs: the library's product."""

    n: int
    k: int
    splits: int
    warps: int


LIBRARY = Cut(0, 0, 1, 0)


def products(size: Shape) -> list[Product]:
    """Of a dense layer, and the head."""
    head = size.size or size.hidden // size.heads
    out = Product("out", size.hidden, size.heads * head)
    down = Product("down", size.hidden, size.forward)
    qkv = (size.heads + 2 * size.groups) * head
    return [
        Product("qkv", qkv, size.hidden, norm=True, parts=down.chosen.splits),
        out,
        Product("gate_up", size.forward, size.hidden, norm=True, gated=True, parts=out.chosen.splits, most_splits=1),
        down,
        Product("head", size.tokens, size.hidden, norm=True, parts=down.chosen.splits, most_splits=1),
    ]


def cuts(product: Product) -> Iterator[Cut]:
    """The chosen one first."""
    tile = product.chosen
    first = Cut(tile.n, tile.k, tile.splits, WARPS)
    yield first
    for size, k, splits, warps in itertools.product(BYTES, INPUTS, SPLITS, WARP_COUNTS):
        cut = Cut(size // (DTYPE.itemsize * k * (2 if product.gated else 1)), k, splits, warps)
        fits = 0 < cut.n <= MOST_OUTPUTS and splits * k <= product.inputs and splits <= product.most_splits
        if fits and cut != first:
            yield cut


def options_of(product: Product, cut: Cut) -> dict[str, Any]:
    return {
        "N": product.outputs, "K": product.inputs, "ROWS": 1, "PARTS": product.parts,
        "KEEP": product.norm and product.name != "head", "NORM": product.norm, "GATED": product.gated,
        "SPLITS": cut.splits, "TILE_N": cut.n, "TILE_K": cut.k, "LANE": 16 // DTYPE.itemsize, "num_warps": cut.warps,
    }  # fmt: skip


def compile_one(work: tuple[Product, Cut]) -> None:
    """Into Triton's cache on disk; what can't be compiled says so when it is launched."""
    product, cut = work
    inputs, out = (torch.float32 if product.norm else DTYPE), (DTYPE if product.gated else torch.float32)
    try:
        kernels.product.warmup(
            inputs, torch.float32 if product.parts else inputs, inputs, DTYPE, DTYPE, out, torch.float32, 1e-6,
            grid=(1,), **options_of(product, cut),
        )  # fmt: skip
    except Exception as error:  # compilers raise many kinds
        print(f"{product.name} {cut}: {type(error).__name__}", flush=True)


def seconds(launch: Callable[[], None]) -> float:
    """That what `launch` launches takes as a graph, the best of some."""
    launch()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        launch()
    best = float("inf")
    for _ in range(REPEATS):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        best = min(best, begin.elapsed_time(end) / 1000)
    return best


class Bench:
    """One product's weights, enough of them, and buffers."""

    def __init__(self, product: Product) -> None:
        self.product = product
        count = max(COLD // product.bytes, 2)
        self.weights = [torch.randn(product.weight, dtype=DTYPE, device="cuda") for _ in range(count)]
        self.inputs = torch.randn(product.inputs, dtype=torch.float32 if product.norm else DTYPE, device="cuda")
        self.parts = torch.randn(MANY * product.inputs, device="cuda")
        self.kept, self.squares = torch.empty_like(self.inputs), torch.zeros(MANY, device="cuda")
        self.norm = torch.ones(product.inputs, dtype=DTYPE, device="cuda")
        self.out = torch.zeros(
            MANY * product.outputs, dtype=DTYPE if product.gated else torch.float32, device="cuda"
        )  # fmt: skip

    def launch_seconds(self, cut: Cut) -> float:
        launch = self.by_library if cut == LIBRARY else lambda: self.by_kernel(cut)
        return seconds(launch) / len(self.weights)

    def by_kernel(self, cut: Cut) -> None:
        product, options = self.product, options_of(self.product, cut)
        for weight in self.weights:
            kernels.product[(-(-product.outputs // cut.n), cut.splits)](
                self.inputs, self.parts if product.parts else self.inputs, self.kept, self.norm, weight, self.out,
                self.squares, 1e-6, **options,
            )  # fmt: skip

    def by_library(self) -> None:
        row = self.inputs[None].to(DTYPE)
        for weight in self.weights:
            F.linear(row, weight)


@torch.inference_mode()
def measured(product: Product) -> list[tuple[Cut, float]]:
    """Seconds of each cut: the chosen one, the library's, then the best others."""
    bench, found = Bench(product), []
    chosen, *others = cuts(product)
    for cut in (chosen, LIBRARY, *others):
        try:
            found.append((cut, bench.launch_seconds(cut)))
        except Exception as error:  # more registers or shared memory than there is, by many names
            print(f"{product.name} {cut}: {type(error).__name__}", flush=True)
    return found[:2] + sorted(found[2:], key=lambda one: one[1])[:BEST]


@torch.inference_mode()
def steps(shape: str) -> list[tuple[int, float, float]]:
    """Microseconds of a step by rows: launched without waiting, and waited for each time, with the token chosen."""
    llm = random_model(shape, device="cuda").llm
    step, pool = DecodeStep(llm, context=CONTEXT), KVPool(llm, SHARED + MOST_ROWS, 16)
    record = Graphs(torch.device("cuda")).record
    fused = FusedStep(step, pool, context=CONTEXT, most_rows=MOST_ROWS, record=record)
    for _ in fused.prepare(seconds=60):
        pass
    found = []
    for rows in fused.ready:
        asked = made_up(step, pool, rows, CONTEXT)

        def one(asked: Any = asked) -> Tensor:
            return fused(*asked)

        found.append((rows, _each(one), _each(lambda one=one: one().argmax(-1).tolist())))
    return found


def _each(call: Callable[[], object]) -> float:
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(CALLS):
        call()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / CALLS * 1e6


def compile_all(shapes: Sequence[str]) -> None:
    work = [(product, cut) for shape in shapes for product in products(SHAPES[shape]) for cut in cuts(product)]
    start = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        list(pool.imap_unordered(compile_one, work, chunksize=4))
    print(f"{len(work)} kernels compiled in {time.perf_counter() - start:.0f} s")


def main() -> None:
    parser = arguments(__doc__, shape="9b")
    parser.add_argument("--only", choices=("products", "steps"), help="one of the two")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        parser.exit(2, "There is no GPU here.\n")
    details: dict[str, Any] = {"shape": options.shape}
    if options.only != "products":
        rows = steps(options.shape)
        print(table(("rows", "a step, us", "with its token, us"), rows), flush=True)
        details["steps"] = rows
    if options.only != "steps":
        compile_all([options.shape])
        for product in products(SHAPES[options.shape]):
            found = measured(product)
            rows = [
                (
                    product.name,
                    cut.n or "library",
                    cut.k,
                    cut.splits,
                    cut.warps,
                    1e6 * took,
                    product.bytes / took / 1e12,
                )
                for cut, took in found
            ]
            print(table(("product", "outputs", "inputs", "splits", "warps", "us", "TB/s"), rows), flush=True)
            details[product.name] = rows
    finish(options, "tiles", [], details=details)


if __name__ == "__main__":
    main()
