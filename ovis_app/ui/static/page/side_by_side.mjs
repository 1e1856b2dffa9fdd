// Two versions of an answer beside one another: over each what sets it apart, what it took, and a button that keeps it; in
// their words, what differs is marked, quietly, once both are whole. Loaded when two are first shown so.
// Knows the DOM; refuses to know how answers are drawn, and touches nothing of their words: marks are ranges, which the
// browser paints.

import { button, make, name, plain } from "./elements.mjs";
import { seconds } from "./figures.mjs";
import { t } from "./i18n.mjs";
import { apart, rowsOf } from "./setting_rows.mjs";
import { styled } from "./styles.mjs";
import { differing, words } from "./word_diff.mjs";

const SOON = 120; // milliseconds that words stay as they are before they are compared
const MARK = "ovis-differs"; // of the highlight, in side_by_side.css
const LEFT_OUT = ".katex-mathml, button, .code-head"; // what isn't the answer's words

/** Resolves once the looks are there. */
export const looks = () => styled("side_by_side.css");

export class SideBySide {
  #session; #sides = null; #watch = new MutationObserver(() => this.#soon()); #timer = 0;

  constructor(session) {
    this.#session = session;
  }

  /** `sides`: [{message, element}, {message, element}], or null where none are shown so any more. */
  draw(sides) {
    const before = this.#sides;
    this.#sides = sides;
    if (!sides) return before && this.#leave();
    const rows = rowsOf(this.#session.facts.model);
    const versions = sides.map(({ message }) => message);
    for (const [place, { message, element }] of sides.entries()) {
      const head = element.querySelector(":scope > .twin-head") ?? this.#head(element, message.id);
      this.#fill(head, message, { other: versions[1 - place], rows, place });
    }
    if (!before || sides.some(({ element }, place) => element !== before[place].element)) {
      this.#watch.disconnect();
      for (const { element } of sides) this.#watch.observe(element, { childList: true, characterData: true, subtree: true });
    }
    this.#soon();
  }

  #head(element, id) {
    const keep = button(t("Keep this one"), () => this.#session.keep(id), { name: "keep-this" });
    const head = make("div.twin-head", {}, make("p.twin-apart"), keep, make("p.twin-facts"));
    element.prepend(head);
    return head;
  }

  #fill(head, message, { other, rows, place }) {
    const over = this.#sides.every((one) => one.message.finish !== null);
    const stands = this.#session.conversation.leaf === message.id;
    head.parentElement.classList.toggle("stands", stands);
    const what = apart(message, other, rows).join(" · ") || (place ? t("Second answer") : t("First answer"));
    put(head.querySelector(".twin-apart"), what);
    const keep = head.querySelector(".keep-this");
    keep.disabled = !over;
    name(keep, t("Keep this one"));
  }

  #soon() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#mark(), SOON);
  }

  /** Marks the words that differ, once both answers are whole and drawn. */
  #mark() {
    const sides = this.#sides;
    if (!sides) return;
    const whole = sides.every(({ message, element }) => message.finish !== null && element.isConnected && !element.querySelector("[aria-busy=true].words"));
    const texts = whole ? sides.map(({ element }) => textOf(element.querySelector(":scope > .words"))) : null;
    const marks = texts && differing(...texts.map((one) => one.words.map(({ word }) => word)));
    const ranges = texts ? texts.flatMap((text, side) => rangesOf(text, marks[side])) : [];
    if (globalThis.CSS?.highlights) CSS.highlights.set(MARK, new Highlight(...ranges));
    this.#watch.disconnect();
    for (const [side, { message, element }] of sides.entries()) {
      const count = marks?.[side].reduce((sum, one) => sum + one, 0);
      put(element.querySelector(".twin-facts"), facts(message, marks && { count, all: marks[side].length }));
      this.#watch.observe(element, { childList: true, characterData: true, subtree: true });
    }
  }

  #leave() {
    clearTimeout(this.#timer);
    this.#watch.disconnect();
    globalThis.CSS?.highlights?.delete(MARK);
    for (const one of document.querySelectorAll("#conversation .twin-head")) {
      one.parentElement.classList.remove("stands");
      one.remove();
    }
  }
}

/** What an answer took in all, and how much of it is said otherwise. */
function facts({ stats }, words) {
  const { first_token_seconds: first, tokens_per_second: pace, answer_tokens: count } = stats ?? {};
  const whole = first !== undefined && pace ? [t("{time} in all", { time: seconds(first + Math.max(0, count - 1) / pace) })] : [];
  if (!words) return whole.join(" · ");
  return [...whole, words.count ? t("{count} of {all} words differ", words) : t("the same words")].join(" · ");
}

function put(element, text) {
  if (element.textContent !== plain(text)) element.textContent = plain(text);
}

/** The words that stand in an element, and its texts. */
function textOf(element) {
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT, {
    acceptNode: (node) => (node.parentElement.closest(LEFT_OUT) ? NodeFilter.FILTER_REJECT : NodeFilter.FILTER_ACCEPT),
  });
  const nodes = [];
  let text = "";
  for (let node; (node = walker.nextNode());) {
    nodes.push({ node, at: text.length });
    text += `${node.data}\n`; // so that no word is of two of them
  }
  return { nodes, words: words(text) };
}

/** Ranges over the words that are marked, neighbours in one. */
function rangesOf({ nodes, words: list }, marks) {
  const found = [];
  let place = 0;
  for (const [number, { word, at }] of list.entries()) {
    if (!marks[number]) continue;
    while (place + 1 < nodes.length && nodes[place + 1].at <= at) place += 1;
    const { node, at: start } = nodes[place];
    const [from, until] = [at - start, at - start + word.length];
    const last = found.at(-1);
    if (last && marks[number - 1] && last.endContainer === node) last.setEnd(node, until);
    else found.push(range(node, from, until));
  }
  return found;
}

function range(node, from, until) {
  const made = document.createRange();
  made.setStart(node, from);
  made.setEnd(node, until);
  return made;
}
