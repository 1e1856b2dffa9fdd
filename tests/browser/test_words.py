"""The words of an answer as people see them: formulas, code, tables, HTML that is text, and what was really said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.browser.test_page import SHAPES, ask, figures, says
from tests.browser.test_turns import choose
from tests.ui.serving import Served

Open = Callable[..., Any]
ANSWERS = Path(__file__).parents[1] / "fixtures" / "answers"
LAST = "[...document.querySelectorAll('.bot-row')].at(-1).querySelector(':scope > .words')"
PHONE = {"viewport": {"width": 390, "height": 780}, "has_touch": True}


def answered(tab: Any, text: str) -> Any:
    """The words of an answer that says this, which the scripted model repeats."""
    ask(tab, f"\n\n{text}")
    tab.wait_for_function(
        f"() => {LAST}.querySelector('.block') && !{LAST}.ariaBusy"
        f" && !{LAST}.querySelector('.formula:not(.drawn, .broken)')"
    )
    return tab.locator(".bot-row").last.locator(":scope > .words")


def given(name: str) -> str:
    return (ANSWERS / f"{name}.txt").read_text("utf-8")


def sources(words: Any) -> list[str]:
    """What is drawn as a formula, in TeX as screen readers and copies have it."""
    return [one.strip() for one in words.locator(".katex annotation").all_text_contents()]


def test_formulas_are_drawn_and_money_and_code_are_not(tab: Any) -> None:
    loaded: list[str] = []
    tab.on("request", lambda request: loaded.append(request.url))
    words = answered(tab, "No formula, but **bold**.")
    assert not any("katex" in url for url in loaded)
    words = answered(tab, given("latex"))
    found = sources(words)
    assert len(found) == 12 and found[:2] == ["x^2 + y_1", "a_1 + b_1 * c_2 * d"]
    assert "x|y" in found and "\\alpha_1" in found and found[-2:] == ["p_1", "q_2"]
    assert any("katex.min.css" in url for url in loaded) and all(
        url.endswith("woff2") for url in loaded if "fonts" in url
    )
    tab.wait_for_function("() => document.fonts.check('16px KaTeX_Main')")
    said = words.inner_text()
    assert "and cost $5 and $10." in said and "Code: \\(x\\) and $$y$$. List:" in said
    assert words.locator("pre").inner_text().strip() == 's = "$$not math$$"; t = r"\\(x\\)"'
    assert words.locator(".katex math").count() == 12  # for those who hear them
    assert sources(answered(tab, "and then $z^9$")) == ["z^9"]


def test_a_formula_that_is_broken_or_hostile_stays_its_source(tab: Any) -> None:
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    broken = [
        r"$\frac{1$", r"\(\nothing{x}\)", r"$\href{javascript:window.hacked=1}{x}$",
        r"\(\htmlStyle{position:fixed}{x}\)",
        r"$$\includegraphics{http://127.0.0.1:9/x.png}$$", r"\(\def\a{\a\a}\a\)", r"\[\def\a#1{\a{#1#1}}\a{x}\]",
        r"\(" + "{" * 1400 + "x" + "}" * 1400 + r"\)", r"\[" + r"\frac{1}{" * 300 + "x" + "}" * 300 + r"\]",
    ]  # fmt: skip
    words = answered(
        tab, "\n\n".join([*broken, r"$\rule{9999em}{9999em}$ and \(\kern-999em\rule{99em}{99em}\)", "$ok$"])
    )
    shown = [one.inner_text() for one in words.locator(".formula.broken").all()]
    assert shown[:7] == broken[:7] and sources(words)[-1] == "ok"
    assert tab.evaluate("window.hacked") is None and not any("127.0.0.1:9/" in url for url in asked)
    assert words.locator("a, img").count() == 0
    above = f"""() => {{
        const box = {LAST}.getBoundingClientRect();
        return !{LAST}.contains(document.elementFromPoint(box.left + 5, box.top - 12));
    }}"""
    assert tab.evaluate(above)  # what a formula moves covers nothing else
    ask(tab, "still here?")


def test_html_is_shown_as_it_was_written_and_does_nothing(tab: Any) -> None:
    words = answered(tab, given("html"))
    # What follows a box is shown once it can be drawn; the question has the same words.
    tab.wait_for_function("e => e.innerText.includes('hidden comment')", arg=words.element_handle())
    said = words.inner_text()
    for written in (
        "<b>strong</b>, <title>My page</title> and <style>p{color:red}</style> then <script>alert(1)</script> end.",
        "if a<b and c>d then x<y>z.", "List<String> names = new ArrayList<String>();",
        "<email@example.com>, <input type=\"text\">,",
        "<body><p>Hello<br>world &amp; &lt;more&gt;</p></body></html>", "<!-- hidden comment --> done.",
        "<div class=\"a\">x</div>",
    ):  # fmt: skip
        assert written in said, written
    assert words.locator("td").first.inner_text() == "one\ntwo"
    for name in ("m7", "m9"):
        shown = answered(tab, given(name)).inner_text()
        assert shown.replace("\n\n", "\n").strip() == f"You said:\n{given(name)}".replace("\n\n", "\n").strip()
    words = answered(tab, given("m8"))
    assert (
        "Text <details> more <select> end <a href=x>link</a>" in words.inner_text()
        and words.locator("td").inner_text() == "1"
    )
    assert words.locator("details, select, title, style, font, u, a").count() == 0
    words = answered(
        tab,
        "<table border=1><tr><td onclick='window.hacked=1' colspan=2>"
        "a<img src=x onerror='window.hacked=1'></td></tr></table>",
    )
    words.locator("td").click()
    assert tab.evaluate("window.hacked") is None and words.locator("td").get_attribute("colspan") == "2"
    assert "a<img src=x onerror='window.hacked=1'>" in words.inner_text()


def test_emphasis_ranges_links_pictures_and_directions(tab: Any) -> None:
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    bold = {"m1": "“半价”", "m2": "注意："}
    for name, words in bold.items():
        assert answered(tab, given(name)).locator("strong").inner_text() == words
    assert answered(tab, given("m3")).inner_text().endswith(given("m3").strip())
    words = answered(tab, given("md"))
    assert words.locator("s").all_inner_texts() == ["strike"] and words.locator("td").all_inner_texts() == [
        "张三",
        "20",
    ]
    assert "snake_case_name and 2*3*4 = 24, __init__.py" in words.inner_text()
    links = words.locator("a").all()
    assert [one.get_attribute("href") for one in links] == ["https://example.com/a_b_c", "http://127.0.0.1:9/evil.png"]
    assert {(one.get_attribute("target"), one.get_attribute("rel")) for one in links} == {
        ("_blank", "noopener noreferrer nofollow")
    }
    assert "127.0.0.1:9" in tab.evaluate("(a) => getComputedStyle(a, '::after').content", links[1].element_handle())
    assert not any("evil" in url for url in asked) and "[link](javascript:alert(1))" in words.inner_text()
    assert words.locator("li.task").inner_text() == "☐ task"
    words = answered(tab, "- שלום עולם\n\nplain\n\nمرحبا")
    sides = "(all) => all.map((one) => getComputedStyle(one).direction)"
    assert words.locator("p, ul, li").evaluate_all(sides) == ["ltr", "rtl", "rtl", "ltr", "rtl"]


CODE = "```py\nimport math  # " + "a wide line " * 30 + "\n```\n\n```\nplain\n```\n\n```nosuch\nx\n```"


def test_code_says_its_language_has_colours_wraps_and_can_be_copied(open_tab: Open) -> None:
    tab = open_tab(permissions=["clipboard-read", "clipboard-write"])
    words = answered(tab, CODE)
    tab.wait_for_selector(".hljs-keyword")
    assert words.locator(".hljs-keyword").inner_text() == "import"
    assert words.locator(".language").all_inner_texts() == ["Python", "", "nosuch"]
    wide = f"() => {{ const pre = {LAST}.querySelector('pre'); return pre.scrollWidth > pre.clientWidth; }}"
    assert tab.evaluate(wide)
    words.locator(".wrap").first.click()
    assert not tab.evaluate(wide)
    words.locator(".code .copy").first.click()
    tab.wait_for_selector(".code .copy.done")
    assert tab.evaluate("navigator.clipboard.readText()") == CODE.split("\n")[1]
    words = answered(tab, "so $x^2$ *is*\n\nmore")
    tab.evaluate(f"getSelection().selectAllChildren({LAST})")
    tab.keyboard.press("Control+C")
    assert tab.evaluate("navigator.clipboard.readText()").strip() == "You said:\n\nso $x^2$ is\n\nmore"
    tab.locator(".bot-row .foot .copy").last.click()  # the answer, as it was written
    tab.wait_for_selector(".bot-row .foot .copy.done")
    assert tab.evaluate("navigator.clipboard.readText()").strip() == "You said: \n\nso $x^2$ *is*\n\nmore"
    choose(tab, "copy", row=".user-row")
    tab.wait_for_function(
        "() => navigator.clipboard.readText().then((text) => text.trim() === 'so $x^2$ *is*\\n\\nmore')"
    )


TABLE = """<table><tr><th rowspan=2>Item</th><th colspan=2>Price</th></tr>
<tr><th>net</th><th>gross</th></tr>

