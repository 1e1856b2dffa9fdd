// Pages as they are read, each beside its picture: which ones, how far that is, and what becomes of the text.
// Knows a reading and the workbench; refuses to know how pages are read. Loaded when first opened.

import { button, copy, make, plain } from "./elements.mjs";
import { said, t } from "./i18n.mjs";
import { pagesIn, written } from "./page_range.mjs";
import { readingOf, withFigures } from "./reading.mjs";
import { save, stem } from "./saving.mjs";
import * as schema from "./schema.mjs";
import { styled } from "./styles.mjs";
import { Workbench, done } from "./workbench.mjs";
import { zipped } from "./zip.mjs";

/** Reads the picture or page `file`, or those `pages` of its document, beside what was read of it before. */
export async function read(session, file, { pages = [file.source?.page ?? 0] } = {}) {
  const [reading] = await Promise.all([readingOf(session, file), styled("workbench.css")]);
  if (document.querySelector("dialog.workbench")) return;
  new Bench(session, reading, pages);
}

class Bench {
  #session; #reading; #bench; #p = {}; #crops = new Crops(); #follows = true; #drawing = false;

  constructor(session, reading, pages) {
    [this.#session, this.#reading] = [session, reading];
    this.#make();
    reading.changed = () => this.#draw();
    const whole = pages.every((page) => reading.at(page)?.finish === "end"); // then what is left of others stays to be read
    if (!reading.running && !(whole && pages.every((page) => reading.wanted.includes(page)))) reading.start(pages);
    this.#p.range.value = written(reading.wanted);
    const place = Math.max(0, this.#sheets.findIndex((one) => one.answer.page === pages[0]));
    this.#bench = new Workbench(session, this.#sheets, place, {
      above: this.#p.above, below: this.#p.below, tools: [this.#p.again],
      seen: (sheet) => reading.seen(reading.at(sheet.answer.page)),
      decorate: (block) => this.#decorate(block), shown: (sheet) => this.#shown(sheet), closed: () => this.#closed(),
    });
    this.#draw();
  }

