// An answer as a text that can be edited, in the place where it stands. Loaded when first needed.
// Knows the DOM; what becomes of the words is whoever's who asks.

import { button, make } from "./elements.mjs";
import { t } from "./i18n.mjs";

/** Puts an editor into a row; `keep` gets the words. Ctrl+Enter keeps, Esc leaves. */
export function editor(row, text, keep) {
  row.querySelector(".rewording")?.remove();
  const area = make("textarea", { value: text, dir: "auto", "aria-label": t("The answer in your words"), rows: 3 });
  const leave = () => { box.remove(); row.classList.remove("reworded"); };
  const done = () => { leave(); keep(area.value); };
  const buttons = make("div.buttons", {}, button(t("Keep as another version"), done, { name: "keep" }), button(t("Cancel"), leave, { name: "leave" }));
  const box = make("div.rewording", {}, area, buttons);
  const fit = () => { area.style.height = "auto"; area.style.height = `${Math.min(area.scrollHeight + 2, innerHeight * 0.6)}px`; };
  area.addEventListener("input", fit);
  box.addEventListener("keydown", (event) => {
    if (event.isComposing || event.keyCode === 229) return;
    if (event.key === "Escape") leave();
    else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) done();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  row.classList.add("reworded");
  row.querySelector(".foot").before(box);
  fit();
  area.focus();
  box.scrollIntoView({ block: "nearest" });
}
