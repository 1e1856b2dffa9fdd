"""From what a person wrote to a row: a known name, an address, a repository or a folder.

Reads small files of a folder; refuses to know how a model is built or loaded.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeGuard
from urllib.parse import unquote, urlsplit

from ovis_app.errors import visible
from ovis_app.zoo.rows import FAMILY_ROWS, MINI, MODELS, OVIS2_5, PAGE_READER, REFUSED
from ovis_app.zoo.spec import ORGANISATIONS, LanguageModel, ModelSpec, Resolution, adapter_name, has_config, name_of

OWN = "A checkpoint of your own."
PAGE = re.compile(r"(www\.)?(huggingface\.co|hf\.co)/", re.IGNORECASE)  # an address without its https
TREE = re.compile(r"[\w.-]+/[\w.-]+/tree/.+")  # the end of one, with a revision


def find(name: str) -> ModelSpec | None:
    """The row of an id, under either name of its organisation, or of a short name; case doesn't matter."""
    wanted = _known_organisation(name.strip().rstrip("/")).lower()
    return next((spec for spec in MODELS if wanted in (spec.id.lower(), spec.name.lower())), None)


def generation(config: Mapping[str, Any]) -> str | None:
    """The family that a config.json is of, by its structure (two generations share a model_type), or None."""
    if "vit_config" in config:
        return "ovis2_6" if _is_2_6(config) else "ovis2_5"
    tower = config.get("visual_tokenizer_config")
    if isinstance(tower, Mapping) and isinstance(tower.get("backbone_config"), Mapping):
        return {"aimv2": "ovis2", "siglip_vision_model": "ovis1_6"}.get(tower["backbone_config"].get("model_type"))
    named = config.get("model_type")
    return named if "text_config" in config and named in ("ovis2", "ovis2_5") else None


def _is_2_6(config: Mapping[str, Any]) -> bool:
    """It has all that 2.5 has, and tells itself by name alone."""
    names = config.get("architectures")
    names = [config.get("model_type"), *(names if isinstance(names, list) else [])]
    return any(isinstance(name, str) and name.lower().startswith("ovis2_6") for name in names)


def adapted(name: str, adapter: str) -> ModelSpec:
    """The row of a name with the adapter of a folder; without one where none is named."""
    spec = resolve(name)
    if not adapter:
        return spec
    folder = Path(os.path.abspath(os.path.expanduser(adapter)))  # noqa: PTH100, PTH111 - as above
    known = (*spec.aliases, spec.public_id, spec.name)
    return replace(spec, name=f"{spec.name}+{adapter_name(folder)}", aliases=known, adapter=folder)


def resolve(name: str) -> ModelSpec:
    """The row of a known name, or one made up for a folder or an unknown repository: its family's where its config.json
    lies here, else Ovis2.5's. `name@revision` is another revision of a repository; a page's address is one too."""
    name = os.path.expanduser(name)  # noqa: PTH111 - Path's own raises for a ~ that nobody has
    if has_config(name) and find(name) is None:
        return of_folder(Path(name), id=name)
    plain, _, revision = _of_address(name).strip().partition("@")
    plain, revision = _known_organisation(plain.rstrip("/") or plain), revision.rstrip("/")
    known = find(plain or MINI.id)
    if known is None:
        known = replace(
            OVIS2_5, id=plain, name=name_of(Path(plain)) or visible(plain), about=OWN, licence="",
            parameters=_named_size(plain), guessed=True, refused=_refusal(plain),
        )  # fmt: skip
    if not revision:
        return known
    if known.bundled:  # has no revisions: nothing of that name exists
        return replace(known, id=name, name=name, bundled=False)
    return replace(known, id=f"{known.id}@{revision}", name=f"{known.name}@{revision}")


def _refusal(name: str) -> str:
    return next((why for id, why in REFUSED.items() if name.lower() in (id.lower(), id.partition("/")[2].lower())), "")


def _known_organisation(name: str) -> str:
    """A repository of the organisation under the name that its models are known by. Other names as they are."""
    organisation, slash, model = name.partition("/")
    same = slash and organisation.lower() in map(str.lower, ORGANISATIONS)
    return f"{ORGANISATIONS[0]}/{model}" if same else name


def _of_address(name: str) -> str:
    """The repository of a web address: its last two parts, and the revision behind /tree/. Other names as they are."""
    written = name.strip()
    with suppress(ValueError):
        address = urlsplit(f"https://{written}" if PAGE.match(written) else written)
        if address.scheme in ("http", "https") or TREE.fullmatch(written):
            path, _, revision = unquote(address.path).partition("/tree/")
            repository = "/".join(path.strip("/").split("/")[-2:])
            return f"{repository}@{revision.strip('/')}" if revision.strip("/") else repository
    return name


