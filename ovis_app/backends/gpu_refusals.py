"""What ZeroGPU says when there is no GPU, as one sentence for the person who asked.

Knows the titles that the package `spaces` gives its errors, and no more of it: its messages may hold HTML and change
with its versions, so of them only the numbers are read. A title that isn't known is told as what is known of all.
"""

from __future__ import annotations

import re

from ovis_app.errors import FAILED

NUMBERS = re.compile(r"(\d{1,6})s requested vs\. (-?\d{1,6})s left")
AGAIN = re.compile(r"Try again in ((?:\d{1,3} days?, )?\d{1,2}:\d{2}:\d{2})")
SHORTER = "lower max new tokens, frames or the thinking budget"

NO_GPU = "No GPU is free right now: try again in a minute."
TAKEN_AWAY = f"The GPU was taken away before the answer was complete: try again, or {SHORTER}."
ANONYMOUS = (
    "This Space's GPU time for visitors who aren't signed in is used up: sign in to Hugging Face and try again, or "
    "come back later."
)
SPENT = f"Your GPU time on Hugging Face is used up for now: {SHORTER}, or try again later."
RUNS = "You have asked as often as Hugging Face's GPUs allow for now: try again later."
PENDING = "Other answers of yours still hold the GPU time that you have: wait until they are over, and try again."
TOO_LONG_ASKED = f"This question asks for more GPU time at once than Hugging Face gives: {SHORTER}, and try again."
RELOAD = (
    "The page has been open for so long that Hugging Face doesn't know any more who asks: reload it, and try again."
)
UNKNOWN = "Hugging Face gives no GPU for this question right now: try again later."

_BY_TITLE = {
    "ZeroGPU queue timeout": NO_GPU,
    "ZeroGPU illegal duration": TOO_LONG_ASKED,
    "ZeroGPU pending credits exceeded": PENDING,
}


def sentence_of(error: Exception) -> str:
    """Why there is no answer. `error` is what the call raised: gr.Error, with a title, or anything else."""
    title, message = str(getattr(error, "title", "")), str(getattr(error, "message", error))
    if title in _BY_TITLE:
        return _BY_TITLE[title]
    if title == "ZeroGPU quota exceeded":
        return _quota(message)
    if title == "ZeroGPU worker error":
        return TAKEN_AWAY if "aborted" in message else FAILED
    if title == "ZeroGPU client error":
        return RELOAD if "token" in message else NO_GPU if "No GPU" in message else UNKNOWN
    return UNKNOWN


def taken_away(error: Exception) -> bool:
    """Whether the process that answered was ended from outside, as it is when its time is over."""
    return sentence_of(error) == TAKEN_AWAY


def _quota(message: str) -> str:
    if "No GPU was available" in message:
        return NO_GPU
    if "runs limit" in message:
        return RUNS
    numbers, again = NUMBERS.search(message), AGAIN.search(message)
    if numbers is None:
        return ANONYMOUS if "reached its GPU limit" in message else SPENT
    later = f"try again in {again[1]}" if again else "try again later"
    asked, left = int(numbers[1]), max(int(numbers[2]), 0)
    return f"This question asks for {asked} s of GPU time and you have {left} s left: {SHORTER}, or {later}."
