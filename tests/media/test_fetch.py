"""Files from addresses: what is fetched, and everything that must not be."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ovis_app.errors import MediaError
from ovis_app.media.fetch import Allowed, fetch, own, public
from ovis_app.media.incoming_file import NoRoom
from ovis_app.stop import Stop, Stopped
from tests.canary import Canary, canary
from tests.threads import none_begins
from tests.waiting import PATIENCE, until

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"


def anywhere(_: object) -> bool:
    return True


@contextmanager
def saying(*answers: bytes, ends: bool = True) -> Iterator[str]:
    """A server that says these bytes to one connection after the other, and then ends it or stays silent."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        over = threading.Event()

        def run() -> None:
            for answer in answers:
                try:
                    connection, _ = listening.accept()
                except OSError:  # nobody came any more
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)
                    if not ends:
                        over.wait(PATIENCE)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            over.set()


def refused(url: str, path: Path, *, most: int = 1000, allowed: Allowed = anywhere, seconds: float = 60.0) -> str:
    with pytest.raises(MediaError, match=r"^“image 1” .*\.$") as error:
        fetch(url, path, name="image 1", most=most, allowed=allowed, seconds=seconds)
    assert "127.0.0.1" not in str(error.value) and "\n" not in str(error.value)
    return str(error.value)


def test_a_file_is_fetched_also_behind_redirects(tmp_path: Path) -> None:
    with saying(OK % (len(PNG), PNG)) as there:
        fetch(f"{there}/a.png?x=1", tmp_path / "a", name="image 1", most=1000, allowed=anywhere)
    assert (tmp_path / "a").read_bytes() == PNG
    moved = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"
    with saying(moved, moved, OK % (len(PNG), PNG)) as there:
        fetch(there, tmp_path / "b", name="image 1", most=1000, allowed=anywhere)
    assert (tmp_path / "b").read_bytes() == PNG
    with saying(*[moved] * 5) as there:
        assert "redirects" in refused(there, tmp_path / "c")


@pytest.fixture
def bird() -> Iterator[Canary]:
    with canary() as here:
        yield here


def test_nothing_of_this_machine_is_asked(bird: Canary, tmp_path: Path) -> None:
    port = bird.address.rpartition(":")[2]
    for host in (
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f.0.0.1",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
    ):
        refused(f"http://{host}:{port}/x.png", tmp_path / "x", allowed=public)
    odd_ones = (f"http://user@{bird.address}/", f"http://{bird.address}/\r\nX: y", f"ftp://{bird.address}/", "http://",
                "x", f"http://{bird.address}:99999/", "http://[::1/", f"gopher://{bird.address}/", "file:///etc/passwd",
                f"http://{bird.address}/ä")  # fmt: skip
    for odd in odd_ones:
        refused(odd, tmp_path / "x")
    assert bird.hits == []


def test_a_redirect_into_a_private_network_is_not_followed(bird: Canary, tmp_path: Path) -> None:
    """The first address may be connected to, the second may not."""
    place = f"http://{bird.address}/secret".encode()
    asked: list[object] = []

    def first_alone(address: object) -> bool:
        asked.append(address)
        return len(asked) <= 2  # before and after connecting

    with saying(b"HTTP/1.1 302 Found\r\nLocation: " + place + b"\r\nContent-Length: 0\r\n\r\n") as there:
        assert "private" in refused(there, tmp_path / "x", allowed=first_alone)
    assert bird.hits == [] and len(asked) == 3


@pytest.mark.parametrize(
    ("address", "open_to_all"),
    [("93.184.216.34", True), ("2606:2800:220:1::1", True), ("10.0.0.1", False), ("172.16.0.1", False),
     ("192.168.1.1", False), ("169.254.169.254", False), ("127.0.0.1", False), ("0.0.0.0", False),
     ("100.64.0.1", False),
     ("224.0.0.1", False), ("255.255.255.255", False), ("192.0.2.1", False), ("::1", False), ("::", False),
     ("fe80::1", False), ("fc00::1", False), ("ff02::1", False), ("::ffff:10.0.0.1", False), ("::ffff:8.8.8.8", True),
     ("2002:7f00:1::", False), ("64:ff9b::7f00:1", False), ("64:ff9b:1::a00:1", False),
     ("::127.0.0.1", False), ("::ffff:0:7f00:1", False), ("fec0::1", False), ("5f00::1", False),
     ("168.63.129.16", False), ("192.0.0.192", False), ("::ffff:168.63.129.16", False)],
)  # fmt: skip
def test_which_addresses_are_the_internets(address: str, open_to_all: bool) -> None:
    assert public(ipaddress.ip_address(address)) == open_to_all


