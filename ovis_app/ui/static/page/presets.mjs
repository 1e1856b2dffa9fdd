// Ready system prompts in the settings: pressed, one stands in the text field, where it can be changed; pressed again, it
// is gone.
// Knows the settings' panel and the session; refuses to know what a prompt does. Ovis-mini was taught none: it gets none.

import { make, name } from "./elements.mjs";
import { language, t } from "./i18n.mjs";

const PROMPTS = () => [
  { label: t("Brief"), text: t("Answer in one short sentence.") },
  { label: t("Only the text"), text: t("Give the text in the picture exactly as it is written, line by line, and nothing else.") },
  { label: t("JSON"), text: t("Answer with one JSON object and nothing else.") },
  { label: t("Careful"), text: t("Say only what can be seen. Where something can't be made out, say so.") },
];

/** Puts them below the field, or draws them anew. */
export function offer(session) {
  const field = document.querySelector("#system");
  if (!field) return;
  const row = field.parentElement.querySelector("#presets") ?? make("div", { id: "presets", role: "group" });
  if (!row.isConnected) field.after(row);
  name(row, t("Ready system prompts"));
  row.hidden = Boolean(session.facts.hint);
  const key = `${language()} ${session.settings.system}`;
  if (row.dataset.key === key) return;
  row.dataset.key = key;
  row.replaceChildren(...PROMPTS().map(({ label, text }) => {
    const chosen = session.settings.system === text;
    const act = () => session.turn({ system: chosen ? "" : text });
    return make("button", { type: "button", title: text, "aria-pressed": String(chosen), onclick: act }, label);
  }));
}
