// Pages read as Markdown, one after the other: of a document those that somebody names, of a picture that one. What was read
// stays, whatever ends the rest: in this browser, beside the file, for as long as that.
// Knows the session and its wire; how a page is asked about, and what of an answer is a page's text, is the server's to
// know. Refuses to know how it is drawn.

import { later, t } from "./i18n.mjs";
import { told } from "./looking.mjs";
import { written } from "./page_range.mjs";

const LOST = later("The reading ended before its end: press Continue.");
const AS_IT_WAS = later("The page wasn't read to its end again: it stands as it was.");
const FIGURE = /<img src="(images\/[\w.-]{1,80})" alt="(Figure \d{1,3})">/g; // as the server writes it

/** @typedef {{page: number, file: any, text: string, finish: string | null, error: string, notes: string[], part: string,
 *   figures: {name: string, blob: Blob}[], stats: any, model: string}} Page a picture's number is 0 */

/** A text in parts: words, and figures that stand between them. @returns {(string | {name: string, label: string})[]} */
export function withFigures(text) {
  const found = [];
  let end = 0;
  for (const { 0: whole, 1: name, 2: label, index } of text.matchAll(FIGURE)) {
    found.push(text.slice(end, index), { name, label });
    end = index + whole.length;
  }
  return [...found, text.slice(end)].filter((one) => one !== "");
}

/** A text that grows, after a frame that says from which place on it says something else now. */
export function grown(text, { from, text: more }) {
  return Number.isInteger(from) && typeof more === "string" ? text.slice(0, from) + more : text;
}

const MOST = 8; // documents whose reading this tab has at hand
const known = new Map(); // what names a document, in a chat that isn't kept by that chat's own name -> its reading

/** The reading of the picture or page `file`, and of its document; as far as it had come. */
export async function readingOf(session, file) {
  const { hash } = file.source ?? file;
  const key = `${session.store.temporary ?? ""} ${hash}`;
  const found = known.get(key) ?? new Reading(session, file, await session.store.read(hash));
  known.delete(key);
  known.set(key, found);
  if (known.size > MOST) known.delete(known.keys().next().value);
  if (file.source && !found.count) {
    const said = await session.files.look("pages", file.source, { first: file.source.page }).catch((error) => ({ refused: error.message }));
    if (said.refused) found.problem = said.refused;
    else found.count = said.count;
  }
  return found;
}

export class Reading {
  #session; #controller = null;

  /** Of the picture or page `file`, of which these `pages` were read before. How many its document has isn't known yet. */
  constructor(session, file, pages = []) {
    this.#session = session;
    const count = file.source ? 0 : 1;
    Object.assign(this, { source: file.source ?? null, name: file.source?.name ?? file.name, count, pages: [], wanted: [], note: "", problem: "", changed: () => {} });
    this.own = file;
    for (const one of pages) this.#put(one);
  }

