// What Gradio draws, in the reader's language: header, models. Each text and each name of these is
// looked up as a whole English sentence, and once more whenever Gradio changes it. (Its own `gr.I18n` follows the browser
// alone: nobody could switch, and programs would read marks in place of labels.)
// Knows where Gradio's parts are; refuses to know what they say. The conversation says its own words.

import { language, said } from "./i18n.mjs";

const PLACES = "#header, #open-to-all, #not-loaded, #models .side-head";
const NAMES = ["aria-label", "aria-description", "placeholder", "title"];
const WATCHED = { childList: true, characterData: true, subtree: true, attributes: true, attributeFilter: NAMES };
const english = new WeakMap(); // a text, or an element's names, -> {attribute or "": [what Gradio wrote, what stands there]}
let watching = null;

/** Puts all of it into the language that is spoken now, and keeps it so. */
export function translate() {
  if (!watching) {
    watching = new MutationObserver((changes) => {
      for (const { type, target, attributeName, addedNodes } of changes) {
        if (type === "attributes") put(target, attributeName);
        else if (type === "characterData") put(target, "");
        else for (const one of addedNodes) within(one);
      }
    });
    watching.observe(document.body, WATCHED);
  }
  for (const place of document.querySelectorAll(PLACES)) within(place);
}

function within(node) {
  if (!ours(node)) return;
  if (node.nodeType === Node.TEXT_NODE) return put(node, "");
  if (node.nodeType !== Node.ELEMENT_NODE) return;
  const walker = document.createTreeWalker(node, NodeFilter.SHOW_TEXT | NodeFilter.SHOW_ELEMENT);
  for (let one = node; one; one = walker.nextNode()) {
    if (one.nodeType === Node.TEXT_NODE) put(one, "");
    else for (const name of NAMES) if (one.hasAttribute(name)) put(one, name);
  }
}

/** A text (where `name` is empty) or an attribute. What Gradio wrote is kept, for the way back. */
function put(node, name) {
  if (!ours(node)) return;
  const stands = name ? node.getAttribute(name) : node.data;
  if (!stands?.trim()) return;
  const kept = english.get(node) ?? {};
  const [before, drawn] = kept[name] ?? [];
  if (language() === "en" && before === undefined) return;
  const wrote = stands === drawn ? before : stands;
  const [, lead, words, trail] = /^(\s*)(.*?)(\s*)$/s.exec(wrote);
  const wanted = lead + said(words) + trail;
  english.set(node, { ...kept, [name]: [wrote, wanted] });
  if (wanted === stands) return;
  if (name) node.setAttribute(name, wanted);
  else node.data = wanted;
}

function ours(node) {
  if (node.nodeType === Node.ELEMENT_NODE) return node.closest(PLACES);
  return node.parentElement?.closest(PLACES) && !node.parentElement.closest("textarea, script, style");
}
