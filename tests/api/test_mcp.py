"""The endpoints as tools: through the mcp client library, and what strangers may not do there."""

from __future__ import annotations

import base64
import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import anyio
import httpx
import pytest
from PIL import Image

from ovis_app.ui.http_routes import JSON
from tests.api.programs import ANYTHING, CLIP, SHAPES, upload, uri
from tests.ui.serving import HeldBackend, Served, served
from tests.waiting import PATIENCE, until

mcp = pytest.importorskip("mcp", reason="the extra `mcp` isn't installed")
from mcp.client.streamable_http import streamable_http_client  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
T = TypeVar("T")
LIST = b'{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}'
HEADERS = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}


@pytest.fixture(scope="module")
def agents() -> Iterator[Served]:
    with served(HeldBackend(), mcp=True) as here:
        yield here


def connected(server: Served, work: Callable[[Any], Awaitable[T]]) -> T:
    """What `work` makes of a session, in a thread: where browser tests ran before, this one has an event loop."""

    async def run() -> T:
        address = f"{server.url}gradio_api/mcp/"
        async with streamable_http_client(address) as (read, write, _), mcp.ClientSession(read, write) as session:
            await session.initialize()
            return await work(session)

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(anyio.run, run).result(PATIENCE)


def tool(server: Served, name: str, **given: Any) -> Any:
    return connected(server, lambda session: session.call_tool(name, given))


def text(said: Any) -> str:
    return str(said.content[0].text)


def test_each_endpoint_is_a_tool_that_says_what_it_takes(agents: Served) -> None:
    tools = {one.name: one for one in connected(agents, lambda session: session.list_tools()).tools}
    assert list(tools) == ["chat", "describe", "read_text", "locate", "ask_video"]
    for one in tools.values():
        assert len(one.description) > 20
        assert all(its["description"] for its in one.inputSchema["properties"].values()), one.name
    assert tools["locate"].inputSchema["required"] == ["image", "what"]
    schema = httpx.get(f"{agents.url}gradio_api/mcp/schema").json()
    assert [one["name"] for one in schema] == list(tools)


def test_tools_take_pictures_in_the_call_and_uploaded_ones(agents: Served) -> None:
    stored = upload(agents.url, SHAPES)
    for image in (uri(SHAPES), stored, f"{agents.url}gradio_api/file={stored}"):
        said = tool(agents, "describe", image=image)
        assert not said.isError and text(said).startswith("You said: Describe the image. (with ")
    assert text(tool(agents, "ask_video", video=uri(CLIP), question="what?")).startswith("You said: what? (with")
    history = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]
    assert text(tool(agents, "chat", question="three", history=history)) == "You said: three "
    assert [m.text for m in agents.backend.requests[-1].conversation.messages] == ["one", "two", "three"]


def test_locate_shows_the_picture_with_its_boxes(agents: Served, tmp_path: Path) -> None:
    boxes, drawn, _ = tool(agents, "locate", image=uri(SHAPES), what=ANYTHING).content
    assert "'name': 'cup', 'left': 26" in boxes.text and drawn.mimeType == "image/jpeg"
    (tmp_path / "drawn.jpg").write_bytes(base64.b64decode(drawn.data))
    assert Image.open(tmp_path / "drawn.jpg").size == Image.open(SHAPES).size


