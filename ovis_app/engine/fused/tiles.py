"""How a product's weight is cut for the card: tiles, and splits of its inputs. Knows sizes; refuses to know kernels.

A step's time is that of reading the weights, so each processor needs enough bytes under way: bandwidth times the time
of one access, about 30 KB on an H100 or H200. These rules are within a few percent of the best of some hundred cuts
that were timed on an H200 for the products of Ovis2.5-2B and 9B (`python -m benchmarks.tiles`): small tiles, many
programs at a time, and as few splits as that allows, since whoever reads a sum reads all of its splits.
"""

from __future__ import annotations

from dataclasses import dataclass

TILE_BYTES = 8192  # of one weight that a program has under way: 64 for each of its threads
WANTED_BYTES = 30720  # under way on one processor
MOST_SPLITS = 8  # more cost their readers more than they bring
READERS = 4  # programs of attention on one processor
PROCESSORS = 132  # of an H100 or H200
WARPS = 4


@dataclass(frozen=True)
class Tile:
    """`n` outputs times `k` inputs at a time, in `splits` parts of the inputs; `lane` weights are 16 bytes."""

    n: int
    k: int
    splits: int
    lane: int

    @classmethod
    def of(
        cls, outputs: int, inputs: int, *, itemsize: int, plain: bool = False,
        most_splits: int = MOST_SPLITS, processors: int = PROCESSORS,
    ) -> Tile:  # fmt: skip
        """For a weight [outputs, inputs]. `plain` inputs are one value each instead of a sum to be normed: more of them
        are read for fewer outputs, which saves splits."""
        lane = 16 // itemsize
        k = min((128 if plain else 32) * lane, power_of_two(inputs))
        n = min(max(TILE_BYTES // (itemsize * k), 1), power_of_two(outputs))
        splits = 1
        while splits < most_splits and inputs >= 2 * splits * k:
            programs = -(-outputs // n) * splits
            if programs * TILE_BYTES >= WANTED_BYTES * processors:
                break
            splits *= 2
        return cls(n, k, splits, lane)


def attention_splits(rows: int, groups: int, *, processors: int = PROCESSORS, most: int = 32) -> int:
    """Parts of each sequence's tokens, so that all processors have something to read."""
    wanted = max(READERS * processors // (rows * groups), 1)
    return min(1 << (wanted.bit_length() - 1), most)


def power_of_two(value: int) -> int:
    """The least one that holds a value."""
    return 1 << (value - 1).bit_length()
