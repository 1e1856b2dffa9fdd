"""Where the API is found and who may use it: /v1/models, /v1/chat/completions, /tokenize.

Knows Starlette, keys and bodies; how much of a body may come is counted before it comes here. Refuses to know how an
answer is made.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ovis_app.api.openai import protocol
from ovis_app.api.openai.fields import ApiError, Fields
from ovis_app.api.openai.replies import Reply, refused
from ovis_app.api.openai.serving import Serving
from ovis_app.backend import Backend
from ovis_app.limits import Limits
from ovis_app.outcomes import Tell, nobody
from ovis_app.request_id import NO_ID
from ovis_app.settings import Settings

log = logging.getLogger(__name__)

LARGE = 256 * 1024  # bytes of JSON that take a moment to parse
CLOSED = (
    "The API at /v1 isn't served: strangers reach this address and no key is set. Put keys into OVIS_API_KEY or name a "
    "file of them with --api-key-file."
)
NO_KEY = "This needs a key: send it as `Authorization: Bearer KEY`."
WRONG_KEY = "That isn't one of this server's keys: ask whoever runs it for one."
PROMPT = "prompt isn't offered here: send messages."

Endpoint = Callable[[HttpRequest], Any]


def routes(
    backend: Backend, settings: Settings, limits: Limits, *, address: Callable[[HttpRequest], str] = lambda _: "",
    tell: Tell = nobody,
) -> list[Route]:  # fmt: skip
    """The routes, or none where strangers would need a key and there is none. `address` tells clients without a key
    apart, where it is known to be theirs; `tell` hears of questions that are refused before they come into the line."""
    if not settings.serves_api:
        log.warning(CLOSED)
        return []
    serving = Serving(backend, limits, allow_urls=settings.allow_urls, api_bytes=settings.api_bytes, tell=tell)
    api = Api(serving, settings.api_key, limits, address)
    return [
        Route("/v1/models", api.guarded(api.models), methods=["GET"]),
        Route("/v1/models/{name:path}", api.guarded(api.model), methods=["GET"]),
        Route("/v1/chat/completions", api.guarded(api.chat), methods=["POST"]),
        Route("/tokenize", api.guarded(api.tokenize), methods=["POST"]),
    ]


class Api:
    """What each route does. `keys` are kept as digests."""

    def __init__(
        self, serving: Serving, keys: Sequence[str], limits: Limits, address: Callable[[HttpRequest], str]
    ) -> None:
        self._serving, self._limits, self._address = serving, limits, address
        self._digests = tuple(hashlib.sha256(key.encode()).digest() for key in keys)
        self._started = int(time.time())

    def guarded(self, endpoint: Endpoint) -> Endpoint:
        """The endpoint for those who may use it, its refusals in the standard shape."""

        async def answered(request: HttpRequest) -> Any:
            try:
                request.state.client = self._client(request)
                load = request.state.load = self._serving.load(request.state.client)
                try:
                    return await endpoint(request)
                finally:
                    load.release()
            except ClientDisconnect:  # in the middle of a body
                return Response(status_code=400)
            except ApiError as error:
                log.info("refused: %d %s", error.status, error.code or "")
                return refused(error)

        return answered

    def _client(self, request: HttpRequest) -> str:
        """Who asks: a name for their key. All keys are compared, in a time that doesn't tell which was near. Raises
        ApiError, 401."""
        if not self._digests:
            return f"api:{self._address(request)}"
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        digest = hashlib.sha256(key.strip().encode()).digest()
        known = [hmac.compare_digest(digest, one) for one in self._digests]
        if scheme.lower() != "bearer" or not any(known):
            sent = scheme.lower() == "bearer" and key.strip()
            raise ApiError(401, WRONG_KEY if sent else NO_KEY, code="invalid_api_key")
        return f"key:{digest.hex()[:16]}"

    async def models(self, request: HttpRequest) -> Response:
        card = protocol.model_card(self._serving.backend.status(), self._started)
        return JSONResponse({"object": "list", "data": [card]})

    async def model(self, request: HttpRequest) -> Response:
        status = self._serving.backend.status()
        protocol.check_model(Fields({"model": request.path_params["name"]}), status.model)
        return JSONResponse(protocol.model_card(status, self._started))

    async def chat(self, request: HttpRequest) -> Reply:
        spec = self._serving.backend.status().model
        number = getattr(request.state, "request_id", NO_ID)
        with self._serving.telling(number):
            asked = protocol.chat_request(await self._body(request), spec, self._limits)
            self._serving.ready()
        load = request.state.load.handed_on()
        return Reply(self._serving, asked, load, client=request.state.client, model=spec.public_id, id=number)

    async def tokenize(self, request: HttpRequest) -> Response:
        body = await self._body(request)
        if Fields.of(body).has("prompt"):
            raise ApiError(422, PROMPT, param="prompt", code="unsupported_parameter")
        asked = protocol.chat_request(body, self._serving.backend.status().model, self._limits)
        status = self._serving.ready()
        count = await self._serving.count(asked, client=request.state.client)
        return JSONResponse({"count": count, "max_model_len": protocol.context(status)})

    async def _body(self, request: HttpRequest) -> object:
        """The JSON of a request, which keeps none of it. Raises ApiError."""
        data = bytearray()  # of parts of two bytes, a list of them would take twenty times as much
        async for part in request.stream():
            request.state.load.add(len(part))
            data += part
        return await self._serving.aside(lambda: parsed(data)) if len(data) > LARGE else parsed(data)


def parsed(data: bytes | bytearray) -> object:
    """The value that the bytes are JSON of. Raises ApiError."""
    try:
        return json.loads(data.decode("utf-8"), parse_constant=_no_number)
    except UnicodeDecodeError:
        raise ApiError(400, "JSON is sent as UTF-8.") from None
    except (ValueError, RecursionError):  # of the text; its place in it would repeat some of it
        raise ApiError(400, "The request isn't valid JSON.") from None


def _no_number(name: str) -> NoReturn:
    raise ValueError(name)
