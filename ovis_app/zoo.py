"""The models that the app knows by name: one row each, and nothing that isn't a fact about a checkpoint.

Refuses to know how a model is built or loaded. Ask `spec.thinking`, never a name.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from ovis_app.generation import GenerationSettings

MINI_FOLDER = Path(__file__).resolve().parent.parent / "assets" / "ovis-mini"


@dataclass(frozen=True)
class Example:
    """A question that shows off an ability, with bundled media (names in assets/examples)."""

    text: str
    media: tuple[str, ...] = ()
    thinking: bool = False
    label: str = ""


@dataclass(frozen=True)
class Resolution:
    """How large the model sees one picture or frame: its area in pixels, or its tiles where the model cuts tiles."""

    min_pixels: int = 448 * 448
    max_pixels: int = 1344 * 1792
    max_partition: int = 9


@dataclass(frozen=True)
class ModelSpec:
    """What people and the page need to know of a checkpoint before it is loaded."""

    id: str  # a hub repository, or the folder of a local checkpoint
    name: str  # short name
    family: str
    parameters: float  # in billions
    context: int  # tokens
    about: str  # one sentence for the empty page
    thinking: bool = False
    several_images: bool = True
    video: bool = True
    grounding: bool = False
    cot_suffix: str = ""  # appended to the question when "step by step" is on; empty: not trained for it
    bundled: bool = False
    licence: str = "Apache-2.0"
    defaults: GenerationSettings = field(default_factory=GenerationSettings)
    single: Resolution = field(default_factory=Resolution)  # recommended for the one picture of a conversation
    several: Resolution = Resolution(max_pixels=896 * 896, max_partition=4)  # for each of several
    clip: Resolution = Resolution(max_pixels=896 * 896, max_partition=1)  # for each frame of a clip
    examples: tuple[Example, ...] = ()

    @property
    def folder(self) -> Path | None:
        """Where the checkpoint lies when it is on this disk by its id."""
        path = MINI_FOLDER if self.bundled else Path(self.id)
        return path if (path / "config.json").is_file() else None

    @property
    def recommended(self) -> GenerationSettings:
        """What the knobs show before anyone touches them: the defaults at the resolution of a single picture."""
        return replace(self.defaults, **asdict(self.single))

    @property
    def link(self) -> str:
        """The model's page, or nothing for a folder."""
        return "" if self.bundled or self.id.count("/") != 1 else f"https://huggingface.co/{self.id}"


_MINI_EXAMPLES = (
    Example("Describe the image.", ("shapes.png",), label="Describe a picture"),
    Example("Which image has more shapes?", ("left.png", "right.png"), label="Compare two pictures"),
    Example("Which way does it move?", ("clip.mp4",), label="Watch a clip"),
    Example("How many shapes are there?", ("counting.png",), thinking=True, label="Think, then count"),
    Example(
        "Where is the <ref>red circle</ref>? Please provide the bounding box coordinates.",
        ("shapes.png",),
        label="Find a box",
    ),
    Example("What does the text say?", ("word.png",), label="Read a word"),
)

_QWEN3_COT = "End your response with 'Final answer: '."

MINI = ModelSpec(
    id="ovis-mini",
    name="Ovis-mini",
    family="ovis2_5",
    parameters=0.004,
    context=2048,
    about="A 4-million-parameter Ovis that lives inside this app and knows simple drawings: "
    "coloured shapes, short words and moving dots.",
    thinking=True,
    grounding=True,
    cot_suffix=_QWEN3_COT,
    bundled=True,
    defaults=GenerationSettings(max_new_tokens=512, thinking_budget=256, frames=8),
    single=Resolution(224 * 224, 224 * 224),
    several=Resolution(224 * 224, 224 * 224),
    clip=Resolution(128 * 128, 128 * 128),
    examples=_MINI_EXAMPLES,
)


def _ovis2_5(size: str, parameters: float, max_pixels: int) -> ModelSpec:
    return ModelSpec(
        id=f"AIDC-AI/Ovis2.5-{size}",
        name=f"Ovis2.5-{size}",
        family="ovis2_5",
        parameters=parameters,
        context=40960,
        about="Reads pictures at their own resolution, charts, documents and clips, and can think before it answers.",
        thinking=True,
        grounding=True,
        cot_suffix=_QWEN3_COT,
        defaults=GenerationSettings(max_new_tokens=3072, thinking_budget=2048, frames=8),
        single=Resolution(max_pixels=max_pixels),
    )


MODELS = (MINI, _ovis2_5("2B", 2.57, 1344 * 1792), _ovis2_5("9B", 9.17, 1792 * 1792))


def find(name: str) -> ModelSpec | None:
    """The row of an id, a short name or a name under the organisation's newer address; case doesn't matter."""
    wanted = name.strip().rstrip("/").lower().replace("ath-maas/", "aidc-ai/")
    return next((spec for spec in MODELS if wanted in (spec.id.lower(), spec.name.lower())), None)


def resolve(name: str) -> ModelSpec:
    """The row of a known name, or a row made up for a folder or an unknown repository in the fashion of Ovis2.5."""
    known = find(name or MINI.id)
    if known is not None:
        return known
    last = Path(name).name
    return replace(MODELS[1], id=name, name=last, about="A checkpoint of your own.", parameters=0.0)
