// The window of many questions: a table and files are given and looked at, then asked one after another, while what came
// of them can be read and taken along. Closed, it goes on; a line by the box says so, and opens it again.
// Knows the DOM and the batch; asking is many_run.mjs's. Loaded when first opened, and where a batch goes on.

import { digest } from "./digest.mjs";
import { button, make, plain } from "./elements.mjs";
import { seconds } from "./figures.mjs";
import { language, said, t } from "./i18n.mjs";
import { filesOf, tally } from "./many.mjs";
import { Setup } from "./many_setup.mjs";
import { open as openStore } from "./many_store.mjs";
import { Batch } from "./many_run.mjs";
import { styled } from "./styles.mjs";
import * as wire from "./wire.mjs";

const AT_ONCE = 100; // rows that are drawn before somebody asks for more
const MARK = "ovis-many"; // in this browser: whether a batch goes on

let window_ = null;

async function windowOf(session) {
  await styled("many.css");
  if (!window_) {
    const store = await openStore();
    window_ ??= new Many(session, store);
    await window_.load();
  }
  return window_;
}

/** Opens it. */
export async function open(session) {
  (await windowOf(session)).show();
}

/** Goes on with what was being asked when the page was left. */
export async function goOn(session) {
  const many = await windowOf(session);
  if (many.batch.batch?.going) many.batch.go();
  else remember(false);
}

class Many {
  #session; #p = {}; #setup = null; #most = AT_ONCE; #only = "all"; #waiting = false; #lacks = ""; #lines = new Map();

