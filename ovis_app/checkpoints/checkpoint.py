"""A checkpoint's folder, looked over: what its small files and the headers of its weights say, each read once.

Everything that can be wrong with a checkpoint before its weights are read shows here, and takes no memory of note:
a config that is unknown or makes no sense, a tokenizer that is missing or damaged, a shard that is missing or
incomplete, shapes that don't fit. Refuses to know devices and precisions.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch

from ovis_app.checkpoints import checksums, experts, gptq, hf_names, native_names
from ovis_app.checkpoints.adapter import Adapter
from ovis_app.checkpoints.safetensors import Damaged, Stored, Unknown, stored
from ovis_app.checkpoints.tokenizer import ChatTokenizer, read_tokenizer
from ovis_app.errors import BackendError
from ovis_app.models.config import BROKEN, OvisConfig, called
from ovis_app.models.learning import UNUSED
from ovis_app.models.ovis import Ovis, blank_picture
from ovis_app.zoo import ModelSpec

UNREADABLE = "The weights in {name} can't be read: check their permissions, and the disk."

log = logging.getLogger(__name__)

Files = tuple[tuple[str, int, int, int], ...]
Rename = Callable[[str], tuple[str, int, int]]  # a tensor's name -> a parameter's name, part, parts
# A tensor that no model can do without. The name is a stranger's: atomic, so that it is walked through once.
LAYER = re.compile(r"^(?>.*?\.(?:layers|blocks)\.\d+\.).*(?:weight|bias)$")
RENAMES: dict[str, Rename] = {
    "released": lambda name: (name, 0, 1),
    "hf": hf_names.rename,
    "native": native_names.rename,
}


@dataclass(frozen=True)
class Goal:
    """A parameter, and the tensors that fill it: more than one where our module fuses what the file keeps apart."""

    name: str
    parts: tuple[Stored, ...]

    def part_shape(self, whole: Sequence[int]) -> tuple[int, ...]:
        """Of a part of the parameter, which is of that shape: some of its rows, those of all experts in one row."""
        rows, rest = (whole[0], whole[1:]) if len(self.parts) == 1 or len(whole) < 3 else (prod(whole[:-1]), whole[-1:])
        return (rows // len(self.parts), *rest)


@dataclass(frozen=True)
class Checkpoint:
    """A folder whose files belong together and can be loaded. `tensors` are the weights by their names in the files,
    `adapter` what is added to them; `files` tell whether they are still the ones that were read."""

    folder: Path
    config: OvisConfig
    tensors: Mapping[str, Stored]
    tokenizer: ChatTokenizer
    adapter: Adapter | None = None
    files: Files = ()

    @classmethod
    def read(cls, folder: Path, name: str, *, base: ModelSpec | None = None) -> Checkpoint:
        """Looks a folder over; `name` is what people call the model. With the adapter that the row `base` names. Raises
        BackendError with a sentence for people."""
        added = None if base is None else base.adapter
        files = files_of(folder, added)
        config = OvisConfig.read(folder)
        tensors = read_headers(folder, config)
        tokenizer = read_tokenizer(folder, config, name)
        model = check_shapes(folder, config, tensors)
        adapter = None if added is None else Adapter.read(added, model, base=base)
        return cls(folder, config, tensors, tokenizer, adapter, files)

    def is_current(self, adapter: Path | None) -> bool:
        """Whether nobody has written its files anew."""
        return self.files == files_of(self.folder, adapter)

    def is_whole(self, adapter: Path | None) -> bool:
        """Whether nobody has written its weights anew, whose bytes are found by what was said of them then."""
        return _weights(self.files) == _weights(files_of(self.folder, adapter))


def files_of(*folders: Path | None) -> Files:
    """What tells the files of folders from others of the same names."""
    found = [file for folder in folders if folder is not None for file in sorted(folder.glob("*.*"))]
    return tuple((str(file), *_stamp(file)) for file in found)


def _weights(files: Files) -> Files:
    return tuple(one for one in files if one[0].endswith(".safetensors"))


def _stamp(file: Path) -> tuple[int, int, int]:
    try:
        facts = file.stat()
    except OSError:  # of a link to nowhere, or it went meanwhile
        return 0, 0, 0
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


def read_headers(folder: Path, config: OvisConfig) -> dict[str, Stored]:
    """The folder's tensors, of weights that were released quantized each as one. Raises BackendError."""
    try:
        checksums.check(folder)
        with damage_as_sentences(folder):
            tensors = stored(folder)
    except FileNotFoundError as error:
        raise BackendError(
            f"{called(folder)} has no .safetensors weights; other formats could run code and are not loaded."
        ) from error
    except OSError as error:
        raise BackendError(UNREADABLE.format(name=called(folder))) from error
    return tensors if config.quantization is None else gptq.gathered(tensors, config, called(folder))


def check_shapes(folder: Path, config: OvisConfig, tensors: Mapping[str, Stored]) -> Ovis:
    """A model of shapes alone. Raises BackendError unless the weights are of the shapes that the config asks for, and
    it can take in a picture."""
    model = shapes_of(folder, config, tensors)
    try:
        goals_of(model, tensors, config, folder)
        _encode_nothing(model, config)
        return model
    except BackendError:
        raise
    except Exception as error:  # what a config's nonsense leads to is of many kinds
        raise BackendError(BROKEN) from error


