// The switches below the box, which change an answer's nature: those that the model has, each saying what it does.
// Knows the session's settings; refuses to know what comes of them.

import { make } from "./elements.mjs";
import { language, said, t } from "./i18n.mjs";
import { atHand } from "./setting_rows.mjs";

const SHORT = () => ({ cot: t("Steps") }); // on a phone

export class Switches {
  #root; #session; #inputs = new Map(); #key = "";

  constructor(root, session) {
    [this.#root, this.#session] = [root, session];
  }

  draw() {
    const { facts, settings } = this.#session;
    const rows = facts ? atHand(facts.model) : [];
    const key = `${rows.map((row) => row.name)} ${language()}`;
    if (this.#key !== key) {
      this.#key = key;
      this.#inputs.clear();
      this.#root.replaceChildren(...rows.map((row) => this.#switch(row)));
    }
    for (const [name, input] of this.#inputs) input.checked = settings[name] === true;
  }

  #switch({ name, label }) {
    const about = said(this.#session.facts.model.help?.[name] ?? "");
    const input = make("input", { type: "checkbox", "aria-label": said(label), "aria-description": about, onchange: () => this.#turn(name, input.checked) });
    this.#inputs.set(name, input);
    const short = SHORT()[name];
    const words = make("span.label-text", short ? { "data-short": short } : {}, said(label));
    return make("div.switch", { id: `switch-${name}` }, make("label", { title: about }, input, words));
  }

  #turn(name, on) {
    this.#session.turn({ [name]: on });
    this.#session.saveDraft();
  }
}
