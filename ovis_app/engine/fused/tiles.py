"""How a product's weight is cut for the card: tiles, and splits of its inputs. Knows sizes; refuses to know kernels.

A step's time is that of reading the weights, so each processor needs enough bytes under way: bandwidth times the time
of one access, about 30 KB on an H100. These rules follow from that, and were not yet timed on a card.
"""

from __future__ import annotations

from dataclasses import dataclass

TILE_BYTES = 16384  # of weights that a program has under way: 128 for each of its threads
RESIDENT = 4  # programs at a time on one processor, by their registers
WANTED_BYTES = 40960  # under way on one processor
MOST_SPLITS = 8  # more cost their readers more than they bring
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
        cls, outputs: int, inputs: int, *, itemsize: int, plain: bool = False, tiles: int = 1,
        most_splits: int = MOST_SPLITS, processors: int = PROCESSORS,
    ) -> Tile:  # fmt: skip
        """For a weight [outputs, inputs], or several whose tiles a program reads together. `plain` inputs are one value
        each instead of a sum to be normed: more of them are read for fewer outputs, which saves splits."""
        lane = 16 // itemsize
        k = min((128 if plain else 64) * lane, power_of_two(inputs))
        n = min(max(TILE_BYTES // (itemsize * k * tiles), 1), power_of_two(outputs))
        splits = 1
        while splits < most_splits and inputs >= 2 * splits * k:
            programs = -(-outputs // n) * splits
            if min(programs / processors, RESIDENT) * TILE_BYTES >= WANTED_BYTES:
                break
            splits *= 2
        return cls(n, k, splits, lane)


def attention_splits(rows: int, groups: int, *, processors: int = PROCESSORS, most: int = 32) -> int:
    """Parts of each sequence's tokens, so that all processors have something to read."""
    wanted = max(RESIDENT * processors // (rows * groups), 1)
    return min(1 << (wanted.bit_length() - 1), most)


def power_of_two(value: int) -> int:
    """The least one that holds a value."""
    return 1 << (value - 1).bit_length()
