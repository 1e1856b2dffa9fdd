"""Whoever watches the process hears whether it lives and whether a model can answer, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from ovis_app import zoo
from ovis_app.api import health
from ovis_app.backend import Phase, Status
from ovis_app.backends.fake import FakeBackend
from tests.ui.raw_http import ask, sentence
from tests.ui.serving import served_api

FOLDER = "/srv/models/of-anna"


@dataclass
class InPhase(FakeBackend):
    phase: Phase = "ready"

    def status(self) -> Status:
        return Status(replace(zoo.MINI, name=FOLDER), self.phase, f"Loading {FOLDER}", problem=FOLDER)


@pytest.mark.parametrize(
    ("phase", "status", "said"),
    [
        ("starting", 503, "being loaded"),
        ("loading", 503, "being loaded"),
        ("failed", 503, "can't be loaded"),
        ("ready", 200, "ready"),
        ("answering", 200, "ready"),
        ("returning", 200, "ready"),  # who asks now waits for it
        ("unloaded", 200, "ready"),  # the next question has it loaded
    ],
)
def test_a_model_that_can_answer_is_told_from_one_that_cannot(phase: Phase, status: int, said: str) -> None:
    with served_api(InPhase(phase=phase), auth=("anna:x",)) as server:  # nobody signs in
        lives, ready = ask(server, "/healthz"), ask(server, "/readyz")
        assert (lives.status, ready.status) == (200, status)
        assert said in ready.body.decode() and "anna" not in f"{ready.body!r}{lives.body!r}{ready.headers}"
        assert ready.headers["cache-control"] == "no-store" and ("retry-after" in ready.headers) == (status == 503)
        for path, asked in (("/healthz", lives), ("/readyz", ready)):
            head = ask(server, path, method="HEAD")
            assert (head.status, head.body) == (asked.status, b"")
        assert ask(server, "/readyz", method="POST", body=b"{}").status == 401
        assert "own name" in sentence(ask(server, "/healthz", host="evil.example"))


def test_while_the_process_ends_it_lives_and_takes_no_more() -> None:
    ending = False
    client = TestClient(Starlette(routes=health.routes(InPhase(), leaving=lambda: ending)))
    assert client.get("/readyz").status_code == 200
    ending = True
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").json() == {"status": "not ready", "reason": health.LEAVING}
