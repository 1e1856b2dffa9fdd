"""`python -m ovis_app`: the command line of ovis_app/cli."""

import sys

from ovis_app.cli import main

if __name__ == "__main__":
    sys.exit(main())
