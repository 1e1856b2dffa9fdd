// Ready system prompts in the settings: pressed, one stands in the text field, where it can be changed; pressed again, it
// is gone.
// Knows the session's settings; refuses to know what a prompt does. Ovis-mini was taught none: it gets none.

import { make } from "./elements.mjs";
import { t } from "./i18n.mjs";

const PROMPTS = () => [
  { label: t("Brief"), text: t("Answer in one short sentence.") },
  { label: t("Only the text"), text: t("Give the text in the picture exactly as it is written, line by line, and nothing else.") },
  { label: t("JSON"), text: t("Answer with one JSON object and nothing else.") },
  { label: t("Careful"), text: t("Say only what can be seen. Where something can't be made out, say so.") },
];

export class Presets {
  #buttons;

  constructor(session, { turn, done }) {
    this.#buttons = PROMPTS().map(({ label, text }) => {
      const act = () => { turn({ system: session.settings.system === text ? "" : text }); done(); };
      return make("button", { type: "button", title: text, onclick: act }, label);
    });
    this.element = make("div", { id: "presets", role: "group", hidden: Boolean(session.facts.hint), "aria-label": t("Ready system prompts") }, ...this.#buttons);
  }

  draw({ system }) {
    for (const one of this.#buttons) one.setAttribute("aria-pressed", String(one.title === system));
  }
}
