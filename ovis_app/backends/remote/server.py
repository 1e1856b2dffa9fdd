"""What a server is and what it offers: its name, address and key, and the models of its /v1/models as rows of the zoo.

Knows how --base-url and --api-key-env are written; refuses to know HTTP and how a question is asked.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit, urlunsplit

from ovis_app import zoo
from ovis_app.errors import BackendError
from ovis_app.settings import Settings
from ovis_app.zoo import ModelSpec

NAME = re.compile(r"[\w.-]{1,40}")
NAMED = re.compile(r"([\w.-]{1,40})=(.+)")
KEY = re.compile(r"[!-~]{1,4096}")  # what a header may hold: printable, no spaces
MOST_MODELS = 200  # of one server's list
MOST_CONTEXT = 100_000_000  # tokens; more is no number of tokens


@dataclass(frozen=True)
class Server:
    """A server that people named. `url` is where its API begins, without a slash at the end."""

    name: str
    url: str
    key: str = field(default="", repr=False)

    @property
    def root(self) -> str:
        """Where what isn't part of OpenAI's API lies, such as /tokenize."""
        return self.url.removesuffix("/v1")


@dataclass(frozen=True)
class ServedModel:
    """A model of a server: `id` is the server's name for it, `spec` what is known of it. `spec.id` names both."""

    server: Server
    id: str
    spec: ModelSpec


def servers(settings: Settings, environment: Mapping[str, str] = os.environ) -> tuple[Server, ...]:
    """The servers of --base-url with their keys. Raises BackendError where an address, name or key can't be used."""
    if not settings.base_url:
        raise BackendError("--backend remote needs a server: name one with --base-url http://host:8000/v1.")
    found = tuple(_server(written) for written in settings.base_url)
    names = [server.name for server in found]
    if len(set(names)) < len(names):
        raise BackendError("Two servers have one name: write --base-url NAME=URL with a name for each.")
    keys = dict(_key(written, names, environment) for written in settings.api_key_env)
    return tuple(replace(server, key=keys.get(server.name, "")) for server in found)


def _server(written: str) -> Server:
    named = NAMED.fullmatch(written)
    name, url = (named[1], named[2]) if named else ("", written)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.scheme not in ("http", "https"):
        raise BackendError("--base-url takes an address such as http://host:8000/v1, or NAME=URL.")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise BackendError(
            "--base-url takes an address without user, password and what stands behind a ? or #: name the variable "
            "that holds a key with --api-key-env."
        )
    path = parts.path.rstrip("/") or "/v1"
    return Server(name or (f"{host}:{port}" if port else host), urlunsplit((parts.scheme, parts.netloc, path, "", "")))


def _key(written: str, names: list[str], environment: Mapping[str, str]) -> tuple[str, str]:
    """A server's name and its key, from VARIABLE or NAME=VARIABLE. No sentence shows what a variable holds."""
    name, _, variable = written.rpartition("=")
    if not name and len(names) > 1:
        raise BackendError("--api-key-env must say whose key it is where there are several servers: NAME=VARIABLE.")
    name = name or names[0]
    if name not in names:
        raise BackendError(f"--api-key-env names {name}, and --base-url has no server of that name.")
    key = environment.get(variable, "").strip()
    if not key:
        raise BackendError(f"--api-key-env names the variable {variable[:80]}, which isn't set: put the key there.")
    if not KEY.fullmatch(key):
        raise BackendError(f"The variable {variable[:80]} holds no key: a key has no spaces and only plain characters.")
    return name, key


def served_models(server: Server, listed: object) -> tuple[ServedModel, ...]:
    """The models of a parsed answer of /v1/models. What makes no sense in it is left out."""
    rows = listed.get("data") if isinstance(listed, Mapping) else None
    models = []
    for row in rows[:MOST_MODELS] if isinstance(rows, list) else ():
        name = row.get("id") if isinstance(row, Mapping) else None
        if isinstance(name, str) and shown(name):
            models.append(served_model(server, name, row.get("max_model_len")))
    return tuple(models)


def served_model(server: Server, name: str, context: object = None) -> ServedModel:
    """What is known of a model by its name, and by the context that the server says it has."""
    known = zoo.find(name) or zoo.find(name.rstrip("/").rpartition("/")[2])
    row = known or replace(
        zoo.FAMILY_ROWS["ovis2_5"], name=shown(name)[-80:], about="A model.", licence="", guessed=True
    )
    tokens = context if isinstance(context, int) and 0 < context < MOST_CONTEXT else row.context
    about = f"{row.about} It answers from {server.name}."
    spec = replace(
        row, id=f"{shown(name)} on {server.name}", about=about, context=tokens, bundled=False,
        several_clips=False,  # vLLM takes one
        aliases=(name, *row.repositories),
    )  # fmt: skip
    return ServedModel(server, name, spec)


def means(wanted: str, model: ServedModel) -> bool:
    """Whether somebody who writes `wanted` means this model: by its id here or there, or a name that the zoo knows."""
    row = zoo.find(wanted)
    names = {model.spec.id.lower(), model.id.lower(), model.spec.name.lower()}
    return wanted.lower() in names or (row is not None and row.name == model.spec.name)


def shown(text: str, most: int = 200) -> str:
    """What a server wrote, fit to be shown in a line: no control characters, not too long."""
    plain = "".join(" " if unicodedata.category(c).startswith(("C", "Zl", "Zp")) else c for c in text[: 4 * most])
    plain = " ".join(plain.split())
    return plain if len(plain) <= most else f"{plain[: most - 1]}…"
