"""A file from an address on the internet, for whoever sent that address: never from this machine or a network that only
it can reach.

Knows HTTP and addresses; refuses to know what is in the file. What is checked is the address that was connected to, not
what its name resolves to when asked again.
"""

from __future__ import annotations

import http.client
import ipaddress
import logging
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

from ovis_app.errors import MediaError
from ovis_app.limits import MEGABYTE, refusal
from ovis_app.media.incoming_file import writing
from ovis_app.stop import NEVER, Stop

log = logging.getLogger(__name__)

SECONDS = 20.0  # for all of it, redirects included
REDIRECTS = 3
MOVED = (301, 302, 303, 307, 308)
CHUNK = 64 * 1024
POLL_SECONDS = 0.1  # between two looks at the clock
AS_DATA = "send it as a data: URI"  # what a program does about it
UNICAST = ipaddress.ip_network(
    "2000::/3"
)  # all that IPv6 has of the internet; NAT64, site-local and the like lie outside
# What Python takes for addresses of the internet: machines in Azure and Oracle's cloud have their credentials there.
CLOUDS = (ipaddress.ip_network("168.63.129.16/32"), ipaddress.ip_network("192.0.0.0/24"))
HEADERS = {
    "Accept": "image/*, video/*, application/pdf",
    "Accept-Encoding": "identity",
    "User-Agent": "ovis-app",
    "Connection": "close",
}

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Allowed = Callable[[Address], bool]
Take = Callable[[bytes], object]
AddressInfo = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]  # of socket.getaddrinfo

_lookups = threading.BoundedSemaphore(
    32
)  # names that are looked up at a time; each may take the resolver half a minute


def public(address: Address) -> bool:
    """Whether an address is one of the internet's: not of this machine, a private network, or a way into one."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return public(address.ipv4_mapped)
        if address.sixtofour is not None or address.teredo is not None or address not in UNICAST:
            return False  # an IPv4 address in disguise, among others
    return address.is_global and not address.is_multicast and not any(address in cloud for cloud in CLOUDS)


def own(address: Address) -> bool:
    """Whether an address is this machine's own, a public one too: what is sent there never leaves it, nor meets a
    firewall. Loopback is for `public` to say."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as asked:  # sends nothing, and tells from where it would
        try:
            asked.connect((str(address), 9))
        except OSError:
            return False
        return _address(asked.getsockname()) == address and not address.is_loopback


def fetch(
    url: str, path: Path, *, name: str, most: int, seconds: float = SECONDS, stop: Stop = NEVER,
    allowed: Allowed = public,
) -> None:  # fmt: skip
    """Puts what is at `url` into the file `path`: at most `most` bytes, in `seconds`. Raises MediaError, whose sentence
    names the file by `name` and never the address; NoRoom where it can't be written; and Stopped once `stop` is set."""
    with writing(), path.open("wb") as file:

        def keep(data: bytes) -> None:
            with writing():  # or a full disk would be told as an address that can't be fetched
                file.write(data)

        receive(url, keep, name=name, most=most, seconds=seconds, stop=stop, allowed=allowed)


def receive(
    url: str, take: Take, *, name: str, most: int, instead: str = AS_DATA, seconds: float = SECONDS, stop: Stop = NEVER,
    allowed: Allowed = public,
) -> None:  # fmt: skip
    """The same, given to `take` piece by piece; sentences end with what to do `instead`. What came is the whole file
    only where nothing is raised."""
    limit = Stop(stop)
    limit.deadline = time.monotonic() + seconds
    try:
        for _ in range(REDIRECTS + 1):
            place = _parts(url, name, instead)
            with _connected(place, limit, allowed) as connection:
                target = (place.path or "/") + (f"?{place.query}" if place.query else "")
                connection.request("GET", target, headers=HEADERS)
                response = connection.getresponse()
                if response.status not in MOVED:
                    _hand_over(response, take, name, most, instead)
                    if limit.is_set():  # what was cut off may look like an end
                        raise TimeoutError
                    return
                url = urljoin(url, response.getheader("location") or "")
        raise refusal(name, f"is behind too many redirects: {instead}.")
    except _PrivateAddress as error:
        raise refusal(name, f"has an address in a private network, which isn't fetched: {instead}.") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        stop.check()
        log.info("not fetched: %s", type(error).__name__)
        slow = limit.is_set()
        raise refusal(
            name, f"takes too long to fetch: {instead}." if slow else f"can't be fetched: {instead}."
        ) from error


