"""Eight who ask twelve times each at once, half of them tabs and half programs: each hears of its own words alone."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from tests.api.openai_program import Program
from tests.ui.serving import Served, Wire

CLIENTS, ROUNDS = 8, 12
MARK = re.compile(r"mark-\d+-\d+")


def test_nobody_hears_of_what_another_asked(server: Served) -> None:
    def tab(number: int) -> list[str]:
        with closing(Wire(server)) as wire:
            return [wire.ask(f"mark-{number}-{turn}")["text"] for turn in range(ROUNDS)]

    def program(number: int) -> list[str]:
        asking, heard = Program(server), list[str]()
        said: list[dict[str, str]] = []
        for turn in range(ROUNDS):
            said.append({"role": "user", "content": f"mark-{number}-{turn}"})
            parts = asking.chunks({"messages": said})
            text = "".join(one["choices"][0]["delta"].get("content") or "" for one in parts if one["choices"])
            said.append({"role": "assistant", "content": text})
            heard.append(text)
        return heard

    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(pool.map(lambda number: (program if number % 2 else tab)(number), range(CLIENTS)))
    for number, heard in enumerate(answers):
        assert [MARK.findall(text) for text in heard] == [[f"mark-{number}-{turn}"] for turn in range(ROUNDS)]
