"""Stands for the package `spaces` as it is on ZeroGPU: each call in a process that is forked then, over pickled values.

Like the real one it pickles arguments and yields, forks in whatever thread calls, hears of a closed generator at the
next yield, waits for the process to end then, and raises errors with the same titles. With its folder on PYTHONPATH
it is `spaces` itself.
"""

from __future__ import annotations

import multiprocessing
import pickle
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from typing import Any

FORK = multiprocessing.get_context("fork")

before_torch = "torch" not in sys.modules  # whether this was imported first
asked: list[tuple[int, str]] = []  # seconds and size of each call
visitor: ContextVar[str] = ContextVar("visitor", default="")  # as spaces learns who asks: from the context
visitors: list[str] = []  # of each call
yields: list[int] = []  # that came of each process
workers: list[BaseProcess] = []
refusal: tuple[str, str] | None = None  # title and message of the error that the next calls end with


def GPU(*, duration: Callable[..., int], size: str) -> Callable[[Callable[..., Iterator[Any]]], Callable[..., Any]]:
    def decorated(task: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        def call(*arguments: Any) -> Iterator[Any]:
            asked.append((duration(*arguments), size))
            visitors.append(visitor.get())
            if refusal is not None:
                raise Error(*refusal)
            yield from forked(task, arguments)

        return call

    return decorated


class Error(Exception):
    """Has what gr.Error has."""

    def __init__(self, title: str, message: str) -> None:
        super().__init__(message)
        self.title, self.message = title, message


def forked(task: Callable[..., Iterator[Any]], arguments: tuple[Any, ...]) -> Iterator[Any]:
    here, there = FORK.Pipe(duplex=False)
    left = FORK.Event()
    worker = FORK.Process(target=work, args=(task, pickle.dumps(arguments), there, left), daemon=True)
    workers.append(worker)
    yields.append(0)
    number = len(yields) - 1
    worker.start()
    there.close()
    try:
        while True:
            try:
                kind, value = pickle.loads(here.recv_bytes())
            except EOFError:
                raise Error("ZeroGPU worker error", "GPU task aborted") from None
            if kind == "end":
                return
            if kind == "raised":
                raise Error("ZeroGPU worker error", value)
            yields[number] += 1
            yield value
    finally:
        left.set()
        worker.join()


def work(task: Callable[..., Iterator[Any]], arguments: bytes, there: Connection, left: Event) -> None:
    events = task(*pickle.loads(arguments))
    try:
        for value in events:
            if left.is_set():
                events.close()  # type: ignore[attr-defined]
                break
            there.send_bytes(pickle.dumps(("value", value)))
    except Exception as failure:
        there.send_bytes(pickle.dumps(("raised", type(failure).__name__)))
    there.send_bytes(pickle.dumps(("end", None)))
