"""Files that would run script where they are opened as what they are, and the many ways to spell a file's address."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

RAN = "a-script-of-the-file-ran"
_RUN = f"console.log('{RAN}');document.title='{RAN}';try{{parent.postMessage('{RAN}','*')}}catch(e){{}}"
_SVG = f'<svg xmlns="http://www.w3.org/2000/svg" onload="console.log(\'{RAN}\')"><script>{_RUN}</script></svg>'
_XHTML = f'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><script>{_RUN}</script></html>'
_HTML = f"<!doctype html><html><script>{_RUN}</script></html>"
_PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog/OpenAction<</S/JavaScript/JS(app.alert(1))>>>>endobj\ntrailer<</Root 1 0 R>>"

FILES: dict[str, bytes] = {
    "page.html": _HTML.encode(),
    "page.htm": _HTML.encode(),
    "drawing.svg": _SVG.encode(),
    "page.xhtml": _XHTML.encode(),
    "data.xml": _XHTML.encode(),
    "archive.mht": b"MIME-Version: 1.0\nContent-Type: text/html\n\n" + _HTML.encode(),
    "paper.pdf": _PDF,
    "script.js": _RUN.encode(),
    "module.mjs": _RUN.encode(),
    "style.css": b"body{background:url(javascript:1)}",
    "polyglot.gif": b"GIF89a=1;" + _RUN.encode(),
    "polyglot.html": b"GIF89a<html><script>" + _RUN.encode() + b"</script></html>",
    "paper.jpg": b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0" + _PDF,
    "script.jpg": b"\xff\xd8\xff\xe0/**/='';" + _RUN.encode(),
    "page.mp4": b"\0\0\0\x18ftypmp42\0\0\0\0" + _HTML.encode(),
    "clip.png": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + _HTML.encode(),
    "page.bmp": b"BM" + _HTML.encode(),
    "svg.png": _SVG.encode(),
    "html.png": _HTML.encode(),
    "svg.jpg": _SVG.encode(),
    "html.mp4": _HTML.encode(),
    "page.html.": _HTML.encode(),
    "nothing": _HTML.encode(),
    "unknown.wasm": b"\0asm\1\0\0\0",
    "data.json": b'{"a": "<script>"}',
    "notes.txt": _HTML.encode(),
}


def spellings(path: str) -> Iterator[str]:
    """Ways to ask for the file at `path`, as they stand in a request's first line; the usual one is the first."""
    plain = quote(path)
    twice = quote(quote(path, safe=""), safe="")
    yield f"/gradio_api/file={plain}"
    for route in (
        "/gradio_api/file/", "/file=", "/file/", "/gradio_api/FILE=", "/Gradio_API/file=", "/GRADIO_API/FILE/",
        "/gradio_api/%66ile=", "/gradio_api/%66ile/", "/gradio_api/file%3D", "/gradio_api/file%2F",
        "/%67radio_api/file=", "/gradio_api/%2566ile=", "//gradio_api/file=", "/gradio_api//file=",
        "//gradio_api//file/", "/./gradio_api/file=", "/x/../gradio_api/file=", "/gradio_api/x/../file/",
        "/gradio_api/./file/", "/gradio_api/file=.", "/prefix/file=", "/prefix/gradio_api/file=",
        "/prefix/gradio_api/file/", "/gradio_api/gradio_api/file=", "/gradio_api;/file=", "/gradio_api/file;=",
        "/gradio_api/file;a=1/", "/gradio_api/file==", "/gradio_api/file =", "/gradio_api/file%20=",
        "/gradio_api\\file=", "/gradio_api/file%5C", "/gradio_api%2Ffile=", "/static/", "/static/..", "/assets/../..",
        "/assets/%2e%2e/%2e%2e", "/static/%2e%2e%2f", "/svelte/", "/svelte/..", "/gradio_api/stream/", "/stream/a/b/1",
        "/gradio_api/stream/a/b/1/playlist-file", "/gradio_api/custom_component/x/client/component/",
        "/custom_component/x/client/a/", "/gradio_api/theme.css/", "/theme.css/", "/gradio_api/upload/",
        "/gradio_api/raw=", "/pwa_icon/", "/favicon.ico/", "/gradio_api/run-history/records/a/b/assets/",
        "/gradio_api/proxy=", "/proxy=", "/gradio_api/component_server/", "/gradio_api/files=",
        "/gradio_api/call/file/",
    ):  # fmt: skip
        yield route + plain
        yield route + plain.lstrip("/")
        yield route + quote(path, safe="")
        yield route + twice
    for ending in (
        ".",
        "..",
        "/",
        "%2F",
        ";",
        ";.png",
        "%00.png",
        "%00",
        "%20",
        "?x=.png",
        "#.png",
        "/.",
        "/..",
        "::$DATA",
    ):
        yield f"/gradio_api/file={plain}{ending}"
        yield f"/gradio_api/file/{plain}{ending}"
    folder, _, name = plain.rpartition("/")
    for inside in (f"{folder}//{name}", f"{folder}/./{name}", f"{folder}/x/../{name}", f"/{plain}", f"//{plain}",
                   f"{folder}%2F{name}", f"{folder}\\{name}", f"{folder}/%2e/{name}", f"file://{plain}"):  # fmt: skip
        yield f"/gradio_api/file={inside}"
        yield f"/gradio_api/file/{inside}"


