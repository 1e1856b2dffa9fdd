// What is asked many times: a table and files are given, a question with columns in braces is written, perhaps the shape
// that answers are to have; the first rows show what will be asked, as the server reads them.
// Knows the DOM; what a table says is the server's to tell.

import { make, plain } from "./elements.mjs";
import { language, said, t } from "./i18n.mjs";
import { sorted, unicode } from "./many.mjs";
import { decoded } from "./texts.mjs";

const ACCEPT = ".csv,.tsv,.jsonl,.ndjson,.json,image/*,video/*,application/pdf";
const SOON = 400; // milliseconds after the last key until it is looked at
const MOST_FILES = 5000;

export class Setup {
  #session; #wire; #start; #p = {}; #given = []; #table = null; #upload = null; #timer = 0; #asked = 0; #wanted = "";

  /** `start(read, {files, ...})` begins with rows as the server read them. */
  constructor(session, { wire, start }) {
    [this.#session, this.#wire, this.#start] = [session, wire, start];
    this.#make();
    this.#draw({});
  }

  get element() { return this.#p.root; }
  get #parts() { return sorted(this.#given); }

  focus() { this.#p.choose.focus(); }

  #make() {
    const p = this.#p;
    const pick = (words, fields) => {
      const chooser = make("input", { type: "file", multiple: true, hidden: true, tabIndex: -1, onchange: () => { this.#add([...chooser.files].map((blob) => ({ blob, name: blob.webkitRelativePath || blob.name }))); chooser.value = ""; }, ...fields });
      return [make("button", { type: "button", onclick: () => chooser.click() }, words), chooser];
    };
    const [choose, files] = pick(t("Choose files"), { accept: ACCEPT });
    const [folder, within] = pick(t("Choose a folder"), { webkitdirectory: true });
    files.className = "many-files-chooser";
    p.choose = choose;
    folder.hidden = matchMedia("(pointer: coarse)").matches; // phones have none to choose
    p.none = make("button", { type: "button", onclick: () => { this.#given = []; this.#upload = null; this.#look(); } }, t("Remove all"));
    p.summary = make("p.many-given", { role: "status" });
    p.columns = make("div.many-columns", { hidden: true });
    p.pictures = make("select", { onchange: () => this.#look() });
    p.picturesRow = make("label.many-field", { hidden: true }, make("span", {}, t("Pictures are named in")), p.pictures);
    p.template = make("textarea", { rows: 2, dir: "auto", maxLength: 20_000, oninput: () => this.#soon() });
    p.label = make("span");
    p.schema = make("textarea", { rows: 5, spellcheck: false, maxLength: 200_000, placeholder: '{"type": "object", "properties": {"count": {"type": "integer"}}, "required": ["count"]}', oninput: () => this.#soon(), "aria-label": t("JSON Schema") });
    p.preview = make("div.many-table", { hidden: true, tabIndex: 0, role: "region", "aria-label": t("The first rows") });
    p.says = make("p.many-notice", { role: "status", hidden: true });
    p.start = make("button.primary", { type: "button", disabled: true, onclick: () => this.#begin() });
    p.drop = make("div.many-drop", {}, make("p", {}, t("A table (CSV, TSV, JSON lines), and the pictures, clips or PDFs that it names. Or files alone, with one question for all. Drop them here.")), make("div.buttons", {}, choose, folder, p.none, files, within), p.summary);
    p.root = make("div", {}, p.drop, p.columns, p.picturesRow, make("label.many-field", {}, p.label, p.template),
      make("details", {}, make("summary", {}, t("Answers as JSON of one shape")), make("p", {}, t("A JSON Schema. Each answer is checked by it; what doesn't fit is asked once more.")), p.schema),
      p.says, p.preview, make("div.buttons.many-start", {}, p.start));
  }

  /** Files and folders that were dropped. @param {DataTransfer} data */
  async dropped(data) {
    const entries = [...data.items].map((one) => one.webkitGetAsEntry?.()).filter(Boolean);
    const found = entries.length ? (await Promise.all(entries.map(within))).flat() : [...data.files].map((blob) => ({ blob, name: blob.name }));
    this.#add(found);
  }

  #add(chosen) {
    const names = new Set(chosen.map((one) => one.name));
    this.#given = [...this.#given.filter((one) => !names.has(one.name)), ...chosen].slice(0, MOST_FILES + 1);
    this.#upload = null;
    this.#look();
  }

  #soon() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#look(), SOON);
  }

  /** Asks the server what the table says, with what was chosen so far. */
  async #look() {
    clearTimeout(this.#timer);
    const asked = (this.#asked += 1);
    this.#p.start.disabled = true;
    const found = await this.#read({ first: true }).catch((error) => ({ refused: error.message }));
    if (asked === this.#asked) this.#draw(found);
  }

  /** @returns {Promise<any>} what the server says */
  async #read(more) {
    const { table, files } = this.#parts;
    if (!table && !files.length) return {};
    if (files.length > MOST_FILES) return { refused: t("At most {most} files can go with a table.", { most: MOST_FILES.toLocaleString("en") }) };
    const { session } = this.#session.facts;
    const template = this.#p.template.value;
    const schema = this.#p.schema.value.trim();
    if (schema) {
      const shape = await this.#wire.look("fits", session, null, { schema });
      if (shape.refused) return shape;
      this.#wanted = shape.wanted;
    } else this.#wanted = "";
    if (!table && !template.trim()) return { needs: t("Write a question that is asked about each file.") };
    const asked = { files: files.map((one) => one.name), template, pictures: this.#p.pictures.value, ...more };
    if (!table) return await this.#wire.look("rows", session, null, asked);
    const ask = async () => {
      this.#upload ??= await this.#sent(table, session);
      return { note: this.#upload.note, ...await this.#wire.look("rows", session, this.#upload.path, { ...asked, name: table.name }) };
    };
    const before = this.#upload;
    const said = await ask();
    if (!said.refused || !before) return said;
    this.#upload = null; // the server may have it no more
    return await ask();
  }

  async #sent({ name, blob }) {
    const { blob: text, note } = await unicode(blob, name, { decoded, old: language() === "zh" ? "gb18030" : "windows-1252" });
    return { note, path: await this.#wire.upload(text, name.split("/").at(-1)) };
  }

  // --- drawing -----------------------------------------------------------------------------------------------------

  #draw(found) {
    const p = this.#p;
    const { table, files, leftOut } = this.#parts;
    const parts = [table && t("Table: {name}", { name: table.name }), files.length && (files.length === 1 ? t("1 file") : t("{count} files", { count: files.length.toLocaleString("en") })),
      leftOut.length && t("left out, as neither a table nor a picture, clip or PDF: {names}", { names: leftOut.slice(0, 3).join(", ") + (leftOut.length > 3 ? " …" : "") })];
    p.summary.textContent = plain(parts.filter(Boolean).join(" · "));
    p.none.hidden = !this.#given.length;
    p.label.textContent = table ? t("Question of each row, in place of the table's own; columns stand in braces") : t("Question about each file; {file} is its name");
    p.template.placeholder = table ? t("Is {product} in the picture? Name its {colour}.") : t("Describe the picture.");
    this.#drawColumns(found.columns ?? []);
    const says = [said(found.refused ?? ""), found.needs ?? "", said(found.note ?? ""), found.failing ? this.#failing(found) : ""].filter(Boolean).join(" ");
    [p.says.hidden, p.says.textContent] = [!says, plain(says)];
    p.says.classList.toggle("many-failed", Boolean(found.refused));
    this.#drawRows(found.rows ?? []);
    const able = (found.count ?? 0) - (found.failing ?? 0);
    p.start.disabled = !(able > 0);
    p.start.textContent = able > 0 ? (able === 1 ? t("Ask 1 question") : t("Ask {count} questions", { count: able.toLocaleString("en") })) : t("Start");
  }

  #failing({ failing, problems }) {
    const count = failing === 1 ? t("1 row can't be asked:") : t("{count} rows can't be asked:", { count: failing.toLocaleString("en") });
    return [count, ...problems.map(said)].join(" ");
  }

  #drawColumns(columns) {
    const p = this.#p;
    const key = JSON.stringify([columns, language()]);
    if (p.columns.dataset.key === key || (!columns.length && this.#parts.table)) return; // one that can't be read just now keeps its columns
    p.columns.dataset.key = key;
    p.columns.hidden = !columns.length;
    const kinds = { id: t("number of the row"), prompt: t("question"), files: t("files"), template: t("in the question"), messages: t("conversation"), system: t("system prompt"), history: t("earlier turns"), pages: t("pages"), ignored: t("not read") };
    p.columns.replaceChildren(...columns.map(({ name, kind }) => make(`button.many-column.${kind}`, { type: "button", title: t("Put it into the question"), onclick: () => this.#put(name) }, make("b", { dir: "auto" }, plain(name)), make("span", {}, kinds[kind] ?? ""))));
    const chosen = p.pictures.value;
    p.picturesRow.hidden = !columns.some((one) => ["ignored", "files"].includes(one.kind)) || !this.#parts.files.length;
    p.pictures.replaceChildren(make("option", { value: "" }, t("the columns with usual names")), ...columns.map(({ name }) => make("option", { value: name, selected: name === chosen }, plain(name))));
  }

  #put(name) {
    const { template } = this.#p;
    template.setRangeText(`{${name}}`, template.selectionStart, template.selectionEnd, "end");
    template.focus();
    this.#soon();
  }

  #drawRows(rows) {
    const { preview } = this.#p;
    preview.hidden = !rows.length;
    const head = [t("Row"), t("Question"), t("Files")].map((words) => make("th", { scope: "col" }, words));
    const lines = rows.map((one) => make("tr", {}, make("th", { scope: "row", dir: "auto" }, plain(one.id)), make("td", { dir: "auto" }, one.problem ? make("p.many-failed", {}, plain(said(one.problem))) : null, make("div.many-words", {}, plain(one.prompt))),
      make("td.many-files", { dir: "auto" }, plain(one.turns.flatMap((turn) => turn.files).join(", ")))));
    preview.replaceChildren(make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...lines)));
  }

  async #begin() {
    const { start } = this.#p;
    start.disabled = true;
    const { table, files, leftOut } = this.#parts;
    const found = await this.#read({}).catch((error) => ({ refused: error.message }));
    if (found.refused) return this.#draw(found);
    start.textContent = t("Files are kept in this browser");
    const ignored = found.columns.filter((one) => one.kind === "ignored").map((one) => one.name);
    const title = table?.name ?? (files.length === 1 ? files[0].name : t("{count} files", { count: files.length.toLocaleString("en") }));
    await this.#start(found.rows, { files, ignored, leftOut, title, schema: this.#p.schema.value.trim(), wanted: this.#wanted });
  }
}

/** The files of what was dropped, of folders too, by their paths. */
async function within(entry) {
  const failed = () => [];
  if (entry.isFile) return await new Promise((resolve) => { entry.file((blob) => resolve([{ blob, name: entry.fullPath.replace(/^\//, "") }]), () => resolve([])); });
  const reader = entry.createReader();
  const found = [];
  for (let some = [null]; some.length && found.length <= MOST_FILES;) { // a reader gives a hundred at a time
    some = await new Promise((resolve, reject) => { reader.readEntries(resolve, reject); }).catch(failed);
    found.push(...(await Promise.all(some.map(within))).flat());
  }
  return found;
}
