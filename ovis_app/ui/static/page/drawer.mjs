// The settings' place at the side: its title and the button that closes it. What is in it loads when it is first opened.
// Small, since it comes with the page. Opening and closing are done by `window.ovis` (page.js); refuses to know what can be set.

import { button, make, name } from "./elements.mjs";
import { t } from "./i18n.mjs";
import { styled } from "./styles.mjs";

export class Drawer {
  #session; #root; #title = make("h2"); #close; #body = make("div.side-body"); #knobs = null;

  /** `frame` is what the page stands in. */
  constructor(frame, session) {
    this.#session = session;
    this.#close = button("", () => window.ovis.toggle("settings", false), { icon: true, name: "close" });
    this.#close.id = "close-settings";
    this.#root = make("div.side", { id: "drawer", role: "dialog" }, make("div.side-head", {}, this.#title, this.#close), this.#body);
    frame.append(this.#root);
    this.renew();
    window.ovis.on("opened", (which) => { if (which === "settings") this.#open(); });
    if (document.body.classList.contains("settings-open")) this.#open();
  }

  /** Its words in the language that is spoken now. */
  renew() {
    this.#root.setAttribute("aria-label", t("Settings"));
    this.#title.textContent = t("Settings");
    name(this.#close, t("Close settings"));
    this.draw();
  }

  /** Shows the settings as they stand, where somebody sees it. */
  draw() {
    if (document.body.classList.contains("settings-open")) this.#knobs?.draw();
  }

  async #open() {
    try {
      if (!this.#knobs) {
        const [{ Knobs }] = await Promise.all([import("./knobs.mjs"), styled("drawer.css")]);
        this.#knobs ??= new Knobs(this.#body, this.#session);
      }
      this.draw();
    } catch { // without a connection
      this.#body.replaceChildren(make("p", { role: "status" }, t("The settings can't be loaded just now: open them again when there is a connection.")));
    }
  }
}
