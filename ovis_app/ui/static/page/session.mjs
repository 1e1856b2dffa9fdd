// One tab's conversation: what is asked, what is said, and that it is kept. Puts store, tree, request and wire together.
// Refuses to know how any of it is drawn, and which browser this is: all of that is handed in.

import { fresh, heard } from "./frames.mjs";
import { later } from "./i18n.mjs";
import { detailOf, filesOf, requestOf } from "./request.mjs";
import * as schema from "./schema.mjs";
import * as trees from "./tree.mjs";

export const WRITE_MS = 300; // between two writes of an answer that grows
export const GONE_MS = 5000; // after its last write, an unfinished answer of another tab has nobody who finishes it
export const WAITS = later("There is no connection to the server just now: the question waits here until there is.");
export const UPDATED = later("This page was updated: reload to get the new one. Nothing is lost.");

export class Session {
  /** `tab` keeps words for this tab alone (get, set); `wire` and `store` are those modules; `changed` is called after every
   * change, with the id of a message where only that one changed. */
  constructor({ store, wire, files, tab, changed, lines = new Map(), now = Date.now, newId = randomId, peers = null }) {
    Object.assign(this, { store, wire, files, tab, now, newId, peers });
    this.changed = changed;
    this.facts = null;
    this.settings = {};
    this.running = null; // {id, controller}
    this.lines = lines; // what is to be said of the page as a whole, by kind
    this.notice = ""; // what is to be said of what was just tried
    this.mine = tab.get("tab") ?? newId();
    tab.set("tab", this.mine);
    this.#begin(newId());
    peers?.listen((word) => { this.#follow(word); });
  }

  get messages() { return this.tree.byId; }
  get path() { return trees.path(this.tree, this.conversation.leaf); }
  get empty() { return this.tree.byId.size === 0; }

  // --- conversations ---------------------------------------------------------------------------------------------

  /** What this tab had before it was reloaded; else nothing yet. */
  async start() {
    const id = this.tab.get("conversation");
    const draft = this.tab.get("draft");
    const found = id !== null && await this.open(id, { draft, leaf: this.tab.get("leaf") });
    if (!found && draft) this.draft.text = draft;
    this.tab.set("draft", null);
    this.changed();
  }

  /** Shows a conversation that is kept. Resolves to whether there is one. */
  async open(id, { draft = null, leaf = null } = {}) {
    const found = await this.store.conversation(id);
    if (!found) return false;
    await this.leave();
    this.#begin(id);
    this.conversation = found.conversation;
    this.tree = trees.build(found.messages);
    await this.#markCut();
    this.#stand(this.messages.has(leaf) ? leaf : trees.standing(this.tree, this.conversation.leaf));
    if (draft !== null) this.conversation.draft.text = draft;
    this.draft = { ...this.conversation.draft, files: this.conversation.draft.files.map((one) => ({ ...one, state: "ready" })) };
    if (this.draft.editing && !this.messages.has(this.draft.editing)) this.draft.editing = null;
    this.tab.set("conversation", id);
    this.changed();
    return true;
  }

  /** Begins another. What stands in the box goes along only where it is the box of nothing yet. */
  async newChat() {
    await this.leave();
    this.#begin(this.newId());
    for (const key of ["conversation", "draft"]) this.tab.set(key, null);
    this.changed();
  }

  /** Ends what is under way, before something else is shown. */
  async leave() {
    await this.stop();
    await this.saveDraft();
  }

  /** The latest that are kept. */
  async latest(count) {
    return (await this.store.conversations()).filter((one) => one.title).slice(0, count);
  }

  #begin(id) {
    this.conversation = { ...schema.conversation({ id }), created: this.now(), changed: this.now() };
    this.tree = trees.build([]);
    this.draft = { text: "", files: [], editing: null };
    this.kept = null; // what was being typed before an edit began
    this.notice = "";
  }

  // --- asking ----------------------------------------------------------------------------------------------------

  /** Asks what stands in the box. */
  async ask(wants = {}) {
    const { text, editing } = this.draft;
    if (this.running || (!text.trim() && !this.draft.files.length)) return;
    if (this.draft.files.some((one) => one.state !== "ready")) return;
    const most = this.facts.most_text;
    if (text.length > most) return this.tell(later("That is more text than fits: at most {most} characters, please.", { most: most.toLocaleString("en") }));
    const files = this.draft.files.map(schema.file);
    const edited = editing ? this.messages.get(editing) : null;
    const question = this.#made("user", edited ? edited.parent : this.conversation.leaf, {
      text, files, wants: edited ? edited.wants : wants, detail: detailOf(this.settings, this.facts.model), finish: "end",
    });
    const before = { draft: this.draft, leaf: this.conversation.leaf, kept: this.kept };
    this.draft = this.kept ?? { text: "", files: [], editing: null };
    this.kept = null;
    this.notice = "";
    if (!this.conversation.title) this.conversation.title = schema.titleOf(text, files);
    await this.#answer(question, { before });
  }

  /** Asks an example, whatever stands in the box. */
  async askExample(example) {
    if (this.running) return;
    const files = [];
    for (const { url, name } of example.media) {
      const blob = await this.wire.own(url);
      const hash = await this.files.digest(blob);
      await this.store.putFile({ hash, blob });
      files.push({ hash, name, kind: blob.type.startsWith("video/") ? "video" : "image" });
    }
    const kept = this.draft;
    this.draft = { text: example.text, files: files.map((one) => ({ ...one, state: "ready" })), editing: null };
    this.kept = kept;
    await this.ask(example.wants);
  }

  /** Another answer to the question before `id`, or to the question `id`. */
  async again(id) {
    const message = this.messages.get(id);
    const question = message?.role === "user" ? message : this.messages.get(message?.parent);
    if (!question || this.running) return;
    this.notice = "";
    await this.#answer(question, {});
  }

  /** Ends the answer that is under way; what was said stays. */
  async stop() {
    const running = this.running;
    if (!running) return;
    running.controller.abort();
    await running.over;
  }

  async #answer(question, { before = null }) {
    const answer = this.#made("assistant", question.id, { by: this.mine });
    const controller = new AbortController();
    let over;
    const running = { id: answer.id, controller, over: new Promise((resolve) => { over = resolve; }) };
    this.running = running;
    this.#say(before ? [question, answer] : [answer], answer.id);
    try {
      await this.#write(before ? [question, answer] : [answer]);
      await this.#hear(question, answer.id, controller.signal);
    } catch (error) {
      await this.#failed(error, question, answer.id, before);
    } finally {
      this.running = null;
      over();
      this.changed();
    }
  }

  /** Sends the question and lets its answer grow. Files that the server lacks are sent again, from this browser's copy. */
  async #hear(question, id, signal) {
    for (let tries = 0; ; tries++) {
      const path = trees.path(this.tree, question.id);
      const places = await this.files.placed(filesOf(path), { signal, note: (note) => this.#grow(id, { note }) });
      const address = (file) => this.wire.address(places.get(file.hash));
      const request = requestOf(path, this.settings, this.facts.model, address);
      let answer = fresh();
      let written = this.now();
      await this.wire.ask({ session: this.facts.session, request }, (frame) => {
        answer = heard(answer, frame);
        this.lines.delete("offline");
        if (answer.version && answer.version !== this.facts.version) this.lines.set("version", UPDATED);
        this.#grow(id, partOf(answer));
        if (this.now() - written >= WRITE_MS) {
          written = this.now();
          this.#write([this.messages.get(id)]);
        }
      }, { signal });
      if (answer.missing === null) return await this.#end(id, { ...partOf(answer), finish: answer.finish ?? "cut" });
      const lacking = answer.missing.map((number) => filesOf(path)[number]).filter(Boolean);
      this.files.forget(lacking.map((one) => one.hash));
      if (tries === 2) throw new Error(this.facts.sentences.files);
    }
  }

  async #failed(error, question, id, before) {
    if (error.name === "AbortError") return await this.#end(id, { finish: "stopped" });
    const answer = this.messages.get(id);
    if (error.lost && !answer.text && !answer.thinking) {
      this.lines.set("offline", WAITS);
      if (before) return await this.#takeBack(question, id, before);
    }
    const finish = error.lost ? "cut" : "error";
    await this.#end(id, { finish, error: error.lost ? "" : error.message });
  }

  /** As before the question was asked: it stands in the box again. */
  async #takeBack(question, id, before) {
    const gone = [id, question.id];
    this.tree = trees.build([...this.messages.values()].filter((one) => !gone.includes(one.id)));
    const typed = this.draft;
    this.#stand(before.leaf);
    [this.draft, this.kept] = [before.draft, before.kept];
    if (typed.text && typed.text !== before.draft.text && !before.kept) this.draft.text = `${before.draft.text}\n\n${typed.text}`;
    if (this.empty) this.conversation.title = "";
    await this.store.removeMessages(gone);
    await this.saveDraft();
    await this.store.putConversation(this.conversation);
  }

  #made(role, parent, more) {
    const own = { id: this.newId(), conversation: this.conversation.id, parent, role, text: "", created: this.#later() };
    return { ...schema.message(own), touched: this.now(), ...more };
  }

  /** Now, and after all that was said: clocks go back. */
  #later() {
    let latest = 0;
    for (const one of this.messages.values()) latest = Math.max(latest, one.created);
    return Math.max(this.now(), latest + 1);
  }

  #say(messages, leaf) {
    this.tree = trees.build([...this.messages.values(), ...messages]);
    this.#stand(leaf);
    this.tab.set("conversation", this.conversation.id);
    this.changed();
  }

  /** Shows the path to this message: in this tab for sure, and in later ones until another one stands elsewhere. */
  #stand(leaf) {
    this.conversation.leaf = leaf;
    this.tab.set("leaf", leaf);
  }

  #grow(id, part) {
    const message = this.messages.get(id);
    if (!message) return;
    this.#replace({ ...message, ...part, touched: this.now() });
    this.changed(id);
  }

  /** Puts a message in the place of what it was before; the tree stays as it is. */
  #replace(message) {
    const before = this.messages.get(message.id);
    const siblings = [...this.tree.children.values()].find((several) => several.includes(before));
    siblings.splice(siblings.indexOf(before), 1, message);
    this.messages.set(message.id, message);
  }

  async #end(id, part) {
    const message = this.messages.get(id);
    if (!message) return;
    this.#replace({ ...message, ...part, note: "", touched: this.now() });
    await this.#write([this.messages.get(id)]);
    this.tab.set("tail", null);
    this.changed(id);
  }

  async #write(messages) {
    this.conversation.changed = this.now();
    await this.store.putConversation({ ...this.conversation, draft: stored(this.draft), settings: this.settings });
    for (const one of messages) await this.store.putMessage(plain(one));
    this.peers?.say({ conversation: this.conversation.id });
  }

  // --- what was said -----------------------------------------------------------------------------------------------

  /** Shows this version of a message, and what was said after it. */
  async choose(id) {
    this.#stand(trees.newestLeaf(this.tree, id)?.id ?? this.conversation.leaf);
    await this.#write([]);
    this.changed();
  }

  /** Removes a message and all that was said after it; what stands beside it is shown instead. */
  async remove(id) {
    const message = this.messages.get(id);
    if (!message) return;
    const gone = new Set(trees.below(this.tree, id));
    if (this.running && gone.has(this.running.id)) await this.stop();
    const beside = trees.versions(this.tree, id).filter((one) => one.id !== id).at(-1);
    this.tree = trees.build([...this.messages.values()].filter((one) => !gone.has(one.id)));
    const stands = beside ? trees.newestLeaf(this.tree, beside.id).id : this.messages.has(message.parent) ? message.parent : null;
    this.#stand(trees.standing(this.tree, stands));
    if (this.draft.editing && gone.has(this.draft.editing)) this.leaveEdit();
    await this.store.removeMessages([...gone]);
    if (this.empty) await this.store.removeConversation(this.conversation.id);
    else await this.#write([]);
    this.changed();
  }

  /** The question with its files in the box; asking it makes another version of it. */
  edit(id) {
    const question = this.messages.get(id);
    if (!question || this.running) return;
    if (!this.draft.editing) this.kept = this.draft;
    this.draft = { text: question.text, files: question.files.map((one) => ({ ...one, state: "ready" })), editing: id };
    this.notice = "";
    this.changed();
  }

  /** As before the edit, with what was being typed then. */
  leaveEdit() {
    this.draft = this.kept ?? { text: "", files: [], editing: null };
    this.kept = null;
    this.changed();
  }

  // --- the box -----------------------------------------------------------------------------------------------------

  /** What is to be said of what was just tried. */
  tell(sentence) {
    this.notice = sentence;
    this.changed();
  }

  /** Files join what stands in the box, each looked at by the server; what can't be sent is said, the rest stays. */
  async attach(chosen) {
    this.notice = "";
    const draft = this.draft;
    for (const { blob, name } of chosen) {
      const entry = { name, kind: blob.type.startsWith("video/") ? "video" : "image", hash: null, state: "coming", share: 0 };
      draft.files.push(entry);
      this.changed();
      const refused = this.#misfit(draft, entry) ?? await this.files.take(blob, entry, draft, () => this.changed());
      const unfit = refused ?? this.#misfit(draft, entry);
      if (unfit) {
        draft.files = draft.files.filter((one) => one !== entry);
        this.notice = [this.notice, unfit].filter(Boolean).join(" ");
      }
      this.changed();
    }
    await this.saveDraft();
  }

  /** Why a file can't go with the others; null where it can. */
  #misfit(draft, entry) {
    const { most_files: most, sentences } = this.facts;
    const others = draft.files.filter((one) => one !== entry);
    if (!draft.files.includes(entry)) return null;
    if (others.length >= most) return fill(sentences.too_many, entry.name);
    const clips = [entry, ...others].filter((one) => one.kind === "video" && !one.moves);
    return clips.length && others.length && entry.state === "ready" ? fill(sentences.clip_alone, entry.name) : null;
  }

  detach(entry) {
    this.draft.files = this.draft.files.filter((one) => one !== entry);
    this.changed();
    return this.saveDraft();
  }

  type(text) {
    this.draft.text = text;
  }

  /** Writes down what stands in the box. */
  async saveDraft() {
    const draft = this.draft.editing ? this.kept ?? this.draft : this.draft;
    this.conversation.draft = stored(draft);
    const nothing = !draft.text && !draft.files.length;
    if (this.empty && nothing) return;
    this.tab.set("conversation", this.conversation.id);
    await this.store.putConversation({ ...this.conversation, settings: this.settings });
  }

  /** The tab goes, perhaps for good: what isn't written down yet is put where a reload finds it. */
  put_aside() {
    this.tab.set("draft", (this.draft.editing ? this.kept : this.draft)?.text ?? "");
    const growing = this.running && this.messages.get(this.running.id);
    if (growing) this.tab.set("tail", JSON.stringify({ id: growing.id, text: growing.text, thinking: growing.thinking }));
  }

  // --- what other tabs and former ones did -------------------------------------------------------------------------

  /** Answers that nobody finishes any more are marked, with what this tab put aside of them when it went. */
  async #markCut() {
    const tail = tailOf(this.tab.get("tail"));
    for (const message of [...this.messages.values()]) {
      if (message.role !== "assistant" || message.finish !== null || message.lost) continue;
      if (message.by !== this.mine && this.now() - message.touched < GONE_MS) continue;
      const more = tail?.id === message.id && tail.text.length + tail.thinking.length >= message.text.length + message.thinking.length
        ? { text: tail.text, thinking: tail.thinking } : {};
      this.#replace({ ...message, ...more, finish: "cut" });
      await this.store.putMessage(plain(this.messages.get(message.id)));
    }
    this.tab.set("tail", null);
  }

  /** Another tab said something in this conversation. Where both stand stays their own. */
  async #follow({ conversation }) {
    if (conversation !== this.conversation.id) return;
    const found = await this.store.conversation(conversation);
    if (!found || conversation !== this.conversation.id) return;
    const own = this.running ? [this.messages.get(this.running.id)].filter(Boolean) : [];
    this.tree = trees.build([...found.messages, ...own]);
    this.#stand(trees.standing(this.tree, this.conversation.leaf));
    this.changed();
  }
}

function partOf(answer) {
  const { text, thinking, error, stats, boxes, note } = answer;
  return { text, thinking, error, stats, boxes, note };
}

/** A message as it is kept: without what is only of the moment. */
function plain({ note, ...message }) {
  return message;
}

function stored(draft) {
  return { text: draft.text, files: draft.files.filter((one) => one.hash).map(schema.file), editing: draft.editing };
}

function tailOf(text) {
  try {
    const { id, text: said, thinking } = JSON.parse(text);
    return typeof said === "string" && typeof thinking === "string" ? { id, text: said, thinking } : null;
  } catch {
    return null;
  }
}

function fill(sentence, name) {
  return sentence.replace("{}", name);
}

export function randomId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (one) => one.toString(16).padStart(2, "0")).join("");
}
