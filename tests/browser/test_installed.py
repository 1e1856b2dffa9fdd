"""The page as an app: what a browser reads to install it, also below a path and where people sign in."""

from __future__ import annotations

from typing import Any

import httpx

from tests.ui.serving import HeldBackend, served

ASKED = """async () => {
  const link = document.querySelector('link[rel=manifest]');
  const said = await fetch(link.href, {credentials: 'include'}), told = await said.json();
  const icons = await Promise.all(told.icons.map(async ({src, sizes}) => {
    const image = new Image(); image.src = new URL(src, link.href).href;
    await image.decode().catch(() => { throw new Error(image.src); });
    return [sizes, image.naturalWidth]; }));
  return {kind: said.headers.get('content-type'), start: new URL(told.start_url, link.href).href, icons,
    name: told.name, favicon: document.querySelector('link[rel=icon][type="image/svg+xml"]').href}; }"""


def test_a_browser_can_install_the_page_and_start_it_where_it_lies(browser: Any) -> None:
    with served(HeldBackend(), root_path="/ovis") as here:
        tab = browser.new_page(color_scheme="dark")
        tab.route("**/ovis/**", lambda route: route.continue_(url=route.request.url.replace("/ovis/", "/")))
        tab.goto(here.url + "ovis/")
        tab.wait_for_selector("#box textarea")
        assert tab.locator("link[rel=manifest]").count() == 1
        found = tab.evaluate(ASKED)
        assert found["start"] == here.url + "ovis/" and found["name"] == "Ovis"
        assert found["kind"].startswith("application/manifest+json")
        assert ["192x192", 192] in found["icons"] and found["icons"].count(["512x512", 512]) == 2
        assert httpx.get(found["favicon"].replace("/ovis/", "/")).headers["content-type"] == "image/svg+xml"
        colours = "() => [...document.querySelectorAll('meta[name=theme-color]')].map((one) => one.content)"
        assert tab.evaluate(colours) == ["#0d1420"]
        tab.click("#theme")
        assert tab.evaluate(colours) == ["#ffffff"]
        for shut in ("manifest.json", "pwa_icon", "pwa_icon/192"):
            assert httpx.get(here.url + shut).status_code == 404
        tab.close()
