// The list of conversations as people see it: new, search, groups, rows with what can be done with each.
// Knows the DOM, the store and the session; what belongs together and what is found says library.mjs.

import { button, make, plain } from "./elements.mjs";
import { t } from "./i18n.mjs";
import { grouped, nameOf, search, searchable } from "./library.mjs";
import { Menus } from "./menus.mjs";
import * as temporary from "./temporary.mjs";
import { titleField } from "./title_field.mjs";
import { toast } from "./toast.mjs";
import * as transfer from "./transfer.mjs";

const AT_ONCE = 200; // rows that are drawn before somebody asks for more
const SOON = 250; // milliseconds after which a change is drawn, with those that came meanwhile
const FEW = 50; // conversations that are read one by one where they changed
const OFTEN = 5000; // milliseconds between two looks at how much room is taken
const NEARLY_FULL = 0.8;
const groupName = (name) => ({ Pinned: t("Pinned"), Today: t("Today"), Yesterday: t("Yesterday"), "Previous 7 days": t("Previous 7 days"), Older: t("Older") })[name];

export class ConversationList {
  #session; #store; #peers; #away; #parts = {};
  #listed = []; #records = null; #written = new Set(); #asked = 0; #texts = null; #chosen = null; #renaming = null; #most = AT_ONCE; #timer = null; #key = "";

