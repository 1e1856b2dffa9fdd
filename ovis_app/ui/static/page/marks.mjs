// What an answer names in pictures, for the view: its words without tags, and places for what overlay.mjs draws, which is
// loaded once an answer has any. Knows messages; refuses to know the notation but for how its tags begin.

const TAG = /<\/?(?:ref|box|point)>/i;
const HALF = /\[?\s{0,16}<\/?(?:r|re|ref|b|bo|box|p|po|poi|poin|point)?$/i; // an end that may become one

export class Marks {
  #tools; #overlay = null; #loading = null; #readings = new WeakMap(); #thoughts = new WeakMap();

  /** `tools`: `files`, `enlarge` (a picture of the path), and `loaded`, called when words can be drawn better. */
  constructor(tools) {
    this.#tools = tools;
  }

  /** An answer's words as they go through Markdown. */
  words(message) {
    const found = this.#reading(this.#readings, message, message.text);
    return found ? this.#overlay.carried(found) : this.#until(message.text, message.finish !== null);
  }

  /** A thought's words, in which nothing is marked. */
  thought(message) {
    const found = this.#reading(this.#thoughts, message, message.thinking);
    return found ? this.#overlay.words(found) : this.#until(message.thinking, message.finish !== null);
  }

  /** Puts phrases where their places are in a block that was just drawn. */
  decorate(element, message) {
    const found = this.#reading(this.#readings, message, message.text);
    if (found) this.#overlay.phrases(element, found);
  }

  /** The pictures with all that the answer names, once it is whole. */
  draw(holder, message, path) {
    const found = message.finish === null ? null : this.#reading(this.#readings, message, message.text);
    if (found) this.#overlay.figures(holder, { message, path: path.slice(0, path.indexOf(message)), reading: found, ...this.#tools });
  }

  /** What a text names; null where it names nothing, or what reads it isn't there yet. */
  #reading(kept, message, text) {
    if (!TAG.test(text) && !(message.finish === null && HALF.test(text.slice(-32)))) return null;
    if (!this.#overlay) { if (TAG.test(text)) this.#load(); return null; }
    if (!kept.has(message)) kept.set(message, this.#overlay.read(text, { over: message.finish !== null }));
    return kept.get(message);
  }

  /** The part of a text in which no tag has begun. */
  #until(text, over) {
    const at = text.search(TAG);
    if (at >= 0) return text.slice(0, at);
    return over ? text : text.slice(0, text.length - (HALF.exec(text.slice(-32))?.[0].length ?? 0));
  }

  #load() {
    this.#loading ??= import("./overlay.mjs").then((overlay) => {
      this.#overlay = overlay;
      this.#tools.loaded();
    }).catch(() => { this.#loading = null; });
  }
}
