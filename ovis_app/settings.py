"""How this process was asked to run: flags first, then OVIS_* variables, then defaults.

The only reader of OVIS_* and of what a Space says. Imports nothing heavy, so that --help answers at once.
"""

from __future__ import annotations

import argparse
import dataclasses
import ipaddress
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, NoReturn

from ovis_app import setting_values as values
from ovis_app.limits import MEGABYTE, Limits

BACKENDS = ("local", "fake", "remote")
DTYPES = ("auto", "float32", "bfloat16", "float16")
ENGINES = ("auto", "solo", "batched", "plain")
QUANTIZE = ("none", "int8", "int4")
ZEROGPU_SIZES = ("large", "xlarge")
METRICS = ("off", "here", "everyone")
LOG_FORMATS = ("text", "json")
LIMITED = ("image_pixels", "image_bytes", "video_bytes", "video_seconds", "files_per_turn")  # of Limits
NVIDIA = Path("/dev/nvidiactl")  # there wherever an NVIDIA GPU can be used


@dataclass(frozen=True)
class Settings:
    """Everything that is decided at the start. `None` leaves a choice to whoever it concerns."""

    model: str = "ovis-mini"
    adapter: str = ""  # a folder of peft's format, which is added to the model
    backend: str = "local"
    base_url: tuple[str, ...] = ()  # OpenAI-compatible servers, as URL or NAME=URL
    api_key_env: tuple[str, ...] = ()  # variables that hold their keys, as VARIABLE or NAME=VARIABLE
    device: str = "auto"
    dtype: str = "auto"
    quantize: str = "none"
    engine: str = "auto"
    lookup: str = "auto"
    server_name: str = "127.0.0.1"
    port: int = 7860
    share: bool = False
    mcp: bool = False  # the endpoints are tools for agents, too
    auth: tuple[str, ...] = dataclasses.field(default=(), repr=False)  # who may sign in, each as NAME:PASSWORD
    auth_file: str = ""  # who may sign in, a NAME:HASH a line
    root_path: str = ""  # where a proxy publishes the page, as /chat
    trusted_proxies: tuple[str, ...] = ()  # addresses and networks whose X-Forwarded-For is believed
    allowed_hosts: str = ""  # names, with commas between them, that the page answers to beside this machine's own
    model_choice: str = "auto"  # whether the page may change models; auto: whoever asks from this very machine
    api_key: tuple[str, ...] = dataclasses.field(default=(), repr=False)  # that /v1 asks for, with those of the file
    api_key_file: str = ""
    api_bytes: int = 32 * MEGABYTE  # of one request to /v1, with its pictures
    allow_urls: bool = False  # whether files are fetched from addresses on the internet
    log_format: str = "text"  # json: an object a line, without a word that anybody wrote
    metrics: str = "off"  # who may read /metrics: nobody, who asks from this very machine, or whoever asks directly
    queue_size: int = 32  # questions waiting at most; more are refused with a sentence
    deadline: float = 600.0  # seconds that one answer may take
    visual_cache: int = 512 * 1024 * 1024  # bytes of encoded pictures that are remembered
    prefix_cache: int = 1024 * 1024 * 1024  # bytes of recent conversations' attention that are remembered
    unload_after: float = 0.0  # minutes without a question after which the model's memory is given back; 0: never
    gpu_memory: float = 0.85  # share of a GPU's memory that the model, its conversations and its pictures may take
    fake_rate: float = 0.0  # tokens per second of the scripted backend; 0 is as fast as it can
    image_pixels: int = Limits.image_pixels
    image_bytes: int = Limits.image_bytes
    video_bytes: int = Limits.video_bytes
    video_seconds: float = Limits.video_seconds
    files_per_turn: int = Limits.files_per_turn
    doctor: bool = False  # whatever is asked is answered with how the model does
    zerogpu_size: str = "large"
    space: bool = False  # whether this is a Hugging Face Space, which its environment says
    zerogpu: bool = False  # whether the Space has its GPU for the length of an answer only; its environment says so

    @property
    def at_once(self) -> int:
        """Answers that are given at once; the rest wait in the queue."""
        if self.zerogpu:  # each is a process of its own, with a GPU of its own
            return 8
        return {"solo": 4, "plain": 4}.get(self.engine, 64 if NVIDIA.exists() else 32)

    @property
    def asked_at_once(self) -> int:
        """Questions that Gradio lets through to the line of all who ask: what runs and waits there, and some that are
        refused. With less, one client's would hold all others up in Gradio's own queue, which serves nobody in turn."""
        return self.at_once + self.queue_size + 8

    @property
    def private(self) -> bool:
        """Whether the page is meant for this machine alone, as far as the address that it listens on tells."""
        return loopback(self.server_name) and not self.share

    @property
    def serves_api(self) -> bool:
        """Whether /v1 is there: for whoever has a key or signed in, or for this machine alone."""
        return bool(self.api_key) or self.sign_in or self.private

    @property
    def api_way(self) -> Literal["key", "sign_in", ""]:
        """How programs are let in at /v1: by a key, any where none is set; as people sign in; or not at all."""
        if not self.serves_api:
            return ""
        return "sign_in" if self.sign_in and not self.api_key else "key"

    @property
    def sign_in(self) -> bool:
        """Whether people have to say who they are."""
        return bool(self.auth or self.auth_file)

    @property
    def open_to_all(self) -> bool:
        """Whether strangers reach the page and nobody has to sign in. Who reaches a Space is set at the Hub."""
        return not (self.private or self.sign_in or self.space)

    @property
    def choosable(self) -> bool:
        """Whether anybody may change the model for everybody; with auto only who asks from this machine."""
        return {"on": True, "off": False}.get(self.model_choice, self.private)

    @property
    def hosts(self) -> frozenset[str]:
        """`allowed_hosts` one by one."""
        return frozenset(name.strip().lower().rstrip(".") for name in self.allowed_hosts.split(",") if name.strip())

    def limits(self) -> Limits:
        """What people may upload."""
        return Limits(**{name: getattr(self, name) for name in LIMITED})


