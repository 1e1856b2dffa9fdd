"""Visual tokens as ids: an input embedding with a second table, and who holds which of its rows.

The paged engine of transformers takes ids only, and shares pages between requests that begin with the same ids. Here an
id below the vocabulary is text, and `vocabulary + n` is row `n % slots` of the second table. A row's id is never given
twice, so an id names its content for ever, and sharing pages by ids is right by construction. Knows ids and rows;
refuses to know pages, threads of generation and pictures.
"""

from __future__ import annotations

import copy
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from ovis_app.checkpoints.bitsandbytes import beside
from ovis_app.models.prompt import FIRST_INDICATOR, VISUAL_ATOM

RENEW = 1 << 30  # ids are 32 bit: well before they end, whoever holds these rows should empty them and `clear`
PATIENCE = 0.1  # seconds between two questions whether a waiting request is still wanted

NORMS = ("LlamaRMSNorm", "Qwen2RMSNorm", "Qwen3RMSNorm")  # that multiply the root mean square's inverse by a weight

Name = tuple[int, int, int]  # content, which run of the content, rows


class Prompt(Protocol):
    """A prompt that was read: ids and mask [tokens], `keys` with visual tokens named by content, and the visual tokens'
    embeddings [visual tokens, hidden]."""

    @property
    def ids(self) -> Tensor: ...
    @property
    def mask(self) -> Tensor: ...
    @property
    def keys(self) -> tuple[int, ...]: ...
    @property
    def visual(self) -> Tensor | None: ...


class SlotEmbedding(nn.Module):
    """Rows of `words` for text ids, rows of `table` [slots, hidden] for ids from the vocabulary's size on."""

    table: Tensor

    def __init__(self, words: nn.Embedding, slots: int) -> None:
        super().__init__()
        self.words, self.slots, self.vocabulary = words, slots, words.num_embeddings
        self.register_buffer("table", words.weight.new_zeros(slots, words.embedding_dim), persistent=False)
        self.table.requires_grad_(False)

    def forward(self, ids: Tensor) -> Tensor:
        """[batch, tokens] -> [batch, tokens, hidden]. Both tables are read and one is chosen: no shape depends on ids,
        as CUDA graphs need it."""
        text = self.words(ids.clamp(0, self.vocabulary - 1))
        visual = F.embedding((ids - self.vocabulary) % self.slots, self.table)
        return torch.where((ids >= self.vocabulary).unsqueeze(-1), visual, text)


def twin(llm: PreTrainedModel, slots: int) -> tuple[PreTrainedModel, SlotEmbedding]:
    """A second language model on the same weights, with slots. Its modules and its config are its own, so that nothing
    that is set on it (attention, embedding, hooks) is seen by the first."""
    shared: dict[int, object] = {id(value): value for value in (*llm.parameters(), *llm.buffers(), *beside(llm))}
    if hasattr(llm, "_cache"):  # a static cache that generate keeps
        shared[id(llm._cache)] = None
    other = copy.deepcopy(llm, shared)
    words = other.get_input_embeddings()
    assert isinstance(words, nn.Embedding)
    embedding = SlotEmbedding(words, slots)
    other.set_input_embeddings(embedding)
    fuse_norms(other)
    return other, embedding


def fuse_norms(llm: nn.Module) -> None:
    """Torch's own RMS norms, on the same weights, for those of transformers: one kernel each in place of eight. The
    four of a layer are nearly half of what a GPU launches for a step."""
    for name, module in list(llm.named_modules()):
        if type(module).__name__ in NORMS:
            norm = nn.RMSNorm(module.weight.shape, eps=module.variance_epsilon, device="meta")
            norm.weight = module.weight
            llm.set_submodule(name, norm)


@dataclass(frozen=True)
class Run:
    """Neighbouring visual tokens of one picture, tile or clip: which they are and where they stand in the prompt."""

    name: Name
    start: int  # in the prompt
    first: int  # in `visual`

    @property
    def rows(self) -> int:
        return self.name[2]


def runs_of(ids: Sequence[int], keys: Sequence[int]) -> Iterator[Run]:
    """The runs of a prompt, in order. The same picture twice in a prompt has runs of two names and equal rows."""
    seen: Counter[int] = Counter()
    start = first = 0
    for content, group in groupby(key if token == VISUAL_ATOM else None for token, key in zip(ids, keys, strict=True)):
        length = len(list(group))
        if content is not None:
            yield Run((content, seen[content], length), start, first)
            seen[content] += 1
            first += length
        start += length


@dataclass(frozen=True)
class Held:
    """A prompt's ids for the language model with slots, and the runs that it holds until `Slots.release`."""

    ids: list[int]
    names: tuple[Name, ...]