<tr><td>Tea, hot<br>sweet</td><td>=1+1</td><td>$x|y$</td></tr></table>"""


def test_a_table_is_taken_along_and_scrolls_in_itself(open_tab: Open) -> None:
    tab = open_tab(permissions=["clipboard-read", "clipboard-write"], **PHONE)
    words = answered(tab, TABLE + "\n\n|" + "column|" * 30 + "\n|" + "-|" * 30)
    with tab.expect_download() as download:
        words.locator(".download-csv").first.click()
    assert download.value.suggested_filename == "table.csv"
    saved = Path(download.value.path()).read_bytes()
    assert saved == '\ufeffItem,Price,\r\n,net,gross\r\n"Tea, hot\nsweet",\'=1+1,$x|y$\r\n'.encode()
    words.locator(".copy-markdown").first.click()
    tab.wait_for_selector(".copy-markdown.done")
    assert tab.evaluate("navigator.clipboard.readText()").splitlines()[-1] == "| Tea, hot<br>sweet | =1+1 | $x\\|y$ |"
    assert tab.evaluate("document.querySelector('#conversation .scroll').scrollWidth") <= 390
    assert words.locator(".sheet-scroll").last.evaluate("(one) => one.scrollWidth > one.clientWidth + 100")
    small = ".filter((one) => one.offsetHeight < 44).length"
    assert words.locator(".sheet-tools button").evaluate_all(f"(all) => all{small}") == 0


def test_what_was_really_said_can_be_seen_and_stays_seen(tab: Any) -> None:
    text = "**bold** $x$\n\n| a |\n|---|\n| <b> |"
    said = f"You said: \n\n{text} "
    words = answered(tab, text)
    pressed = tab.locator(".bot-row").first.locator(".raw")
    pressed.click()
    assert words.evaluate("(one) => one.textContent") == said and pressed.get_attribute("aria-pressed") == "true"
    first = tab.locator(".bot-row").first
    ask(tab, "and now?")
    assert first.locator(":scope > .words").evaluate("(one) => one.textContent") == said
    assert tab.locator(".bot-row").last.locator(".block").count() == 1
    first.locator(".raw[aria-pressed=true]").click()
    assert first.locator("strong").inner_text() == "bold" and first.locator(".katex").count() == 1


# What of a text that grows is drawn anew: blocks that were whole, and the first one while it still grows.
GROWING = """async ([base, text, step]) => {
    const { Painter } = await import(`${base}page/painter.mjs`);
    const box = document.createElement("div");
    box.className = "words";
    document.querySelector("#conversation .turns").append(box);
    let anew = 0;
    const decorate = (block) => { if (block !== box && block.nextElementSibling) anew += 1; };
    const painter = new Painter({ decorate });
    const later = (time) => new Promise((done) => setTimeout(done, time));
    painter.paint(box, text.slice(0, step), { growing: true });
    while (!box.querySelector(".block")) await later(20);
    const first = () => box.querySelector("pre") ?? box.firstChild;
    const begun = first();
    const seen = [];
    for (let length = 2 * step; length < text.length + step; length += step) {
        painter.paint(box, text.slice(0, length), { growing: length < text.length });
        if (length % (step * 40) === 0) await later(120);
        while (seen.length < box.children.length - 1) seen.push(box.children[seen.length]);
    }
    while (!box.innerText.includes("the end")) await later(50);
    const kept = seen.every((one, place) => box.children[place] === one);
    const grew = first() === begun;
    const found = { kept, anew, grew, seen: seen.length, blocks: box.children.length, said: box.innerText };
    box.remove();
    return found;
}"""
# What changes in turns that are over.
CHANGES = """() => {
    window.changes = [];
    const named = ({ target }) => target.className || target.nodeName;
    const watch = new MutationObserver((all) => window.changes.push(...all.map(named)));
    const what = { attributes: true, characterData: true, childList: true, subtree: true };
    for (const one of [...document.querySelectorAll(".turn")].slice(0, -1)) watch.observe(one, what);
}"""


def test_what_is_said_isnt_drawn_again_while_more_comes(tab: Any, server: Served) -> None:
    modules = tab.locator("link[rel=modulepreload]").evaluate_all("(all) => all.map((one) => one.href)")
    base = next(one for one in modules if one.endswith("page/main.mjs")).removesuffix("page/main.mjs")
    text = "".join(f"Part {n} has *words* and $x_{n}$ in it.\n\n" for n in range(200)) + "the end"
    found = tab.evaluate(GROWING, [base, text, 20])
    assert found["kept"] and found["seen"] > 2 and found["anew"] == 0, found
    assert found["blocks"] == 201 and "Part 199 has words" in found["said"]
    code = "```python\n" + "print(1)\n" * 1500 + "```\n\nthe end"
    assert tab.evaluate(GROWING, [base, code, 90])["grew"]  # what is new is added to it: what is marked in it stays so


def test_turns_that_are_over_are_left_alone_while_an_answer_comes(tab: Any) -> None:
    ask(tab, f"<ref>cup</ref><box>(0.1,0.2),(0.5,0.6)</box> {given('latex')}", [SHAPES])
    answered(tab, given("md"))
    tab.fill("#box textarea", "slow")
    tab.press("#box textarea", "Enter")
    says(tab, "word3")
    tab.wait_for_function("() => document.querySelectorAll('.marks .mark, .hljs-keyword, .katex').length > 9")
    tab.evaluate(CHANGES)
    says(tab, "word30")
    assert tab.evaluate("window.changes") == []
    tab.keyboard.press("Escape")
    figures(tab, 3)
