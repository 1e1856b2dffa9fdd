"""The real package `spaces` on a machine without a GPU: stands for the server that it asks, and for CUDA's few parts in
it, so that what would lie on a GPU lies in memory. Puts a question, then one that is stopped, and prints what comes.

Leans on names that `spaces` keeps to itself: written for 0.51.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

EXAMPLE = Path(__file__).parent.parent.parent / "assets" / "examples" / "shapes.png"
LEASE = {"idle": False, "nvidiaIndex": 0, "nvidiaUUID": "GPU-0", "allowToken": "token"}


class Server(BaseHTTPRequestHandler):
    """Leases a GPU to everybody."""

    def do_POST(self) -> None:
        sys.stdout.write(f"POST {self.path}\n")
        sys.stdout.flush()
        body = json.dumps(LEASE if self.path.startswith("/schedule") else {}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def _is_in_bad_fork() -> bool:
    return False


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def without_cuda() -> None:
    """A torch that spaces takes for one made for CUDA."""
    import torch

    torch.version.cuda = "12.8"
    torch._C._cuda_init = lambda: None  # type: ignore[attr-defined]
    _is_in_bad_fork.__module__ = "torch.cuda"  # it is asked in a process that finds it by name
    torch.cuda._is_in_bad_fork = _is_in_bad_fork


def moved(callback: Any = None) -> None:
    """In the worker: weights from the packed file to where the model looks for them."""
    import torch
    from spaces.zero.torch.patching import tensor_packs

    for pack in tensor_packs:
        place, raw = 0, Path(pack.path()).read_bytes()
        for tensor, size, aligned in (*(one for batch in pack.batches for one in batch), *pack.big_tensors):
            numbers = torch.frombuffer(bytearray(raw[place : place + size]), dtype=torch.uint8)
            place += aligned
            there = torch.tensor([], dtype=tensor.dtype)
            there.set_(numbers.untyped_storage(), 0, tensor.shape, tensor.stride())
            for fake in pack.fakes[tensor]:
                fake.data = there


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.environ["SPACES_ZERO_DEVICE_API_URL"] = f"http://127.0.0.1:{server.server_port}"
    os.environ["ZEROGPU_OFFLOAD_DIR"] = tempfile.mkdtemp()
    os.environ["OVIS_PORT"] = str(free_port())
    without_cuda()
    import spaces  # noqa: F401
    import spaces.zero.torch as emulation

    emulation.init, emulation.move = lambda _: None, moved

    import app
    from ovis_app.conversation import Conversation, Media, Message
    from ovis_app.generation import Answer, Request

    print("engine:", app._backend.status().engine)
    app.demo.launch(**app.launch_options, prevent_thread_lock=True, quiet=True)  # packs the weights
    asked = Request(Conversation((Message("user", "Describe the image.", (Media("image", EXAMPLE, "shapes.png"),)),)))
    print("said:", "".join(event.text for event in app._backend.stream(asked) if isinstance(event, Answer)))
    stopped = app._backend.stream(asked)
    next(event for event in stopped if isinstance(event, Answer))
    stopped.close()
    while app._backend.status().phase != "ready":
        time.sleep(0.05)
    print("stopped:", app._backend.status().phase, flush=True)
    for worker in sys.modules["multiprocessing"].active_children():
        worker.kill()
    os._exit(0)  # threads of the page's server are left


if __name__ == "__main__":
    main()
