"""How a model sees a picture: at what size it reads it, which part each visual token covers, and which visual word it
takes that part for. Frozen values; refuses to know models, files and pages.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class VisualWords:
    """Of each visual token the likeliest row of the visual embedding table, its probability, and the entropy of the
    distribution over all rows in bits: 0 is one row for sure."""

    rows: tuple[int, ...]
    shares: tuple[float, ...]
    bits: tuple[float, ...]

    def part(self, begin: int, end: int) -> VisualWords:
        """Those of some of the visual tokens."""
        return VisualWords(self.rows[begin:end], self.shares[begin:end], self.bits[begin:end])


@dataclass(frozen=True)
class Cells:
    """Visual tokens over a part of a picture, row by row. Its sides are shares of the picture, and lie past its edges
    where a tile is padded. A `tile` is one of several beside a whole. Without `words` nobody knows them."""

    left: float
    top: float
    right: float
    bottom: float
    rows: int
    columns: int
    tile: bool = False
    words: VisualWords | None = None

    @property
    def count(self) -> int:
        return self.rows * self.columns

    def within(self, part: Box) -> Cells:
        """The same where the picture is a part of a larger one, given in shares of that."""
        left, top, right, bottom = part
        width, height = right - left, bottom - top
        return replace(
            self,
            left=left + width * self.left,
            top=top + height * self.top,
            right=left + width * self.right,
            bottom=top + height * self.bottom,
        )


@dataclass(frozen=True)
class Sight:
    """One picture as a model sees it. `size` is its own width and height; where it is read in several `pieces`, `inner`
    is that of one of them. `seen` is at what size that is read. `vocabulary` is how many visual words there are; 0:
    nobody knows."""

    size: tuple[int, int]
    inner: tuple[int, int]
    seen: tuple[int, int]
    cells: tuple[Cells, ...]
    pieces: int = 1
    vocabulary: int = 0


def joined(sights: tuple[Sight, ...], parts: tuple[Box, ...], size: tuple[int, int]) -> Sight:
    """Pieces of a picture of this size as the whole; `parts` says in shares of it where each lies."""
    cells = tuple(one.within(part) for sight, part in zip(sights, parts, strict=True) for one in sight.cells)
    return replace(sights[0], size=size, cells=cells, pieces=len(sights))