  /** Each page as the workbench knows an answer. */
  get #sheets() {
    return this.#reading.pages.map((page) => {
      const file = page.file ?? { hash: "", kind: "image", name: t("Page {page}", { page: page.page }) };
      return { answer: { id: `page ${page.page}`, page: page.page, text: page.text, finish: page.finish }, picture: { message: null, file, index: page.page, count: 1 } };
    });
  }

  #make() {
    const p = this.#p;
    const reading = this.#reading;
    p.range = make("input", { type: "text", autocomplete: "off", spellcheck: false, maxLength: 400, "aria-label": t("Pages, such as 1-3,7"), oninput: () => this.#say() });
    p.range.addEventListener("keydown", (event) => { if (event.key === "Enter" && !p.start.disabled) { event.preventDefault(); this.#start(); } });
    p.pages = make("label", {}, t("Pages"), " ", p.range);
    p.start = make("button.primary", { type: "button", onclick: () => this.#start() }, t("Read"));
    p.stop = make("button.quiet.read-stop", { type: "button", hidden: true, onclick: () => reading.stop() }, t("Stop"));
    p.progress = make("progress", { max: 1, value: 0, hidden: true, "aria-label": t("Pages that are read") });
    p.status = make("p", { role: "status" });
    p.above = make("div.bench-reading", {}, make("div", {}, p.status, p.progress), p.pages, p.start, p.stop);
    p.again = button(t("Read this page again"), () => reading.again(this.#bench.sheet.answer.page), { icon: true, name: "read-again" });
    p.notes = make("ul.bench-notes", { hidden: true });
    p.copy = button(t("Copy as Markdown"), async () => { await copy(reading.markdown.trim()); done(p.copy); }, { name: "copy" });
    p.save = button(t("Download"), () => this.#save(), { name: "download" });
    p.put = button(t("Put into the conversation"), () => this.#put(), { name: "read-put" });
    p.below = make("div.bench-below", {}, p.notes, make("div.bench-take", { role: "toolbar", "aria-label": t("All that was read") }, p.copy, p.save, p.put));
  }

  #start() {
    const { range } = this.#p;
    const { count } = this.#reading;
    this.#follows = true;
    this.#reading.start(count > 1 ? pagesIn(range.value, count) : this.#reading.wanted);
  }

  // --- as it goes on -----------------------------------------------------------------------------------------------

  #draw() {
    const sheets = this.#sheets;
    if (!this.#bench || !sheets.length) return;
    this.#crops.keep(this.#reading.figures);
    const growing = sheets.findIndex((one) => one.answer.finish === null);
    const shown = sheets.findIndex((one) => one.answer.id === this.#bench.sheet.answer.id);
    const follows = this.#follows && growing >= 0;
    this.#drawing = true;
    this.#bench.renew(sheets, follows ? growing : Math.max(0, shown));
    this.#drawing = false;
    for (const one of this.#bench.words.querySelectorAll("img.read-figure")) this.#crops.show(one);
    this.#say();
  }

  /** Whoever leafs to another page stays there, whichever is read. */
  #shown(sheet) {
    if (!this.#drawing) this.#follows = sheet.answer.finish === null;
    this.#say();
  }

  /** What is going on, and what can be done now. */
  #say() {
    const p = this.#p;
    const reading = this.#reading;
    if (!this.#bench) return;
    const { running, read: whole, left, wanted, count } = reading;
    const several = count > 1;
    const pages = several ? pagesIn(p.range.value, count) : wanted;
    const todo = pages?.filter((page) => reading.at(page)?.finish !== "end") ?? [];
    p.status.textContent = this.#words({ pages, todo });
    [p.progress.hidden, p.progress.max, p.progress.value] = [!(running && wanted.length > 1), wanted.length || 1, wanted.length - left.length];
    [p.pages.hidden, p.range.readOnly] = [!several, running];
    p.range.setAttribute("aria-invalid", String(several && pages === null));
    const stood = document.activeElement === p.start || document.activeElement === p.stop;
    [p.start.hidden, p.stop.hidden] = [running || (!several && !todo.length), !running];
    if (stood) (running ? p.stop : p.start.hidden ? p.copy : p.start).focus();
    p.start.disabled = !todo.length;
    p.start.textContent = todo.length && todo.length < (pages?.length ?? 0) ? t("Continue") : t("Read");
    p.again.disabled = running;
    for (const one of [p.copy, p.save, p.put]) one.disabled = running || !whole.length;
    const page = reading.at(this.#bench.sheet.answer.page);
    const lines = page.finish === null ? [] : [page.error, ...page.notes].filter(Boolean).map(said);
    p.notes.hidden = !lines.length;
    p.notes.replaceChildren(...lines.map((one) => make("li", {}, plain(one))));
  }

  #words({ pages, todo }) {
    const { running, note, problem, left, wanted, count, read: whole } = this.#reading;
    if (running) {
      const page = this.#reading.pages.find((one) => one.finish === null);
      const far = page?.text ? t("{count} characters", { count: page.text.length }) : said(note) || t("Waiting");
      return wanted.length > 1 ? t("Reading {place} of {count}: {far}", { place: wanted.length - left.length + 1, count: wanted.length, far }) : t("Reading: {far}", { far });
    }
    if (problem) return plain(said(problem));
    if (count > 1 && pages === null) return t("The document has {count} pages: write which ones as 1-3,7.", { count });
    if (count > 1) return t("{read} of {count} pages are read", { read: pages.length - todo.length, count: pages.length });
    return whole.length ? t("Read to its end") : t("Not read to its end");
  }

  // --- figures -----------------------------------------------------------------------------------------------------

  /** Pictures in place of what names them. */
  #decorate(block) {
    const walker = document.createTreeWalker(block, NodeFilter.SHOW_TEXT);
    const nodes = [];
    for (let node = walker.nextNode(); node; node = walker.nextNode()) if (node.data.includes("<img src=") && !node.parentElement.closest("pre, code")) nodes.push(node);
    for (const node of nodes) node.replaceWith(...withFigures(node.data).map((one) => (typeof one === "string" ? one : this.#figure(one))));
  }

  #figure({ name, label }) {
    const image = make("img.read-figure", { alt: t("Figure {number}", { number: label.replace(/\D/g, "") }) });
    image.dataset.name = name;
    this.#crops.show(image);
    return image;
  }

  // --- taken along -------------------------------------------------------------------------------------------------

  async #save() {
    const { markdown, figures, name } = this.#reading;
    const text = new Blob([markdown], { type: "text/markdown" });
    const title = stem(name);
    if (!figures.length) return save(text, `${title}.md`);
    save(await zipped([{ name: `${title}.md`, blob: text }, ...figures]), `${title}.zip`);
  }

  /** As a question and its answer at the end of the conversation. */
  async #put() {
    const session = this.#session;
    const { text, files, answer: words, model, stats } = this.#reading.turn;
    if (session.running) { this.#p.status.textContent = t("An answer is on its way: wait for it, or stop it."); return; }
    if (words.length > session.facts.most_text) { this.#p.status.textContent = t("That is more text than fits: download it."); return; }
    const { added, question } = session.wanted({}, { text, files, pasted: [], editing: null });
    const answer = session.made("assistant", question.id, { text: words, finish: "end", model, stats });
    if (!session.conversation.title) session.conversation.title = schema.titleOf(text, files);
    session.say([...added, question, answer], answer.id);
    this.#bench.close();
    await session.write([...added, question, answer]);
  }

  #closed() {
    this.#reading.stop();
    this.#reading.changed = () => {};
    this.#crops.keep([]);
  }
}

/** Addresses of the figures that were cut out, by their names. */
export class Crops {
  #known = new Map(); // name -> {blob, address}

  /** These and no others, each as it is now. @param {{name: string, blob: Blob}[]} figures */
  keep(figures) {
    const now = new Map(figures.map(({ name, blob }) => [name, blob]));
    for (const [name, { blob, address }] of this.#known) {
      if (now.get(name) === blob) continue;
      URL.revokeObjectURL(address);
      this.#known.delete(name);
    }
    for (const [name, blob] of now) if (!this.#known.has(name)) this.#known.set(name, { blob, address: URL.createObjectURL(blob) });
  }

  /** Gives an image the address that its figure has now. */
  show(image) {
    const address = this.#known.get(image.dataset.name)?.address;
    if (!address) image.removeAttribute("src");
    else if (image.getAttribute("src") !== address) image.src = address;
  }
}
