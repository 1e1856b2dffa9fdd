"""What is known of a model before it is loaded, and what its id names: a hub repository or a folder.

Refuses to know which models there are.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from ovis_app import bundled
from ovis_app.conversation import Detail, Media, MediaKind
from ovis_app.errors import visible
from ovis_app.generation import GenerationSettings

MINI_FOLDER = bundled.folder("ovis-mini")
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
FRAMES = 8  # of a clip where nobody recommends a number
PIXELS_A_TOKEN = 32 * 32  # of Ovis2.5: patch 16, stride 2
# One organisation: the name that its models are known by, and what the hub calls it today (the first one redirects).
ORGANISATIONS = ("AIDC-AI", "ATH-MaaS")


@dataclass(frozen=True)
class Example:
    """A question that shows off an ability, with bundled media (names in assets/examples)."""

    text: str
    media: tuple[str, ...] = ()
    thinking: bool = False
    boxes: bool = False  # asks for coordinates
    label: str = ""


@dataclass(frozen=True)
class Task:
    """What is often asked of what was attached, in words that the model knows: of one picture, of several, of a clip.
    Where there are none it isn't asked of that. It is asked as it stands, but where a … holds a word's place."""

    label: str
    image: str = ""
    images: str = ""
    video: str = ""


@dataclass(frozen=True)
class Resolution:
    """How large the model sees one picture or frame: its area in pixels, or its tiles where the model cuts tiles."""

    min_pixels: int = 448 * 448
    max_pixels: int = 1344 * 1792
    max_partition: int = 9
    made_for: tuple[int, int] | None = None  # least and most pixels that the model was trained with; None: not known

    def clamped(self, detail: Detail) -> Detail:
        """The detail with its pixels moved to what the model was made for; what wasn't asked for stays so."""
        if self.made_for is None:
            return detail
        least, most = self.made_for
        asked = {name: getattr(detail, name) for name in ("min_pixels", "max_pixels")}
        return replace(detail, **{name: min(max(size, least), most) for name, size in asked.items() if size})


@dataclass(frozen=True)
class LanguageModel:
    """What of a language model decides how much memory it takes."""

    layers: int
    kv_heads: int
    head_dim: int
    linears: float  # parameters of the layers' Linear modules and experts, in billions: what can be quantized
    active: float = 0.0  # those of them that a token is multiplied by, where experts share the work; 0: all
    head: float = 0.0  # parameters that make logits of a token, in billions; 0: not known

    def cache(self, tokens: int, itemsize: int) -> int:
        """Bytes of the keys and values of so many tokens."""
        return 2 * self.layers * self.kv_heads * self.head_dim * tokens * itemsize