  get running() { return this.#controller !== null; }
  get read() { return this.pages.filter((one) => one.finish === "end"); }
  get left() { return this.wanted.filter((page) => this.at(page)?.finish !== "end"); }

  /** @returns {Page | undefined} */
  at(page) { return this.pages.find((one) => one.page === page); }

  /** Reads those of these pages that weren't read yet, until all are or `stop` is called. */
  async start(pages) {
    if (this.running) return;
    this.wanted = pages;
    [this.#controller, this.problem] = [new AbortController(), ""];
    const { signal } = this.#controller;
    try {
      for (const page of this.left) await this.#one(page, signal);
    } catch (error) {
      if (error.lost) this.#session.connection.lost();
      if (error.name !== "AbortError") this.problem = error.lost ? LOST : error.message;
    }
    for (const one of this.pages) if (one.finish === null) Object.assign(one, { finish: "stopped" });
    [this.#controller, this.note] = [null, ""];
    this.changed();
  }

  /** The same page once more, in place of what was read of it, which comes back where nothing comes of it, beside why. */
  async again(page) {
    const before = this.at(page);
    if (this.running || !before) return;
    const all = this.wanted;
    this.#put({ ...before, finish: "stopped" });
    await this.start([page]);
    if (before.finish === "end" && this.left.length) {
      const why = this.at(page).error || this.problem;
      this.problem = why === LOST ? AS_IT_WAS : why;
      this.#put(before);
    }
    this.wanted = all;
    this.changed();
  }

  stop() {
    this.#controller?.abort();
  }

  async #one(page, signal) {
    const one = this.#put({ page, file: this.at(page)?.file ?? null, ...NOTHING });
    this.note = "";
    this.changed();
    try {
      one.file ??= await this.#drawn(page);
      signal.throwIfAborted();
      const note = (words) => { this.note = words; this.changed(); };
      const hear = (frame) => {
        if (frame.kind !== "grown") return;
        [one.text, this.note] = [grown(one.text, frame), ""];
        this.changed();
      };
      const { read } = await told(this.#session, [one.file], { of: "reads", detail: {}, signal, note, hear });
      if (!read) throw new Error(LOST);
      const { wire, facts } = this.#session;
      const figures = await Promise.all(read.figures.map(async ({ name, path }) => ({ name, blob: await wire.shown(path) })));
      Object.assign(one, { text: read.text, notes: read.notes, part: read.part, stats: read.stats, figures, model: facts.name, finish: "end" });
      await this.#session.store.putRead((this.source ?? this.own).hash, one);
    } catch (error) {
      if (error.name === "AbortError" || error.lost) throw error;
      Object.assign(one, { finish: "error", error: error.message }); // the others may be read all the same
    }
    this.changed();
  }

  /** The picture of a page. */
  async #drawn(page) {
    if (!this.source || page === this.source.page) return this.own;
    const { draft, path } = this.#session;
    const there = [draft, ...path].flatMap((one) => one.files).find((one) => one.source?.hash === this.source.hash && one.source.page === page && one.hash);
    if (there) return there;
    this.note = later("Drawing the page");
    this.changed();
    const found = await this.#session.files.pages(this.source, { pages: String(page), ...(this.source.dpi ? { dpi: this.source.dpi } : {}) });
    if (found.refused || !found.files.length) throw new Error(found.refused ?? found.notes[0] ?? LOST);
    return found.files[0];
  }

  /** An address at which a page is seen, drawn again where this browser has forgotten it. */
  async seen(one) {
    const { files } = this.#session;
    const address = one.file ? await files.seen(one.file.hash) : "";
    if (address || !one.file || !this.source || one.page === this.source.page) return address;
    one.file = await this.#drawn(one.page).catch(() => one.file);
    return await files.seen(one.file.hash);
  }

  #put(page) {
    this.pages = [...this.pages.filter((one) => one.page !== page.page), page].sort((one, other) => one.page - other.page);
    return page;
  }

  // --- taken along -------------------------------------------------------------------------------------------------

  /** All that was read, as one text, in which a comment says which page is which. */
  get markdown() { return this.read.map((one) => one.part).join(""); }

  get figures() { return this.read.flatMap((one) => one.figures); }

  /** All that was read, as a question and its answer, which says of figures that there are some. */
  get turn() {
    const { read } = this;
    const one = read.length === 1 ? read[0] : null;
    const name = one?.file?.name ?? this.name;
    const question = one ? t("Read {name}.", { name }) : t("Read pages {pages} of {name}.", { pages: written(read.map((page) => page.page)), name });
    const words = (text) => withFigures(text).map((part) => (typeof part === "string" ? part : `*${part.label}*`)).join("");
    return { text: question, files: one?.file ? [one.file] : [], answer: read.map((page) => words(page.text)).join("\n\n"), model: read[0].model, stats: one?.stats ?? null };
  }
}

const NOTHING = { text: "", finish: null, error: "", notes: [], part: "", figures: [], stats: null, model: "" };
