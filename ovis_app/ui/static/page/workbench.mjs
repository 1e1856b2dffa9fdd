// An answer beside the picture that it is about, as wide as the window: the picture under fingers, wheel and keys, the text
// as it is drawn or as it was written, found in and taken along; the pages of a conversation one after the other.
// Knows the session and the DOM; how words are drawn is painter.mjs, how a picture moves zooming.mjs. Loaded when first opened.

import { button, copy, make } from "./elements.mjs";
import { places, sheetsOf } from "./finding.mjs";
import { t } from "./i18n.mjs";
import { Marks } from "./marks.mjs";
import { nameOf } from "./overlay.mjs";
import { Painter } from "./painter.mjs";
import { styled } from "./styles.mjs";
import { Zoom } from "./zooming.mjs";

const FOUND = "ovis-found"; // of the highlights, in workbench.css
const HERE = "ovis-found-here";
const LEFT_OUT = ".katex-mathml, button, .code-head, .sheet-tools"; // what isn't the answer's words
const SOON = 150; // milliseconds after the last key, or the last change of the words, until they are looked through

/** Opens the answer `id` beside the picture of its question. */
export async function open(session, id) {
  await styled("workbench.css");
  const sheets = sheetsOf(session.path, session.messages, id);
  const place = sheets.findIndex((one) => one.answer.id === id);
  const there = document.querySelector("dialog.workbench");
  if (place >= 0 && !there) new Workbench(session, sheets, place);
}

export class Workbench {
  #session; #extras; #sheets; #place; #from = document.activeElement; #p = {}; #zoom; #painter; #marks; #drawn = null; #seen = ""; #ranges = []; #at = 0; #timer = 0; #watch;