@dataclass(frozen=True)
class ModelSpec:
    """What people and the page need to know of a checkpoint before it is loaded."""

    id: str  # a hub repository, with @revision where one was named, or the folder of a local checkpoint
    name: str  # short name
    family: str
    parameters: float  # in billions
    context: int  # tokens
    about: str  # one sentence for the empty page
    thinking: bool = False
    thinks_unasked: bool = False  # where a program doesn't say whether to
    several_images: bool = True
    video: bool = True
    several_clips: bool = False  # in one question: its format says where each begins and ends, and it is large enough
    tiles: bool = False  # cuts pictures into tiles (max_partition), where others scale them (min and max pixels)
    boxes_suffix: str = ""  # appended to the question when "boxes" is on; empty: not trained to find coordinates
    points_suffix: str = ""  # what asks for points in place of boxes; empty: not trained to find those
    cot_suffix: str = ""  # appended to the question when "step by step" is on; empty: not trained for it
    bundled: bool = False
    guessed: bool = False  # from a name alone: nobody knows more before its files are here
    llm: LanguageModel | None = None  # None: nobody knows before its config.json is here
    tower: int = 1152  # width of the visual tower
    quantization: str = ""  # how the released weights are quantized; empty: they aren't
    size: int = 0  # bytes of the released weights where that isn't two a parameter
    licence: str = "Apache-2.0"
    defaults: GenerationSettings = field(default_factory=GenerationSettings)
    single: Resolution = field(default_factory=Resolution)  # recommended for the one picture of a conversation
    several: Resolution = Resolution(max_pixels=896 * 896, max_partition=4)  # for each of several
    clip: Resolution = Resolution(max_pixels=896 * 896, max_partition=1)  # for each frame of a clip
    examples: tuple[Example, ...] = ()
    tasks: tuple[Task, ...] = ()
    reading: str = ""  # what asks for a page as Markdown
    alone: bool = False  # no Ovis inside: a class of its own answers, in a process that has no other model
    aliases: tuple[str, ...] = ()  # what else programs may call it, as its name on the server that has it
    adapter: Path | None = None  # the folder of one that is added to its weights
    refused: str = ""  # why it can't be used here, in a sentence for people

    @property
    def bytes(self) -> int:
        """Size of the weights as they are released, or in bfloat16."""
        return self.size or round(self.parameters * 2e9)

    @property
    def repository(self) -> str:
        """The hub's name for it, without a revision; nothing for what is no repository."""
        name = self.id.partition("@")[0]
        here = os.path.isdir(self.id)  # noqa: PTH112 - Path's own raises for a name that is too long
        return "" if self.bundled or here or not REPOSITORY.fullmatch(name) else name

    @property
    def repositories(self) -> tuple[str, ...]:
        """Every name that the hub or its cache may have for the same files; `repository` is the first."""
        organisation, _, model = self.repository.partition("/")
        if organisation in ORGANISATIONS:
            return tuple(f"{name}/{model}" for name in ORGANISATIONS)
        return (self.repository,) if self.repository else ()

    @property
    def revision(self) -> str:
        """The branch, tag or commit that was named behind an @; empty is the repository's own choice."""
        return self.id.partition("@")[2] if self.repository else ""

    @property
    def folder(self) -> Path | None:
        """Where the checkpoint lies when it is on this disk by its id."""
        path = MINI_FOLDER if self.bundled else Path(self.id)
        return path if has_config(path) else None

    def resolution(self, kind: MediaKind, *, several: bool = False) -> Resolution:
        """What is recommended for a picture, alone in its message or one of several, or for a clip's frames."""
        return self.clip if kind == "video" else self.several if several else self.single

    @property
    def public_id(self) -> str:
        """What programs call it: its repository with the revision, or its name, but never a folder."""
        return self.id if self.repository and self.adapter is None else self.name

    def is_called(self, name: str) -> bool:
        """Whether a program that asks for `name` means this model: its id, its repository in either organisation, its
        short name or an alias. Case doesn't matter."""
        names = {self.public_id, self.name, *self.repositories, *self.aliases}
        names |= {f"{repository}@{self.revision}" for repository in self.repositories if self.revision}
        return name.strip().lower() in map(str.lower, names)

    @property
    def recommended(self) -> GenerationSettings:
        """What the knobs show before anyone touches them: the defaults at the resolution of a single picture."""
        single = self.single
        return replace(
            self.defaults,
            min_pixels=single.min_pixels,
            max_pixels=single.max_pixels,
            max_partition=single.max_partition,
        )

    def detail(self, media: Media, *, several: bool) -> Detail:
        """How closely the model looks at a file: what was asked for, completed by what is recommended. Only a clip has
        `frames`. `several` pictures of one question are seen smaller than a single one."""
        asked = media.detail
        advised = self.resolution(media.kind, several=several)
        frames = (asked.frames or self.defaults.frames or FRAMES) if media.kind == "video" else None
        # No more than the context could hold: past that the prompt is refused, and the work would be for nothing.
        held = max(self.context * PIXELS_A_TOKEN // (frames or 1), PIXELS_A_TOKEN)
        most = min(asked.max_pixels or advised.max_pixels, held)
        return Detail(
            min_pixels=min(asked.min_pixels or advised.min_pixels, most),
            max_pixels=most,
            max_partition=asked.max_partition or advised.max_partition,
            frames=frames,
            piece=asked.piece,
            excerpt=asked.excerpt if media.kind == "video" else None,
        )

    def worded(self, question: str, settings: GenerationSettings) -> str:
        """The question with the lines that switches add, in the words that the model was trained with."""
        points = bool(self.points_suffix) and self.points_suffix in question
        boxes = self.boxes_suffix if settings.boxes and not points else ""
        steps = self.cot_suffix if settings.cot else ""
        return "\n".join((question, *(line for line in (boxes, steps) if line and line not in question)))

    @property
    def link(self) -> str:
        """The model's page, or nothing for a folder."""
        return f"https://huggingface.co/{self.repository}" if self.repository else ""


def is_adapter(folder: Path | str) -> bool:
    """Whether an adapter lies there, and no checkpoint."""
    return os.path.isfile(os.path.join(folder, "adapter_config.json")) and not has_config(folder)  # noqa: PTH113, PTH118


def adapter_name(folder: Path) -> str:
    """What people call the adapter in a folder: where the folder is called that, by the one around it."""
    folder = Path(os.path.abspath(folder))  # noqa: PTH100 - Path's own follows links
    return name_of(folder.parent if folder.name == "adapter" else folder)


def name_of(folder: Path) -> str:
    """What people call what lies in a folder: its name, which a stranger may have given it, as it can be shown."""
    return visible(folder.name[:80])


def has_config(folder: Path | str) -> bool:
    """Whether a checkpoint lies there; also for what can't be a folder's name, or may not be looked into."""
    return os.path.isfile(os.path.join(folder, "config.json"))  # noqa: PTH113, PTH118 - Path's own raises
