"""The page in Chinese: by itself where a browser prefers it, by a switch, and with nothing left in English."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.browser.test_page import LEFT, RIGHT, ask, attach, conversation, figures, says
from tests.ui.serving import Served

Open = Callable[..., Any]
# What is the same in both languages: names, units, and what the model or a person said.
NAMES = re.compile(
    r"Ovis[\w.-]*|AIDC-AI/[\w.-]+|Apache-[\d.]+|GPTQ|tokens?|max (?:new tokens|pixels|partition)|min pixels|Top-p"
    r"|safetensors|clips|fits|--model|PDF|[\w.-]+\.(?:png|mp4)|\b(?:GB|MB|EN|HELLO)\b"
)
SHOWN = """() => {
  const seen = (one) => one.checkVisibility({visibilityProperty: true})
    && !one.closest('script, style, .question, .words, .example-text, .unseen');
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  for (let one; (one = texts.nextNode());) if (seen(one.parentElement)) found.push(one.data);
  for (const one of document.querySelectorAll('[aria-label], [title], [placeholder], [alt]'))
    if (seen(one)) for (const name of ['aria-label', 'title', 'placeholder', 'alt'])
      found.push(one.getAttribute(name) ?? '');
  return found; }"""


def english(tab: Any) -> list[str]:
    """What people see or hear of the page that has an English word."""
    found = tab.evaluate(SHOWN)
    assert len(found) > 20
    return sorted({text for text in found if re.search(r"[A-Za-z]{2}", NAMES.sub("", text))})


def test_a_chinese_browser_gets_all_of_the_page_in_chinese(open_tab: Open, tmp_path: Path) -> None:
    tab = open_tab(locale="zh-CN")
    tab.wait_for_selector(".example")
    assert tab.evaluate("document.documentElement.lang") == "zh-CN"
    assert english(tab) == []
    assert "描述这张图片。" in tab.inner_text(".examples") and "红色圆形在哪里？" in tab.inner_text(".examples")
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"this is no picture")
    tab.set_input_files("#box input[type=file]", [str(broken)])
    tab.wait_for_selector("#notice p")
    assert tab.inner_text("#notice") == "“broken.png”是文字，不是图片或视频：请把文字粘贴到消息里。"
    ask(tab, "哪一张更多？", [LEFT, RIGHT])
    assert "128 个视觉 token" in tab.inner_text(".figures")
    tab.click("#conversation .user-row .edit")
    assert english(tab) == []
    tab.click("#settings")
    tab.wait_for_selector("#reset")
    assert english(tab) == []
    tab.click("#model")
    tab.wait_for_selector("#model-list label")
    tab.wait_for_function("() => document.querySelector('#model-list label').innerText.includes('装得下')")
    assert english(tab) == []


def test_the_switch_draws_everything_anew_and_loses_nothing(open_tab: Open, server: Served) -> None:
    tab = open_tab(locale="en-GB")
    server.backend.answer.clear(), server.backend.finish.clear()
    ask(tab, "first", [LEFT])
    attach(tab, [RIGHT])
    tab.fill("#box textarea", "held")
    tab.press("#box textarea", "Enter")
    says(tab, "I look at the picture.")
    tab.fill("#box textarea", "half a question")
    attach(tab, [LEFT])
    tab.click("#language")
    tab.wait_for_function("() => document.documentElement.lang === 'zh-CN'")
    assert tab.inner_text("#new-chat") == "新对话" and "正在思考" in tab.inner_text(".thought summary >> nth=-1")
    assert english(tab) == []
    assert tab.input_value("#box textarea") == "half a question" and tab.locator("#box .thumbnail-item").count() == 1
    server.backend.answer.set(), server.backend.finish.set()
    figures(tab, 2)
    assert "已思考 · 1.5 秒 · 5 / 512 个 token" in tab.inner_text(".thought summary >> nth=-1")
    assert "It is a circle." in conversation(tab) and "You said: first" in conversation(tab)
    tab.wait_for_function("() => [...document.querySelectorAll('.user-row img')].every((one) => one.naturalWidth > 0)")
    tab.reload()
    tab.wait_for_selector(".figures")
    assert tab.inner_text("#language") == "EN" and english(tab) == []
    tab.click("#language")
    tab.wait_for_function("() => document.documentElement.lang === 'en'")
    tab.wait_for_function("() => document.querySelector('#new-chat').innerText === 'New chat'")
    assert not re.search("[\u4e00-\u9fff]", re.sub("中文", "", "".join(tab.evaluate(SHOWN))))


def test_an_error_of_the_server_is_heard_in_the_language_of_the_reader(open_tab: Open) -> None:
    tab = open_tab(locale="zh-CN")
    tab.fill("#box textarea", "please fail")
    tab.press("#box textarea", "Enter")
    tab.wait_for_selector(".problem", state="visible")
    assert tab.inner_text(".problem") == "模型内存不足：请调低图片上限后重试。"
    tab.click("#language")
    tab.wait_for_function("() => document.querySelector('.problem').innerText.startsWith('The model')")
