"""`ovis`, and `python -m ovis_app`: the command line of ovis_app/cli, as a process of its own."""

import sys

from ovis_app import cli, endings


def main() -> int:
    """Runs one command. Returns the exit code, but where somebody ended it: libraries would take time to go down."""
    code = cli.main()
    if code == endings.INTERRUPTED:
        endings.leave(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
