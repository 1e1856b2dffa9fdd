"""What a Space runs, and `python app.py`: ovis_app/serve.py does it. Imported, it exposes `demo`.

`demo` is set up from OVIS_* variables alone.
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib.util import find_spec

if "SPACES_ZERO_GPU" in os.environ and find_spec("spaces") is not None:
    import spaces  # noqa: F401 - on ZeroGPU before all else: it stands between torch and a GPU that isn't there yet

from ovis_app import serve
from ovis_app.settings import read

if __name__ == "__main__":
    sys.exit(serve.main())
demo, launch_options, _backend = serve.open_page(read(argparse.Namespace()))