_CALL = f"console.log('{RAN}')"
# What a model may be made to write, as answers are Markdown with HTML in it.
TEXTS: tuple[str, ...] = (
    f"<script>{_CALL}</script>",
    f"<SCRIPT SRC=data:text/javascript,{_CALL}></SCRIPT>",
    f"<scr<script>ipt>{_CALL}</scr</script>ipt>",
    f'<script type="module">{_CALL}</script>',
    f'<img src=x onerror="{_CALL}">',
    f'<img src=x onerror\n="{_CALL}">',
    f'<IMG """><SCRIPT>{_CALL}</SCRIPT>">',
    f"<img/src=x/onerror={_CALL}>",
    f'<img src="x` `<script>{_CALL}</script>"` `>',
    f'<svg onload="{_CALL}">',
    f"<svg><script>{_CALL}</script></svg>",
    f'<svg><animate onbegin="{_CALL}" attributeName=x dur=1s>',
    f'<svg><a xlink:href="javascript:{_CALL}"><text x="9" y="9">x</text></a></svg>',
    f'<svg><use href="data:image/svg+xml,&lt;svg id=x xmlns=http://www.w3.org/2000/svg onload={_CALL}&gt;#x"/></svg>',
    f'<math><mtext><table><mglyph><style><img src=x onerror="{_CALL}">',
    f'<math href="javascript:{_CALL}">x</math>',
    f'<iframe src="javascript:{_CALL}"></iframe>',
    f'<iframe srcdoc="<script>{_CALL}</script>"></iframe>',
    f'<object data="data:text/html,<script>{_CALL}</script>"></object>',
    f'<embed src="javascript:{_CALL}">',
    f'<body onload="{_CALL}">',
    f'<details open ontoggle="{_CALL}">x</details>',
    f'<video><source onerror="{_CALL}"></video>',
    f'<audio src=x onerror="{_CALL}"></audio>',
    f'<input autofocus onfocus="{_CALL}">',
    f'<select autofocus onfocus="{_CALL}"></select>',
    f'<marquee onstart="{_CALL}">x</marquee>',
    f'<form action="javascript:{_CALL}"><button id=b>x</button></form>',
    f'<isindex action="javascript:{_CALL}" type=submit>',
    f'<a href="javascript:{_CALL}">click</a>',
    f'<a href="java\tscript:{_CALL}">click</a>',
    f'<a href="&#106;avascript:{_CALL}">click</a>',
    f"[click](javascript:{_CALL})",
    "[click](data:text/html;base64,PHNjcmlwdD5jb25zb2xlLmxvZygxKTwvc2NyaXB0Pg==)",
    f'![x](x "onerror={_CALL}")',
    f'<meta http-equiv="refresh" content="0;url=javascript:{_CALL}">',
    f'<base href="javascript:/"><link rel=stylesheet href="javascript:{_CALL}">',
    f'<style>@import "javascript:{_CALL}";*{{background:url(javascript:{_CALL})}}</style>',
    f'<div style="background:url(javascript:{_CALL});width:expression({_CALL})">x</div>',
    f"$$\\href{{javascript:{_CALL}}}{{x}}$$ $$\\htmlData{{onclick={_CALL}}}{{x}}$$",
    f"```html\n<script>{_CALL}</script>\n```",
    f'<template><script>{_CALL}</script></template><noscript><p title="</noscript><img src=x onerror={_CALL}>">',
)