def loopback(name: str) -> bool:
    """Whether a host name or address means this very machine."""
    name = name.lower().strip("[]").rstrip(".")
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


_HELP = {
    "model": "a known name (ovis-mini, Ovis2.5-2B), a hub repository (also @revision), a folder, or a server's model",
    "adapter": "what fine-tuning made of the model: a folder with adapter_config.json",
    "backend": "who answers: the model in this process, the servers of --base-url, or a script for trying the page",
    "base_url": "an OpenAI-compatible server (vLLM, another Ovis App), as URL or NAME=URL; with --backend local it "
    "stands in the list of models",
    "api_key_env": "the variable that holds the server's key; NAME=VARIABLE where there are several servers",
    "device": "auto, cpu, cuda, cuda:1, mps",
    "dtype": "precision of the weights; auto is bfloat16 where the device computes it fast, else float32",
    "quantize": "bits of the language model's weights: int8 and int4 take less memory and change answers a little",
    "engine": "auto answers many at once, solo one after another; plain is transformers' generate, for comparison",
    "lookup": "guess what repeats earlier text, and verify it: faster where answers repeat; answers stay the same",
    "server_name": "address to listen on; 0.0.0.0 lets other machines in",
    "port": "port to listen on",
    "allowed_hosts": "names that the page answers to beside this machine's own, as a proxy's; commas between",
    "model_choice": "who may switch models, to a folder here too: on is everybody, auto who asks from this machine",
    "share": "open a public link through Gradio's relay; --auth-file asks who comes in",
    "mcp": "serve the endpoints for programs as tools for agents, too, by MCP at /gradio_api/mcp",
    "api_key": "a key that /v1 asks for; flags are seen by all who use this machine, the variable and the file aren't",
    "api_key_file": "a file of keys that /v1 asks for, one a line",
    "api_bytes": "largest request to /v1, in bytes",
    "allow_urls": "fetch files from addresses on the internet, for /v1 and the page, never from private networks",
    "auth_file": "who may sign in: a file of lines that `ovis hash-password NAME` makes",
    "auth": "who may sign in, as NAME:PASSWORD; other people here can see flags, so prefer --auth-file, or OVIS_AUTH",
    "root_path": "where a proxy publishes the page, as /chat",
    "trusted_proxies": "addresses and networks of proxies whose X-Forwarded-For is believed",
    "log_format": "json is an object a line, with request ids and durations and without a word that anybody wrote",
    "metrics": "figures for Prometheus at /metrics, read from this machine alone; everyone: without a proxy between",
    "queue_size": "questions that may wait at once",
    "deadline": "seconds that one answer may take",
    "visual_cache": "bytes of encoded pictures that are remembered between questions",
    "prefix_cache": "bytes of recent conversations' attention that are kept, on a GPU all that is left; 0 is none",
    "unload_after": "minutes without a question after which the model is unloaded; the next question loads it again, "
    "and 0 is never",
    "gpu_memory": "share of a GPU's memory that may be used, from 0.1 to 1",
    "fake_rate": "pace of the scripted stand-in, in tokens per second; 0 is as fast as it can",
    "image_pixels": "largest picture, in pixels",
    "image_bytes": "largest picture file, in bytes",
    "video_bytes": "largest clip file, in bytes",
    "video_seconds": "longest clip, in seconds",
    "files_per_turn": "attachments of one question",
    "doctor": "answer whatever is asked with how the model does here, as `ovis doctor` tells it: for a Space",
    "zerogpu_size": "on ZeroGPU: large is half a card of 96 GB, xlarge all of it, for twice the quota",
}
_CHOICES: dict[str, tuple[str, ...]] = {
    "backend": BACKENDS,
    "dtype": DTYPES,
    "quantize": QUANTIZE,
    "engine": ENGINES,
    "lookup": ("auto", "off"),
    "model_choice": ("auto", "on", "off"),
    "zerogpu_size": ZEROGPU_SIZES,
    "metrics": METRICS,
    "log_format": LOG_FORMATS,
}
_ALONE = {"metrics": "here"}  # what a flag means that has no value
_ALSO = {"model": ("--model-path",)}  # other spellings of a flag


