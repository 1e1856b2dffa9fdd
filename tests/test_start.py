"""The start: the page is there before anything that takes long is imported, and nobody who asks early is forgotten."""

from __future__ import annotations

import re
import shlex
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from ovis_app import bounded_process, chat, serve, zoo
from ovis_app.backends.fake import FakeBackend
from ovis_app.backends.lazy import FAILED, LazyBackend
from ovis_app.conversation import Conversation, Message
from ovis_app.endings import Ending
from ovis_app.errors import BackendError, UserError
from ovis_app.generation import Done, Request, Waiting
from ovis_app.settings import Settings
from tests.threads import none_begins
from tests.ui.serving import free_port
from tests.waiting import PATIENCE, until

ROOT = Path(__file__).parent.parent
HELLO = Request(Conversation((Message("user", "Hello"),)))
HEAVY = ("torch", "transformers", "accelerate", "torchao", "moviepy", "av")


@pytest.fixture(autouse=True)
def this_process_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a page that ended no more decoder is begun, as the process ends then: here others are tried in it."""
    monkeypatch.setattr(bounded_process, "_ended", threading.Event())


def test_the_page_is_built_before_torch_is_imported_and_no_collection_stops_it_for_what_libraries_made() -> None:
    """Half a million objects of Gradio alone, which every full collection would look through, stopping all threads."""
    code = (
        f"import gc, sys, app; assert app.demo.blocks; print([name for name in {HEAVY} if name in sys.modules],"
        " gc.isenabled(), len(gc.get_objects()) < 50_000 < gc.get_freeze_count())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout.strip() == "[] True True", done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit there")
def test_many_silent_connections_keep_nobody_out() -> None:
    port = free_port()
    command = ("ulimit -Sn 200 && exec", shlex.quote(sys.executable), f"app.py --backend fake --port {port}")
    with (
        subprocess.Popen(["bash", "-c", " ".join(command)], cwd=ROOT, stdout=subprocess.PIPE, text=True) as page,
        ExitStack() as silent,
    ):
        try:
            assert page.stdout is not None and "The page is on" in page.stdout.readline()
            for _ in range(250):
                silent.enter_context(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE))
            assert httpx.get(f"http://127.0.0.1:{port}/", timeout=PATIENCE).status_code == 200
        finally:
            page.terminate()


class Making:
    """Makes a backend once a test lets it."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.made, self.may, self.failure = 0, threading.Event(), failure
        self.real = FakeBackend()

    def __call__(self) -> FakeBackend:
        self.made += 1
        assert self.may.wait(PATIENCE)
        if self.failure is not None:
            raise self.failure
        return self.real


def test_a_question_before_the_import_ends_waits_and_is_answered() -> None:
    making = Making()
    late = LazyBackend(zoo.MINI, making)
    assert late.status().model == zoo.MINI and late.status().phase == "starting"
    events = late.stream(HELLO)
    assert isinstance(next(events), Waiting) and isinstance(next(events), Waiting)
    making.may.set()
    assert isinstance(list(events)[-1], Done)
    assert late.status().phase == "ready" and late.offers() == making.real.offers()


def test_leaving_before_the_import_ends_asks_nothing() -> None:
    making = Making()
    events = LazyBackend(zoo.MINI, making).stream(HELLO)
    next(events)
    events.close()  # type: ignore[attr-defined]
    making.may.set()
    assert making.real.requests == []


def test_what_is_behind_is_made_once() -> None:
    making = Making()
    late = LazyBackend(zoo.MINI, making)
    asking = [threading.Thread(target=lambda: list(late.stream(HELLO))) for _ in range(4)]
    late.warm()
    for one in asking:
        one.start()
    making.may.set()
    for one in asking:
        one.join(PATIENCE)
    assert making.made == 1 and len(making.real.requests) == 4


def test_where_no_thread_begins_who_asks_later_tries_again() -> None:
    making = Making()
    making.may.set()
    late = LazyBackend(zoo.MINI, making)
    with none_begins("ovis-import"), pytest.raises(RuntimeError):
        late.warm()
    late.warm()
    until(lambda: late.status().phase == "ready")


def test_an_import_that_fails_is_a_sentence_for_everybody_who_asks() -> None:
    making = Making(ImportError("libtorch is missing"))
    making.may.set()
    late = LazyBackend(zoo.MINI, making)
    for _ in range(2):
        *_, last = chat.reply(late, HELLO)
        assert last.messages[-1].error == FAILED
    assert late.status().phase == "failed"


def test_an_import_that_failed_is_tried_again_once_for_all_who_ask_for_it() -> None:
    making = Making(BackendError("OvisOCR2 is used as it was released."))
    making.may.set()
    late = LazyBackend(zoo.MINI, making)
    *_, last = chat.reply(late, HELLO)
    assert last.messages[-1].error == late.status().why == "OvisOCR2 is used as it was released."
    making.failure = None
    making.may.clear()
    for _ in range(3):
        late.warm()
    events = late.stream(HELLO)
    assert isinstance(next(events), Waiting) and late.status().phase == "starting"
    making.may.set()
    assert isinstance(list(events)[-1], Done) and making.made == 2