def shapes_of(folder: Path, config: OvisConfig, tensors: Mapping[str, Stored]) -> Ovis:
    """The same, whether or not the weights fit. Raises BackendError where there are too few for so many layers."""
    layers = layers_of(config)
    if layers > len(tensors):
        raise unfit(folder, layers - len(tensors))
    try:
        with torch.device("meta"):
            return Ovis(config)
    except Exception as error:  # as above
        raise BackendError(BROKEN) from error


def layers_of(config: OvisConfig) -> int:
    """How many layers the config asks for: before they are built, which takes for ever for a million."""
    return int(config.llm_config.num_hidden_layers) + int(config.vision_config.get("num_hidden_layers") or 0)


@torch.inference_mode()
def _encode_nothing(model: Ovis, config: OvisConfig) -> None:
    """Takes a picture through a model on the meta device, where nothing is computed and every size must fit."""
    pixels = blank_picture(config)
    model.encode(pixels.values.to("meta"), pixels.grids)


@dataclass(frozen=True)
class Placed:
    """Which tensors go where, and what of that is wrong: names of tensors, or of parameters where these lack some."""

    parts: Mapping[str, Mapping[int, Stored]]  # of each parameter, in the order of the files
    homeless: Mapping[str, str]  # tensors that no parameter takes, and what they would be called here
    twice: tuple[str, ...]
    misshapen: tuple[str, ...]
    lacking: Mapping[str, tuple[int, int]]  # parameters: how many of their tensors were found, and how many there are

    @property
    def odd(self) -> list[str]:
        """Those of the homeless that belong to layers, which were trained to be used; the others are heads of the tower
        and the like, which the originals don't use either."""
        return [name for name, goal in self.homeless.items() if LAYER.search(goal)]


def placed(model: Ovis, tensors: Mapping[str, Stored], config: OvisConfig) -> Placed:
    """Holds a checkpoint's tensors against a model's parameters. Raises BackendError for a name of a layout that nobody
    knows."""
    rename, mixed = RENAMES[config.layout], int(getattr(config.llm_config, "num_experts", 0))
    parameters = dict(model.named_parameters(remove_duplicate=False))
    parts: dict[str, dict[int, Stored]] = {}
    counts: dict[str, int] = {}
    homeless: dict[str, str] = {}
    twice, misshapen = [], []
    for name, tensor in tensors.items():
        goal, part, count = experts.merged(rename(name), mixed)
        if goal not in parameters:
            homeless[name] = goal
            continue
        if part in parts.setdefault(goal, {}) or counts.setdefault(goal, count) != count:
            twice.append(name)
        there = parameters[goal]
        if torch.Size(tensor.shape).numel() * count != there.numel() or tensor.shape[-1:] != there.shape[-1:]:
            misshapen.append(name)
        parts[goal][part] = tensor
    tied = model.all_tied_weights_keys
    missing = [name for name in parameters if name not in parts and tied.get(name) not in parts and not unused(name)]
    lacking = {name: (len(found), counts[name]) for name, found in parts.items() if len(found) < counts[name]}
    lacking |= dict.fromkeys(missing, (0, mixed))
    return Placed(parts, homeless, tuple(twice), tuple(misshapen), lacking)


def goals_of(model: Ovis, tensors: Mapping[str, Stored], config: OvisConfig, folder: Path) -> list[Goal]:
    """Which tensors go where, in the order of the files. Raises BackendError where they don't fit the model."""
    mixed, found = int(getattr(config.llm_config, "num_experts", 0)), placed(model, tensors, config)
    for name, goal in found.homeless.items():
        if config.layout == "native":
            raise native_names.unknown(name)
        experts.refuse_unknown(called(folder), name, goal, mixed)
    for name in found.twice:
        experts.refuse_twice(called(folder), experts.merged(RENAMES[config.layout](name), mixed)[0])
    routers = {name: parts[0] for name, parts in found.parts.items() if name.endswith(experts.ROUTER)}
    experts.check(called(folder), model, routers, found.lacking)
    wrong = len({*found.twice, *found.misshapen, *found.odd}) + len(found.lacking)
    if wrong:
        log.info("missing: %s", list(found.lacking)[:20])
        raise unfit(folder, wrong)
    return [Goal(name, tuple(parts[part] for part in sorted(parts))) for name, parts in found.parts.items()]


def unused(name: str) -> bool:
    """Whether a parameter is applied by nobody, so that files may leave it out."""
    return not set(UNUSED).isdisjoint(name.split("."))


def unfit(folder: Path, differ: int) -> BackendError:
    return BackendError(
        f"The weights in {called(folder)} don't fit its config.json ({differ} tensors differ): "
        "download it again, or choose another checkpoint."
    )


@contextmanager
def damage_as_sentences(folder: Path) -> Iterator[None]:
    """What is wrong with a file, for people. A file of the hub's cache that was never written to its end is removed, so
    that the next try downloads it anew."""
    try:
        yield
    except Damaged as error:
        again = error.half and folder.parent.name == "snapshots"
        if again:
            error.file.resolve().unlink(missing_ok=True)
            error.file.unlink(missing_ok=True)
        advice = "it will be downloaded again at the next try" if again else "download it again"
        raise BackendError(f"The weights in {called(folder)} are damaged: {error}; {advice}.") from error
    except Unknown as error:
        raise BackendError(f"In {called(folder)}, {error}, which this app can't read: choose another model.") from error
