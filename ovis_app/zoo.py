"""The models that the app knows by name: one row each, and nothing that isn't a fact about a checkpoint.

Refuses to know how a model is built or loaded. Ask `spec.thinking`, never a name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ovis_app.generation import GenerationSettings

MINI_FOLDER = Path(__file__).resolve().parent.parent / "assets" / "ovis-mini"


@dataclass(frozen=True)
class Example:
    """A question that shows off an ability, with bundled media (names in assets/examples)."""

    text: str
    media: tuple[str, ...] = ()
    thinking: bool = False
    boxes: bool = False  # asks for coordinates
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
    tiles: bool = False  # cuts pictures into tiles (max_partition), where others scale them (min and max pixels)
    boxes_suffix: str = ""  # appended to the question when "boxes" is on; empty: not trained to find coordinates
    cot_suffix: str = ""  # appended to the question when "step by step" is on; empty: not trained for it
    bundled: bool = False
    licence: str = "Apache-2.0"
    defaults: GenerationSettings = field(default_factory=GenerationSettings)
    single: Resolution = field(default_factory=Resolution)  # recommended for the one picture of a conversation
    several: Resolution = Resolution(max_pixels=896 * 896, max_partition=4)  # for each of several
    clip: Resolution = Resolution(max_pixels=896 * 896, max_partition=1)  # for each frame of a clip
    examples: tuple[Example, ...] = ()

    @property
    def bytes(self) -> int:
        """Size of the weights in bfloat16."""
        return round(self.parameters * 2e9)

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


_EXAMPLES = (
    Example("Describe the image.", ("shapes.png",), label="Describe a picture"),
    Example("Which image has more shapes?", ("left.png", "right.png"), label="Compare two pictures"),
    Example("Which way does it move?", ("clip.mp4",), label="Watch a clip"),
    Example("How many shapes are there?", ("counting.png",), thinking=True, label="Think, then count"),
    Example(
        "Where is the <ref>red circle</ref>? Please provide the bounding box coordinates.",
        ("shapes.png",),
        boxes=True,
        label="Find a box",
    ),
    Example("What does the text say?", ("word.png",), label="Read a word"),
)

_BOXES = "Please provide the bounding box coordinates."
_QWEN3_COT = "End your response with 'Final answer: '."
_OVIS2_COT = (
    "Provide a step-by-step solution to the problem, and conclude with 'the answer is' followed by the final solution."
)

MINI = ModelSpec(
    id="ovis-mini",
    name="Ovis-mini",
    family="ovis2_5",
    parameters=0.004,
    context=2048,
    about="A 4-million-parameter Ovis that lives inside this app and knows simple drawings: "
    "coloured shapes, short words and moving dots.",
    thinking=True,
    boxes_suffix=_BOXES,
    cot_suffix=_QWEN3_COT,
    bundled=True,
    defaults=GenerationSettings(max_new_tokens=512, thinking_budget=256, frames=8),
    single=Resolution(224 * 224, 224 * 224),
    several=Resolution(224 * 224, 224 * 224),
    clip=Resolution(128 * 128, 128 * 128),
    examples=_EXAMPLES,
)


OVIS2_5 = ModelSpec(
    id="",
    name="",
    family="ovis2_5",
    parameters=0.0,
    context=40960,
    examples=_EXAMPLES,
    about="Reads pictures at their own resolution, charts, documents and clips, and can think before it answers.",
    thinking=True,
    boxes_suffix=_BOXES,
    cot_suffix=_QWEN3_COT,
    defaults=GenerationSettings(max_new_tokens=3072, thinking_budget=2048, frames=8),
    single=Resolution(max_pixels=1344 * 1792),
)
OVIS2 = ModelSpec(
    id="",
    name="",
    family="ovis2",
    parameters=0.0,
    context=32768,
    examples=_EXAMPLES,
    about="Reads pictures in up to nine tiles, several pictures and clips, charts and documents.",
    tiles=True,
    cot_suffix=_OVIS2_COT,
    defaults=GenerationSettings(max_new_tokens=1024, frames=12),
)
OVIS1_6 = ModelSpec(
    id="",
    name="",
    family="ovis1_6",
    parameters=0.0,
    context=8192,
    examples=_EXAMPLES,
    about="Reads one picture in up to nine tiles, charts and documents.",
    tiles=True,
    several_images=False,
    video=False,
    defaults=GenerationSettings(max_new_tokens=1024),
)
FAMILY_ROWS = {row.family: row for row in (OVIS2_5, OVIS2, OVIS1_6)}


def _row(family: ModelSpec, name: str, parameters: float, **changes: Any) -> ModelSpec:
    return replace(family, id=f"AIDC-AI/{name}", name=name, parameters=parameters, **changes)


MODELS = (
    MINI,
    _row(OVIS2_5, "Ovis2.5-2B", 2.57),
    _row(OVIS2_5, "Ovis2.5-9B", 9.17, single=Resolution(max_pixels=1792 * 1792)),
    _row(OVIS2, "Ovis2-1B", 1.27),
    _row(OVIS2, "Ovis2-2B", 2.46),
    _row(OVIS2, "Ovis2-4B", 4.62),
    _row(OVIS2, "Ovis2-8B", 8.94),
    _row(OVIS2, "Ovis2-16B", 16.2),
    _row(OVIS2, "Ovis2-34B", 34.9),
    _row(OVIS1_6, "Ovis1.6-Llama3.2-3B", 4.14, licence="Apache-2.0, and Meta's Llama 3.2 terms"),
    _row(OVIS1_6, "Ovis1.6-Gemma2-9B", 10.2, licence="Apache-2.0, and Google's Gemma terms"),
    _row(OVIS1_6, "Ovis1.6-Gemma2-27B", 28.9, licence="Apache-2.0, and Google's Gemma terms"),
)
ORGANISATIONS = ("aidc-ai/", "ath-maas/")  # the newer address of the same files


def find(name: str) -> ModelSpec | None:
    """The row of an id, a short name or a name under the organisation's newer address; case doesn't matter."""
    wanted = name.strip().rstrip("/").lower()
    for organisation in ORGANISATIONS:
        wanted = wanted.removeprefix(organisation)
    return next((spec for spec in MODELS if wanted in (spec.id.lower(), spec.name.lower())), None)


def generation(config: Mapping[str, Any]) -> str | None:
    """The family that a config.json is of, by its structure (two generations share a model_type), or None."""
    if "vit_config" in config:
        return "ovis2_5"
    tower = config.get("visual_tokenizer_config")
    if isinstance(tower, Mapping) and isinstance(tower.get("backbone_config"), Mapping):
        return {"aimv2": "ovis2", "siglip_vision_model": "ovis1_6"}.get(tower["backbone_config"].get("model_type"))
    return "ovis2" if "text_config" in config and config.get("model_type") == "ovis2" else None


def resolve(name: str) -> ModelSpec:
    """The row of a known name, or one made up for a folder or an unknown repository: its family's where its config.json
    lies here, else Ovis2.5's."""
    known = find(name or MINI.id)
    if known is not None:
        return known
    folder = Path(name)
    config, processor = _json(folder / "config.json"), _json(folder / "preprocessor_config.json")
    row = FAMILY_ROWS[generation(config) or "ovis2_5"]
    own = replace(row, id=name, name=folder.resolve().name[:80], about="A checkpoint of your own.", parameters=0.0)
    if "min_pixels" not in processor:
        return own
    pictures = Resolution(processor["min_pixels"], processor["max_pixels"])
    clips = Resolution(*(processor.get(f"video_{side}_pixels", processor[f"{side}_pixels"]) for side in ("min", "max")))
    defaults = replace(own.defaults, frames=processor.get("frames", own.defaults.frames))
    return replace(own, single=pictures, several=pictures, clip=clips, defaults=defaults)


def _json(file: Path) -> dict[str, Any]:
    """A file's JSON object; empty where there is none: loading says what is wrong."""
    with suppress(OSError, ValueError):
        content = json.loads(file.read_text(encoding="utf-8"))
        return content if isinstance(content, dict) else {}
    return {}


def table() -> str:
    """The models as a Markdown table, for the README."""
    lines = [
        "| model | parameters | bfloat16 | context | pictures | clips | thinks | boxes | licence |",
        "|---" * 9 + "|",
    ]
    yes = {True: "yes", False: "no"}
    for spec in MODELS:
        name = f"[{spec.name}]({spec.link})" if spec.link else f"{spec.name} (bundled)"
        size = f"{spec.bytes / 1e9:.1f} GB" if spec.bytes > 1e8 else f"{spec.bytes / 1e6:.0f} MB"
        pictures = "several" if spec.several_images else "one"
        can = [pictures, yes[spec.video], yes[spec.thinking], yes[bool(spec.boxes_suffix)]]
        cells = [name, f"{spec.parameters:g} B", size, f"{spec.context:,}", *can, spec.licence]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
