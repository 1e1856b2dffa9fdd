"""The proxies that the environment names, made ready before any client of a library reads them.

Knows variables such as HTTPS_PROXY and ALL_PROXY. Refuses to know what is asked for through them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib.util import find_spec
from urllib.parse import urlsplit

from ovis_app.errors import UserError

NAMES = ("http_proxy", "https_proxy", "all_proxy")  # in either case
OURS = ("127.0.0.1", "localhost", "::1")
SPOKEN = ("http", "https", "socks5", "socks5h")


def prepare(own: Iterable[str] = ()) -> None:
    """Writes the variables so that this machine's addresses, and those of `own`, are reached without a proxy, and
    `socks://`, as desktops write it, is a scheme that clients know. Where no proxy is named nothing changes."""
    named = _named()
    for name, value in named.items():
        if value[:8].lower() == "socks://":
            os.environ[name] = "socks5" + value[5:]
    known = [host.strip() for host in (os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or "").split(",")]
    if named and "*" not in known:
        hosts = dict.fromkeys(host for host in (*known, *OURS, *own) if host)
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(hosts)


def check() -> None:
    """Raises UserError for a proxy that no client here can use. Repeats nothing of it: it may hold a password."""
    for name, value in _named().items():
        try:
            parts = urlsplit(value if "://" in value else f"http://{value}")
            usable = parts.scheme in SPOKEN and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise UserError(
                f"{name} names no proxy that can be used: write http://HOST:PORT or socks5://HOST:PORT, or unset it."
            )
        if parts.scheme.startswith("socks") and find_spec("socksio") is None:
            raise UserError(f"{name} names a SOCKS proxy, which needs another package: run `pip install socksio`.")


def _named() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.lower() in NAMES and value.strip()}