def test_a_public_address_of_this_machine_is_not_asked_either(tmp_path: Path) -> None:
    """A firewall before this machine doesn't stand between it and itself."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but loopback")
        mine = asked.getsockname()[0]
    with socket.create_server((mine, 0)) as listening:
        assert "private" in refused(f"http://{mine}:{listening.getsockname()[1]}/", tmp_path / "x")
        listening.settimeout(0.1)
        with pytest.raises(TimeoutError):
            listening.accept()
    assert not own(ipaddress.ip_address("198.51.100.7"))


def test_too_much_is_cut_off(tmp_path: Path) -> None:
    with saying(OK % (5000, bytes(5000))) as there:
        assert "larger" in refused(there, tmp_path / "x", most=1000)
    with saying(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(5000)) as there:
        assert "larger" in refused(there, tmp_path / "x", most=1000)
    assert (tmp_path / "x").stat().st_size <= 1000


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", b"nonsense\r\n\r\n", OK % (500, b"less than that"),
     b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx", b"HTTP/1.1 302 Found\r\n\r\n",
     b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 500],
    ids=lambda answer: repr(answer[:30]),
)  # fmt: skip
def test_a_bad_server_is_one_sentence(answer: bytes, tmp_path: Path) -> None:
    with saying(*[answer] * 5) as there:
        refused(there, tmp_path / "x")


def test_nobody_listens(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    refused(f"http://127.0.0.1:{port}/", tmp_path / "x")


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\n", OK % (500, b"a beginning")], ids=len)
def test_a_silent_server_is_left(answer: bytes, tmp_path: Path) -> None:
    """Silent from the start, in the headers, in the file: for as long as may be, or until nobody waits any more."""
    with saying(answer, ends=False) as there:
        assert "too long" in refused(there, tmp_path / "x", seconds=0.3)
    with saying(answer, ends=False) as there:
        stop, ended = Stop(), threading.Event()

        def run() -> None:
            with pytest.raises(Stopped):
                fetch(there, tmp_path / "x", name="image 1", most=1000, allowed=anywhere, stop=stop)
            ended.set()

        threading.Thread(target=run, daemon=True).start()
        stop.set()
        until(ended.is_set)


def test_a_name_that_nobody_resolves_is_left_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's resolver waits half a minute for each server, and can't be told to stop."""
    gate = threading.Event()

    def hangs(*_: object, **__: object) -> None:
        gate.wait(PATIENCE)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", hangs)
    try:
        assert "takes too long to fetch" in refused("http://never.example/x", tmp_path / "f", seconds=0.3)
        stop = Stop()
        threading.Timer(0.2, stop.set).start()
        with pytest.raises(Stopped):
            fetch("http://never.example/x", tmp_path / "f", name="x", most=9, seconds=PATIENCE, stop=stop)
        assert not gate.is_set()
    finally:
        gate.set()


def test_a_name_that_is_none_is_a_sentence(tmp_path: Path) -> None:
    for host in ("." * 70, "x" * 64 + ".example", "nothing.invalid"):
        assert "can't be fetched" in refused(f"http://{host}/x", tmp_path / "f")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device there")
def test_a_full_disk_is_no_fault_of_the_address() -> None:
    with saying(OK % (100_000, bytes(100_000))) as there, pytest.raises(NoRoom, match="no room"):
        fetch(there, Path("/dev/full"), name="image 1", most=100_000, allowed=anywhere)


def test_where_no_thread_begins_names_are_looked_up_once_some_do(tmp_path: Path) -> None:
    with none_begins("ovis-fetch-name"):
        for _ in range(40):
            assert "can't be fetched" in refused("http://127.0.0.1:9", tmp_path / "a")
    with saying(OK % (len(PNG), PNG)) as there:
        fetch(there, tmp_path / "a", name="image 1", most=1000, allowed=anywhere)
    assert (tmp_path / "a").read_bytes() == PNG
