"""What goes wrong while a decoder's process reads a file, as sentences for people. Knows how such a process fails, and
how the system does; refuses to know what the file is: whoever reads it says how a code is worded.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ovis_app.errors import MediaError
from ovis_app.limits import refusal
from ovis_app.media import decoder_process

log = logging.getLogger(__name__)


@contextmanager
def reading(name: str, refused: Callable[[str, str], MediaError]) -> Iterator[None]:
    """What goes wrong while a process reads a file, as MediaError; `refused` makes one of a code and a cause."""
    try:
        yield
    except decoder_process.OutOfTime as error:
        raise refused("slow", "OutOfTime") from error
    except (decoder_process.Broken, KeyError, ValueError, TypeError) as error:
        raise refused("unreadable", type(error).__name__) from error
    except FileNotFoundError as error:
        raise refusal(name, "is no longer here: attach it again.") from error
    except OSError as error:
        log.warning("file not read: %s", type(error).__name__)
        raise refusal(name, "could not be read just now: try again in a moment.") from error