# What argparse says of `--image -a.png` too, and what is to be done.
ONE_VALUE = ("expected one argument", "a value is missing; write one that begins with a dash after =, as --flag=-value")


class Flags(argparse.ArgumentParser):
    """A parser that says in one line what is wrong, and doesn't repeat what may be a part of a password."""

    def error(self, message: str) -> NoReturn:
        kind, found, given = message.partition("unrecognized arguments: ")
        if found:
            flags = [word.partition("=")[0] for word in given.split() if word.startswith("-")]
            message = f"{kind}{found}{' '.join(flags) or 'words without a flag; put what has spaces into quotes'}"
        message = message.replace(*ONE_VALUE)
        message = re.sub(r"(--[\w-]{1,40})=\S+", r"\1", message)
        self.exit(2, f"{self.prog.removeprefix('python -m ')}: {message} (--help lists the flags)\n")


def add_arguments(parser: argparse.ArgumentParser, names: Sequence[str] = tuple(_HELP)) -> None:
    """Adds a flag for each of `names`. Flags that aren't given stay out of the namespace."""
    for field in fields(Settings):
        if field.name not in names:
            continue
        flags = ("--" + field.name.replace("_", "-"), *_ALSO.get(field.name, ()))
        variable = f"OVIS_{field.name.upper()}"
        default = "none" if field.default in ("", ()) else field.default
        several = "; may be given several times" if field.default == () else ""
        text = f"{_HELP[field.name]}{several} (default: {default}; variable {variable})".replace("%", "%%")
        if isinstance(field.default, bool):
            parser.add_argument(*flags, action="store_true", default=argparse.SUPPRESS, help=text)
        elif isinstance(field.default, tuple):
            name = field.name.upper()
            parser.add_argument(*flags, action="append", default=argparse.SUPPRESS, help=text, metavar=name)
        else:
            alone: dict[str, Any] = {"nargs": "?", "const": _ALONE[field.name]} if field.name in _ALONE else {}
            parser.add_argument(
                *flags,
                **alone,
                type=type(field.default),
                choices=_CHOICES.get(field.name),
                default=argparse.SUPPRESS,
                help=text,
                metavar=None if field.name in _CHOICES else field.name.upper(),
            )


