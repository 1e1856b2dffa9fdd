"""What may be set: devices, host names, passwords, paths, networks, keys, adapters. Each is told what it must be.

Knows values and the flags that name them; refuses to know where a value came from. Repeats no password and no key.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterable
from pathlib import Path

HOST = re.compile(r"[a-z0-9._-]{1,253}|[0-9a-f:]{2,45}")
ADAPTER = "adapter_config.json"  # the file by which an adapter is known
KEY = re.compile(r"[!-~]{8,512}")
DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d{1,2})?")
ROOT_PATH = re.compile(r"(/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]{1,100}){0,8}")  # browsers resolve . and ..


def check_device(device: str) -> None:
    """Raises ValueError, as all of these."""
    if not DEVICE.fullmatch(device):
        raise ValueError(f"The device must be auto, cpu, mps, cuda or cuda:1, not {device!r}.")


def check_hosts(hosts: Iterable[str]) -> None:
    for host in hosts:
        if not HOST.fullmatch(host):
            raise ValueError(f"--allowed-hosts takes host names such as chat.example.org, not {host!r}.")


def check_people(people: Iterable[str]) -> None:
    """Who may sign in, each as NAME:PASSWORD."""
    for one in people:
        name, _, password = one.partition(":")
        if not (name and password):
            raise ValueError("--auth takes NAME:PASSWORD; where a password has spaces or commas, use --auth-file.")


def check_root_path(path: str) -> None:
    if not ROOT_PATH.fullmatch(path):
        raise ValueError(f"--root-path is a path such as /chat, without / at its end, not {path!r}.")


def check_proxies(networks: Iterable[str]) -> None:
    for network in networks:
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            raise ValueError(
                f"--trusted-proxies takes addresses and networks such as 10.0.0.0/8, not {network!r}."
            ) from error


def api_keys(given: Iterable[str], file: str) -> tuple[str, ...]:
    """The keys that were given, and those of a file, where one is named."""
    keys = (*given, *_keys(file))
    if not all(KEY.fullmatch(key) for key in keys):
        raise ValueError("An API key is at least 8 visible ASCII characters, without spaces.")
    return keys


def _keys(file: str) -> tuple[str, ...]:
    """The keys of a file, one a line; empty lines and those that begin with # are none."""
    if not file:
        return ()
    try:
        lines = [line.strip() for line in Path(file).expanduser().read_text("utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise ValueError(f"--api-key-file {file} can't be read: name a text file with one key a line.") from error
    keys = tuple(line for line in lines if line and not line.startswith("#"))
    if not keys:
        raise ValueError(f"--api-key-file {file} has no key in it: write one a line.")
    return keys


def check_adapter(adapter: str, backend: str) -> None:
    """That there is one where one is named, and a model to add it to."""
    if not adapter:
        return
    if backend != "local":
        raise ValueError("--adapter is for a model in this process: leave it out, or take --backend local.")
    folder = os.path.expanduser(adapter)  # noqa: PTH111 - Path's own raises for a ~ that nobody has
    if not os.path.isfile(os.path.join(folder, ADAPTER)):  # noqa: PTH113, PTH118 - Path's own raises for odd names
        inside = os.path.join(adapter, "adapter")  # noqa: PTH118
        found = os.path.isfile(os.path.join(os.path.expanduser(inside), ADAPTER))  # noqa: PTH111, PTH113, PTH118
        advice = f"name {inside}, which has one" if found else f"name a folder with an {ADAPTER}"
        raise ValueError(f"--adapter {adapter} isn't an adapter: {advice}.")


def check_unload(minutes: float, backend: str, *, zerogpu: bool) -> None:
    """That there is a model to unload where one is to be."""
    if minutes and backend != "local":
        raise ValueError("--unload-after is for a model in this process: leave it out, or take --backend local.")
    if minutes and zerogpu:
        raise ValueError("On ZeroGPU a model has a GPU only while it answers: leave --unload-after out.")
