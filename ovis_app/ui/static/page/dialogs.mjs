// Small dialogs: a title, what is in it, and buttons. The browser keeps the focus inside, and brings it back.
// Knows the DOM; loaded when first needed.

import { make } from "./elements.mjs";
import { t } from "./i18n.mjs";
import { KEYS, MAC } from "./shortcuts.mjs";

/** Shows a dialog. `buttons` are [words, act, kind], the first of which is what Enter does. Esc closes it. */
export function dialog(title, content, buttons) {
  const heading = make("h2", { id: "ovis-dialog-title" }, title);
  const form = make("form", { method: "dialog" }, heading, ...content, make("div.buttons"));
  const shown = make("dialog.ovis-dialog", { "aria-labelledby": heading.id }, form);
  for (const [words, act, kind] of buttons) {
    form.lastChild.append(make(kind ? `button.${kind}` : "button", { type: "submit", onclick: act }, words));
  }
  shown.addEventListener("close", () => shown.remove());
  shown.addEventListener("click", (event) => { if (event.target === shown) shown.close(); }); // beside it
  document.body.append(shown);
  shown.showModal();
  return shown;
}

/** Asks why an answer is good or bad; `save` gets the reason, `forget` is for nothing any more. */
export function reason({ good, given, save, forget }) {
  const text = make("textarea", { rows: 3, value: given ?? "", dir: "auto", maxLength: 2000, "aria-label": t("Why, if you like") });
  text.placeholder = t("Why, if you like");
  const note = make("p", {}, t("This stays in this browser, and goes along when you export the conversation."));
  const buttons = [[t("Save"), () => save(text.value.trim()), "primary"], [t("Cancel"), () => {}]];
  if (given !== undefined) buttons.push([t("Remove the mark"), forget]);
  dialog(good ? t("Good answer") : t("Bad answer"), [text, note], buttons);
  text.focus();
}

/** What keys do. */
export function shortcuts() {
  const rows = KEYS().flatMap(({ keys, words }) => [
    make("dt", {}, ...keys.flatMap((one, place) => [place ? ` ${t("or")} ` : null, ...one.split("+").map((key) => make("kbd", {}, shown(key)))])),
    make("dd", {}, words),
  ]);
  dialog(t("Keyboard shortcuts"), [make("dl", {}, ...rows)], [[t("Close"), () => {}]]);
}

function shown(key) {
  const signs = MAC ? { Mod: "⌘", Alt: "⌥", Shift: "⇧" } : { Mod: t("Ctrl"), Shift: t("Shift") };
  return signs[key] ?? { ArrowUp: "↑" }[key] ?? key;
}
