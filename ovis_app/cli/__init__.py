"""The command line: `ask` one question (also without the word), `batch` many, `read` pages, list the `models`,
examine one (`doctor`), `finetune` one, `merge` an adapter, or `serve` the page.

A module a command. Exit codes: 0 answered, 1 failed, 2 a bad file or flag, 130 interrupted, 141 nobody reads on.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING

from ovis_app import bounded_process, endings, private_folder
from ovis_app.cli import ask, batch, consoles, doctor, finetune, hash_password, merge, models, read
from ovis_app.cli.common import BadInput, program, say
from ovis_app.errors import BackendError

if TYPE_CHECKING:
    from ovis_app.training.finetune.plan import Plan

STOPPED = "stopped."


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. Returns the exit code: 0 answered, 1 failed, 2 bad input, 130 interrupted, 141 where nobody
    reads what is written."""
    consoles.take_any_text()
    words = list(sys.argv[1:] if arguments is None else arguments)
    command, rest = (words[0], words[1:]) if words and words[0] in _COMMANDS else ("ask", words)
    try:
        if command == "ask" and rest is words:
            _refuse_a_slip(words)
        with (
            endings.at_last(partial(say, STOPPED)),
            endings.at_last(private_folder.remove_all),
            endings.at_last(bounded_process.end_all),
            endings.as_ctrl_c(),
        ):
            code = _COMMANDS[command](rest)
        sys.stdout.flush()
        return code
    except BadInput as error:
        say(error)
        return 2
    except BackendError as error:
        say(error)
        return 1
    except OSError as error:
        if consoles.nobody_reads(error):
            return consoles.abandoned()
        if consoles.nothing_fits(error):
            consoles.abandoned()
            say("the disk is full: make room, and ask again.")
            return 1
        raise
    except KeyboardInterrupt:
        say(STOPPED)
        return endings.INTERRUPTED


def _refuse_a_slip(words: Sequence[str]) -> None:
    """Raises BadInput where the question is a word that is nearly a command: nobody loads a model to ask it `model`."""
    alone = words[0].lower() if words else ""
    near = get_close_matches(alone, (*_COMMANDS, "help"), n=1, cutoff=0.75) if alone.isalpha() else []
    if near:
        meant = "--help" if near == ["help"] else near[0]
        raise BadInput(f"there is no command {alone}: `{program()} {meant}` is one, `{program()} ask {alone}` asks.")


def _serve(words: Sequence[str]) -> int:
    from ovis_app import serve

    return serve.main(words, program=f"{program()} serve")


def _finetune(words: Sequence[str]) -> int:
    def train(plan: Plan) -> None:
        from ovis_app.training.finetune.train import train

        train(plan)

    return finetune.run(words, train)


_COMMANDS = {
    "ask": ask.run,
    "batch": batch.run,
    "finetune": _finetune,
    "read": read.run,
    "models": models.run,
    "doctor": doctor.run,
    "merge": merge.run,
    "serve": _serve,
    "hash-password": hash_password.run,
}