def test_a_later_question_tries_again_and_each_hears_of_its_own_try() -> None:
    making = Making(BackendError("No libraries."))
    late = LazyBackend(zoo.MINI, making)
    first = late.stream(HELLO)
    assert isinstance(next(first), Waiting)
    making.may.set()
    until(lambda: late.status().phase == "failed")
    making.may.clear()
    making.failure = None
    second = late.stream(HELLO)
    assert isinstance(next(second), Waiting) and late.status().phase == "starting"
    with pytest.raises(BackendError, match="No libraries"):
        list(first)
    making.may.set()
    assert isinstance(list(second)[-1], Done) and making.made == 2


def test_closing_hands_on_and_waits_for_what_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    making, closed = Making(), threading.Event()
    monkeypatch.setattr(making.real, "close", closed.set)
    late = LazyBackend(zoo.MINI, making)
    late.close()  # nothing has begun: there is nothing to wait for
    late.warm()
    threading.Timer(0.05, making.may.set).start()
    late.close()
    assert closed.is_set()


def test_a_taken_port_is_said_before_the_page_is_made(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert serve.main(["--port", str(port)], program="ovis serve") == 1
    assert capsys.readouterr().err == (
        f"ovis serve: port {port} is taken: name another with --port, or end what listens there.\n"
    )
    for name in ("192.0.2.1", "2001:db8::1", "no-host.invalid", "." * 70):
        assert serve.main(["--server-name", name, "--port", str(port)], program="ovis serve") == 1
        err = capsys.readouterr().err
        assert "nothing can listen on" in err and "name one with --server-name" in err and len(err.splitlines()) == 1


def test_a_port_that_gradio_could_not_take_is_said_before_the_page_is_made() -> None:
    """It wants the port of 127.0.0.1 too, wherever it listens."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} is taken"):
            serve.listening(Settings(server_name="127.0.0.2", port=port))


@pytest.mark.parametrize(("name", "shown"), [("127.0.0.1", "127.0.0.1"), ("[::1]", "[::1]"), ("::", "[::1]")])
def test_the_page_opens_behind_proxies_on_any_address_and_says_which_port_it_got(
    name: str, shown: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if ":" in name and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    for variable in ("http_proxy", "HTTPS_PROXY", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.setenv(variable, "" if variable.lower() == "no_proxy" else f"http://127.0.0.1:{free_port()}")
    ending = Ending()
    ending.set()
    assert serve.serve(serve.listening(Settings(backend="fake", server_name=name, port=0)), ending) == 0
    said = capsys.readouterr().out
    found = re.fullmatch(r"The page is on http://(.+):(\d+)/\n", said)
    assert found and found[1] == shown and int(found[2]) > 0, said


def test_a_model_that_is_on_its_way_and_a_public_link_that_failed_are_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(**_: object) -> str:
        raise OSError("no such host")

    monkeypatch.setattr("gradio.networking.setup_tunnel", failing)
    monkeypatch.setattr("ovis_app.backends.open_backend", lambda *_, **__: LazyBackend(zoo.MINI, Making()))
    ending = Ending()
    ending.set()
    settings = serve.listening(Settings(backend="fake", port=0, share=True, auth=("anna:secret",)))
    assert serve.serve(settings, ending) == 0
    *_, page, model, link = capsys.readouterr().out.splitlines()
    assert page == f"The page is on http://127.0.0.1:{settings.port}/"
    assert model == f"{zoo.MINI.name} isn't ready yet: questions on the page wait for it, and /readyz says when it is."
    assert link == serve.NO_LINK


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def test_a_file_of_people_that_is_not_there_is_a_sentence_and_no_open_page(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["--backend", "fake", "--port", "0", "--auth-file", str(tmp_path / "none")]
    assert serve.main(words, program="ovis serve") == 1
    out, err = capsys.readouterr()
    assert out == "" and "--auth-file can't be read" in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(("trusted", "client"), [((), "api:"), (("127.0.0.1",), "api:203.0.113.9")])
def test_programs_without_a_key_are_told_apart_where_a_proxy_is_trusted(
    trusted: tuple[str, ...], client: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = FakeBackend()
    monkeypatch.setattr("ovis_app.backends.open_backend", lambda *_, **__: backend)
    people = ("anna:secret",)  # strangers behind a proxy need a key, or to sign in
    page, options, _ = serve.open_page(Settings(backend="fake", port=free_port(), trusted_proxies=trusted, auth=people))
    _, url, _ = page.launch(**options, prevent_thread_lock=True, quiet=True)
    try:
        body = {"messages": [{"role": "user", "content": "Hello"}]}
        forwarded = {"x-forwarded-for": "203.0.113.9"}
        answer = httpx.post(
            f"{url}v1/chat/completions", json=body, headers=forwarded, auth=("anna", "secret"), timeout=PATIENCE
        )
        answer.raise_for_status()
    finally:
        page.close(verbose=False)
    assert backend.requests[-1].client == client


@pytest.mark.skipif(sys.platform != "linux", reason="only done there")
def test_torch_is_linked_before_it_is_imported() -> None:
    """Within the import no other thread goes on meanwhile: nobody on the page, and no signal is heard."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom ovis_app.backends import link\nlink()\n"
        "print('libtorch_cpu' in Path('/proc/self/maps').read_text(), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout == "True False\n", done.stderr
