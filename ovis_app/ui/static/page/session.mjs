// One tab's conversation: what is shown of it, and that it is kept. Puts store, tree, box and asking together.
// Refuses to know how any of it is drawn, and which browser this is: all of that is handed in.

import { Asking, unfinished } from "./asking.mjs";
import { Connection } from "./connection.mjs";
import { Box, stored } from "./draft.mjs";
import { Examples } from "./examples.mjs";
import { later } from "./i18n.mjs";
import { Pair } from "./pairs.mjs";
import { whole } from "./pasted.mjs";
import { detailOf } from "./request.mjs";
import * as schema from "./schema.mjs";
import { fitted, turned } from "./setting_rows.mjs";
import { Thread } from "./thread.mjs";
import * as trees from "./tree.mjs";

export class Session extends Thread {
  /** Beside what a thread needs: `files` and `wire` are those modules, `lines` holds what is said of the whole page. */
  constructor({ wire, files, lines = new Map(), connection = null, ...rest }) {
    super(rest);
    Object.assign(this, { wire, files, lines });
    this.facts = null;
    this.settings = {};
    this.connection = connection ?? new Connection({ lines, changed: () => this.changed() });
    this.examples = new Examples(this);
    files.lost = () => this.connection.lost();
    this.box = new Box({ files, facts: () => this.facts, changed: () => this.changed(), save: () => this.saveDraft() });
    this.asking = new Asking(this, { wire, files });
    this.pair = new Pair(this.tab);
  }

  get running() { return this.asking.running; }
  get beside() { return this.pair.at(this.path, this.messages); } // two versions that are shown in place of the last answer
  get others() { return this.facts?.others ?? []; } // models that can answer one question alone
  get draft() { return this.box.draft; }
  get notice() { return this.box.notice; }
  get record() { return { ...this.conversation, draft: stored(this.draft), settings: this.settings, model: this.facts?.name ?? "" }; }

  // --- conversations ---------------------------------------------------------------------------------------------

  /** What this tab had before it was reloaded; else nothing yet. */
  async start() {
    const id = this.tab.get("conversation");
    const draft = this.tab.get("draft");
    await this.examples.load();
    const found = id !== null && await this.open(id, { draft, leaf: this.tab.get("leaf") });
    if (!found && draft) this.draft.text = draft;
    const { settings, edit } = schema.aside(this.tab.get("aside"), this.facts?.name);
    this.turn(settings);
    if (this.messages.has(edit.editing)) this.box.lay(edit);
    for (const key of ["draft", "aside"]) this.tab.set(key, null);
    this.changed();
  }

  /** Shows a conversation that is kept. Resolves to whether there is one. */
  async open(id, { draft = null, leaf = null } = {}) {
    const found = await this.store.conversation(id);
    if (!found) return false;
    await this.leave();
    await this.show(id, found, leaf);
    if (draft !== null) this.conversation.draft.text = draft;
    this.box.restore(this.conversation.draft, this.messages);
    this.settings = fitted(this.facts.model, this.conversation.settings);
    this.#unseen();
    this.changed();
    return true;
  }

  /** Begins another, with the model's recommended values where no `settings` are given. What stands in the box goes along
   * only where it is the box of nothing yet. */
  async newChat({ settings = {} } = {}) {
    await this.leave();
    this.begin(this.newId());
    this.box.empty();
    for (const key of ["conversation", "draft"]) this.tab.set(key, null);
    this.examples.used = true;
    await this.examples.load();
    this.settings = fitted(this.facts.model, settings);
    this.#unseen();
    this.changed();
  }