  /** `away` closes the list where it lies over the page. */
  constructor(root, { session, peers, away }) {
    [this.#session, this.#store, this.#peers, this.#away] = [session, session.store, peers, away];
    const p = this.#parts;
    p.new = button(t("New chat"), () => this.#began(session.newChat()), { name: "new-conversation" });
    p.temporary = button(t("Temporary chat: nothing of it is kept"), () => this.#began(temporary.begin(session)), { icon: true, name: "temporary" });
    p.more = Menus.button(t("More"), () => this.#all());
    p.close = button(t("Close the list"), () => away({ always: true }), { icon: true, name: "close" });
    p.search = make("input.library-search", { type: "search", placeholder: t("Search conversations"), "aria-label": t("Search conversations"), oninput: () => this.#searched() });
    p.bar = make("div.library-bar", { hidden: true });
    p.list = make("div.library-list", { onkeydown: (event) => this.#key_down(event) });
    p.foot = make("div.library-foot", { hidden: true });
    p.file = make("input", { type: "file", multiple: true, accept: ".zip,application/zip", hidden: true, onchange: () => this.#picked() });
    root.replaceChildren(make("div.library-head", {}, p.new, p.temporary, p.more, p.close), p.search, p.bar, p.list, p.foot, p.file);
    const wrote = (id) => { this.#texts?.then((texts) => texts.delete(id)); this.#written.add(id); this.changed(); };
    this.#store.watch(wrote);
    peers?.listen(({ conversation }) => { if (conversation) wrote(conversation); });
    document.addEventListener("visibilitychange", () => { if (!document.hidden) { this.#records = null; this.changed(); } });
  }

  focus({ search: wanted = false } = {}) {
    (wanted ? this.#parts.search : this.#parts.new).focus();
    if (wanted) this.#parts.search.select();
  }

  /** Draws soon, once however often it is asked to. */
  changed() {
    if (!document.body.classList.contains("library-open")) return; // it is drawn when it opens
    this.#timer ??= setTimeout(() => { this.#timer = null; this.draw(); }, SOON);
  }

  async draw() {
    await this.#read();
    if (this.#renaming) return;
    const query = this.#parts.search.value.trim();
    const groups = query ? [{ name: "", conversations: await this.#found(query) }] : grouped(this.#listed, Date.now());
    if (query !== this.#parts.search.value.trim()) return; // it is drawn for what is typed by now
    this.#bar();
    const key = JSON.stringify([query, this.#session.conversation.id, this.#most, this.#chosen && [...this.#chosen],
      groups.map((group) => [group.name, group.conversations.map((one) => [one.id, nameOf(one), one.pinned, one.around])])]);
    if (key !== this.#key) this.#fill(groups, query);
    this.#key = key;
    this.#usage();
  }

  /** All records once, then those that were written; all again where those are many. */
  async #read() {
    const written = [...this.#written];
    this.#written.clear();
    if (written.length > FEW) this.#records = null;
    if (!this.#records) this.#records = new Map((await this.#store.conversations()).map((one) => [one.id, one]));
    else for (const id of written) {
      const found = await this.#store.described(id);
      if (found) this.#records.set(id, found);
      else this.#records.delete(id);
    }
    const listed = [...this.#records.values()].filter((one) => nameOf(one) && one.id !== this.#store.temporary);
    this.#listed = listed.sort((one, other) => other.changed - one.changed);
  }

  async #found(query) {
    const all = await this.#texts_now();
    const library = this.#listed.map((conversation) => ({ conversation, messages: all.get(conversation.id) ?? [] }));
    return search(query, library).map(({ conversation, message, around }) => ({ ...conversation, message, around }));
  }

  /** What was said in all conversations, read once; of those that changed it is read again. */
  async #texts_now() {
    this.#texts ??= this.#store.texts({ read: searchable });
    const texts = await this.#texts;
    const written = this.#listed.map((one) => one.id).filter((id) => !texts.has(id));
    const read = written.length ? await this.#store.texts({ read: searchable, ids: written.length > FEW ? null : written }) : texts;
    for (const id of written) texts.set(id, read.get(id) ?? []);
    return texts;
  }

  // --- drawing -----------------------------------------------------------------------------------------------------

  #fill(groups, query) {
    const stood = document.activeElement?.closest?.("[data-conversation]");
    const place = this.#rows.indexOf(stood);
    const sections = [];
    let left = this.#most;
    for (const { name, conversations } of groups) {
      const rows = conversations.slice(0, left).map((one) => this.#row(one));
      left -= rows.length;
      if (rows.length) sections.push(make("section", {}, name && make("h3", {}, groupName(name)), make("ul", {}, ...rows)));
    }
    const none = query ? t("Nothing found.") : t("Conversations appear here. They are kept in this browser alone.");
    if (!sections.length) sections.push(make("p.library-none", {}, none));
    const hidden = groups.reduce((sum, group) => sum + group.conversations.length, 0) > this.#most;
    if (hidden) sections.push(make("button.quiet.plain-button", { type: "button", onclick: () => { this.#most += AT_ONCE; this.draw(); } }, t("Show more")));
    this.#parts.list.replaceChildren(...sections);
    if (place < 0) return;
    const there = this.#rowOf(stood.dataset.conversation) ?? this.#rows[Math.min(place, this.#rows.length - 1)]; // where it is gone
    (there?.querySelector("button, input") ?? this.#parts.new).focus();
  }

  #row(one) {
    const current = one.id === this.#session.conversation.id;
    const name = plain(nameOf(one));
    const row = make("li.library-row", {});
    row.dataset.conversation = one.id;
    row.classList.toggle("current", current);
    row.classList.toggle("draft", !one.title);
    const words = [make("span.library-title", { dir: "auto" }, name), one.around && make("span.library-around", { dir: "auto" }, plain(one.around))];
    if (this.#chosen) {
      const box = make("input", { type: "checkbox", checked: this.#chosen.has(one.id), onchange: () => this.#choose(one.id, box.checked) });
      row.append(make("label.library-item", {}, box, ...words.filter(Boolean)));
      return row;
    }
    const open = make("button.quiet.library-item", { type: "button", title: name, onclick: () => this.#opened(one), ondblclick: () => this.#rename(one) }, ...words.filter(Boolean));
    if (current) open.setAttribute("aria-current", "true");
    row.append(open, one.pinned ? make("span.library-pin", { title: t("Pinned") }) : "", Menus.button(t("More about “{name}”", { name }), () => this.#one(one)));
    return row;
  }

  get #rows() { return [...this.#parts.list.querySelectorAll("[data-conversation]")]; }
  #rowOf(id) { return this.#rows.find((row) => row.dataset.conversation === id); }

  #bar() {
    const { bar } = this.#parts;
    const held = this.#store.temporary !== null;
    bar.hidden = !held && !this.#chosen;
    if (this.#chosen) {
      const some = this.#chosen.size > 0;
      const does = (words, act) => make("button.quiet.plain-button", { type: "button", disabled: !some, onclick: act }, words);
      bar.replaceChildren(make("span", {}, t("{count} chosen", { count: this.#chosen.size })),
        does(t("Export"), () => transfer.exportSeveral(this.#session, [...this.#chosen])), does(t("Delete"), () => this.#remove([...this.#chosen])),
        make("button.quiet.plain-button", { type: "button", onclick: () => this.#choosing(false) }, t("Cancel")));
    } else if (held) {
      bar.replaceChildren(make("span", {}, t("This chat isn't kept.")),
        make("button.quiet.plain-button", { type: "button", onclick: () => temporary.keep(this.#session).then(() => this.draw()) }, t("Keep it")));
    }
  }

  /** How much room is taken, once it is nearly all. */
  async #usage() {
    if (Date.now() - this.#asked < OFTEN) return;
    this.#asked = Date.now();
    const { usage, quota } = (await navigator.storage?.estimate?.().catch(() => null)) ?? {};
    const { foot } = this.#parts;
    foot.hidden = !(usage > NEARLY_FULL * quota);
    if (!foot.hidden) foot.textContent = t("{used} of {all} MB of this browser's room are taken: export and delete what you don't need.", { used: Math.round(usage / 1e6), all: Math.round(quota / 1e6) });
  }

  // --- what people do ----------------------------------------------------------------------------------------------

  async #began(work) {
    await work;
    this.#away({ composer: true });
    await this.draw();
  }

  async #opened(one) {
    if (one.id !== this.#session.conversation.id) await this.#session.open(one.id);
    if (one.message && !this.#session.path.some((message) => message.id === one.message)) await this.#session.choose(one.message);
    this.#away({});
    await this.draw();
  }

  #searched() {
    this.#most = AT_ONCE;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => { this.#timer = null; this.draw(); }, 120);
  }

  #key_down(event) {
    const row = event.target.closest("[data-conversation]");
    if (!row || event.target.matches("input[type=text]")) return;
    const one = this.#listed.find((it) => it.id === row.dataset.conversation);
    const rows = this.#rows;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) rows[rows.indexOf(row) + step]?.querySelector("button, input")?.focus();
    else if (event.key === "F2") this.#rename(one);
    else if (event.key === "Delete") this.#remove([one.id]);
    else return;
    event.preventDefault();
  }

  #one(one) {
    const asked = Boolean(one.title);
    return [
      { words: t("Rename"), name: "edit", act: () => this.#rename(one) },
      { words: one.pinned ? t("Unpin") : t("Pin"), name: "pin", act: () => this.#describe(one.id, { pinned: !one.pinned }) },
      ...(asked ? [
        { words: t("Export (.ovis.zip)"), name: "export", act: () => transfer.exportSeveral(this.#session, [one.id]) },
        { words: t("Export as Markdown"), name: "export", act: () => transfer.exportText(this.#session, one.id, "markdown") },
        { words: t("Export as a web page"), name: "export", act: () => transfer.exportText(this.#session, one.id, "html") },
        ...transfer.programs(this.#session, { id: one.id })] : []),
      { words: t("Delete"), name: "delete", act: () => this.#remove([one.id]) },
    ];
  }

  #all() {
    return [
      { words: t("Many questions…"), name: "many", act: async () => { this.#away({}); (await import("./many_dialog.mjs")).open(this.#session); } },
      { words: t("Import…"), name: "bring", act: () => this.#parts.file.click() },
      ...(this.#listed.length ? [
        { words: t("Export all"), name: "export", act: () => transfer.exportSeveral(this.#session, this.#listed.map((one) => one.id)) },
        { words: t("Choose several"), name: "choose", act: () => this.#choosing(true) },
        { words: t("Delete all…"), name: "delete", act: () => this.#removeAll() }] : []),
    ];
  }

  async #picked() {
    const files = [...this.#parts.file.files];
    this.#parts.file.value = "";
    await transfer.importFiles(this.#session, files);
    this.#away({});
  }

  #choosing(on) {
    this.#chosen = on ? new Set() : null;
    this.draw();
  }

  #choose(id, on) {
    if (on) this.#chosen.add(id);
    else this.#chosen.delete(id);
    this.#bar();
  }

  #rename(one) {
    const row = this.#rowOf(one.id);
    if (!row || this.#renaming || this.#chosen) return;
    this.#renaming = one.id;
    const before = nameOf(one);
    const input = titleField(before, async (title) => {
      this.#renaming = null;
      this.#key = ""; // the row is drawn anew
      if (title) await this.#describe(one.id, { title });
      await this.draw();
      if (document.activeElement === document.body) this.#rowOf(one.id)?.querySelector("button")?.focus();
    });
    row.replaceChildren(input);
    input.focus();
    input.select();
  }

  /** Changes a conversation's own record, in this tab and in others. */
  async #describe(id, part) {
    if (id === this.#session.conversation.id) Object.assign(this.#session.conversation, part);
    await this.#store.describe([id], part);
    this.#peers?.say({ conversation: id });
    await this.draw();
  }

  async #removeAll() {
    const ids = this.#listed.map((one) => one.id);
    const sentence = t("Delete all {count} conversations of this browser, with their pictures?", { count: ids.length });
    const { dialog } = await import("./dialogs.mjs");
    dialog(sentence, [], [[t("Cancel"), () => {}], [t("Delete all"), () => this.#remove(ids), "grave"]]);
  }

  /** Marked as deleted at once, and gone for good when nobody took it back. */
  async #remove(ids) {
    const deleted = Date.now();
    const own = this.#session.conversation.id;
    const words = ids.length > 1 ? t("{count} conversations deleted.", { count: ids.length })
      : t("“{name}” deleted.", { name: plain(nameOf(this.#listed.find((one) => one.id === ids[0]) ?? this.#session.conversation)) });
    this.#chosen = null;
    if (ids.includes(own)) await this.#session.dropped(deleted);
    await this.#store.describe(ids, { deleted });
    for (const id of ids) this.#peers?.say({ conversation: id, deleted });
    await this.draw();
    const back = async () => {
      await this.#store.describe(ids, { deleted: 0 });
      for (const id of ids) this.#peers?.say({ conversation: id });
      if (ids.includes(own) && this.#session.empty) await this.#session.open(own);
      await this.draw();
    };
    toast(words, { words: t("Undo"), act: back, over: () => this.#store.purge(ids) });
  }
}
