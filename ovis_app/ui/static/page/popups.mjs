// What appears for a moment: a menu beside its button, a question to be confirmed, a line that can be undone.
// Knows the DOM; refuses to know what any of it is about.

import { button, make } from "./elements.mjs";
import { t } from "./i18n.mjs";

const root = () => document.querySelector("#view") ?? document.body;
/** Where lines are said: it is there before them, so that screen readers hear each. */
const region = () => document.querySelector("#toasts") ?? root().appendChild(make("div", { id: "toasts", role: "status" }));

/** Opens a menu below a button, or above it where there is no room. A null among the items is a line between them.
 * @param {HTMLElement} anchor @param {({words: string, act: () => void, name?: string} | null)[]} items */
export function menu(anchor, items) {
  const list = make("div.popup-menu", { role: "menu", popover: "auto" });
  const choose = (item) => { close(); item.act(); };
  list.append(...items.map((item) => (item
    ? make(`button.quiet.menu-item${item.name ? `.${item.name}` : ""}`, { type: "button", role: "menuitem", onclick: () => choose(item) }, item.words)
    : make("hr", { role: "separator" }))));
  const entries = [...list.querySelectorAll("button")];
  const close = () => { list.hidePopover?.(); list.remove(); };
  const move = (by) => entries.at((entries.indexOf(document.activeElement) + by) % entries.length)?.focus();
  list.addEventListener("keydown", (event) => {
    const steps = { ArrowDown: () => move(1), ArrowUp: () => move(-1), Home: () => entries[0].focus(), End: () => entries.at(-1).focus(), Escape: close, Tab: close };
    if (!steps[event.key]) return;
    if (event.key !== "Tab") event.preventDefault();
    event.stopPropagation(); // Escape closes this, and stops no answer
    steps[event.key]();
    if (event.key === "Escape") anchor.focus();
  });
  list.addEventListener("toggle", (event) => { if (event.newState === "closed") list.remove(); });
  root().append(list);
  list.showPopover?.();
  place(list, anchor);
  entries[0].focus();
}

function place(list, anchor) {
  const at = anchor.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = list;
  const below = at.bottom + 4 + height <= innerHeight || at.top < height;
  list.style.left = `${Math.max(8, Math.min(at.left, innerWidth - width - 8))}px`;
  list.style.top = `${Math.max(8, below ? Math.min(at.bottom + 4, innerHeight - height - 8) : at.top - height - 4)}px`;
}

/** Asks whether to go on. @returns {Promise<boolean>} */
export function confirmed(sentence, yes) {
  return new Promise((resolve) => {
    const dialog = make("dialog.popup-question", { "aria-label": sentence });
    const answer = (value) => { dialog.returnValue = value; dialog.close(); };
    dialog.append(make("p", {}, sentence), make("div.popup-buttons", {},
      make("button.quiet.plain-button", { type: "button", onclick: () => answer("") }, t("Cancel")),
      make("button.quiet.plain-button.grave", { type: "button", onclick: () => answer("yes") }, yes)));
    dialog.addEventListener("close", () => { dialog.remove(); resolve(dialog.returnValue === "yes"); });
    root().append(dialog);
    dialog.showModal();
  });
}

let shown = null;

/**
 * Says something for some seconds, with one thing that can be done about it. It waits while somebody is on it.
 * @param {string} words @param {{action?: string, act?: () => void, over?: () => void, seconds?: number}} options `over` is
 *   called where nothing was done
 */
export function toast(words, { action = "", act = () => {}, over = () => {}, seconds = 8 } = {}) {
  shown?.end();
  const element = make("div.toast", {}, make("span", {}, words));
  let timer;
  const end = (then) => { clearTimeout(timer); element.remove(); shown = null; then(); };
  const wait = () => { clearTimeout(timer); timer = setTimeout(() => end(over), seconds * 1000); };
  if (action) element.append(make("button.quiet.toast-action", { type: "button", onclick: () => end(act) }, action));
  element.append(button(t("Close"), () => end(over), { icon: true, name: "close" }));
  for (const on of ["pointerenter", "focusin"]) element.addEventListener(on, () => clearTimeout(timer));
  for (const off of ["pointerleave", "focusout"]) element.addEventListener(off, wait);
  shown = { end: () => end(over) };
  region().append(element);
  wait();
}
