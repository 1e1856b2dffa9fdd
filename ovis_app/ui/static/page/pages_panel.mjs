// Which pages of a document go along, and how closely they are drawn: as a range, or by pressing them. The pictures in the
// box change once somebody says so.
// Knows the session's box and its files; what a range means is page_range.mjs's.

import { make, plain } from "./elements.mjs";
import { said, t } from "./i18n.mjs";
import { pagesIn, written } from "./page_range.mjs";

const RESOLUTIONS = [72, 100, 150, 200, 300]; // dpi

/** Fills a window's body. */
export function fill(body, around) {
  return new PagesPanel(body, around);
}

class PagesPanel {
  #body; #around; #p = {}; #count = null; #known = []; #busy = false;

  constructor(body, around) {
    [this.#body, this.#around] = [body, around];
    this.#make();
    this.#look();
  }

  get #source() { return this.#around.entry.source; }
  /** The files of the box that are pages of this document. */
  get #own() { return this.#around.session.draft.files.filter((one) => one.source?.hash === this.#source.hash); }
  get #wanted() { return this.#count === null ? null : pagesIn(this.#p.range.value, this.#count); }

  #make() {
    const p = this.#p;
    p.range = make("input", { type: "text", autocomplete: "off", spellcheck: false, maxLength: 400, "aria-label": t("Pages, such as 1-3,7"), value: written(this.#own.map((one) => one.source.page)), oninput: () => this.#draw() });
    p.range.addEventListener("keydown", (event) => { if (event.key === "Enter" && !p.use.disabled) this.#use(); });
    p.dpi = make("select", { "aria-label": t("Resolution"), onchange: () => this.#draw() }, make("option", { value: "" }, t("as the model sees best")),
      ...RESOLUTIONS.map((one) => make("option", { value: String(one), selected: one === this.#source.dpi }, t("{dpi} dpi", { dpi: one }))));
    p.previews = make("div.strip.pages", { role: "group", "aria-label": t("Pages: press those that are to go along") });
    p.more = make("button.quiet", { type: "button", hidden: true, onclick: () => this.#look() }, t("More pages"));
    p.line = make("p.panel-line", { role: "status" }, t("Looking at the document"));
    p.use = make("button.primary", { type: "button", disabled: true, onclick: () => this.#use() }, t("Use these pages"));
    p.read = make("button.quiet.read-page", { type: "button", disabled: true, hidden: !this.#around.session.facts.reads, onclick: () => this.#read() }, t("Read these pages"));
    p.large = make("button.quiet", { type: "button", onclick: () => this.#enlarge() }, t("Open page {page} large", { page: this.#source.page }));
    this.#body.replaceChildren(
      make("div.panel-row", {}, make("label", {}, t("Pages"), " ", p.range), make("label", {}, t("drawn"), " ", p.dpi)),
      p.previews, make("div.panel-row", {}, p.more, p.large, p.read), make("div.panel-row.panel-foot", {}, p.line, p.use));
  }

  async #look() {
    const { session, signal } = this.#around;
    this.#p.more.disabled = true;
    const asked = { first: this.#known.length + 1 };
    const found = await session.files.look("pages", this.#source, asked).catch((error) => ({ refused: error.message }));
    if (signal.aborted) return;
    this.#p.more.disabled = false;
    if (found.refused) { this.#p.line.textContent = plain(said(found.refused)); return; }
    if (this.#known.length + 1 === asked.first) this.#known.push(...found.pages);
    this.#count = found.count;
    this.#p.previews.replaceChildren(...this.#known.map((one) => this.#preview(one)));
    this.#p.more.hidden = this.#known.length >= this.#count;
    this.#draw();
    this.#around.drawn();
  }

  #preview({ page, picture }) {
    const title = t("Page {page}", { page });
    const image = picture ? make("img", { alt: "", src: picture }) : make("span.blank");
    const one = make("button.moment", { type: "button", title, "aria-label": title, onclick: () => this.#toggle(page) }, image, make("span", {}, String(page)));
    one.dataset.page = String(page);
    return one;
  }

  #toggle(page) {
    const wanted = this.#wanted ?? [];
    const now = wanted.includes(page) ? wanted.filter((one) => one !== page) : [...wanted, page].sort((one, other) => one - other);
    this.#p.range.value = written(now);
    this.#draw();
  }

  #draw() {
    const { range, previews, line, use, dpi } = this.#p;
    const wanted = this.#wanted;
    for (const one of previews.children) one.setAttribute("aria-pressed", String(wanted?.includes(Number(one.dataset.page)) ?? false));
    const { draft, facts } = this.#around.session;
    const room = facts.most_files - (draft.files.length - this.#own.length);
    const same = written(wanted ?? []) === written(this.#own.map((one) => one.source.page)) && (Number(dpi.value) || undefined) === this.#source.dpi;
    if (this.#count !== null) {
      range.setAttribute("aria-invalid", String(wanted === null));
      line.textContent = wanted === null ? t("The document has {count} pages: write which ones as 1-3,7.", { count: this.#count })
        : wanted.length > room ? t("{wanted} pages are chosen, and {room} fit into this question.", { wanted: wanted.length, room })
          : t("{wanted} of {count} pages", { wanted: wanted.length, count: this.#count });
    }
    this.#p.read.disabled = this.#busy || !wanted?.length;
    use.disabled = this.#busy || wanted === null || !wanted.length || wanted.length > room || same;
  }

  /** The chosen pages as Markdown; how many fit into a question doesn't matter. */
  async #read() {
    const { session, entry, close } = this.#around;
    const pages = this.#wanted;
    close();
    await (await import("./reading_bench.mjs")).read(session, entry, { pages });
  }

  #enlarge() {
    const index = this.#around.session.draft.files.filter((one) => one.state === "ready").indexOf(this.#around.entry);
    this.#around.close();
    this.#around.enlarge({ message: null, index });
  }

  /** The chosen pages in the place of those that stood in the box. */
  async #use() {
    const { session, close } = this.#around;
    const { draft } = session;
    this.#busy = true;
    this.#draw();
    this.#p.line.textContent = t("Drawing the pages");
    const dpi = Number(this.#p.dpi.value) || undefined;
    const found = await session.files.pages(this.#source, { pages: written(this.#wanted), ...(dpi ? { dpi } : {}) }).catch((error) => ({ refused: error.message }));
    this.#busy = false;
    if (found.refused) {
      this.#draw();
      this.#p.line.textContent = plain(said(found.refused));
      return;
    }
    const old = this.#own;
    if (session.draft !== draft || !old.length) return; // it was asked, or thrown out, meanwhile
    const at = draft.files.indexOf(old[0]);
    const others = draft.files.filter((one) => !old.includes(one));
    const before = draft.files.slice(0, at).filter((one) => !old.includes(one)).length;
    draft.files = [...others.slice(0, before), ...found.files, ...others.slice(before)];
    session.box.notice = found.notes.join(" ");
    close();
    session.changed();
    await session.saveDraft();
  }
}
