"""The models that the app knows by name: one row each, and nothing that isn't a fact about a checkpoint.

Refuses to know how a model is built or loaded. Ask `spec.thinking`, never a name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ovis_app.generation import GenerationSettings

MINI_FOLDER = Path(__file__).resolve().parent.parent / "assets" / "ovis-mini"
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


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
class LanguageModel:
    """What of a language model decides how much memory it takes."""

    layers: int
    kv_heads: int
    head_dim: int
    linears: float  # parameters of the layers' Linear modules, in billions: what can be quantized

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
    several_images: bool = True
    video: bool = True
    tiles: bool = False  # cuts pictures into tiles (max_partition), where others scale them (min and max pixels)
    boxes_suffix: str = ""  # appended to the question when "boxes" is on; empty: not trained to find coordinates
    cot_suffix: str = ""  # appended to the question when "step by step" is on; empty: not trained for it
    bundled: bool = False
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

    @property
    def bytes(self) -> int:
        """Size of the weights as they are released, or in bfloat16."""
        return self.size or round(self.parameters * 2e9)

    @property
    def repository(self) -> str:
        """The hub's name for it, without a revision; nothing for what is no repository."""
        name = self.id.partition("@")[0]
        return "" if self.bundled or not REPOSITORY.fullmatch(name) or Path(self.id).is_dir() else name

    @property
    def revision(self) -> str:
        """The branch, tag or commit that was named behind an @; empty is the repository's own choice."""
        return self.id.partition("@")[2] if self.repository else ""

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
        return f"https://huggingface.co/{self.repository}" if self.repository else ""


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
    llm=LanguageModel(5, 3, 32, 0.0020),
    tower=160,
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


def _row(family: ModelSpec, name: str, parameters: float, llm: LanguageModel, **changes: Any) -> ModelSpec:
    return replace(family, id=f"AIDC-AI/{name}", name=name, parameters=parameters, llm=llm, **changes)


def _gptq(row: ModelSpec, size: float, bits: int = 4) -> ModelSpec:
    """The row of the same model as released with GPTQ, `size` in GB."""
    name = f"{row.name}-GPTQ-Int{bits}"
    about = f"{row.about} Quantized to {bits} bits: needs an NVIDIA GPU."
    return replace(
        row, id=f"AIDC-AI/{name}", name=name, about=about, quantization=f"GPTQ, {bits} bits", size=round(size * 1e9)
    )


# The language models, from their config.json files: Qwen3, Qwen2.5, Llama 3.2 and Gemma 2.
_OVIS2_5_2B = _row(OVIS2_5, "Ovis2.5-2B", 2.57, LanguageModel(28, 8, 128, 1.41))
_OVIS2_5_9B = _row(
    OVIS2_5, "Ovis2.5-9B", 9.17, LanguageModel(36, 8, 128, 6.95), single=Resolution(max_pixels=1792 * 1792)
)
_OVIS2_1B = _row(OVIS2, "Ovis2-1B", 1.27, LanguageModel(24, 2, 64, 0.36), tower=1024)
_OVIS2_2B = _row(OVIS2, "Ovis2-2B", 2.46, LanguageModel(28, 2, 128, 1.31), tower=1024)
_OVIS2_4B = _row(OVIS2, "Ovis2-4B", 4.62, LanguageModel(36, 2, 128, 2.77), tower=1536)
_OVIS2_8B = _row(OVIS2, "Ovis2-8B", 8.94, LanguageModel(28, 4, 128, 6.53), tower=1536)
_OVIS2_16B = _row(OVIS2, "Ovis2-16B", 16.2, LanguageModel(48, 8, 128, 13.2), tower=1536)
_OVIS2_34B = _row(OVIS2, "Ovis2-34B", 34.9, LanguageModel(64, 8, 128, 31.2), tower=2048)
_LLAMA = _row(
    OVIS1_6,
    "Ovis1.6-Llama3.2-3B",
    4.14,
    LanguageModel(28, 8, 128, 2.82),
    licence="Apache-2.0, and Meta's Llama 3.2 terms",
)
_GEMMA = "Apache-2.0, and Google's Gemma terms"
_GEMMA_9B = _row(OVIS1_6, "Ovis1.6-Gemma2-9B", 10.2, LanguageModel(42, 8, 256, 8.32), licence=_GEMMA)
_GEMMA_27B = _row(OVIS1_6, "Ovis1.6-Gemma2-27B", 28.9, LanguageModel(46, 16, 128, 26.0), licence=_GEMMA)