  /** What is shown from now on has only these pictures. */
  #unseen() {
    this.files.unseen(new Set([...this.messages.values(), this.draft].flatMap((one) => one.files).map((one) => one.hash)));
  }

  /** What the page was told. Of another model than before, settings stand as it recommends; what is about the conversation
   * stays. */
  follow(facts) {
    const other = this.facts?.name !== facts.name;
    const { system, split, drop_old_turns } = this.settings;
    this.facts = facts;
    if (other) this.settings = fitted(facts.model, { system, split, drop_old_turns });
    this.changed();
  }

  /** Some of the settings are another way from now on. */
  turn(part) {
    this.settings = turned(this.facts.model, this.settings, part);
    this.changed();
  }

  /** Ends what is under way, before something else is shown. */
  async leave() {
    await this.stop();
    await this.saveDraft();
    this.store.letGo();
    this.lines.delete("temporary");
  }

  /** This conversation was deleted: whatever is still written of it is marked as that, and another begins. */
  async dropped(when, sentence = "") {
    this.conversation.deleted = when;
    await this.newChat();
    this.tell(sentence);
  }

  /** The latest that are kept. */
  async latest(count) {
    return (await this.store.conversations()).filter((one) => one.title).slice(0, count);
  }

  // --- asking ----------------------------------------------------------------------------------------------------

  /** Asks what stands in the box, once all of its files are there; twice where it is said of the second answer, `beside`,
   * with which settings and by whom. */
  async ask(wants = {}, { beside = null } = {}) {
    if (this.running) return;
    const problem = this.box.unasked();
    if (problem !== null) return problem && this.tell(problem);
    if (this.box.coming) {
      this.box.asked = [wants, { beside }];
      return this.tell(later("It is asked as soon as its files are there."));
    }
    const { added, question } = this.wanted(wants);
    const { text, files, pasted } = question;
    const before = { leaf: this.conversation.leaf, added, ...this.box.taken() };
    if (!this.conversation.title) this.conversation.title = schema.titleOf(text.trim() ? text : whole({ text, pasted }), files);
    await this.asking.answer(question, { before, others: beside ? [{}, beside] : [{}] });
  }

  /** Asks what doesn't stand in the box: `text` about `files`, as another version of the question `editing` where one is
   * named. Resolves to the question; to null where nobody heard it. */
  async askAside({ text, files, editing = null }) {
    if (this.running) return null;
    const { added, question } = this.wanted({}, { text, files, pasted: [], editing });
    if (!this.conversation.title) this.conversation.title = schema.titleOf(text, files);
    await this.asking.answer(question, { before: { leaf: this.conversation.leaf, added } });
    return this.messages.get(question.id) ?? null;
  }

  /** What stands in the box as a question, which isn't said yet, and the examples that would stand before it. */
  wanted(wants = {}, { text, pasted, editing, files: given } = this.draft) {
    const files = given.map(schema.file);
    const edited = editing ? this.messages.get(editing) : null;
    const added = this.empty ? this.examples.before((...one) => this.made(...one)) : [];
    const behind = edited ? edited.parent : added.at(-1)?.id ?? this.conversation.leaf;
    const question = this.made("user", behind, {
      text, files, pasted, wants: edited ? edited.wants : wants, detail: detailOf(this.settings, this.facts.model), finish: "end",
    });
    return { added, question };
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
    this.box.lay({ text: example.text, files });
    await this.ask(example.wants);
  }

  /** Another answer to the question before `id`, or to the question `id`; with `other` settings, or those of now. */
  async again(id, other = {}) {
    const message = this.messages.get(id);
    const question = message?.role === "user" ? message : this.messages.get(message?.parent);
    if (!question || this.running) return;
    this.box.notice = "";
    await this.asking.answer(question, { others: [{ settings: other }] });
  }

  /** Another answer, with other `settings` and perhaps of another `model`, to be shown beside the answer `id`. */
  async askBeside(id, other) {
    const answer = this.messages.get(id);
    const question = this.messages.get(answer?.parent);
    if (!question || this.running) return;
    this.box.notice = "";
    await this.asking.answer(question, { others: [other], beside: id });
  }

  /** Shows two versions of an answer beside one another, of which the conversation goes on from `id`. */
  async sideBySide(ids, id) {
    this.pair.show(ids);
    this.stand(id);
    await this.write([]);
    this.changed();
  }

  /** Shows this version alone, and what was said after it. */
  async keep(id) {
    this.pair.close();
    await this.choose(id);
  }

  /** More of an answer that was cut. */
  async goOn(id) {
    const answer = this.messages.get(id);
    if (!answer || !unfinished(answer) || this.running) return;
    this.box.notice = "";
    await this.asking.goOn(answer);
  }

  /** Whether asking again would give the same words: nothing is drawn by chance, and nothing was changed. */
  same({ asked, model, finish, parent }) {
    if (!asked || !["end", "length"].includes(finish) || model !== this.facts?.name) return false;
    const now = { ...this.settings, ...this.messages.get(parent)?.wants };
    return asked.temperature === 0 && Object.keys(now).every((name) => now[name] === asked[name]);
  }

  /** Ends the answer that is under way, what was said stays; or a question's waiting for its files. */
  stop() {
    if (this.box.asked) {
      this.box.asked = null;
      this.tell("");
    }
    return this.asking.stop();
  }

  /** As before a question was asked, of which `id` is the answer: what stood in the box does again. */
  async takeBack(id, before) {
    const gone = [...trees.below(this.tree, this.messages.get(id).parent), ...before.added.map((one) => one.id)];
    this.tree = trees.build([...this.messages.values()].filter((one) => !gone.includes(one.id)));
    this.stand(before.leaf);
    if (before.draft) this.box.putBack(before);
    if (this.empty) this.conversation.title = "";
    await this.store.removeMessages(gone);
    await this.saveDraft();
    await this.store.putConversation(this.conversation);
  }

  // --- the box -----------------------------------------------------------------------------------------------------

  /** The question with its files in the box; asking it makes another version of it. */
  edit(id) {
    const question = this.messages.get(id);
    if (!question || this.running) return;
    this.box.lay({ text: question.text, files: question.files, pasted: question.pasted, editing: id });
    this.changed();
  }

  /** As before the edit, with what was being typed then. */
  leaveEdit() {
    this.box.leave();
    this.box.asked = null;
    this.changed();
  }

  /** What is to be said of what was just tried. */
  tell(sentence) {
    this.box.notice = sentence;
    this.changed();
  }

  async attach(chosen) {
    const draft = this.draft;
    await this.box.attach(chosen);
    if (this.box.asked && this.draft === draft && !this.box.coming) await this.ask(...this.box.asked);
  }

  detach(entry) { return this.box.detach(entry); }
  type(text) { this.draft.text = text; }

  /** Writes down what stands in the box. */
  async saveDraft() {
    const draft = this.box.lasting;
    this.conversation.draft = stored(draft);
    if (this.empty && !draft.text && !draft.files.length && !draft.pasted.length) return await this.store.removeConversation(this.conversation.id);
    this.tab.set("conversation", this.conversation.id);
    await this.store.putConversation({ ...this.conversation, settings: this.settings });
  }

  /** The tab goes, perhaps for good: what isn't written down yet is put where a reload finds it. */
  put_aside() {
    if (this.store.temporary === this.conversation.id) return;
    this.tab.set("draft", this.box.lasting?.text ?? "");
    this.tab.set("aside", JSON.stringify({ model: this.facts?.name, settings: this.settings, edit: this.draft.editing ? stored(this.draft) : null }));
    const growing = this.running && this.messages.get(this.running.id);
    if (growing) this.tab.set("tail", JSON.stringify({ id: growing.id, text: growing.text, thinking: growing.thinking }));
  }
}
