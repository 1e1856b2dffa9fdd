"""Colour profiles, byte by byte: of screens, of gray and of a press."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Mapping

_D50 = (0.9642, 1.0, 0.8249)


def _fixed(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def _light(*values: float) -> bytes:
    return b"XYZ \0\0\0\0" + _fixed(*values)


def _gamma(value: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(value * 256)) + b"\0\0"


def _profile(kind: bytes, space: bytes, between: bytes, tags: Mapping[bytes, bytes]) -> bytes:
    at = 132 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += name + struct.pack(">II", at + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(">I", at + len(body)) + bytes(4) + struct.pack(">I", 0x02400000) + kind + space + between
    return head + bytes(12) + b"acsp" + bytes(28) + _fixed(*_D50) + bytes(48) + table + body


def screen(gamma: float, red: tuple[float, ...], green: tuple[float, ...], blue: tuple[float, ...]) -> bytes:
    """A screen with these primaries."""
    tags = {b"wtpt": _light(*_D50)}
    for name, light in ((b"r", red), (b"g", green), (b"b", blue)):
        tags |= {name + b"XYZ": _light(*light), name + b"TRC": _gamma(gamma)}
    return _profile(b"mntr", b"RGB ", b"XYZ ", tags)


ADOBE = screen(2.2, (0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
P3 = screen(2.2, (0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407))


def gray(gamma: float) -> bytes:
    return _profile(b"mntr", b"GRAY", b"XYZ ", {b"wtpt": _light(*_D50), b"kTRC": _gamma(gamma)})


def press(lightness: tuple[int, int, int, int]) -> bytes:
    """A press whose paper is white and whose inks (cyan, magenta, yellow, black), alone or together, are grays of so
    many hundredths."""
    corners = bytearray()
    for inks in itertools.product((0, 1), repeat=4):
        light = min((one for one, ink in zip(lightness, inks, strict=True) if ink), default=100)
        corners += bytes((round(light * 2.55), 128, 128))
    straight = bytes(range(256))
    table = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + _fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    table += straight * 4 + bytes(corners) + straight * 3
    return _profile(b"prtr", b"CMYK", b"Lab ", {b"wtpt": _light(*_D50), b"A2B0": table})
