"""Steps take about as long as they should, whatever a step costs beside its tokens."""

from __future__ import annotations

import pytest

from ovis_app.engine.pace import LEAST, RECOVERY, Pace


def settled(pace: Pace, fixed: float, token: float, *, decoding: bool, left: int = 10**9) -> int:
    """Tokens of a step after many steps that take `fixed` seconds and `token` for each token."""
    for _ in range(60):
        tokens = min(pace.tokens(decoding=decoding), left)
        pace.took(tokens, fixed + token * tokens, decoding=decoding)
    return pace.tokens(decoding=decoding)


def paced(most: int = 4096) -> Pace:
    return Pace(seconds=0.1, alone_seconds=0.5, most=most)


@pytest.mark.parametrize(("fixed", "token"), [(0.0, 0.001), (0.05, 0.001), (0.09, 0.0005), (0.02, 0.0003)])
@pytest.mark.parametrize("decoding", [True, False])
def test_a_step_takes_what_it_should(fixed: float, token: float, decoding: bool) -> None:
    tokens = settled(paced(), fixed, token, decoding=decoding)
    wanted = max(0.1, 2 * fixed) if decoding else 0.5
    assert fixed + tokens * token == pytest.approx(wanted, rel=0.1)


def test_a_slow_device_gets_the_least_and_no_less() -> None:
    assert settled(paced(), 1.0, 1.0, decoding=True) == LEAST


def test_memory_bounds_what_time_allows() -> None:
    pace = paced(most=512)
    assert settled(pace, 0.0, 1e-6, decoding=False) == 512
    pace.out_of_memory(512)
    assert pace.tokens(decoding=False) == 256


def test_the_end_of_a_prompt_teaches_nothing() -> None:
    pace = paced()
    before = settled(pace, 0.02, 0.001, decoding=True)
    assert settled(pace, 0.02, 0.001, decoding=True, left=before // 4) == before


def test_many_who_decode_leave_prompts_half_of_the_time() -> None:
    """Where a token for everybody takes longer than a step should, a prompt of 3,000 tokens would take 200 steps."""
    pace = paced()
    settled(pace, 0.0, 0.0005, decoding=False)
    tokens = settled(pace, 0.15, 0.0005, decoding=True)
    assert tokens * 0.0005 == pytest.approx(0.15, rel=0.1)


def test_a_host_that_is_slow_to_launch_does_not_crumble_a_prompt() -> None:
    """Each step takes longer than it should, however few tokens are in it: as many go in as double that."""
    pace, left, steps = Pace(seconds=0.04, alone_seconds=0.3, most=8192), 6000, []
    while left:
        steps.append(min(pace.tokens(decoding=True), left))
        pace.took(steps[-1], 0.045 + 3e-5 * steps[-1], decoding=True)
        left -= steps[-1]
    assert len(steps) < 10 and max(0.045 + 3e-5 * step for step in steps) < 0.1


@pytest.mark.parametrize("times", [5.0, 0.2])
@pytest.mark.parametrize("decoding", [True, False])
def test_a_device_that_gets_slower_or_faster_is_followed(decoding: bool, times: float) -> None:
    """Another program shares it, or the context grew: a step takes what it should again after a few."""
    pace = paced(most=100_000)
    settled(pace, 0.01, 1e-4, decoding=decoding)
    for _ in range(12):
        tokens = pace.tokens(decoding=decoding)
        pace.took(tokens, times * (0.01 + 1e-4 * tokens), decoding=decoding)
    took = times * (0.01 + 1e-4 * pace.tokens(decoding=decoding))
    assert took == pytest.approx(0.1 if decoding else 0.5, rel=0.25)


def test_a_hiccup_is_no_rule() -> None:
    """The first step of a device that isn't warm takes seconds."""
    pace = paced()
    pace.took(pace.tokens(decoding=True), 3.0, decoding=True)
    for _ in range(6):
        tokens = pace.tokens(decoding=True)
        pace.took(tokens, 0.01 + 1e-4 * tokens, decoding=True)
    assert pace.tokens(decoding=True) > 500


def test_one_request_without_memory_does_not_slow_prompts_for_good() -> None:
    """It is tried in halves, down to the least, before it fails."""
    pace = paced(most=2048)
    for tokens in (2048, 1024, 512, 256, 128, 64, 32, 16):
        pace.out_of_memory(tokens)
    assert pace.tokens(decoding=False) == LEAST
    for _ in range(9 * RECOVERY):
        pace.took(pace.tokens(decoding=False), 0.01, decoding=False)
    assert pace.tokens(decoding=False) == 2048
