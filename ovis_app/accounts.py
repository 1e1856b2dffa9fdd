"""Who may sign in: names, and passwords as scrypt hashes. Makes lines of `--auth-file`, reads them, checks a try.

Knows no HTTP. Keeps no password and repeats none, in no error either.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ovis_app.errors import UserError

LONGEST = 1024  # characters of a password
NAME = re.compile(r"[^\s:#\x00-\x1f\x7f][^:\x00-\x1f\x7f]{0,63}")
# As the password hashing competition writes them: $scrypt$ln=14,r=8,p=5$salt$hash. 16 MB and 0.2 s on a small machine.
HASH = re.compile(r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{22,86})")
COST, BLOCK, LANES = 14, 8, 5
MOST_MEMORY = 256 * 1024 * 1024  # bytes that a line of a file may ask for


@dataclass(frozen=True)
class PasswordHash:
    """A password that can be compared with, not read."""

    cost: int
    block: int
    lanes: int
    salt: bytes = field(repr=False)
    digest: bytes = field(repr=False)

    @staticmethod
    def of(password: str) -> PasswordHash:
        salt = secrets.token_bytes(16)
        return PasswordHash(COST, BLOCK, LANES, salt, _digest(password, COST, BLOCK, LANES, salt, 32))

    @staticmethod
    def read(text: str) -> PasswordHash | None:
        """What a line says; None where that is no hash, or one that costs more than it may."""
        found = HASH.fullmatch(text)
        if found is None:
            return None
        cost, block, lanes = (int(number) for number in found.groups()[:3])
        if cost < 10 or block < 1 or not 1 <= lanes <= 16 or _memory(cost, block) > MOST_MEMORY:
            return None
        try:
            salt, digest = (base64.b64decode(part + "=" * (-len(part) % 4)) for part in found.groups()[3:])
        except binascii.Error:
            return None
        return PasswordHash(cost, block, lanes, salt, digest)

    def __str__(self) -> str:
        salt, digest = (base64.b64encode(part).decode().rstrip("=") for part in (self.salt, self.digest))
        return f"$scrypt$ln={self.cost},r={self.block},p={self.lanes}${salt}${digest}"

    def matches(self, password: str) -> bool:
        """Takes the same time whatever is wrong."""
        made = _digest(password, self.cost, self.block, self.lanes, self.salt, len(self.digest))
        return hmac.compare_digest(made, self.digest)


def _digest(password: str, cost: int, block: int, lanes: int, salt: bytes, size: int) -> bytes:
    # Typed on one machine an accented letter is one character, on another two.
    data = unicodedata.normalize("NFC", password[:LONGEST]).encode("utf-8", "surrogatepass")
    memory = _memory(cost, block) + 1024 * 1024
    return hashlib.scrypt(data, salt=salt, n=2**cost, r=block, p=lanes, maxmem=memory, dklen=size)


def _memory(cost: int, block: int) -> int:
    return int(128 * block * 2**cost)


@dataclass(frozen=True)
class Accounts:
    """Names and their passwords' hashes."""

    hashes: Mapping[str, PasswordHash] = field(repr=False)
    # Compared with where nobody has the name, so that the time doesn't tell who has an account.
    nobody: PasswordHash = field(default_factory=lambda: PasswordHash.of(secrets.token_hex()), repr=False)

    def check(self, name: str, password: str) -> bool:
        """Whether this is who they say. Takes a fifth of a second of a core."""
        known = self.hashes.get(name)
        matched = (known or self.nobody).matches(password)
        return matched and known is not None


def accounts(auth: Iterable[str], auth_file: str) -> Accounts | None:
    """Who may sign in, of `NAME:PASSWORD`s and of a file; None where nobody has to. Raises UserError."""
    found: dict[str, PasswordHash] = {}
    for pair in auth:
        name, _, password = pair.partition(":")
        _add(found, name, PasswordHash.of(password), "--auth")
    if auth_file:
        try:
            text = Path(auth_file).expanduser().read_text("utf-8")
        except (OSError, ValueError, RuntimeError) as error:  # the last for a ~ that nobody has
            raise UserError(f"The file of --auth-file can't be read: check that {auth_file} is there.") from error
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip() and not line.startswith("#"):
                where = f"line {number} of {auth_file}"
                name, _, hashed = line.strip().partition(":")
                read = PasswordHash.read(hashed)
                if read is None:
                    raise UserError(f"What stands in {where} isn't NAME:HASH: make it by `ovis hash-password NAME`.")
                _add(found, name, read, where)
        if not found:
            raise UserError(f"{auth_file} names nobody: `ovis hash-password NAME >> {auth_file}` adds somebody.")
    return Accounts(found) if found else None


def _add(found: dict[str, PasswordHash], name: str, password: PasswordHash, where: str) -> None:
    if not NAME.fullmatch(name):
        raise UserError(f"The name of {where} can't be one: up to 64 characters, without a colon.")
    if name in found:
        raise UserError(f"{where[0].upper()}{where[1:]} names somebody who was named before: leave one out.")
    found[name] = password


def line_for(name: str, password: str) -> str:
    """A line of the file. Raises UserError."""
    if not NAME.fullmatch(name):
        raise UserError("A name has up to 64 characters, and no colon.")
    if not password or len(password) > LONGEST:
        raise UserError(f"A password has from 1 to {LONGEST:,} characters.")
    return f"{name}:{PasswordHash.of(password)}"
