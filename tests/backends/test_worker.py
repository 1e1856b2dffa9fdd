"""Threads that work, and whoever waits for them."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import SimpleNamespace

import pytest

from ovis_app.backends.local import worker
from ovis_app.backends.local.worker import ThreadGroup
from tests.waiting import PATIENCE


def test_whoever_waits_finds_no_thread_that_has_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting, done = list[Future[None]](), threading.Event()
    with ThreadPoolExecutor(1) as others:

        class Late(threading.Thread):
            def start(self) -> None:
                waiting.append(others.submit(group.wait, PATIENCE))
                wait(waiting, timeout=0.05)
                super().start()

        stands_in = SimpleNamespace(Thread=Late, Lock=threading.Lock, current_thread=threading.current_thread)
        monkeypatch.setattr(worker, "threading", stands_in)
        group = ThreadGroup("late")
        group.start(done.set)
        waiting[0].result(PATIENCE)
    assert done.wait(PATIENCE)
