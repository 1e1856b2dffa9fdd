"""Who asks, and under which name: hosts, origins, proxies. Knows headers; knows nothing of routes and bodies.

A page of another site can make a browser send requests to this machine, and, by a name that is first its own and then
points here (DNS rebinding), read the answers. A proxy on this machine lets strangers in under its own address.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection

from ovis_app.settings import Settings, loopback
from ovis_app.ui.http_bodies import Refused

SHARE_HOST = ".gradio.live"  # where Gradio's relay publishes a shared page
# What proxies and tunnels add. Whoever comes through one isn't on this machine.
FORWARDING = (
    "x-original-", "x-envoy-", "x-amzn-", "x-azure-", "x-arr-", "x-appengine-", "x-vercel-", "x-nf-", "x-varnish",
    "cf-", "cdn-", "fastly-", "fly-", "ngrok-", "tailscale-",
)  # fmt: skip
ADDRESS = re.compile(
    r"forwarded|(?:client|real|connecting|user|remote)-?(?:ip|addr)"
)  # of a visitor, however it is named

ODD = re.compile(
    r"[\s\x00-\x20/?#@\\\x7f]"
)  # what no host and port has, and readers of addresses read in ways of their own
HOP = re.compile(r'"?(?:\[([0-9A-Fa-f:.]{2,45})\]|([0-9.]{7,15}))(?::\d{1,5})?"?')  # an address with a port
MOST_HOPS = 32  # proxies that one request may come through

OTHER_NAME = "This page answers to this machine's own name only: start it with --allowed-hosts to add another."
OTHER_SITE = "Another site may not use this page: start it with --allowed-hosts and that site's name to let it."

Reach = Literal["all", "direct", "here"]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Place:
    """A host and its port, as a Host header or an origin names them."""

    host: str
    port: int | None

    def is_of(self, other: Place) -> bool:
        """Whether this origin's place is the one that a Host header means. Some proxies leave out the port."""
        return self.host == other.host and other.port in (None, self.port)


def place_of(text: str, scheme: str = "") -> Place | None:
    """The place that `host:port` names; None where it makes no sense. A scheme tells the port that isn't written."""
    if ODD.search(text):
        return None
    try:
        parts = urlsplit(f"//{text}")
        port = parts.port
    except ValueError:
        return None
    if not parts.hostname:
        return None
    return Place(parts.hostname.rstrip("."), port or {"http": 80, "https": 443}.get(scheme))


@dataclass(frozen=True)
class Hosts:
    """The names that this page answers to."""

    checked: bool  # only where this machine alone is meant
    shared: bool
    allowed: frozenset[str]  # beside this machine's own names

    @staticmethod
    def of(settings: Settings) -> Hosts:
        return Hosts(settings.private, settings.share, settings.hosts)

    def check(self, method: str, headers: Headers) -> None:
        """Raises Refused for a request by a name that isn't the page's, or from another site."""
        hosts = headers.getlist("host")
        place = place_of(hosts[0]) if len(hosts) == 1 else None
        if len(hosts) > 1 or not self.known(place):
            raise Refused(400 if place is None else 421, OTHER_NAME)
        origin = headers.get("origin")
        if origin is not None and method not in ("GET", "HEAD", "OPTIONS") and not self.own(origin, headers):
            raise Refused(403, OTHER_SITE)

    def known(self, host: Place | None) -> bool:
        """Whether a Host header may be answered."""
        return not self.checked or (host is not None and (loopback(host.host) or host.host in self.allowed))

    def own(self, origin: str, headers: Mapping[str, str]) -> bool:
        """Whether an Origin header is this page's: that of the host it is asked by, or an allowed one."""
        scheme, _, rest = origin.partition("://")
        place = place_of(rest, scheme)
        if place is None:
            return False
        if place.host in self.allowed or (self.shared and place.host.endswith(SHARE_HOST)):
            return True
        asked = place_of(headers.get("host", ""))
        if asked is None or place.is_of(asked):
            return asked is not None
        # A proxy here that asks by its own name says which name it was asked by. A page elsewhere can't add this
        # header: its browser asks first, and Gradio refuses that for a host of this machine.
        told = place_of(headers.get("x-forwarded-host", "").split(",")[0])
        return (self.shared or loopback(asked.host)) and told is not None and place.is_of(told)


def here(peer: str, headers: Mapping[str, str]) -> bool:
    """Whether a request comes from this very machine, through no proxy or tunnel that says so."""
    asked = place_of(headers.get("host", ""))
    origin = headers.get("origin")
    return (
        loopback(peer)
        and asked is not None
        and loopback(asked.host)
        and not forwarded(headers)
        and (origin is None or _is_here(origin))
    )


def reaches(reach: Reach, peer: str, headers: Mapping[str, str]) -> bool:
    """Whether a request comes from where it may: from anywhere, through no proxy or tunnel, or from this machine. A
    tunnel on this machine that says nothing of itself asks by another name than this machine's."""
    if reach == "direct":
        return here(peer, headers) or not (loopback(peer) or forwarded(headers))
    return reach == "all" or here(peer, headers)


def forwarded(names: Iterable[str]) -> bool:
    """Whether one of these headers is a proxy's."""
    lower = [name.lower() for name in names]
    return any(name == "via" or name.startswith(FORWARDING) or ADDRESS.search(name) for name in lower)


def client_address(scope: Mapping[str, Any], settings: Settings) -> str:
    """The address of whoever asks: of the connection or, where that is a trusted proxy's, what the proxy wrote down.
    Each proxy adds whom it heard, so the last that isn't trusted is the last that nobody could make up. In one spelling
    each, an IPv4 address as one."""
    trusted = [ipaddress.ip_network(network) for network in settings.trusted_proxies]
    heard = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
    address = str((scope.get("client") or ("",))[0])
    for hop in reversed(",".join(heard).rsplit(",", MOST_HOPS)):
        found = HOP.fullmatch(hop.strip())  # as some proxies write it
        hop = (found[1] or found[2]) if found else hop.strip()
        if not _is_one_of(address, trusted) or not _address(hop):
            break
        address = hop
    return str(_address(address) or address)


def network_of(address: str) -> str:
    """Who has an IPv6 address has 2**64 of them."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return ""
    return str(parsed if parsed.version == 4 else ipaddress.ip_network((parsed, 64), strict=False))


def visitors(settings: Settings) -> Callable[[HTTPConnection], str]:
    """What tells clients without a key apart: their addresses where a trusted proxy says them, elsewhere nothing. Names
    of sessions anybody may make up."""
    if not settings.trusted_proxies:
        return lambda _: ""
    return lambda request: network_of(client_address(request.scope, settings))


def _is_one_of(address: str, networks: Iterable[Network]) -> bool:
    parsed = _address(address)
    return parsed is not None and any(parsed in network for network in networks)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.strip())
    except ValueError:
        return None
    # Where one socket listens for both, an IPv4 peer has an IPv6 address.
    return getattr(address, "ipv4_mapped", None) or address


def believe_no_proxy() -> None:
    """uvicorn would take what anybody on this machine writes into X-Forwarded-For for the address of the connection."""
    os.environ["FORWARDED_ALLOW_IPS"] = ""


def _is_here(origin: str) -> bool:
    place = place_of(origin.partition("://")[2])
    return place is not None and loopback(place.host)


def may_choose(settings: Settings, peer: str, headers: Mapping[str, str]) -> bool:
    """Whether whoever asks may change the model for everybody, to a folder of this machine too."""
    return settings.model_choice == "on" or (settings.choosable and here(peer, headers))
