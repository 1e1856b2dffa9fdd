"""An adapter in peft's format, and what becomes of a base model's weights by it: read by our own code, which runs
nothing of it.

Knows its files and how it is held against a model. Weights are changed in the type that the base's files have them in,
so that a merged folder and an adapter that is added while loading are the same to the bit. Refuses to know devices.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ovis_app.checkpoints.adapter_config import CONFIG, KIND, AdapterConfig, Indices, quoted
from ovis_app.checkpoints.safetensors import Damaged, Reader, Stored, Unknown, stored_in
from ovis_app.errors import AdapterError
from ovis_app.models.config import called
from ovis_app.models.ovis import Ovis
from ovis_app.zoo import ModelSpec, adapter_name

WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."
PIECE = 2**22  # values that are changed at a time, in float32
PAIRS = {".lora_A.weight": "a", ".lora_B.weight": "b", ".lora_embedding_A": "a", ".lora_embedding_B": "b"}
ROWS = ".token_adapter.trainable_tokens_delta"
ALWAYS = 1024  # a rank that any module may have; past that none larger than the module's own

NO_FIT = "The adapter {adapter} doesn't fit {model}: {why}. Name with --model the one that it was trained on."
QUANTIZED = "An adapter can't be added to {model}, which was released quantized: name the model in full with --model."
APART = (
    "The adapter {adapter} changes the embeddings or the output layer apart, which are one in this model: "
    "train rows of tokens (trainable_token_indices), or save all of the embeddings, with ensure_weight_tying."
)
TWICE = "The adapter {adapter} changes {parameter} twice: save it again with peft, or train it anew."
NOT_FINITE = (
    "The adapter {adapter} makes numbers of {parameter} that {dtype} can't hold: "
    "it wasn't trained well, or for this model."
)

# Changes some rows of a parameter, float32 [rows, ...], of which the first is given by its number.
Rule = Callable[[Tensor, int], Tensor]
Shapes = Mapping[str, tuple[int, ...]]  # of parameters, by their names: a model has other ways to reach them


@dataclass(frozen=True)
class LowRank:
    """A product of two matrices that is added; `table` where the module is an Embedding, whose matrices stand the other
    way round."""

    a: Stored
    b: Stored
    scale: float
    table: bool

    def rule(self, reader: Reader) -> Rule:
        a, b = _read(reader, self.a), _read(reader, self.b)
        left, right = (a.T, b.T) if self.table else (b.flatten(1), a.flatten(1))

        def added(old: Tensor, begin: int) -> Tensor:
            return old + ((left[begin : begin + len(old)] @ right) * self.scale).view(old.shape)

        return added


@dataclass(frozen=True)
class Whole:
    """Other values for all of it."""

    values: Stored

    def rule(self, reader: Reader) -> Rule:
        values = _read(reader, self.values)
        return lambda old, begin: values.view(-1, *old.shape[1:])[begin : begin + len(old)]


@dataclass(frozen=True)
class Rows:
    """Other values for some of a table's rows."""

    indices: Indices
    values: Stored

    def rule(self, reader: Reader) -> Rule:
        values, where = _read(reader, self.values), torch.tensor(self.indices)

        def put(old: Tensor, begin: int) -> Tensor:
            here = (where >= begin) & (where < begin + len(old))
            return old.index_copy(0, where[here] - begin, values[here])

        return put


Change = LowRank | Whole | Rows