def from_environment(environment: Mapping[str, str] = os.environ) -> dict[str, object]:
    """The OVIS_* variables that are set, converted. Raises ValueError with a sentence for one that isn't valid."""
    found: dict[str, object] = {}
    for field in fields(Settings):
        if field.name not in _HELP:
            continue
        raw = environment.get(f"OVIS_{field.name.upper()}")
        if raw is None or raw == "":
            continue
        found[field.name] = _converted(field.name, raw, field.default)
    return found


def _converted(name: str, raw: str, default: object) -> object:
    variable = f"OVIS_{name.upper()}"
    if isinstance(default, bool):
        if raw.lower() in ("1", "true", "yes", "on"):
            return True
        if raw.lower() in ("0", "false", "no", "off"):
            return False
        raise ValueError(f"{variable} must be 1 or 0, not {raw!r}.")
    if isinstance(default, tuple):
        return tuple(raw.replace(",", " ").split())
    if name in _ALONE:
        raw = {"1": _ALONE[name], "on": _ALONE[name], "0": "off"}.get(raw.lower(), raw)
    if name in _CHOICES and raw not in _CHOICES[name]:
        raise ValueError(f"{variable} must be one of {', '.join(_CHOICES[name])}, not {raw!r}.")
    try:
        return type(default)(raw)  # type: ignore[call-arg]
    except ValueError as error:
        raise ValueError(f"{variable} must be a number, not {raw!r}.") from error


def read(arguments: argparse.Namespace, environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings from parsed flags over variables over defaults. Raises ValueError with a sentence."""
    known = {field.name for field in fields(Settings)}
    # A Space is reached from outside.
    place = {"server_name": "0.0.0.0", "space": True} if "SPACE_ID" in environment else {}
    place["zerogpu"] = environment.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")
    given = {name: value for name, value in vars(arguments).items() if name in known}
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}  # repeated
    settings = Settings(**{**place, **from_environment(environment), **given})
    if "SPACE_HOST" in environment:  # a Space's own name always passes
        settings = replace(settings, allowed_hosts=f"{settings.allowed_hosts},{environment['SPACE_HOST']}".strip(","))
    _check_numbers(settings)
    values.check_device(settings.device)
    values.check_hosts(settings.hosts)
    values.check_people(settings.auth)
    values.check_root_path(settings.root_path)
    values.check_proxies(settings.trusted_proxies)
    values.check_unload(settings.unload_after, settings.backend, zerogpu=settings.zerogpu)
    values.check_adapter(settings.adapter, settings.backend)
    return replace(settings, api_key=values.api_keys(settings.api_key, settings.api_key_file))


def _check_numbers(settings: Settings) -> None:
    if not 0 <= settings.port <= 65535:
        raise ValueError(f"The port must lie between 0 and 65535, not {settings.port}.")
    for name in (*LIMITED, "api_bytes", "queue_size", "deadline"):
        if not 0 < getattr(settings, name) < float("inf"):
            raise ValueError(f"--{name.replace('_', '-')} must be a number above 0.")
    if not 0.1 <= settings.gpu_memory <= 1:
        raise ValueError("--gpu-memory must be a number from 0.1 to 1.")
    for name in ("visual_cache", "prefix_cache", "unload_after", "fake_rate"):
        if not 0 <= getattr(settings, name) < float("inf"):
            raise ValueError(f"--{name.replace('_', '-')} must be 0 or a number above it.")
