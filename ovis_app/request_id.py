"""What one request is called, from the network down to the engine: a number that is made here and says nothing else.

An operator finds by it, in the log, what a person reports. Nobody's own is taken: it would be their words in our log.
"""

from __future__ import annotations

import secrets

REPORT = "{sentence} Say this number when you report it: {number}."


class RequestId(str):
    """Eight hexadecimal digits. A log may show one: nothing else is of this type."""

    @staticmethod
    def made() -> RequestId:
        return RequestId(secrets.token_hex(4))


NO_ID = RequestId("-")  # of what nobody asked over the network


def reported(sentence: str, request_id: RequestId) -> str:
    """A sentence about what nobody expected, with the number by which its cause is found."""
    return sentence if request_id == NO_ID else REPORT.format(sentence=sentence, number=request_id)