@dataclass(frozen=True)
class Adapter:
    """What changes, by the names of a model's parameters."""

    name: str
    changes: Mapping[str, Change]

    @classmethod
    def read(cls, folder: Path, model: Ovis, *, base: ModelSpec | None = None) -> Adapter:
        """The adapter in a folder, held against a model of any device, meta too, and against what its base is called.
        Raises AdapterError."""
        name, of = adapter_name(folder), "this model" if base is None else _plain_name(base)
        if model.config.quantization is not None:
            raise AdapterError(QUANTIZED.format(model=of))
        config = AdapterConfig.read(folder, name)
        _check_base(config, base)
        with _sentences(name):
            tensors = stored_in(_weights(folder, name))
        changes = _changes(config, tensors, model, of)
        return cls(name, _with_tied(changes, model, config))

    @classmethod
    def of_values(cls, file: Path, model: Ovis) -> Adapter:
        """Other values for whole parameters, from a file that has them by their names. Raises AdapterError."""
        with _sentences(file.name):
            changes: dict[str, Change] = {name: Whole(tensor) for name, tensor in stored_in(file).items()}
        tied = {second: changes[first] for second, first in model.all_tied_weights_keys.items() if first in changes}
        return cls(file.name, changes | tied)

    def change(self, parameter: str, values: Tensor, begin: int = 0) -> None:
        """Changes rows of a parameter from `begin` on, in place, as the base's files have them. Raises AdapterError."""
        step = max(PIECE * len(values) // max(values.numel(), 1), 1)
        with _sentences(self.name), Reader(_uncounted, zeros=True) as reader:
            rule = self.changes[parameter].rule(reader)
            for first in range(0, len(values), step):
                part = values[first : first + step]
                new = rule(part.float(), begin + first).to(part.dtype)
                if not bool(new.isfinite().all()):
                    dtype = str(part.dtype).removeprefix("torch.")
                    raise AdapterError(NOT_FINITE.format(adapter=self.name, parameter=parameter, dtype=dtype))
                part.copy_(new)


def _weights(folder: Path, name: str) -> Path:
    file = folder / WEIGHTS
    if file.is_file():
        return file
    pickled = any(folder.glob("adapter_model.bin"))
    why = f"is pickled, which could run code: save it as {WEIGHTS}" if pickled else f"has no {WEIGHTS}: copy it there"
    raise AdapterError(f"The adapter {name} {why}.")


def _check_base(config: AdapterConfig, base: ModelSpec | None) -> None:
    """Raises AdapterError where an adapter says that it is of another model. A folder is known by its last name: it may
    have been moved."""
    if base is None or not config.base or base.is_called(config.base):
        return
    trained_on, here = (called(Path(name)).rpartition("/")[2].partition("@")[0] for name in (config.base, base.id))
    if trained_on.lower() != here.lower() and not base.is_called(trained_on):
        name = quoted(trained_on or config.base, 80)
        raise AdapterError(
            f"The adapter {config.name} was trained on {name}, not on {_plain_name(base)}: name that with "
            f"--model. If it is the same, correct base_model_name_or_path in its {CONFIG}."
        )


def _plain_name(base: ModelSpec) -> str:
    """What a model is called without its adapter, which `zoo.adapted` noted last."""
    return base.aliases[-1] if base.aliases else base.name


def _changes(config: AdapterConfig, tensors: Mapping[str, Stored], model: Ovis, of: str) -> dict[str, Change]:
    """What an adapter's tensors change, by parameters. Raises AdapterError for what isn't there, isn't of the right
    shape, or is half there."""
    shapes = {name: tuple(value.shape) for name, value in model.named_parameters(remove_duplicate=False)}
    pairs: dict[str, dict[str, Stored]] = defaultdict(dict)
    found = list[tuple[str, Change]]()
    wrong = list[str]()
    for key, tensor in tensors.items():
        name = key.removeprefix(PREFIX)
        pair = next((end for end in PAIRS if name.endswith(end)), None)
        if pair is not None:
            side = pairs[name.removesuffix(pair)]
            _once(f"{name.removesuffix(pair)}.weight", side.keys() & {PAIRS[pair]}, config)
            side[PAIRS[pair]] = tensor
        elif name.endswith(ROWS):
            change = _rows(config, name.removesuffix(ROWS), tensor, shapes)
            found += change.items()
            wrong += [] if change else [name]
        elif ".base_layer." not in name:  # the base's own, which peft writes beside the matrices of a table
            parameter = name.replace(".modules_to_save.", ".")
            fits = shapes.get(parameter) == tensor.shape
            found += [(parameter, Whole(tensor))] if fits else []
            wrong += [] if fits else [name]
    for module, pair_of in pairs.items():
        product = _product(config, module, pair_of, model, shapes)
        found += [] if product is None else [(f"{module}.weight", product)]
        wrong += [module] if product is None else []
    if wrong:
        why = f"{len(wrong):,} of its tensors have no place there, or another shape, as {quoted(wrong[0][-100:], 100)}"
        raise AdapterError(NO_FIT.format(adapter=config.name, model=of, why=why))
    if not found:
        raise AdapterError(f"The adapter {config.name} is empty: it changes nothing.")
    changes = dict[str, Change]()
    for parameter, change_of in found:
        _once(parameter, changes.keys() & {parameter}, config)
        changes[parameter] = change_of
    return changes


def _once(parameter: str, before: Collection[str], config: AdapterConfig) -> None:
    """Raises AdapterError where something was there before: of two changes nobody knows which is meant."""
    if before:
        raise AdapterError(TWICE.format(adapter=config.name, parameter=quoted(parameter[-100:], 100)))


def _product(
    config: AdapterConfig, module: str, pair: Mapping[str, Stored], model: Ovis, shapes: Shapes
) -> LowRank | None:
    """The matrices of a module, where both are there and of its shape. Raises AdapterError for a rank by which
    they take far more memory than the module: a file of zeros takes no room on the disk."""
    a, b, size = pair.get("a"), pair.get("b"), shapes.get(f"{module}.weight")
    if a is None or b is None or size is None or len(size) < 2:
        return None
    rank, table = config.rank(module), isinstance(model.get_submodule(module), nn.Embedding)
    rows, rest = size[0], size[1:]
    if rank > max(ALWAYS, min(rows, math.prod(rest))):
        raise AdapterError(KIND.format(name=config.name, what=f"a rank of {rank:,}"))
    of_linear = (rank, *rest), (rows, rank, *(1 for _ in rest[1:]))  # or of a convolution
    wanted = ((rank, rows), (*rest, rank)) if table else of_linear
    return LowRank(a, b, config.scale(module), table) if (a.shape, b.shape) == wanted else None


def _rows(config: AdapterConfig, module: str, values: Stored, shapes: Shapes) -> dict[str, Change]:
    """The rows of a table, where it says which, they are there and of its width."""
    size = shapes.get(f"{module}.weight")
    indices = None if size is None else config.indices(module)
    if indices is None or size is None or values.shape != (len(indices), *size[1:]):
        return {}
    if not all(0 <= index < size[0] for index in indices):
        return {}
    return {f"{module}.weight": Rows(indices, values)}


def _with_tied(changes: dict[str, Change], model: Ovis, config: AdapterConfig) -> dict[str, Change]:
    """The same for a second name of a parameter. Raises AdapterError where the two would change apart: peft trains rows
    of both as one, a whole table where it was told so, and matrices of each by themselves."""
    for second, first in model.all_tied_weights_keys.items():
        one, other = changes.get(first), changes.get(second)
        as_one = (isinstance(one, Rows) and other is None) or (isinstance(one, Whole) and config.tied)
        if (one is not None or other is not None) and not as_one:
            raise AdapterError(APART.format(adapter=config.name))
        if one is not None:
            changes[second] = one
    return changes


def _read(reader: Reader, tensor: Stored) -> Tensor:
    out = torch.empty(tensor.shape, dtype=torch.float32)
    reader.read(tensor, out)
    return out


def _uncounted(count: int) -> None:
    """An adapter is small beside its base."""


@contextmanager
def _sentences(name: str) -> Iterator[None]:
    """What is wrong with the file, for people."""
    try:
        yield
    except Damaged as error:
        raise AdapterError(f"The adapter {name} is damaged: {error}; copy it again, or train it anew.") from error
    except Unknown as error:
        raise AdapterError(
            f"In the adapter {name}, {error}, which this app can't read: save what was trained, in float32."
        ) from error
    except OSError as error:
        raise AdapterError(f"The adapter {name} can't be read: check its permissions, and the disk.") from error