  /** `extras` are whoever's who has more to do here: `above` and `below` the text, `seen` for an address of a sheet's
   * picture, `decorate` for each block of its words, `tools` for all of it in place of Copy, `shown` when another sheet is,
   * `closed`. */
  constructor(session, sheets, place, extras = {}) {
    [this.#session, this.#sheets, this.#place, this.#extras] = [session, sheets, place, extras];
    this.#marks = new Marks({ files: session.files, enlarge: () => {}, loaded: () => this.#words() });
    this.#painter = new Painter({ done: () => this.#soon(), decorate: (block) => extras.decorate?.(block, this.#sheet) });
    this.#make();
    document.querySelector("#conversation").append(this.#p.dialog); // whose words look as they do there
    this.#p.dialog.showModal();
    this.#show(place);
    this.#p.find.focus();
  }

  get #sheet() { return this.#sheets[this.#place]; }

  /** The sheet that is shown, and where its words stand. */
  get sheet() { return this.#sheet; }
  get words() { return this.#p.words; }

  /** Other sheets, or the same with more on them; the one that was shown stays, unless `place` names another. */
  renew(sheets, place = this.#place) {
    this.#sheets = sheets;
    this.#show(place);
  }

  close() { this.#p.dialog.close(); }

  #make() {
    const p = this.#p;
    const tool = (words, name, act) => button(words, act, { icon: true, name });
    p.name = make("h2", { id: "workbench-name" });
    p.facts = make("p", { role: "status" });
    p.image = make("img", { alt: "", draggable: false });
    p.stage = make("div.stage", {}, p.image);
    p.room = make("div.room", { tabIndex: 0, role: "group", "aria-label": t("Picture: plus and minus zoom, arrows move it") }, p.stage);
    p.before = tool(t("Page before"), "back", () => this.#show(this.#place - 1));
    p.after = tool(t("Next page"), "forth", () => this.#show(this.#place + 1));
    p.percent = make("output", {});
    const tools = make("div.tools", { role: "toolbar", "aria-label": t("Picture") }, p.before, tool(t("Smaller"), "smaller", () => this.#zoom.by(1 / 1.5)), p.percent,
      tool(t("Larger"), "larger", () => this.#zoom.by(1.5)), tool(t("Whole picture"), "whole", () => this.#zoom.whole()), this.#reads(), p.after);
    p.words = make("div.words", {});
    p.text = make("div.bench-text", { tabIndex: 0, role: "region", "aria-label": t("Answer") }, p.words);
    const close = tool(t("Close"), "close", () => p.dialog.close());
    p.dialog = make("dialog.workbench", { "aria-labelledby": "workbench-name", onkeydown: (event) => this.#key(event) },
      make("div.bench-head", {}, make("div", {}, p.name, p.facts), close),
      make("div.bench-picture.viewer", {}, p.room, make("div.below", {}, tools)), make("div.bench-words", {}, this.#extras.above, this.#tools(), p.text, this.#extras.below));
    p.dialog.addEventListener("close", () => this.#closed());
    p.image.addEventListener("load", () => this.#loaded());
    p.image.addEventListener("error", () => this.#copied());
    this.#zoom = new Zoom(p.room, p.stage, { changed: (percent) => { p.percent.textContent = `${percent} %`; }, swiped: (by) => this.#show(this.#place + by), beside: () => {}, drawing: () => null });
    this.#watch = new MutationObserver(() => this.#soon());
    this.#watch.observe(p.words, { childList: true, characterData: true, subtree: true });
  }

  /** Reads the picture, where that isn't what goes on here. */
  #reads() {
    if (this.#extras.above || !this.#session.facts.reads) return null;
    return button(t("Read this page"), async () => {
      const { read } = await import("./reading_bench.mjs");
      const { file } = this.#sheet.picture;
      this.close();
      await read(this.#session, file);
    }, { name: "read-page" });
  }

  /** What can be done with the text. */
  #tools() {
    const p = this.#p;
    p.raw = button(t("Show as written"), () => this.#raw(!this.#painter.isRaw(p.words)), { icon: true, name: "raw" });
    p.copy = button(t("Copy"), async () => { await copy(this.#sheet.answer.text); done(p.copy); }, { icon: true, name: "copy" });
    p.find = make("input.bench-find", { type: "search", maxLength: 200, "aria-label": t("Find in the text"), placeholder: t("Find in the text"), oninput: () => this.#soon() });
    p.count = make("output.bench-count", { role: "status" });
    p.up = button(t("Place before"), () => this.#go(-1), { icon: true, name: "up" });
    p.down = button(t("Next place"), () => this.#go(1), { icon: true, name: "down" });
    const other = this.#extras.tools ?? [p.copy];
    return make("div.bench-tools", { role: "toolbar", "aria-label": t("Answer") }, p.find, p.count, p.up, p.down, p.raw, ...other);
  }

  // --- which page --------------------------------------------------------------------------------------------------

  async #show(place) {
    const sheet = this.#sheets[place];
    if (!sheet) return;
    this.#place = place;
    const p = this.#p;
    p.name.textContent = p.image.alt = nameOf(sheet.picture);
    p.facts.textContent = this.#sheets.length > 1 ? t("{place} of {count}", { place: place + 1, count: this.#sheets.length }) : "";
    [p.before.disabled, p.after.disabled] = [place === 0, place === this.#sheets.length - 1];
    p.before.hidden = p.after.hidden = this.#sheets.length < 2;
    if (document.activeElement === document.body || document.activeElement?.disabled) p.room.focus();
    const other = this.#drawn?.id !== sheet.answer.id;
    if (other) this.#extras.shown?.(sheet);
    if (this.#drawn !== sheet.answer) {
      this.#drawn = sheet.answer;
      if (other) this.#raw(false);
      this.#words();
      if (other) p.text.scrollTop = 0;
    }
    const { file, index } = sheet.picture;
    const seen = `${sheet.answer.id} ${index} ${file.hash}`;
    if (this.#seen === seen) return;
    this.#seen = seen;
    delete p.image.dataset.copied;
    const address = await (this.#extras.seen?.(sheet) ?? this.#session.files.seen(file.hash));
    if (this.#seen !== seen) return;
    if (file.hash) this.#see(address);
    else p.stage.hidden = true; // it is still drawn
  }

  #see(address) {
    const { image, stage, facts } = this.#p;
    stage.hidden = !address;
    if (address) image.src = address;
    else facts.textContent = t("This picture is no longer in this browser.");
  }

  #loaded() {
    const { naturalWidth: width, naturalHeight: height } = this.#p.image;
    this.#p.stage.hidden = false;
    this.#zoom.fit({ width, height });
  }

  async #copied() {
    const sheet = this.#sheet;
    const address = this.#p.image.dataset.copied ? "" : await this.#session.files.copied(sheet.picture.file).catch(() => "");
    if (sheet !== this.#sheet) return;
    this.#p.image.dataset.copied = "yes";
    this.#see(address);
  }

  // --- the text ----------------------------------------------------------------------------------------------------

  #words() {
    const { text, finish } = this.#drawn;
    const message = { ...this.#drawn, thinking: text }; // as a thought is drawn: without tags, and with nothing to press
    this.#painter.paint(this.#p.words, this.#marks.thought(message), { growing: finish === null, message, written: text });
  }

  #raw(raw) {
    this.#painter.showRaw(this.#p.words, raw);
    this.#p.raw.setAttribute("aria-pressed", String(raw));
  }

  #soon() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#look(), SOON);
  }

  /** What is looked for, and formulas that nobody can take along yet. */
  #look() {
    if (!this.#p.dialog.open) return;
    for (const one of this.#p.words.querySelectorAll(".formula")) if (!one.nextElementSibling?.matches(".copy-latex")) one.after(latex(one));
    const { nodes, text } = textOf(this.#p.words);
    this.#ranges = places(text, this.#p.find.value).map(([from, to]) => range(nodes, from, to));
    this.#at = Math.min(this.#at, Math.max(0, this.#ranges.length - 1));
    this.#mark();
  }

  #go(by) {
    const { length } = this.#ranges;
    if (!length) return;
    this.#at = (this.#at + by + length) % length;
    this.#mark();
    const [place, room] = [this.#ranges[this.#at].getBoundingClientRect(), this.#p.text.getBoundingClientRect()];
    if (place.top < room.top || place.bottom > room.bottom) this.#p.text.scrollTop += place.top - room.top - room.height / 3;
  }

  #mark() {
    const { length } = this.#ranges;
    const sought = this.#p.find.value.trim() !== "";
    this.#p.count.textContent = !sought ? "" : length ? t("{place} of {count}", { place: this.#at + 1, count: length }) : t("Not found");
    this.#p.up.disabled = this.#p.down.disabled = length === 0;
    if (!CSS.highlights) return;
    CSS.highlights.set(FOUND, new Highlight(...this.#ranges));
    const here = new Highlight(...this.#ranges.slice(this.#at, this.#at + 1));
    here.priority = 1;
    CSS.highlights.set(HERE, here);
  }

  // --- keys --------------------------------------------------------------------------------------------------------

  #key(event) {
    if (event.isComposing) return;
    if ((event.ctrlKey || event.metaKey) && event.key === "f") this.#p.find.select();
    else if (event.target === this.#p.find && event.key === "Enter") this.#go(event.shiftKey ? -1 : 1);
    else if (event.target !== this.#p.room || event.ctrlKey || event.metaKey || event.altKey) return;
    else if (event.key === "+" || event.key === "=") this.#zoom.by(1.5);
    else if (event.key === "-") this.#zoom.by(1 / 1.5);
    else if (event.key === "0") this.#zoom.whole();
    else if (event.key.startsWith("Arrow")) this.#zoom.move(...{ Left: [60, 0], Right: [-60, 0], Up: [0, 60], Down: [0, -60] }[event.key.slice(5)]);
    else if (event.key === "PageUp" || event.key === "PageDown") this.#show(this.#place + (event.key === "PageUp" ? -1 : 1));
    else return;
    event.preventDefault();
  }

  #closed() {
    clearTimeout(this.#timer);
    this.#watch.disconnect();
    this.#zoom.end();
    for (const one of [FOUND, HERE]) CSS.highlights?.delete(one);
    this.#p.dialog.remove();
    this.#extras.closed?.();
    if (this.#from?.isConnected) this.#from.focus();
  }
}

/** A button that copies what a formula was written as. */
function latex(formula) {
  const pressed = button(t("Copy LaTeX"), async () => {
    const { formula: bare } = await import("./extract.mjs");
    await copy(bare(formula.dataset.source ?? formula.textContent).trim());
    done(pressed);
  }, { icon: true, name: "copy-latex" });
  return pressed;
}

export function done(pressed) {
  pressed.classList.add("done");
  setTimeout(() => pressed.classList.remove("done"), 1500);
}

/** The words of an element as one text, and where each of its nodes begins there. Blocks are apart. */
function textOf(element) {
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  const nodes = [];
  let [text, block] = ["", null];
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    if (node.parentElement.closest(LEFT_OUT)) continue;
    const own = node.parentElement.closest("p, li, td, th, pre, h1, h2, h3, h4, h5, h6, .block");
    if (block && own !== block) text += "\n";
    block = own;
    nodes.push({ node, at: text.length });
    text += node.data;
  }
  return { nodes, text };
}

function range(nodes, from, to) {
  const found = document.createRange();
  const within = (place) => nodes.findLast(({ at }) => at <= place);
  const [first, last] = [within(from), within(to - 1)];
  found.setStart(first.node, from - first.at);
  found.setEnd(last.node, Math.min(last.node.length, to - last.at));
  return found;
}
