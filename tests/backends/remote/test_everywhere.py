"""The command line, batches and the page with servers in place of a model: the same roads, and no torch on them."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ovis_app import cli
from ovis_app.backend import Offer, ServerStatus, Status
from ovis_app.backends.fake import FakeBackend
from ovis_app.backends.remote.beside import BesideServers
from ovis_app.ui.panels import header, models
from tests.backends.remote.asking import EXAMPLES, remote
from tests.backends.remote.loopback import CHAT, DONE, HELLO, Loopback, Reply, chunk
from tests.ui.serving import Wire, free_port, served
from tests.waiting import until

ROOT = Path(__file__).parents[3]


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = cli.main(words)
    out, err = capsys.readouterr()
    return code, out, err


def test_a_question_from_the_command_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOX_KEY", "sk-secret")
    with Loopback() as server:
        server.says(Reply(chunk(reasoning="I look.") + chunk(content="A circle.") + chunk(finish="stop") + DONE))
        flags = ("--backend", "remote", "--base-url", server.url, "--api-key-env", "BOX_KEY", "--thinking")
        picture = str(EXAMPLES / "shapes.png")
        code, out, err = run(capsys, "What is it?", "--image", picture, *flags, "--thinking-budget", "50")
    assert (code, out.strip()) == (0, "A circle.") and "I look." in err and "sk-secret" not in out + err
    asked = server.chats()[0]
    assert asked.headers["authorization"] == "Bearer sk-secret" and asked.body["thinking_token_budget"] == 50
    assert asked.body["max_tokens"] == 3072, "what is recommended for the server's model"


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ((), "--backend remote needs a server: name one with --base-url http://host:8000/v1."),
        (("--base-url", "box"), "--base-url takes an address such as http://host:8000/v1, or NAME=URL."),
        (("--base-url", "box=http://127.0.0.1:{port}"), "box can't be reached: see that the server runs and can be"),
        (("--base-url", "http://x", "--api-key-env", "NOBODY_SET"), "names the variable NOBODY_SET, which isn't set"),
    ],
)
def test_a_server_that_cannot_be_asked_is_a_line(
    capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], sentence: str
) -> None:
    flags = tuple(flag.format(port=free_port()) for flag in flags)
    code, out, err = run(capsys, "Hi", "--backend", "remote", *flags)
    assert code == 1 and out == "" and sentence in err and err.count("\n") <= 2


def test_a_batch(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = [{"id": n, "prompt": f"Question {n}"} for n in range(5)] + [{"id": 5, "prompt": "?", "image": "gone.png"}]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with Loopback() as server:
        server.says(HELLO, Reply.json({"error": {"message": "No."}}, 400), HELLO)
        where = (str(tmp_path / "in.jsonl"), "--out", str(tmp_path / "out.jsonl"))
        code, _, err = run(capsys, "batch", *where, "--backend", "remote", "--base-url", f"box={server.url}")
        said = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
        assert code == 1 and "4 answered, 2 failed" in err and [row["id"] for row in said] == list("012345")
        assert sum(row["text"] == "Hello there." for row in said) == 4 and "gone.png" in said[5]["error"]
        assert [row["error"] for row in said if "refuses" in row["error"]] == ["box refuses the question: No."]


def test_the_list_of_models(capsys: pytest.CaptureFixture[str]) -> None:
    with Loopback() as one, Loopback(model="Ovis2-8B", context=9000) as two:
        flags = ("--backend", "remote", "--base-url", f"a={one.url}", "--base-url", f"b={two.url}")
        code, out, _ = run(capsys, "models", *flags)
    assert code == 0 and [line.split() for line in out.splitlines()] == [
        ["Ovis2.5-9B", "on", "a,", "4,096", "tokens"],
        ["Ovis2-8B", "on", "b,", "9,000", "tokens"],
    ]


def test_the_header_says_which_servers_are_up() -> None:
    spec = FakeBackend().model
    servers = (ServerStatus("a", True), ServerStatus("b", False, "b can't be reached"), ServerStatus("<c>", None))
    pill = header.pill_of(Status(spec, "ready", "ready", servers=servers), "")
    assert "calm" in pill and "ready · a up, b down, &lt;c&gt; not asked yet" in pill
    down = header.pill_of(Status(spec, "failed", "b can't be reached", servers=servers), "")
    assert "failed" in down and "b can&#x27;t be reached" in down
    row = models.row(Offer(spec, "fits", 0, 0, server=servers[1]))
    assert row.startswith("Ovis-mini\non b, which is down\n") and "GB" not in row


def test_the_page_lists_servers_beside_its_own_models_and_answers_by_the_one_chosen() -> None:
    with Loopback() as server, remote(f"box={server.url}") as servers:
        both: Any = BesideServers(FakeBackend(), servers)
        with served(both) as page:
            wire = Wire(page)
            until(lambda: both.status().servers[0].up)
            assert "Ovis2.5-9B\non box\n" in "".join(one["row"] for one in wire.offers()["offers"])
            both.change(both.offers()[-1].model.id)
            said = wire.ask("What?")
            assert "Hello there." in said["text"] and "by box" in said["stats"]["engine"]
            server.says(Reply.json({"error": {"message": "No."}}, 400))
            assert "box refuses the question: No." in wire.ask("And?")["sentence"]
            wire.close()


ABSENT = ("torch", "transformers", "tokenizers", "accelerate", "safetensors", "bitsandbytes")


def test_a_model_of_ones_own_is_not_offered_where_servers_have_theirs() -> None:
    with Loopback() as server, remote(f"box={server.url}") as servers:
        until(lambda: servers.status().servers[0].up)
        with served(servers, backend="remote", base_url=(f"box={server.url}",)) as here, closing(Wire(here)) as wire:
            told = wire.offers()
            assert not told["own"] and [one["row"].splitlines()[1] for one in told["offers"]] == ["on box"]
            refused = wire.call("change_model", {"name": "AIDC-AI/Ovis2-1B"})["refused"]
            assert refused.startswith("No server offers AIDC-AI/Ovis2-1B")


def test_no_torch_is_needed() -> None:
    """In a process that can't import it: a question with a picture and a clip's frames."""
    code = f"import sys; sys.modules.update(dict.fromkeys({ABSENT!r}))\nfrom ovis_app.cli import main; sys.exit(main())"
    with Loopback() as server:
        flags = ["--backend", "remote", "--base-url", server.url, "--max-new-tokens", "64"]
        for media in (["--image", EXAMPLES / "shapes.png"], ["--video", EXAMPLES / "clip.mp4"]):
            command = [sys.executable, "-c", code, "What is it?", *media, *flags]
            done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
            assert (done.returncode, done.stdout.strip()) == (0, "Hello there."), done.stderr
    assert len([one for one in server.asked if one.path == CHAT]) == 2