def _named_size(name: str) -> float:
    """Billions of parameters that a repository's name tells, as in Ovis2-8B-mine; 0 where it tells nothing."""
    sizes = re.findall(r"(?<![\w.])(\d+(?:\.\d+)?)b(?![a-z])", name.lower())
    return float(sizes[-1]) if sizes else 0.0


def of_folder(folder: Path, *, id: str, name: str = "") -> ModelSpec:
    """A row for the checkpoint in a folder: its family's, with what its files say."""
    config, processor = _json(folder / "config.json"), _json(folder / "preprocessor_config.json")
    family = "ovis_ocr2" if config.get("model_type") == PAGE_READER else generation(config)
    row = FAMILY_ROWS[family or "ovis2_5"]
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors") if file.is_file())
    itemsize = 4 if "float32" in (config.get("torch_dtype"), config.get("dtype")) else 2
    llm = _language_model(config.get("llm_config") or config.get("text_config") or {})
    bits = _bits(config)
    linears = llm.linears if llm is not None and bits else 0.0
    own = replace(
        row,
        id=id,
        name=name or name_of(folder.resolve()),
        about=OWN,
        licence="",
        parameters=max(size / 1e9 - linears * bits / 8, 0.0) / itemsize + linears,
        llm=llm,
        context=min(row.context, _context(config) or row.context),
        quantization=_quantization(config),
        single=replace(row.single, made_for=None),  # nobody knows what it was trained with
        several=replace(row.several, made_for=None),
        clip=replace(row.clip, made_for=None),
        size=size if "quantization_config" in config else 0,
    )
    pictures = _resolution(processor)
    if pictures is None:
        return own
    frames = processor.get("frames")
    defaults = replace(own.defaults, frames=frames) if _counts(frames) else own.defaults
    clips = _resolution(processor, "video_") or pictures
    return replace(own, single=pictures, several=pictures, clip=clips, defaults=defaults)


def _resolution(processor: Mapping[str, Any], kind: str = "") -> Resolution | None:
    """The pixels that a preprocessor_config.json names; None where it names none, or nonsense."""
    sizes = [processor.get(f"{kind}{side}_pixels") for side in ("min", "max")]
    if not all(map(_counts, sizes)):
        return None
    least, most = sizes
    # One size is what it was made for; a range may be what somebody liked.
    return Resolution(least, most, made_for=(least, most) if least == most else None)  # type: ignore[arg-type]


def _counts(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and value > 0


def _context(config: Mapping[str, Any]) -> int:
    """Tokens of a prompt and its answer that a config.json tells; 0 where it tells nothing, or nonsense."""
    llm = config.get("llm_config") or config.get("text_config")
    of_words = llm.get("max_position_embeddings") if isinstance(llm, Mapping) else 0
    told = (config.get("multimodal_max_length") if "visual_tokenizer_config" in config else 0, of_words)
    return next((tokens for tokens in told if _counts(tokens)), 0)


def _quantization(config: Mapping[str, Any]) -> str:
    """ "GPTQ, 4 bits" where a config.json says so."""
    facts = config.get("quantization_config")
    if not isinstance(facts, Mapping):
        return ""
    return f"{str(facts.get('quant_method', 'quantized')).upper()}, {facts.get('bits', '?')} bits"


def _bits(config: Mapping[str, Any]) -> int:
    """Of what a config.json says was quantized; 0 where it says nothing, or nonsense."""
    facts = config.get("quantization_config")
    bits = facts.get("bits") if isinstance(facts, Mapping) else None
    return bits if isinstance(bits, int) and 0 < bits < 16 else 0


def _language_model(config: Mapping[str, Any]) -> LanguageModel | None:
    """The facts of a language model's config; None where it leaves them to the class's defaults."""
    try:
        hidden, layers, heads = config["hidden_size"], config["num_hidden_layers"], config["num_attention_heads"]
        kv_heads = config.get("num_key_value_heads") or heads
        head_dim = config.get("head_dim") or hidden // heads
        experts = config.get("num_experts") or 0
        chosen, inner = (
            (config["num_experts_per_tok"], config["moe_intermediate_size"])
            if experts
            else (1, config["intermediate_size"])
        )
        if not all(map(_counts, (hidden, layers, heads, kv_heads, head_dim, experts or 1, chosen, inner))):
            return None  # loading says what is wrong

        def linears(used: int) -> float:
            return float(layers * hidden * (2 * head_dim * (heads + kv_heads) + 3 * used * inner) / 1e9)

        return LanguageModel(layers, kv_heads, head_dim, linears(experts or 1), linears(chosen) if experts else 0.0)
    except (KeyError, TypeError, ZeroDivisionError):
        return None


def _json(file: Path) -> dict[str, Any]:
    """A file's JSON object; empty where there is none: loading says what is wrong."""
    with suppress(OSError, ValueError, RecursionError):
        content = json.loads(file.read_text(encoding="utf-8"))
        return content if isinstance(content, dict) else {}
    return {}
