"""The form in which people sign in, in the language that their browser prefers. There are no scripts before it, so its
few sentences stand here. Knows them; refuses to know who may sign in.
"""

from __future__ import annotations

import html
from pathlib import Path
from string import Template

from ovis_app.ui.http_bodies import Refused

PAGE = Template((Path(__file__).parent / "static" / "sign_in.html").read_text("utf-8"))
ENGLISH = {"language": "en", "title": "Sign in to Ovis", "name": "Name", "password": "Password", "button": "Sign in"}
CHINESE = {"language": "zh-CN", "title": "登录 Ovis", "name": "用户名", "password": "密码", "button": "登录"}
REFUSED = {
    401: "用户名或密码不对。",
    429: "尝试次数过多：请等待 {} 秒后重试。",
}  # by status, of which there are no others


def form(languages: str, error: Refused | None = None) -> str:
    """The page for a browser that sent this `Accept-Language`, and why the last try came to nothing."""
    chinese = prefers_chinese(languages)
    said = str(error or "")
    if error is not None and chinese and error.status in REFUSED:
        said = REFUSED[error.status].format(error.headers.get("retry-after", ""))
    sentence = f'<p role="alert">{html.escape(said)}</p>' if said else ""
    return PAGE.substitute(CHINESE if chinese else ENGLISH, sentence=sentence)


def prefers_chinese(languages: str) -> bool:
    """Whether Chinese stands before English: browsers send the best first."""
    spoken = (one.partition(";")[0].partition("-")[0].strip().lower() for one in languages.split(","))
    return next((one for one in spoken if one in ("en", "zh")), "en") == "zh"
