"""The decoding process: it dies when told to, opens nothing but its file, and its failures become sentences."""

from __future__ import annotations

import http.server
import itertools
import threading
import time

import pytest

from ovis_app.conversation import Media
from ovis_app.errors import MediaError
from ovis_app.limits import Limits
from ovis_app.media import attach, attach_all, decoder_process, sample_frames
from ovis_app.stop import Stop, Stopped
from tests.media.made import clip, numbered, playlists

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return clip(tmp_path_factory.mktemp("clips") / "short.mp4", map(numbered, range(20)))


@pytest.fixture
def decoder(monkeypatch, tmp_path):
    """Puts a few lines of Python in the decoder's place."""

    def replaced(lines: str) -> None:
        script = tmp_path / "decoder.py"
        script.write_text(lines)
        monkeypatch.setattr(decoder_process, "DECODER", script)

    return replaced


SLEEPS = "import time\ntime.sleep(60)\n"


def until(deadline: float) -> Stop:
    stop = Stop()
    stop.deadline = deadline
    return stop


def test_stop_kills_the_child_within_half_a_second(path, children, decoder):
    media = Media("video", path, "a.mp4")
    decoder(SLEEPS)
    asked = time.monotonic() + 0.3
    with pytest.raises(Stopped):
        sample_frames(media, 4, Limits(), stop=until(asked))
    assert time.monotonic() - asked < 0.5
    assert children[-1].returncode is not None  # dead and reaped
    assert not [thread for thread in threading.enumerate() if thread.name == "clip-pipe"]


def test_stop_works_in_the_middle_of_real_decoding(path, children):
    media = Media("video", path, "a.mp4")
    with pytest.raises(Stopped):
        sample_frames(media, 4, Limits(), stop=until(0.0))
    assert children[-1].returncode is not None


def test_stop_is_asked_at_least_every_tenth_of_a_second(path, decoder):
    media = Media("video", path, "a.mp4")
    decoder(SLEEPS)
    asked: list[float] = []

    class Listening(Stop):
        def is_set(self) -> bool:
            asked.append(time.monotonic())
            return len(asked) > 8

    with pytest.raises(Stopped):
        sample_frames(media, 4, Limits(), stop=Listening())
    gaps = sorted(b - a for a, b in itertools.pairwise(asked))
    assert gaps[len(gaps) // 2] <= 0.1


def test_a_decoder_that_hangs_is_ended_by_the_clock(path, children, decoder):
    decoder(SLEEPS)
    start = time.monotonic()
    with pytest.raises(MediaError, match=r"^“a.mp4” takes too long"):
        attach(path, "a.mp4", Limits(decode_seconds=0.3))
    assert time.monotonic() - start < 1.5 and children[-1].returncode is not None


@pytest.mark.parametrize(
    "lines",
    [
        "import os\nos.abort()\n",
        "raise SystemExit(3)\n",
        "print('what is this?' * 100)\n",
        "import sys\nsys.stdout.buffer.write(b'\\xff' * 100)\n",
        "import sys\nsys.stdout.buffer.write(b'\\0\\0\\0\\x02[]')\n",
        "import sys\nsys.stdout.buffer.write(b'\\0\\0\\0\\x10{\"bytes\":1000000000000}')\n",
        "import sys\nsys.stdout.buffer.write(b'\\0\\0\\0\\x0b{\"bytes\":3}abc' + b'\\0\\0\\0\\x0c{\"end\":true}')\n",
    ],
)
def test_a_decoder_that_breaks_is_a_sentence(path, children, decoder, lines):
    decoder(lines)
    with pytest.raises(MediaError, match=r"^“a.mp4” "):
        attach(path, "a.mp4", Limits())
    assert children[-1].returncode is not None


def test_the_child_gets_neither_path_nor_name(path, children):
    attach(path, "a.mp4", Limits())
    assert not [word for word in children[-1].args if "short" in word or "a.mp4" in word or str(path.parent) in word]


def test_too_little_memory_is_a_sentence(path):
    with pytest.raises(MediaError, match=r"^“a.mp4” "):
        attach(path, "a.mp4", Limits(decode_memory=64 * 1024 * 1024))


def test_readers_wait_their_turn_and_can_leave_the_line(path, monkeypatch):
    media = Media("video", path, "a.mp4")
    monkeypatch.setattr(decoder_process, "_places", threading.BoundedSemaphore(1))
    assert decoder_process._places.acquire(timeout=0)
    start = time.monotonic()
    with pytest.raises(Stopped):
        sample_frames(media, 2, Limits(), stop=until(start + 0.1))
    decoder_process._places.release()
    assert len(sample_frames(media, 2, Limits()).frames) == 2


def test_many_readers_at_once_all_get_their_frames(path):
    media = Media("video", path, "a.mp4")
    sizes: list[int] = []
    readers = [
        threading.Thread(target=lambda: sizes.append(len(sample_frames(media, 3, Limits()).frames))) for _ in range(6)
    ]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert sizes == [3] * 6


@pytest.fixture
def canary():
    """A server on a loopback port; its `hits` must stay empty."""
    hits: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hits.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    server.hits = hits  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_no_file_makes_the_app_fetch_anything(canary, write):
    address = f"http://127.0.0.1:{canary.server_port}"
    files = [(write(name, data), name) for name, data in playlists(address).items()]
    good, sentences = attach_all(files, Limits())
    assert not good and len(sentences) == len(files) and address not in " ".join(sentences)
    assert canary.hits == []


@pytest.mark.parametrize(("form", "name"), [("hls", "hls.mp4"), ("concat", "concat.mp4"), ("dash", "dash.mp4")])
def test_even_a_playlist_reader_could_fetch_nothing(canary, write, form, name):
    """Should a playlist slip past the first gate, the child has no protocol to follow it with."""
    file = write(name, playlists(f"http://127.0.0.1:{canary.server_port}")[name])
    job = {"format": form, "count": 1, "seconds": 60, "pixels": 10**7, "side": 64, "area": 10**7, "budget": 10**9}
    job |= {"memory": 1 << 31, "cpu_seconds": 20}
    with file.open("rb") as opened:
        answer, _ = next(decoder_process.records(opened, job, Limits(), Stop()))
    assert "refused" in answer
    assert canary.hits == []
