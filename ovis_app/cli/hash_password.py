"""`ovis hash-password`: a line for the file of those who may sign in."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ovis_app.cli.common import BadInput, program
from ovis_app.settings import Flags


def run(words: Sequence[str]) -> int:
    flags = Flags(
        prog=f"{program()} hash-password",
        description="Make a line for the file of `ovis serve --auth-file`; asks for the password, or reads a pipe.",
    )
    flags.add_argument("name", help="who signs in")
    name = flags.parse_args(words).name
    from getpass import getpass

    from ovis_app.accounts import line_for
    from ovis_app.errors import UserError

    piped = not sys.stdin.isatty()
    password = sys.stdin.readline().rstrip("\r\n") if piped else getpass("Password: ")
    if not piped and getpass("The same again: ") != password:
        raise BadInput("those were two different passwords: try again.")
    try:
        print(line_for(name, password))
    except UserError as error:
        raise BadInput(error) from error
    return 0