# Sizes of GPTQ files: 2B and both of 1.6 as their repositories list them; the others from the shapes (4.16 bits for
# a parameter of the layers, 8.19 for Int8, 16 for everything else), which gives the listed 2B to 0.2 %.
MODELS = (
    MINI,
    _OVIS2_5_2B,
    _OVIS2_5_9B,
    _OVIS2_1B,
    _OVIS2_2B,
    _OVIS2_4B,
    _OVIS2_8B,
    _OVIS2_16B,
    _OVIS2_34B,
    _LLAMA,
    _GEMMA_9B,
    _GEMMA_27B,
    _gptq(_OVIS2_2B, 2.51),
    _gptq(_OVIS2_4B, 4.50),
    _gptq(_OVIS2_8B, 8.21),
    _gptq(_OVIS2_16B, 12.8),
    _gptq(_OVIS2_34B, 23.5),
    _gptq(_OVIS2_34B, 39.3, bits=8),
    _gptq(_LLAMA, 4.91),
    _gptq(_GEMMA_9B, 9.94),
)
OWN = "A checkpoint of your own."
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
    lies here, else Ovis2.5's. `name@revision` is another revision of a repository."""
    if (Path(name) / "config.json").is_file() and find(name) is None:
        return _of_folder(name)
    plain, _, revision = name.strip().partition("@")
    known = find(plain or MINI.id)
    if known is None:
        known = replace(
            OVIS2_5, id=plain, name=Path(plain).name[:80] or plain, about=OWN, licence="", parameters=_named_size(plain)
        )
    if not revision:
        return known
    if known.bundled:  # has no revisions: nothing of that name exists
        return replace(known, id=name, name=name, bundled=False)
    return replace(known, id=f"{known.id}@{revision}", name=f"{known.name}@{revision}")


def _named_size(name: str) -> float:
    """Billions of parameters that a repository's name tells, as in Ovis2-8B-mine; 0 where it tells nothing."""
    sizes = re.findall(r"(?<![\w.])(\d+(?:\.\d+)?)b(?![a-z])", name.lower())
    return float(sizes[-1]) if sizes else 0.0


def _of_folder(name: str) -> ModelSpec:
    """A row for the checkpoint in a folder: its family's, with what its files say."""
    folder = Path(name)
    config, processor = _json(folder / "config.json"), _json(folder / "preprocessor_config.json")
    row = FAMILY_ROWS[generation(config) or "ovis2_5"]
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    itemsize = 4 if "float32" in (config.get("torch_dtype"), config.get("dtype")) else 2
    own = replace(
        row,
        id=name,
        name=folder.resolve().name[:80],
        about=OWN,
        licence="",
        parameters=size / itemsize / 1e9,
        llm=_language_model(config.get("llm_config") or config.get("text_config") or {}),
        quantization=_quantization(config),
        size=size if "quantization_config" in config else 0,
    )
    if "min_pixels" not in processor:
        return own
    pictures = Resolution(processor["min_pixels"], processor["max_pixels"])
    clips = Resolution(*(processor.get(f"video_{side}_pixels", processor[f"{side}_pixels"]) for side in ("min", "max")))
    defaults = replace(own.defaults, frames=processor.get("frames", own.defaults.frames))
    return replace(own, single=pictures, several=pictures, clip=clips, defaults=defaults)


def _quantization(config: Mapping[str, Any]) -> str:
    """ "GPTQ, 4 bits" where a config.json says so."""
    facts = config.get("quantization_config")
    if not isinstance(facts, Mapping):
        return ""
    return f"{str(facts.get('quant_method', 'quantized')).upper()}, {facts.get('bits', '?')} bits"


def _language_model(config: Mapping[str, Any]) -> LanguageModel | None:
    """The facts of a language model's config; None where it leaves them to the class's defaults."""
    try:
        hidden, layers, heads = config["hidden_size"], config["num_hidden_layers"], config["num_attention_heads"]
        kv_heads = config.get("num_key_value_heads") or heads
        head_dim = config.get("head_dim") or hidden // heads
        linears = layers * hidden * (2 * head_dim * (heads + kv_heads) + 3 * config["intermediate_size"])
        return LanguageModel(layers, kv_heads, head_dim, linears / 1e9)
    except (KeyError, TypeError, ZeroDivisionError):
        return None


def _json(file: Path) -> dict[str, Any]:
    """A file's JSON object; empty where there is none: loading says what is wrong."""
    with suppress(OSError, ValueError):
        content = json.loads(file.read_text(encoding="utf-8"))
        return content if isinstance(content, dict) else {}
    return {}


def table() -> str:
    """The models as a Markdown table, for the README."""
    lines = [
        "| model | parameters | weights | context | pictures | clips | thinks | boxes | licence |",
        "|---" * 9 + "|",
    ]
    yes = {True: "yes", False: "no"}
    for spec in MODELS:
        name = f"[{spec.name}]({spec.link})" if spec.link else f"{spec.name} (bundled)"
        size = f"{spec.bytes / 1e9:.1f} GB" if spec.bytes > 1e8 else f"{spec.bytes / 1e6:.0f} MB"
        size += f" ({spec.quantization})" if spec.quantization else ""
        pictures = "several" if spec.several_images else "one"
        can = [pictures, yes[spec.video], yes[spec.thinking], yes[bool(spec.boxes_suffix)]]
        cells = [name, f"{spec.parameters:g} B", size, f"{spec.context:,}", *can, spec.licence]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