class _PrivateAddress(Exception):
    """Where nothing is fetched from."""


def _parts(url: str, name: str, instead: str) -> SplitResult:
    """Raises MediaError for what is no plain address of a web server, ValueError for what is none at all."""
    place = urlsplit(url)
    plain = url.isascii() and not any(c <= " " or c == "\x7f" for c in url)
    if not plain or place.scheme not in ("http", "https") or not place.hostname or "@" in place.netloc:
        raise refusal(name, f"has an address that can't be fetched: {instead}.")
    return place


@contextmanager
def _connected(place: SplitResult, limit: Stop, allowed: Allowed) -> Iterator[http.client.HTTPConnection]:
    """A connection to the first address of a host. It is cut once `limit` is set, however slowly the other side sends.
    Raises _PrivateAddress where that mayn't be connected to."""
    secure = place.scheme == "https"
    host = place.hostname or ""
    port = place.port or (443 if secure else 80)
    family, kind, protocol, _, where = _resolved(host, port, limit)
    with socket.socket(family, kind, protocol) as plain, _cut_after(plain, limit):
        plain.settimeout(SECONDS)
        if not allowed(_address(where)) or own(_address(where)):
            raise _PrivateAddress
        plain.connect(where)
        if not allowed(_address(plain.getpeername())):
            raise _PrivateAddress
        connection = http.client.HTTPSConnection(host, port) if secure else http.client.HTTPConnection(host, port)
        connection.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=host) if secure else plain
        with closing(connection):
            yield connection


def _resolved(host: str, port: int, limit: Stop) -> AddressInfo:
    """The first address of a host. Whoever answers for its name may take as long as the system's resolver lets them;
    nobody waits for that beyond `limit`. Raises OSError."""
    if not _lookups.acquire(blocking=False):
        raise OSError("too many names are being looked up")
    found: queue.SimpleQueue[AddressInfo | Exception] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            found.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0])
        except (OSError, UnicodeError) as error:
            found.put(error)
        finally:
            _lookups.release()

    try:
        threading.Thread(target=look_up, name="ovis-fetch-name", daemon=True).start()
    except RuntimeError as error:  # no thread begins any more
        _lookups.release()
        raise OSError from error
    while not limit.is_set():
        with suppress(queue.Empty):
            answer = found.get(timeout=POLL_SECONDS)
            if isinstance(answer, Exception):
                raise answer
            return answer
    raise TimeoutError


@contextmanager
def _cut_after(opened: socket.socket, limit: Stop) -> Iterator[None]:
    """Ends a socket's reading and writing once `limit` is set while the block runs."""
    over = threading.Event()
    same = opened.dup()  # its own number: the socket's may be another's by the time that it is cut

    def watch() -> None:
        while not over.wait(POLL_SECONDS):
            if limit.is_set():
                with suppress(OSError):
                    same.shutdown(socket.SHUT_RDWR)
                return

    watcher = threading.Thread(target=watch, name="ovis-fetch-clock", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        same.close()


def _address(where: Sequence[object]) -> Address:
    """The address that a socket's own form of it begins with, without a zone."""
    return ipaddress.ip_address(str(where[0]).partition("%")[0])


def _hand_over(response: http.client.HTTPResponse, take: Take, name: str, most: int, instead: str) -> None:
    """Raises MediaError where there is no file, or too much of it."""
    if response.status != 200:
        raise refusal(name, f"isn't there to be fetched: its server answered {response.status}.")
    if response.getheader("content-encoding", "identity") != "identity":
        raise refusal(name, f"comes compressed, which isn't read here: {instead}.")
    size = 0
    while data := response.read(CHUNK):
        size += len(data)
        if size > most:
            raise too_large(name, most)
        take(data)
    if response.length:
        raise http.client.IncompleteRead(b"", response.length)


def too_large(name: str, most: int) -> MediaError:
    """A file of more bytes than may be fetched."""
    return refusal(name, f"is larger than the {most / MEGABYTE:g} MB that are fetched: send a smaller one.")
