"""What a model wrote of a page becomes Markdown that nobody needs to be afraid of."""

from __future__ import annotations

import re

import pytest

from ovis_app.reading.clean_up import MOST_FIGURES, cleaned, endless


def clean(written: str) -> str:
    return cleaned(written, "ours-{}.jpg".format).text


def test_tables_formulas_and_figures_stay() -> None:
    table = '<table><tr><td colspan="2">a</td></tr><tr><td>1 &lt; 2</td><td><b>3</b><br></td></tr></table>'
    written = f"\n# Title\n\n{table}\n\n$a<b$ and $$\\frac{{n!}}{{2}}$$\n\n"
    written += '<img src="images/bbox_0_100_500_999.jpg" />\n<img src="images/bbox_0_100_500_999.jpg" />\n'
    done = cleaned(written, "ours-{}.jpg".format)
    assert done.figures == ((0, 100, 500, 999),) and done.notes == ()
    assert done.text.startswith(f"# Title\n\n{table}\n\n$a< b$ and $$\\frac{{n!}}{{2}}$$")
    assert done.text.count('<img src="ours-1.jpg" alt="Figure 1">') == 2 and "bbox" not in done.text


HOSTILE = (
    '<img src="../../../etc/passwd.jpg">',
    '<img src="images/../../x/bbox_1_2_3_4.jpg">',
    '<img src="https://tracker.example/a.jpg" onerror="alert(1)">',
    "![a](https://tracker.example/a.png)",
    "![a][b]\n\n[b]: https://tracker.example/a.png",
    "<script>alert(1)</script>",
    "<iframe src=//a.example",
    '<td onclick="alert(1)" style="background:url(//a.example)">x</td>',
    "<svg/onload=alert(1)>",
    "<!-- -->",
    "<img src='images/bbox_1_2_3_4.jpg' onerror=alert(1)>",
    "<a href='javascript:alert(1)'>x</a>",
    "<im\x00g src=//a.example/x>",
)


@pytest.mark.parametrize("written", HOSTILE)
def test_nothing_that_a_model_writes_is_run_or_fetched(written: str) -> None:
    for text in (written, f"<table><tr><td>{written}", f"```\n{written}", f"$x$ {written} $y$"):
        said = clean(text)
        tags = re.findall(r"<[A-Za-z/!?][^>]*", said)
        assert all(re.fullmatch(r'<img src="ours-\d+\.jpg" alt="Figure \d+"|</?[a-z0-9]+', tag) for tag in tags), said
        assert "![" not in said


@pytest.mark.parametrize(
    "box", ["0_0_0_0", "nan_0_1_1", "-1_0_5_5", "0_0_99999_5", "5_5_5_9", "1e9_0_1_1", "0_0_1001_9", "1_2_3", "9" * 900]
)
def test_a_figure_that_is_nowhere_is_left_out_and_that_is_said(box: str) -> None:
    done = cleaned(f'a <img src="images/bbox_{box}.jpg"/> b', "ours-{}.jpg".format)
    assert done.text == "a  b" and done.figures == () and done.notes == ("names a figure that is nowhere on it",)


def test_figures_have_a_limit() -> None:
    done = cleaned("".join(f'<img src="images/bbox_0_0_{n}_9.jpg">' for n in range(1, 200)), "{}.jpg".format)
    assert len(done.figures) == MOST_FIGURES
    assert done.notes == ("has 135 figures more than are cut out of a page",)


def test_figures_together_are_a_few_pages_at_most() -> None:
    wholes = "".join(f'<img src="images/bbox_0_0_1000_{n}.jpg">' for n in range(995, 1001)) * 2
    done = cleaned(f'{wholes}<img src="images/bbox_0_0_99_99.jpg">', "{}.jpg".format)
    assert done.figures == (*((0, 0, 1000, n) for n in range(995, 999)), (0, 0, 99, 99))
    assert done.text.count("<img") == 9 and done.notes == ("has 2 figures more than are cut out of a page",)


@pytest.mark.parametrize("unit", ["\nTotal 0.00", ".", "<tr><td>0</td></tr>\n", " ".join(map(str, range(60)))])
def test_a_tail_that_repeats_itself_is_said_once(unit: str) -> None:
    page = "".join(f"line {n} of the page\n" for n in range(500)) + "The end:"
    done = cleaned(page + unit * 30 + unit[: len(unit) // 2], "{}".format)
    assert done.text == (page + unit).strip() and done.notes == ("repeats itself at its end, which was cut",)
    assert cleaned(page + unit * 3, "{}".format).notes == ()
    assert cleaned("short " + unit * 30, "{}".format).notes == (), "a short page may"


def test_a_text_that_still_grows_is_endless_only_where_it_does_nothing_else() -> None:
    page = "".join(f"line {n} of the page\n" for n in range(500))
    assert not endless(page + "<td></td>" * 100) and endless(page + "<td></td>" * 500)


def test_a_fence_around_all_of_it_goes() -> None:
    assert clean("```markdown\n# A\n\nb\n```") == "# A\n\nb"
    assert clean("```python\na\n```") == "```python\na\n```"
