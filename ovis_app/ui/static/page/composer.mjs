// Where questions are written: the box, what is attached, what is to be said of both.
// Knows the DOM and the draft; what happens to them is done by the session.

import { arrange } from "./arranging.mjs";
import { button, make, name, plain } from "./elements.mjs";
import { said, t } from "./i18n.mjs";
import { numbered, severalClips } from "./numbered.mjs";
import { isLong } from "./pasted.mjs";
import { wordsOf } from "./sampling.mjs";

const ACCEPT = "image/*,video/*,application/pdf,text/*,.md,.json,.yaml,.yml,.log,.docx";

export class Composer {
  #session; #root; #acts; #parts = {}; #saving = null; #costs = null; #tasks = null;

  constructor(root, session, acts) {
    [this.#root, this.#session, this.#acts] = [root, session, acts];
    const p = this.#parts;
    p.notice = make("div", { id: "notice", role: "status" });
    p.leave = button(t("Cancel edit"), () => session.leaveEdit(), { name: "leave-edit" });
    p.leave.id = "leave-edit";
    p.text = make("textarea", { rows: 1, dir: "auto", "aria-label": t("Your question"), oninput: () => this.#typed(), onkeydown: (event) => this.#key(event) });
    p.files = make("div.thumbnails");
    p.pastes = make("div.pastes", { hidden: true });
    p.chooser = make("input", { type: "file", multiple: true, accept: ACCEPT, tabIndex: -1, onchange: () => this.#chosen() });
    p.chooser.setAttribute("aria-label", t("Files to attach"));
    p.attach = button(t("Attach pictures, a clip or a PDF"), () => this.#offer(), { icon: true, name: "upload-button" });
    for (const [name, value] of [["haspopup", "menu"], ["expanded", "false"]]) p.attach.setAttribute(`aria-${name}`, value);
    p.send = button(t("Ask"), () => session.ask(), { icon: true, name: "submit-button" });
    p.twice = button(t("Ask twice, side by side…"), () => acts.compare(null), { icon: true, name: "compare-button" });
    p.stop = button(t("Stop"), () => session.stop(), { icon: true, name: "stop-button" });
    p.cost = make("div", { id: "cost", hidden: true });
    p.tasks = make("div.tasks", { role: "group", hidden: true });
    const row = make("div.input-row", {}, p.attach, p.chooser, p.text, p.twice, p.send, p.stop);
    p.box = make("form", { id: "box", onsubmit: (event) => event.preventDefault() }, p.files, p.pastes, p.tasks, row, p.cost);
    root.replaceChildren(make("div", { id: "notice-row" }, p.notice, p.leave), p.box);
    this.#receive();
  }

  focus() {
    this.#parts.text.focus();
  }

  /** The words of what stays, in the language that is spoken now. */
  renew() {
    const p = this.#parts;
    const names = [[p.leave, t("Cancel edit")], [p.text, t("Your question")], [p.chooser, t("Files to attach")],
      [p.attach, t("Attach pictures, a clip or a PDF")], [p.send, t("Ask")], [p.twice, t("Ask twice, side by side…")], [p.stop, t("Stop")]];
    for (const [one, words] of names) name(one, words);
    p.files.dataset.key = p.pastes.dataset.key = "";
    this.draw();
  }

  draw() {
    const { draft, running, notice, facts } = this.#session;
    const p = this.#parts;
    if (p.text.value !== draft.text) { p.text.value = draft.text; this.#fit(); }
    p.text.placeholder = facts ? t("Ask about {subject}…", { subject: said(facts.subject) }) : "";
    const told = said(notice) || (draft.editing ? t("Editing a question. Asking it makes another version of it.") : "");
    if (p.notice.textContent !== plain(told)) p.notice.replaceChildren(...(told ? [make("p", {}, plain(told))] : []));
    p.leave.hidden = !draft.editing;
    p.files.hidden = !draft.files.length;
    this.#drawFiles(draft.files);
    this.#drawPastes(draft.pasted);
    this.#drawTasks(draft.files);
    p.send.hidden = running !== null;
    p.stop.hidden = running === null;
    const { coming } = this.#session.box;
    p.send.disabled = !(draft.text.trim() || draft.files.length || draft.pasted.length);
    p.twice.hidden = running !== null || p.send.disabled || !draft.text.trim();
    document.body.classList.toggle("checking", coming);
    this.#weigh(Boolean(draft.text.trim() || draft.files.length));
  }

  /** What the question would take, by a module that loads with the first of it. */
  #weigh(written) {
    if (!written && !this.#costs) return;
    const { cost, files } = this.#parts;
    this.#costs ??= import("./cost_line.mjs").then(({ CostLine }) => new CostLine(cost, this.#session, { chips: () => files.children }));
    this.#costs.then((line) => line.draw()).catch(() => { this.#costs = null; }); // without a connection: another time
  }

  #drawFiles(files) {
    const key = files.map((one) => `${one.hash} ${one.name} ${one.state} ${one.kind} ${wordsOf(one.detail)}`).join("|");
    const box = this.#parts.files;
    if (box.dataset.key !== key) {
      box.dataset.key = key;
      const focused = [...box.children].findIndex((one) => one.contains(document.activeElement));
      box.replaceChildren(...files.map((one, place) => this.#thumbnail(one, place, files.length)));
      box.children[focused]?.querySelector(".opens")?.focus({ preventScroll: true }); // whoever goes by keys stays there
    }
    for (const [place, one] of files.entries()) {
      const bar = box.children[place].querySelector("progress");
      if (bar) bar.value = one.share;
    }
  }

  /** Long texts that go along; a press puts one back into the box. */
  #drawPastes(pasted) {
    const { pastes, text } = this.#parts;
    const key = `- ${pasted.map((one) => one.length).join(" ")}`;
    pastes.hidden = !pasted.length;
    if (pastes.dataset.key === key) return;
    pastes.dataset.key = key;
    pastes.replaceChildren(...pasted.map((one, place) => {
      const words = t("Text, {count} characters", { count: one.length.toLocaleString("en") });
      const act = (back) => { this.#session.box.unpaste(place, { back }); text.focus(); };
      const put = make("button.paste-back", { type: "button", title: t("Put it back into the box"), onclick: () => act(true) }, make("b", {}, words), make("span", {}, plain(one.slice(0, 80).replace(/\s+/g, " "))));
      return make("span.paste", {}, put, button(t("Remove {name}", { name: words }), () => act(false), { icon: true, name: "delete-button" }));
    }));
  }

  /** What is often asked of files, once there are some. */
  async #drawTasks(files) {
    if (!files.length && !this.#tasks) return;
    const put = (text, at) => this.#put(text, at);
    this.#tasks ??= import("./tasks.mjs").then(({ Tasks }) => new Tasks(this.#parts.tasks, this.#session, put));
    (await this.#tasks.catch(() => { this.#tasks = null; }))?.draw();
  }

  /** Writes words into the box, with the cursor at a place of them. */
  #put(text, at) {
    this.#parts.text.value = text;
    this.#typed();
    this.focus();
    this.#parts.text.setSelectionRange(at, at);
  }

  #thumbnail(entry, place, count) {
    const name = numbered(plain(entry.name), place, count, { clips: severalClips(this.#session.draft.files) });
    const remove = button(t("Remove {name}", { name }), () => this.#session.detach(entry), { icon: true, name: "delete-button" });
    const coming = entry.state !== "ready";
    const image = make("img", { alt: name, title: name });
    const opens = coming ? image : this.#opens(entry, place, name, image);
    const item = make("span.thumbnail-item", {}, coming ? make("progress", { max: 1, "aria-label": t("Uploading {name}", { name }) }) : opens, make("span.number", { "aria-hidden": "true" }, String(place + 1)), remove);
    item.classList.toggle("clip", entry.kind === "video");
    if (coming) item.append(make("span.name", {}, name));
    if (!coming && count > 1) arrange(item, opens, { move: (by) => this.#move(entry, by) });
    if (entry.detail && !coming) opens.append(make("span.chosen", {}, wordsOf(entry.detail)));
    if (entry.hash && !coming) this.#see(image, entry, plain(entry.name));
    return item;
  }

  /** What a press on a file does: it is seen large, or one chooses what of it goes along. */
  #opens(entry, place, name, image) {
    const pressed = (words, act) => make("button.opens", { type: "button", "aria-label": words, onclick: act }, image);
    const choose = (words) => Object.assign(pressed(words, () => this.#acts.chooseOf(entry, this.#parts.files)), { ariaHasPopup: "dialog" });
    if (entry.source) return choose(t("Choose pages of {name}", { name: plain(entry.source.name) }));
    if (entry.kind === "video") return choose(t("Choose moments of {name}", { name }));
    return pressed(t("Enlarge {name}", { name }), () => this.#acts.enlarge({ message: null, index: place }));
  }

  /** Another place among the files, and so another number. */
  #move(entry, by) {
    const { files } = this.#session.draft;
    const from = files.indexOf(entry);
    const to = Math.min(files.length - 1, Math.max(0, from + by));
    if (from < 0 || from === to) return;
    files.splice(to, 0, ...files.splice(from, 1));
    this.draw();
    this.#parts.files.children[to].querySelector(".opens")?.focus();
    this.#session.saveDraft();
  }

  async #see(image, entry, name) {
    const named = () => image.replaceWith(make("span.name", {}, name));
    image.addEventListener("error", async () => {
      const address = image.dataset.copied ? "" : await this.#session.files.copied(entry).catch(() => "");
      image.dataset.copied = "yes";
      if (address && entry.kind === "image") image.src = address;
      else named();
    });
    if (entry.kind === "video" && !entry.moves) return named();
    const address = await this.#session.files.seen(entry.hash);
    if (address) image.src = address;
    else named();
  }

  #typed() {
    this.#session.type(this.#parts.text.value);
    this.#fit();
    this.draw();
    clearTimeout(this.#saving);
    this.#saving = setTimeout(() => this.#session.saveDraft(), 400);
  }

  #fit() {
    const text = this.#parts.text;
    text.style.height = "auto";
    text.style.height = `${Math.min(text.scrollHeight, 8 * 24 + 12)}px`;
  }

  #key(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    if (!this.#parts.send.hidden && !this.#parts.send.disabled) this.#session.ask();
  }

  /** Where files come from. */
  #offer() {
    const { attach, chooser } = this.#parts;
    const rows = [
      { words: t("Pictures, a clip, a PDF, texts…"), name: "choose-files", act: () => chooser.click() },
      { words: t("Camera…"), name: "camera", act: () => this.#acts.camera() },
      this.#session.facts?.fetches ? { words: t("From an address…"), name: "from-address", act: () => this.#acts.fromAddress() } : null,
    ];
    import("./menu.mjs").then(({ open }) => open(attach, rows.filter(Boolean)), () => chooser.click()); // without a connection
  }

  #chosen() {
    const files = [...this.#parts.chooser.files];
    this.#parts.chooser.value = "";
    this.#attach(files);
  }

  #attach(files) {
    if (files.length) this.#session.attach(files.map((blob) => ({ blob, name: blob.name || "pasted" })));
  }

  /** Files that are dropped anywhere on the page, or pasted. */
  #receive() {
    const brings = (event) => event.dataTransfer?.types?.includes("Files");
    const dragging = (on) => document.body.classList.toggle("dragging", on);
    const listen = (name, act) => window.addEventListener(name, (event) => { if (brings(event)) { event.preventDefault(); act(event); } });
    listen("dragover", () => dragging(true));
    listen("dragleave", (event) => { if (!event.relatedTarget) dragging(false); });
    listen("drop", (event) => { dragging(false); this.#attach([...event.dataTransfer.files]); });
    this.#root.addEventListener("paste", (event) => {
      const files = [...(event.clipboardData?.files ?? [])];
      const text = event.clipboardData?.getData("text/plain") ?? "";
      if (!files.length && /^\s*https?:\/\/\S+\s*$/i.test(text)) this.#acts.fromAddress(text).catch(() => {}); // it is pasted all the same
      if (!files.length && !(isLong(text) && event.target === this.#parts.text)) return;
      event.preventDefault();
      if (files.length) this.#attach(files);
      else this.#session.box.paste(text);
    });
  }
}