@pytest.mark.parametrize(
    ("name", "given", "sentence"),
    [
        ("describe", {"image": "http://127.0.0.1:9/x.png"}, "Addresses are not fetched: upload the file"),
        ("describe", {"image": "/etc/passwd"}, "isn't among the uploads"),
        ("describe", {"image": "file:///etc/passwd"}, "Addresses are not fetched"),
        ("describe", {"image": {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}}, "isn't among the"),
        ("chat", {"question": "x", "history": [{"role": "user", "content": {
            "path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}}]}, "isn't among the uploads"),
        ("describe", {}, "'image' is a required property"),
        ("chat", {"question": "fail"}, "The model is out of memory: lower max pixels and try again."),
        ("chat", {"question": "x", "max_new_tokens": 0}, "max_new_tokens must be a whole number"),
        ("nothing", {}, "Unknown tool"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_one_sentence(agents: Served, name: str, given: dict[str, Any], sentence: str) -> None:
    said = tool(agents, name, **given)
    assert said.isError and sentence in text(said) and "root:" not in str(said)


def test_an_agent_that_leaves_stops_the_work(agents: Served) -> None:
    async def leave(session: Any) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(session.call_tool, "chat", {"question": "held"})
            while agents.backend.live == 0:
                await anyio.sleep(0.01)
            group.cancel_scope.cancel()

    connected(agents, leave)
    until(lambda: agents.backend.live == 0, "a call whose agent left goes on")


def test_there_are_tools_and_nothing_else(agents: Served) -> None:
    async def others(session: Any) -> list[str]:
        said = []
        for ask in (
            session.list_prompts(),
            session.list_resources(),
            session.get_prompt("x", {"video": uri(CLIP), "question": "held"}),
            session.read_resource("file:///etc/passwd"),
        ):
            with pytest.raises(mcp.McpError) as refused:
                await ask
            said.append(str(refused.value))
        return said

    asked = len(agents.backend.requests)
    assert set(connected(agents, others)) == {"Method not found"}
    assert len(agents.backend.requests) == asked and agents.backend.live == 0


# --- what strangers may not do --------------------------------------------------------------------------------------


def ask(server: Served, method: str = "POST", route: str = "/", body: bytes = LIST, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    content = body if method == "POST" else None
    at = f"{server.url}gradio_api/mcp{route}"
    return httpx.request(method, at, content=content, headers={**HEADERS, **named}, timeout=PATIENCE)


def test_it_is_there_only_where_it_is_asked_for(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    for method, route in (("POST", "/"), ("POST", ""), ("GET", "/schema"), ("GET", "/"), ("GET", "/sse")):
        assert ask(server, method, route).status_code == 404
    monkeypatch.setenv("GRADIO_MCP_SERVER", "true")
    with served(HeldBackend()) as other:
        assert ask(other).status_code == 404
        assert httpx.get(f"{other.url}config").json()["mcp_server"] is False


def test_nothing_else_of_it_is_there(agents: Served) -> None:
    assert ask(agents).status_code == 200
    assert ask(agents, "GET").status_code == 405  # which the protocol takes for: no stream of its own
    for method, route in (("GET", "/sse"), ("POST", "/messages/"), ("DELETE", "/"), ("POST", "/http"), ("PUT", "/")):
        assert ask(agents, method, route).status_code in (404, 405), (method, route)


def test_the_log_has_nothing_of_what_agents_send(agents: Served) -> None:
    lines = io.StringIO()
    logged = logging.StreamHandler(lines)  # caplog hears of loggers, too, whose lines no log has
    logging.getLogger().addHandler(logged)
    named = {"name": "chat\nforged line", "arguments": {"question": "a secret"}}
    wrong: list[dict[str, Any]] = [
        {"id": 1, "method": "tools/call", "params": named},
        {"method": "tools/call", "params": named},
        {"id": 1, "method": "tools/call", "params": {"arguments": "a secret"}},
        {"id": 1, "method": "a secret"},
    ]
    try:
        for one in wrong:
            ask(agents, body=json.dumps({"jsonrpc": "2.0", **one}).encode())
        record = logging.LogRecord("root", logging.WARNING, "/mcp/own.py", 1, "kept", (), None)
        logging.getLogger().handle(record)
    finally:
        logging.getLogger().removeHandler(logged)
    *said, last = lines.getvalue().splitlines()
    assert len(said) == len(wrong) and not [line for line in said if "secret" in line or "forged" in line]
    assert last == "kept"  # of whoever lies in a folder that is called so


def test_hosts_and_origins_hold_for_it(agents: Served) -> None:
    assert ask(agents, Host="evil.example").status_code == 421
    assert ask(agents, Origin="https://evil.example").status_code == 403
    assert ask(agents, "GET", "/schema", Host="evil.example").status_code == 421
    assert ask(agents, Origin=agents.url.rstrip("/")).status_code == 200


def test_where_people_sign_in_agents_do_too() -> None:
    with served(HeldBackend(), mcp=True, auth=("ada:lovelace",)) as closed:
        assert ask(closed).status_code == 401 and ask(closed, "GET", "/schema").status_code == 401
        basic = base64.b64encode(b"ada:lovelace").decode()
        assert ask(closed, Authorization=f"Basic {basic}").status_code == 200
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
        body = json.dumps({**call, "params": {"name": "chat", "arguments": {"question": "hello"}}}).encode()
        assert "You said: hello" in ask(closed, body=body, Authorization=f"Basic {basic}").text


def test_bodies_are_limited(agents: Served) -> None:
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}

    def body(given: Any) -> bytes:
        return json.dumps({**call, "params": {"name": "describe", "arguments": given}}).encode()

    assert ask(agents, body=body({"image": "x" * JSON})).status_code == 413
    assert ask(agents, body=body({"image": [{}] * 20_000})).status_code == 413
    large = ask(agents, body=body({"image": "data:image/png;base64," + "A" * 3_000_000}))
    assert large.status_code == 200 and "is not a picture" in large.text
    assert ask(agents, body=b"[" * 100_000).status_code == 413
    assert ask(agents, body=b"{").status_code == 400


# --- the extra ------------------------------------------------------------------------------------------------------


def test_without_the_extra_one_sentence_says_what_to_install() -> None:
    code = "import sys; sys.modules['mcp'] = None\nfrom ovis_app import serve\nsys.exit(serve.main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "--backend", "fake", "--mcp"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=os.environ, check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and "pip install 'ovis-app[mcp]'" in done.stderr
