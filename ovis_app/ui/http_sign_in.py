"""Who has signed in: a form, a cookie, and a pace at which passwords can be tried. Stands before every route.

Knows HTTP and accounts; knows nothing of what lies behind. Remembers who signed in as long as this process lives, and
by a digest of what the cookie says. Programs say their name and password with each request (HTTP Basic).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import logging
import math
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import anyio
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import Receive, Scope

from ovis_app.accounts import Accounts
from ovis_app.settings import Settings
from ovis_app.ui.http_answers import PLAIN
from ovis_app.ui.http_arrival import arriving
from ovis_app.ui.http_bodies import Counted, Refused
from ovis_app.ui.http_coming import Coming
from ovis_app.ui.http_hosts import client_address, network_of
from ovis_app.ui.http_line import who_asks
from ovis_app.ui.http_sign_in_form import form

log = logging.getLogger(__name__)

Clock = Callable[[], float]

SIGN_IN, SIGN_OUT = "/login", "/logout"  # gradio_client signs in at the first
HEADERS = {**PLAIN, "cache-control": "no-store"}
# Not Basic: browsers would ask with a window of their own.
UNKNOWN = {"www-authenticate": "Form", "cache-control": "no-store"}
POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors "
FIRST = "Sign in first: open this page in a browser, or send a name and a password as HTTP Basic does."
WRONG = "That name or password is wrong."
SLOWER = "Too many tries: wait {} s and try again."
SIGNED_IN = 7 * 24 * 3600.0  # seconds that a sign-in is good for
MOST_SIGNED_IN = 10_000
FORM = 8 * 1024  # bytes
LONGEST_NAME = 64  # characters of a name that are remembered
CHECKS_AT_ONCE, CHECKS_WAITING = 2, 32  # each takes a fifth of a second of a core and 16 MB


@dataclass
class Tries:
    """Passwords that were tried in vain. After the free ones each doubles the wait for the next."""

    clock: Clock = time.monotonic
    longest: float = 60.0  # seconds to wait
    forget: float = 900.0  # seconds after which nothing is held against anybody
    most: int = 10_000  # names and addresses that are remembered
    _failed: dict[tuple[str, ...], tuple[int, float]] = field(default_factory=dict)

    def wait(self, who: tuple[str, ...], free: int) -> float:
        """Seconds until `who` may try again."""
        count, last = self._failed.get(who, (0, -math.inf))
        if count < free or self.clock() - last > self.forget:
            return 0.0
        return max(0.0, last + min(2.0 ** min(count - free, 30), self.longest) - self.clock())

    def count(self, who: tuple[str, ...]) -> None:
        """Before a try is looked at, so that many at once are many."""
        now = self.clock()
        count, last = self._failed.pop(who, (0, now))
        self._failed[who] = (count + 1 if now - last <= self.forget else 1, now)
        while len(self._failed) > self.most:
            del self._failed[next(iter(self._failed))]

    def take_back(self, who: tuple[str, ...]) -> None:
        """One that was counted was right."""
        count, last = self._failed.get(who, (0, 0.0))
        if count > 1:
            self._failed[who] = (count - 1, last)
        else:
            self._failed.pop(who, None)

    def clear(self, who: tuple[str, ...]) -> None:
        """Nothing is held against them any more."""
        self._failed.pop(who, None)


class SignIn:
    """Lets those pass who signed in, and answers everybody else itself."""

    def __init__(self, accounts: Accounts, settings: Settings, *, frames: str, clock: Clock = time.monotonic) -> None:
        self.accounts, self.settings, self.clock = accounts, settings, clock
        self.tries = Tries(clock)
        # Browsers send a host's cookies to all of its ports.
        self.cookie = f"ovis-{settings.port}"
        self.headers = {**HEADERS, "content-security-policy": POLICY + frames}
        self._signed_in: dict[str, float] = {}  # digest of a token -> until when
        self._secret = secrets.token_bytes(32)
        self._known: dict[bytes, float] = {}  # of names and passwords that were right -> until when
        self._coming = Coming()
        self._checks = anyio.CapacityLimiter(CHECKS_AT_ONCE)

    async def answer(self, scope: Scope, receive: Receive, path: str) -> Response | None:
        """What is said instead of what was asked for; None where whoever asks may pass. Raises Refused."""
        headers, method = Headers(scope=scope), scope["method"]
        signed_in = self._signed_in.get(self._token(scope), -math.inf) > self.clock()
        if path == SIGN_OUT and method == "POST":
            return self._sign_out(scope)
        if path == SIGN_IN and method == "POST":
            return await self._sign_in(scope, receive, headers)
        if path == SIGN_IN and signed_in:
            return RedirectResponse("./", 303, self.headers)
        if signed_in:
            return None
        scheme, _, said = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            await self._check_basic(said, scope)
            return None
        if path in ("/", SIGN_IN) and method in ("GET", "HEAD"):
            return self._form(headers)
        raise Refused(401, FIRST, UNKNOWN)

    def _token(self, scope: Scope) -> str:
        """What is remembered of the token that a cookie has, also where it has none."""
        return hashlib.sha256(Request(scope).cookies.get(self.cookie, "").encode()).hexdigest()

    async def _sign_in(self, scope: Scope, receive: Receive, headers: Headers) -> Response:
        with arriving(receive, Counted(FORM), self._coming, who_asks(scope, "")) as arrival:
            body = await arrival.whole()
        try:
            fields = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=16)
        except ValueError:
            raise Refused(400, "That form can't be read.") from None
        name, password = (fields.get(one, [""])[0] for one in ("username", "password"))
        browser = "text/html" in headers.get("accept", "")
        try:
            await self._check(name, password, scope)
        except Refused as error:
            if browser:
                return self._form(headers, error)
            raise
        response: Response = (
            RedirectResponse("./", 303, self.headers) if browser else JSONResponse({"success": True}, 200, self.headers)
        )
        self._give_cookie(response, headers)
        return response

    async def _check_basic(self, encoded: str, scope: Scope) -> None:
        """A name and a password with the request. What was right is known again without computing it anew."""
        try:
            said = base64.b64decode(encoded.strip(), validate=True).decode()
        except (binascii.Error, ValueError):
            raise Refused(401, FIRST, UNKNOWN) from None
        known = hashlib.blake2b(said.encode(), key=self._secret).digest()
        if self._known.get(known, -math.inf) > self.clock():
            return
        name, _, password = said.partition(":")
        await self._check(name, password, scope)
        _remember(self._known, known, self.clock())

    async def _check(self, name: str, password: str, scope: Scope) -> None:
        """Raises Refused unless that is right, and where it was tried too often to be looked at."""
        address = network_of(client_address(scope, self.settings))
        # Behind a proxy that isn't trusted all have one address, so most is held against a name tried from there.
        here, named = (address,), (address, name[:LONGEST_NAME])
        limits = {named: 5, here: 50}
        wait = max(self.tries.wait(who, free) for who, free in limits.items())
        if wait > 0 or self._checks.statistics().tasks_waiting >= CHECKS_WAITING:
            seconds = max(1, math.ceil(wait))
            raise Refused(429, SLOWER.format(seconds), {"retry-after": str(seconds)})
        for who in limits:
            self.tries.count(who)
        right = await anyio.to_thread.run_sync(self.accounts.check, name, password, limiter=self._checks)
        if not right:
            log.warning("A sign-in failed, from %s.", address or "an unknown address")
            raise Refused(401, WRONG, UNKNOWN)
        self.tries.clear(named)
        self.tries.take_back(here)

    def _give_cookie(self, response: Response, headers: Headers) -> None:
        token = secrets.token_urlsafe(32)
        _remember(self._signed_in, hashlib.sha256(token.encode()).hexdigest(), self.clock())
        secure = self._secure(headers)
        response.set_cookie(
            self.cookie, token, max_age=int(SIGNED_IN), path=self.settings.root_path or "/", httponly=True,
            secure=secure, samesite="none" if self.settings.space and secure else "lax",  # a Space stands in a frame
        )  # fmt: skip

    def _sign_out(self, scope: Scope) -> Response:
        self._signed_in.pop(self._token(scope), None)
        response = RedirectResponse("./", 303, self.headers)
        response.delete_cookie(self.cookie, path=self.settings.root_path or "/", httponly=True)
        return response

    def _secure(self, headers: Headers) -> bool:
        """Whether the browser came by https. A client that says so untruly keeps only itself from signing in."""
        told = headers.get("x-forwarded-proto", "").split(",")[0].strip()
        return told == "https" or headers.get("origin", "").startswith("https://")

    def _form(self, headers: Headers, error: Refused | None = None) -> Response:
        page = form(headers.get("accept-language", ""), error)
        told = {**self.headers, **UNKNOWN, "vary": "Accept-Language"}
        return HTMLResponse(page, 401 if error is None else error.status, told)


def _remember(known: dict[Any, float], key: str | bytes, now: float) -> None:
    """Until a sign-in ends; the oldest go first."""
    for old in [one for one, end in known.items() if end <= now]:
        del known[old]
    while len(known) >= MOST_SIGNED_IN:
        del known[next(iter(known))]
    known[key] = now + SIGNED_IN
