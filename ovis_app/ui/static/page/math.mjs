// Formulas as KaTeX draws them, in place of their source. What it makes are elements of its own, never mixed with what a
// model wrote as HTML; commands that fetch, link or name something are off, and loops and sizes are bounded.
// Knows KaTeX and its style sheet; loaded with the first formula.

import * as library from "../vendor/katex.min.js";
import { formula } from "./extract.mjs";

const katex = library.default ?? globalThis.katex;
const refused = () => { throw new Error("not here"); }; // a formula that wants to link or fetch is no formula
const LIMITS = { trust: refused, maxExpand: 500, maxSize: 20, strict: "ignore", throwOnError: true, output: "htmlAndMathml" };
const [DEEPEST, MOST] = [250, 6000]; // elements in one another, and in all: what no formula has, and browsers can't lay out
const KEPT = 300; // formulas that are drawn again without KaTeX: those of a paragraph that grows
const SLICE = 12; // milliseconds after which others go first

const cache = new Map();
let queue = [];

/** Resolves once formulas can be drawn as they will stay. */
export function ready() {
  const sheet = document.createElement("link");
  Object.assign(sheet, { rel: "stylesheet", href: new URL("../vendor/katex.min.css", import.meta.url).href });
  const loaded = new Promise((resolve, reject) => { sheet.onload = resolve; sheet.onerror = reject; });
  document.head.append(sheet);
  document.addEventListener("copy", copied);
  return loaded.catch((error) => { sheet.remove(); throw error; });
}

/** Draws formulas: at once what was drawn before, the others as there is time, once they are in the page. A broken one stays
 * its source. */
export function draw(formulas) {
  const idle = queue.length === 0;
  for (const one of formulas) if (!known(one)) queue.push(one);
  if (idle) queueMicrotask(work);
}

function work() {
  const began = performance.now();
  let done = 0;
  while (done < queue.length && (done === 0 || performance.now() - began < SLICE)) one(queue[done++]);
  queue = queue.slice(done);
  if (queue.length) setTimeout(work, 0);
}

const key = (element) => `${element.classList.contains("wide")} ${element.textContent}`;

function known(element) {
  const found = cache.get(key(element));
  if (found) put(element, found);
  return Boolean(found);
}

function one(element) {
  if (!element.isConnected || element.dataset.source || known(element)) return;
  const name = key(element);
  const holder = document.createElement("span");
  try {
    katex.render(formula(element.textContent), holder, { ...LIMITS, displayMode: element.classList.contains("wide") });
    if (depth(holder) > DEEPEST || holder.querySelectorAll("*").length > MOST) throw new Error("too large");
  } catch { // a sentence of KaTeX, or a stack that overflows
    element.classList.add("broken");
    return;
  }
  cache.set(name, holder);
  if (cache.size > KEPT) cache.delete(cache.keys().next().value);
  put(element, holder);
}

function depth(root) {
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_ELEMENT);
  let [deep, deepest] = [0, 0];
  for (let node = root; node;) {
    deepest = Math.max(deepest, deep);
    if (walker.firstChild()) deep += 1;
    else {
      while (!walker.nextSibling()) {
        if (walker.currentNode === root || !walker.parentNode()) return deepest;
        deep -= 1;
      }
    }
    node = walker.currentNode;
  }
  return deepest;
}

function put(element, holder) {
  element.dataset.source = element.textContent;
  element.replaceChildren(...holder.cloneNode(true).childNodes);
  element.classList.add("drawn");
}

/** Copies formulas as they were written, with the words around them. */
function copied(event) {
  const selection = getSelection();
  if (selection.isCollapsed || event.defaultPrevented || event.target.closest?.("input, textarea")) return;
  const range = selection.getRangeAt(0).cloneRange();
  const around = (node) => (node.nodeType === Node.ELEMENT_NODE ? node : node.parentElement)?.closest(".formula.drawn");
  const [first, last] = [around(range.startContainer), around(range.endContainer)];
  if (first) range.setStartBefore(first);
  if (last) range.setEndAfter(last);
  const shown = document.createElement("div");
  shown.className = "copied";
  shown.append(range.cloneContents());
  const formulas = shown.querySelectorAll(".formula.drawn");
  if (!formulas.length) return;
  for (const element of formulas) element.replaceChildren(element.dataset.source);
  document.body.append(shown); // its layout says where lines end
  event.clipboardData.setData("text/plain", shown.innerText);
  shown.remove();
  event.preventDefault();
}
