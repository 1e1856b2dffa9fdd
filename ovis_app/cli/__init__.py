"""The command line: `ask` one question (also without the word), `batch` many, list the `models`, or `serve` the page.

A module a command. Exit codes: 0 answered, 1 failed, 2 a bad file or flag, 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ovis_app.cli import ask, batch, hash_password, models
from ovis_app.cli.common import BadInput, program, say
from ovis_app.errors import BackendError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. Returns the exit code: 0 answered, 1 failed, 2 bad input, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    command, rest = (words[0], words[1:]) if words and words[0] in _COMMANDS else ("ask", words)
    try:
        return _COMMANDS[command](rest)
    except BadInput as error:
        say(error)
        return 2
    except BackendError as error:
        say(error)
        return 1
    except KeyboardInterrupt:
        say("stopped.")
        return 130


def _serve(words: Sequence[str]) -> int:
    from ovis_app import serve

    return serve.main(words, program=f"{program()} serve")


_COMMANDS = {
    "ask": ask.run,
    "batch": batch.run,
    "models": models.run,
    "serve": _serve,
    "hash-password": hash_password.run,
}
