// Draws words into an element: as Markdown, or as they were written. Of words that grow only what changed is drawn again,
// and drawing takes a fifth of the time at most, however long they are. Of many at once a task draws as many as it has time
// for; the others stand there as they were written until their turn comes, in the order of asking.
// Knows blocks; refuses to know what they say: words.mjs makes elements of them, dress.mjs gives those what people use.

import { plain } from "./elements.mjs";

const SHARE = 4; // after drawing, words that grow wait for so many times what it took
const SLICE = 30; // milliseconds after which drawing goes on in another task, so that the page stays usable

/** What draws words, and what that imports: asked for at once, not each by the one that needs it. */
const later = () => [import("./words.mjs"), import("./dress.mjs"), import("./markdown.mjs"), import("./extract.mjs"), import("./tables.mjs")];

/** What is known of an element that words are drawn into. */
const fresh = () => ({ text: "", growing: false, message: null, written: "", raw: false, drawn: null, html: [], finished: new WeakSet(), reader: null, read: null, next: 0, timer: 0 });

export class Painter {
  #words = null; #dress = null; #loading = null; #known = new WeakMap(); #line = new Set(); #spent = 0; #going = 0; #decorate; #done;

  /** @param {{decorate?: (block: HTMLElement, message: any) => void, done?: () => void}} hooks `decorate` gets each block
   * that was drawn, and the message that it is part of; `done` is called when words were drawn later than asked. */
  constructor({ decorate = () => {}, done = () => {} } = {}) {
    [this.#decorate, this.#done] = [decorate, done];
  }

  /** Draws the text, of which more comes while it is `growing`; `written` is what the model said, where that is another. */
  paint(container, text, { growing = false, message = null, written = text } = {}) {
    const state = this.#state(container);
    if (state.drawn && state.text === text && state.growing === growing) return;
    Object.assign(state, { text, growing, message, written });
    if (growing && state.timer) return;
    if (!growing && !state.drawn && this.#spent > SLICE) return this.#wait(container, state);
    this.#later(container, state, growing ? state.next - performance.now() : 0);
  }

  /** Shows the text exactly as it is, or as Markdown again. */
  showRaw(container, raw) {
    const state = this.#state(container);
    if (state.raw === raw) return;
    state.raw = raw;
    this.#now(container, state);
  }

  isRaw(container) {
    return this.#state(container).raw;
  }

  #state(container) {
    if (!this.#known.has(container)) this.#known.set(container, fresh());
    return this.#known.get(container);
  }

  /** This task has drawn enough: another one draws these. */
  #wait(container, state) {
    container.classList.add("plain");
    container.dir = "auto";
    container.textContent = plain(state.written);
    container.setAttribute("aria-busy", "true"); // the rest is on its way
    state.drawn = "plain";
    this.#line.add(container);
  }

  /** Draws what waits, in tasks of its own, which have time again. */
  #goOn() {
    this.#going ||= setTimeout(() => {
      this.#going = this.#spent = 0;
      if (!this.#words) return;
      const waited = [...this.#line];
      for (const container of waited) {
        if (this.#spent > SLICE) break;
        this.#line.delete(container);
        if (container.isConnected) this.#now(container, this.#state(container));
      }
      if (this.#line.size) this.#goOn();
      if (waited.length) this.#done();
    });
  }

  #later(container, state, wait) {
    clearTimeout(state.timer);
    state.timer = 0;
    if (wait <= 0) return this.#now(container, state);
    state.timer = setTimeout(() => {
      state.timer = 0;
      this.#now(container, state);
      this.#done();
    }, wait);
  }

  #now(container, state) {
    const began = performance.now();
    if (state.raw || !this.#words) this.#plain(container, state);
    else this.#blocks(container, state, began);
    this.#spent += performance.now() - began;
    this.#goOn();
    state.next = performance.now() + SHARE * (performance.now() - began);
  }

  #plain(container, state) {
    if (!this.#words) this.#line.add(container);
    container.classList.toggle("plain", state.text !== "");
    container.dir = "auto";
    container.textContent = plain(state.raw ? state.written : state.text);
    container.removeAttribute("aria-busy");
    Object.assign(state, { drawn: "plain", html: [] });
    if (!state.raw) this.#decorate(container, state.message);
    if (!state.raw) this.#load();
  }

  #blocks(container, state, began) {
    if (state.drawn === "plain") {
      container.classList.remove("plain");
      container.removeAttribute("dir");
      container.replaceChildren();
    }
    const { text, growing } = state;
    if (growing) state.reader ??= new this.#words.Reader();
    if (state.read?.text !== text || state.read.growing !== growing) {
      state.read = { text, growing, html: growing ? state.reader.blocks(plain(text)) : this.#words.blocks(plain(text)) };
    }
    state.drawn = "blocks";
    const { html } = state.read;
    for (let place = 0; place < html.length; place += 1) {
      const over = !growing || place < html.length - 1;
      if (state.html[place] !== html[place]) this.#block(container, state, place, html[place]);
      if (over) this.#finish(container.children[place], state);
      if (performance.now() - began > SLICE && place < html.length - 1 && state.html[place + 1] !== html[place + 1]) {
        container.setAttribute("aria-busy", "true"); // the rest is on its way
        return this.#later(container, state, 1);
      }
    }
    while (container.children.length > html.length) container.lastChild.remove();
    state.html.length = html.length;
    container.removeAttribute("aria-busy");
  }

  #block(container, state, place, html) {
    const old = container.children[place];
    const content = this.#words.elements(html);
    state.html[place] = html;
    if (old && !state.finished.has(old) && this.#dress.grown(old, content)) return this.#decorate(old, state.message);
    const block = document.createElement("div");
    block.className = "block";
    block.append(content);
    this.#dress.dress(block);
    if (old) old.replaceWith(block);
    else container.append(block);
    this.#decorate(block, state.message);
  }

  /** What is done once nothing of a block changes any more. */
  #finish(block, state) {
    if (state.finished.has(block)) return;
    state.finished.add(block);
    this.#dress.finish(block, this.#words.coloured);
  }

  #load() {
    this.#loading ??= Promise.all(later()).then(([words, dress]) => {
      [this.#words, this.#dress] = [words, dress];
      this.#goOn();
    }).catch(() => { this.#loading = null; });
    return this.#loading;
  }
}