  constructor(session, store) {
    this.#session = session;
    this.batch = new Batch({ store, wire, session, changed: (row) => this.#changed(row) });
    this.#p.chip = make("button.many-chip", { type: "button", hidden: true, onclick: () => this.show() });
    document.querySelector("#notice-row").append(this.#p.chip);
  }

  async load() {
    await this.batch.load().catch(() => {});
    this.#chip();
  }

  show() {
    const { dialog } = this.#p;
    if (dialog?.open) return;
    const heading = make("h2", { id: "many-title" }, t("Many questions"));
    this.#p.body = make("div.many-body", { tabIndex: -1 });
    const close = button(t("Close"), () => this.#p.dialog.close(), { icon: true, name: "close" });
    this.#p.dialog = make("dialog.ovis-dialog.many", { "aria-labelledby": "many-title" }, make("div.many-head", {}, heading, close), this.#p.body);
    this.#p.dialog.addEventListener("close", () => { this.#p.dialog.remove(); this.#setup = null; this.#lines.clear(); this.#chip(); });
    for (const name of ["dragover", "dragleave", "drop"]) this.#p.dialog.addEventListener(name, (event) => this.#dragged(event));
    (document.querySelector(".gradio-container") ?? document.body).append(this.#p.dialog); // whose buttons look as they do there
    this.#p.dialog.showModal();
    this.#fill();
    this.#chip();
  }

  #dragged(event) {
    event.preventDefault();
    event.stopPropagation(); // else it would join the box
    if (event.type === "drop") this.#setup?.dropped(event.dataTransfer);
  }

  #fill() {
    this.#lines.clear();
    this.#p.body.scrollTop = 0;
    if (this.batch.batch) this.#run();
    else {
      this.#setup = new Setup(this.#session, { wire, start: (read, given) => this.#start(read, given) });
      this.#p.body.replaceChildren(this.#setup.element);
      this.#setup.focus();
    }
  }

  async #start(read, { files, ...about }) {
    const named = [];
    const wanted = new Set(read.flatMap((one) => filesOf({ turns: one.turns ?? [] })));
    for (const { name, blob } of files) if (wanted.has(name)) named.push({ name, blob, hash: await digest(blob) });
    await this.batch.begin(read, named, about);
    this.#setup = null;
    if (this.#p.dialog.open) this.#fill();
    this.#go();
  }

  #go() {
    remember(true);
    this.batch.go();
  }

  // --- while it is asked -------------------------------------------------------------------------------------------

  #changed(row) {
    if (row && this.#lines.has(row.place)) this.#lines.get(row.place).replaceWith(this.#line(row));
    if (this.#waiting) return;
    this.#waiting = true;
    setTimeout(() => { this.#waiting = false; this.#draw(); }, 100);
  }

  #draw() {
    this.#chip();
    remember(Boolean(this.batch.batch?.going));
    if (this.#p.dialog?.open && this.#p.counts && this.batch.batch) this.#figures();
  }

  #run() {
    const p = this.#p;
    const act = (words, does, name) => make(`button.${name}`, { type: "button", onclick: does }, words);
    p.progress = make("progress", { max: 1, value: 0, "aria-label": t("How many are answered") });
    p.counts = make("p.many-counts", { role: "status" });
    p.notice = make("p.many-notice", { hidden: true });
    p.pause = act(t("Pause"), () => this.batch.pause(), "pause");
    p.stop = act(t("Stop"), () => this.batch.stop(), "stop");
    p.go = act(t("Go on"), () => this.#go(), "primary");
    p.again = act(t("Ask those that failed again"), () => { remember(true); this.batch.again(); }, "again");
    p.fresh = act(t("Begin anew…"), () => this.#anew(), "anew");
    const take = make("div.buttons.many-take", {}, make("span", {}, t("Take along")),
      act("CSV", () => this.#take("csv"), "csv"), act("JSON Lines", () => this.#take("jsonl"), "jsonl"), act("XLSX", () => this.#take("xlsx"), "xlsx"), act("Parquet", () => this.#take("parquet"), "parquet"));
    p.only = make("select", { "aria-label": t("Which rows are shown"), onchange: (event) => { this.#only = event.target.value; this.#most = AT_ONCE; this.#table(); } },
      ...[["all", t("All rows")], ["answered", t("Answered")], ["failed", t("Failed")]].map(([value, words]) => make("option", { value, selected: value === this.#only }, words)));
    p.rows = make("tbody");
    p.more = act(t("Show more"), () => { this.#most += AT_ONCE; this.#table(); }, "more-rows");
    const { title, ignored, leftOut, schema } = this.batch.batch;
    const head = [t("Row"), t("Question"), schema ? t("Answer, and its data") : t("Answer"), ""].map((words) => make("th", { scope: "col" }, words));
    const apart = [ignored.length ? t("Columns that aren't read: {names}", { names: few(ignored) }) : "", leftOut.length ? t("Left out: {names}", { names: few(leftOut) }) : ""].filter(Boolean);
    const source = make("p.many-source", {}, plain([title, ...apart].filter(Boolean).join(" · ")));
    p.body.replaceChildren(source, p.progress, p.counts, p.notice,
      make("div.buttons.many-does", {}, p.pause, p.stop, p.go, p.again, p.fresh), take,
      make("div.many-filter", {}, p.only), make("div.many-table", { tabIndex: 0, role: "region", "aria-label": t("Rows") }, make("table", {}, make("thead", {}, make("tr", {}, ...head)), p.rows)), p.more);
    this.#table();
    this.#figures();
    p.body.focus();
  }

  #figures() {
    const p = this.#p;
    const { batch, running, pausing } = this.batch;
    const now = tally(this.batch.rows);
    [p.progress.max, p.progress.value] = [now.all, now.answered + now.failed];
    p.counts.textContent = [countsOf(now), pausing ? t("pausing after this question") : "", running && !pausing && now.seconds !== null && now.left ? t("about {time} left", { time: seconds(now.seconds) }) : ""].filter(Boolean).join(" · ");
    const other = batch.model !== this.#session.facts.name && now.left ? t("It was begun with {before}; {now} answers what is left.", { before: batch.model, now: this.#session.facts.name }) : "";
    const notice = [said(this.batch.notice), said(this.#lacks), other, this.batch.kept ? "" : t("This window keeps nothing: take the answers along before it closes.")].filter(Boolean).join(" ");
    [p.notice.hidden, p.notice.textContent] = [!notice, plain(notice)];
    p.pause.hidden = p.stop.hidden = !running;
    p.pause.disabled = pausing;
    p.go.hidden = running || !now.left;
    p.again.hidden = running || !this.batch.rows.some((one) => one.status === "failed" && one.turns.length);
    p.fresh.hidden = running;
    for (const one of this.#p.body.querySelectorAll(".many-take button")) one.disabled = !(now.answered + now.failed);
  }

  #table() {
    const p = this.#p;
    const rows = this.batch.rows.filter((one) => this.#only === "all" || one.status === this.#only);
    this.#lines.clear();
    p.rows.replaceChildren(...rows.slice(0, this.#most).map((one) => this.#line(one)));
    p.more.hidden = rows.length <= this.#most;
  }

  #line(row) {
    const files = filesOf(row);
    const asked = [make("div.many-words", { dir: "auto" }, plain(row.prompt)), files.length ? make("div.many-files", { dir: "auto" }, plain(files.join(", "))) : null];
    const data = row.data !== undefined ? make("pre", {}, plain(JSON.stringify(row.data, null, 1))) : null;
    const answer = { waiting: () => make("span.many-waits", {}, t("waiting")), asked: () => make("span.many-asked", {}, t("being answered")) }[row.status]?.()
      ?? make("div", {}, row.error ? make("p.many-failed", {}, plain(said(row.error))) : null, row.text ? make("div.many-words", { dir: "auto" }, plain(row.text)) : null, data);
    const again = row.status === "failed" && row.turns.length ? make("button.again", { type: "button", onclick: () => { remember(true); this.batch.again([row]); } }, t("Again")) : "";
    const line = make(`tr.${row.status}`, {}, make("th", { scope: "row", dir: "auto" }, plain(row.id)), make("td", {}, ...asked), make("td", {}, answer), make("td", {}, again));
    this.#lines.set(row.place, line);
    return line;
  }

  async #take(kind) {
    const [{ take }, { title, schema }] = [await import("./many_export.mjs"), this.batch.batch];
    this.#lacks = await take(kind, this.batch.rows, { title, data: Boolean(schema) });
    this.#figures();
  }

  async #anew() {
    const { dialog } = await import("./dialogs.mjs");
    const { answered } = tally(this.batch.rows);
    const drop = async () => { await this.batch.discard(); remember(false); if (this.#p.dialog.open) this.#fill(); };
    if (!answered) return drop();
    dialog(t("Forget these {count} answers?", { count: answered }), [make("p", {}, t("What was taken along stays."))], [[t("Cancel"), () => {}], [t("Forget them"), drop, "grave"]]);
  }

  /** What is said of it where it isn't seen. */
  #chip() {
    const { chip, dialog } = this.#p;
    const { batch, running, rows } = this.batch;
    chip.hidden = !batch || Boolean(dialog?.open) || !(running || batch.going || tally(rows).left);
    if (!chip.hidden) chip.textContent = `${t("Many questions")}: ${countsOf(tally(rows))}`;
  }
}

function countsOf({ all, answered, failed }) {
  const parts = [t("{count} of {all} answered", { count: answered.toLocaleString("en"), all: all.toLocaleString("en") })];
  if (failed) parts.push(t("{count} failed", { count: failed.toLocaleString("en") }));
  return parts.join(language() === "zh" ? "，" : ", ");
}

/** The first names, and how many more there are. */
export function few(names) {
  const rest = names.length - 3;
  return names.slice(0, 3).map(plain).join(", ") + (rest > 0 ? ` … (+${rest})` : "");
}

function remember(going) {
  try {
    if (going) localStorage.setItem(MARK, "going");
    else localStorage.removeItem(MARK);
  } catch { /* private windows forget */ }
}
