// A line at the foot of the page that says what was just done and takes it back, for a while. One at a time.
// Knows the DOM; refuses to know what is taken back.

import { button, make } from "./elements.mjs";
import { t } from "./i18n.mjs";

const SHOWN_MS = 10_000;

let gone = () => {};

/** Says it. With `act`, a button of `words` does that once. Whoever points at it, or stands on it, has as long as they
 * want; where it `stays`, everybody has. */
export function toast(sentence, { words = "", act = null, stays = false } = {}) {
  gone();
  const line = make("div.ovis-toast", { role: "status" }, make("span", {}, sentence));
  let timer = null;
  const rest = () => clearTimeout(timer);
  const wait = () => { rest(); if (!stays) timer = setTimeout(gone, SHOWN_MS); };
  gone = () => { rest(); line.remove(); gone = () => {}; };
  if (act) line.append(make("button", { type: "button", onclick: () => { gone(); act(); } }, words));
  if (stays) line.append(button(t("Close"), () => gone(), { icon: true, name: "leave" }));
  for (const name of ["pointerenter", "focusin"]) line.addEventListener(name, rest);
  for (const name of ["pointerleave", "focusout"]) line.addEventListener(name, wait);
  document.body.append(line);
  wait();
}
