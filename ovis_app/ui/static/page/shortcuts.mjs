// Keys that do something wherever somebody stands on the page. None acts while an input method composes, in a dialog or a
// menu, or where the key is part of what is being typed.
// Knows key events; refuses to know what is done: `acts` does that.

import { t } from "./i18n.mjs";

export const MAC = /mac|iphone|ipad/i.test(globalThis.navigator?.platform ?? "");

/** All of them, as people read them; `Mod` is Ctrl, or ⌘ on a Mac. */
export const KEYS = () => [
  { keys: ["Enter"], words: t("Ask; Shift+Enter begins a new line") },
  { keys: ["Esc"], words: t("Stop the answer, or close what is open") },
  { keys: ["Mod+Shift+O"], words: t("New chat") },
  { keys: ["Mod+K"], words: t("Search conversations") },
  { keys: ["/", "Shift+Esc"], words: t("Write in the box") },
  { keys: ["ArrowUp"], words: t("In an empty box: edit the last question") },
  { keys: ["Alt+R"], words: t("Another answer to the last question") },
  { keys: ["Alt+C"], words: t("Continue an answer that was cut") },
  { keys: ["?"], words: t("This list") },
];

/** What a key does, by its name; null where it does nothing here. Where are `typing`: in a text that somebody writes;
 * `empty`: in the box, which is empty. @returns {string | null} */
export function actOf(event, { typing = false, empty = false, mac = MAC } = {}) {
  if (event.isComposing || event.keyCode === 229 || event.repeat || event.getModifierState?.("AltGraph")) return null;
  const { ctrlKey: ctrl, metaKey: meta, altKey: alt, shiftKey: shift, key, code } = event;
  const mod = mac ? meta && !ctrl : ctrl && !meta;
  const none = !ctrl && !meta && !alt;
  if (mod && shift && !alt && code === "KeyO") return "newChat";
  if (key === "Escape" && shift && none) return "focus";
  if (key === "ArrowUp" && none && !shift && empty) return "editLast";
  if (alt && !ctrl && !meta && !shift && !(mac && typing)) return { KeyR: "again", KeyC: "goOn" }[code] ?? null; // on a Mac they write letters
  if (typing || !none) return null;
  return { "/": "focus", "?": "list" }[key] ?? null;
}

/** Listens on the page. `box` is the text field. */
export function listen(box, acts) {
  // Before page.js hears of Esc.
  document.addEventListener("keydown", (event) => {
    const at = event.target;
    const typing = at instanceof HTMLElement && (at.isContentEditable || at.matches("textarea, select, input:not([type=checkbox], [type=radio], [type=range], [type=button], [type=file])"));
    const act = actOf(event, { typing, empty: at === box && !box.value });
    if (!act || document.querySelector("dialog[open], .ovis-menu")) return; // which looks through all that is shown
    if (!acts[act]()) return;
    event.preventDefault();
    event.stopPropagation();
  }, true);
}