@dataclass
class _Resident:
    ids: list[int]
    holders: int = 0


class Slots:
    """Who holds which rows of an embedding's table. From any thread. Runs that nobody holds stay until their rows are
    needed, the least recently held going first."""

    def __init__(self, embedding: SlotEmbedding, indicators: Tensor) -> None:
        """`indicators` [indicators, hidden] take the first rows for good."""
        self.embedding, self.fixed = embedding, len(indicators)
        self.capacity = embedding.slots - self.fixed
        self._changed = threading.Condition()
        self._line: deque[object] = deque()  # who waits for rows, in the order in which they came
        self._resident: OrderedDict[Name, _Resident] = OrderedDict()
        with torch.no_grad():
            embedding.table[: self.fixed] = indicators
        self.clear()

    def clear(self) -> None:
        """Forgets all runs and begins the ids anew. Only when nobody holds any, and no page names them."""
        with self._changed:
            self._resident.clear()
            self._free = deque(range(self.fixed, self.embedding.slots))
            self._next = [self.embedding.vocabulary + slot for slot in range(self.embedding.slots)]
            self._highest = 0  # id that was given

    @property
    def spent(self) -> bool:
        """Whether the ids should begin anew soon."""
        return self._highest > RENEW

    @property
    def held(self) -> int:
        """Rows that requests hold now."""
        with self._changed:
            return sum(len(run.ids) for run in self._resident.values() if run.holders)

    @property
    def kept(self) -> int:
        """Rows that are in use, held or only remembered."""
        return self.capacity - len(self._free)

    def hold(self, prompt: Prompt, stop: Callable[[], bool]) -> Held | None:
        """Ids for the prompt, once there is room for its pictures; None when `stop()` came first. Raises ValueError for
        a prompt that has more visual tokens than there are slots, or other numbers of places and rows."""
        written = prompt.ids.tolist()
        runs = list(runs_of(written, prompt.keys))
        rows = sum(run.rows for run in runs)
        if rows > self.capacity or rows != (0 if prompt.visual is None else len(prompt.visual)):
            raise ValueError(f"{rows} places for visual tokens, {self.capacity} slots")
        if not self._take(runs, prompt.visual, stop):
            return None
        for run in runs:
            written[run.start : run.start + run.rows] = self._resident[run.name].ids
        base = self.embedding.vocabulary + FIRST_INDICATOR
        ids = [base - token if token <= FIRST_INDICATOR else token for token in written]
        return Held(ids, tuple(run.name for run in runs))

    def release(self, held: Held) -> None:
        with self._changed:
            for name in held.names:
                self._resident[name].holders -= 1
            self._changed.notify_all()

    def _take(self, runs: Sequence[Run], visual: Tensor | None, stop: Callable[[], bool]) -> bool:
        """Holds all runs or none, in the order of arrival: a large prompt isn't starved by small ones."""
        if not runs:
            return True
        me = object()
        with self._changed:
            self._line.append(me)
            try:
                while self._line[0] is not me or not self._room(runs):
                    if stop():
                        return False
                    self._changed.wait(PATIENCE)
                for run in runs:
                    self._hold(run, visual)
                self._settle()
            finally:
                self._line.remove(me)
                self._changed.notify_all()
        return True

    def _room(self, runs: Sequence[Run]) -> bool:
        """Whether the runs fit, once remembered ones that nobody holds have gone."""
        mine = {run.name for run in runs}
        needed = sum(run.rows for run in runs if run.name not in self._resident)
        idle = [name for name, run in self._resident.items() if not run.holders and name not in mine]
        while len(self._free) < needed and idle:
            gone = self._resident.pop(idle.pop(0))
            self._free.extend((token - self.embedding.vocabulary) % self.embedding.slots for token in gone.ids)
        return len(self._free) >= needed

    def _hold(self, run: Run, visual: Tensor | None) -> None:
        if run.name not in self._resident:
            assert visual is not None
            slots = [self._free.popleft() for _ in range(run.rows)]
            self._resident[run.name] = _Resident([self._next[slot] for slot in slots])
            self._highest = max(self._highest, *self._resident[run.name].ids)
            for slot in slots:
                self._next[slot] += self.embedding.slots
            rows = visual[run.first : run.first + run.rows]
            table = self.embedding.table
            with torch.no_grad():
                table[torch.tensor(slots, device=table.device)] = rows.to(table)
        self._resident.move_to_end(run.name)
        self._resident[run.name].holders += 1

    def _settle(self) -> None:
        """Waits until the rows are written: another CUDA stream will read them."""
        if self.embedding.table.is_cuda:
            torch.cuda.current_stream(self.embedding.table.device).synchronize()
