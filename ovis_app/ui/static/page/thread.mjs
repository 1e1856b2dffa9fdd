// A conversation as a tree that is shown along one path and written down: what is said joins it, grows and ends.
// Knows the store and other tabs; refuses to know boxes, servers and who asks.

import { t } from "./i18n.mjs";
import * as schema from "./schema.mjs";
import * as trees from "./tree.mjs";

export const GONE_MS = 5000; // after its last write, an unfinished answer of another tab has nobody who finishes it

export class Thread {
  /** `tab` keeps words for this tab alone (get, set); `changed` is called after every change, with the id of a message
   * where only that one changed. */
  constructor({ store, tab, changed, now = Date.now, newId = randomId, peers = null }) {
    Object.assign(this, { store, tab, changed, now, newId, peers });
    this.mine = tab.get("tab") ?? newId();
    tab.set("tab", this.mine);
    this.begin(newId());
    peers?.listen((word) => { this.#follow(word); });
  }

  get messages() { return this.tree.byId; }
  get path() { return trees.path(this.tree, this.conversation.leaf); }
  get empty() { return this.tree.byId.size === 0; }
  get running() { return null; } // the message that grows here, where somebody asks
  get record() { return this.conversation; } // as it is written down

  /** It was deleted elsewhere: whoever shows it shows another. */
  async dropped() {}

  begin(id) {
    this.conversation = { ...schema.conversation({ id }), created: this.now(), changed: this.now() };
    this.tree = trees.build([]);
  }

  /** Shows a conversation as it is kept; `leaf` is where this tab stood in it. */
  async show(id, { conversation, messages }, leaf) {
    this.begin(id);
    this.conversation = conversation;
    this.tree = trees.build(messages);
    await this.#markCut();
    this.stand(this.messages.has(leaf) ? leaf : trees.standing(this.tree, this.conversation.leaf));
    this.tab.set("conversation", id);
  }

  /** A new message, which isn't said yet. */
  made(role, parent, more) {
    const own = { id: this.newId(), conversation: this.conversation.id, parent, role, text: "", created: this.#later() };
    return { ...schema.message(own), touched: this.now(), ...more };
  }

  /** Now, and after all that was said: clocks go back. */
  #later() {
    let latest = 0;
    for (const one of this.messages.values()) latest = Math.max(latest, one.created);
    return Math.max(this.now(), latest + 1);
  }

  /** Puts messages into the tree and shows the path to `leaf`. */
  say(messages, leaf) {
    this.tree = trees.build([...this.messages.values(), ...messages]);
    this.stand(leaf);
    this.tab.set("conversation", this.conversation.id);
    this.changed();
  }

  /** Shows the path to this message: in this tab for sure, and in later ones until another one stands elsewhere. */
  stand(leaf) {
    this.conversation.leaf = leaf;
    this.tab.set("leaf", leaf);
  }

  /** A message that is under way has got further. */
  grow(id, part) {
    const message = this.messages.get(id);
    if (!message) return;
    this.replace({ ...message, ...part, touched: this.now() });
    this.changed(id);
  }

  /** Puts a message in the place of what it was before; the tree stays as it is. */
  replace(message) {
    const before = this.messages.get(message.id);
    const siblings = [...this.tree.children.values()].find((several) => several.includes(before));
    siblings.splice(siblings.indexOf(before), 1, message);
    this.messages.set(message.id, message);
  }

  /** A message that was under way is as it stays. */
  async end(id, part) {
    const message = this.messages.get(id);
    if (!message) return;
    this.replace({ ...message, ...part, note: "", touched: this.now() });
    await this.write([this.messages.get(id)]);
    this.tab.set("tail", null);
    this.changed(id);
  }

  /** Writes the conversation and these messages of it down. */
  async write(messages) {
    this.conversation.changed = this.now();
    await this.store.putConversation(this.record);
    for (const one of messages) await this.store.putMessage(plain(one));
    this.peers?.say({ conversation: this.conversation.id });
  }

  /** Shows this version of a message, and what was said after it. */
  async choose(id) {
    this.stand(trees.newestLeaf(this.tree, id)?.id ?? this.conversation.leaf);
    await this.write([]);
    this.changed();
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
      this.replace({ ...message, ...more, finish: "cut" });
      await this.store.putMessage(plain(this.messages.get(message.id)));
    }
    this.tab.set("tail", null);
  }

  /** Another tab said something in this conversation. Where both stand stays their own. */
  async #follow({ conversation, deleted = 0 }) {
    if (conversation !== this.conversation.id) return;
    if (deleted) return await this.dropped(deleted, t("This conversation was deleted in another tab."));
    const named = await this.store.described(conversation); // at once: an answer that grows here writes it down again soon
    if (named && conversation === this.conversation.id) Object.assign(this.conversation, { title: named.title || this.conversation.title, pinned: named.pinned });
    const found = await this.store.conversation(conversation);
    if (!found || conversation !== this.conversation.id) return;
    const own = this.running ? [this.messages.get(this.running.id)].filter(Boolean) : [];
    this.tree = trees.build([...found.messages, ...own]);
    this.stand(trees.standing(this.tree, this.conversation.leaf));
    this.changed();
  }
}

/** A message as it is kept: without what is only of the moment. */
function plain({ note, ...message }) {
  return message;
}

function tailOf(text) {
  try {
    const { id, text: said, thinking } = JSON.parse(text);
    return typeof said === "string" && typeof thinking === "string" ? { id, text: said, thinking } : null;
  } catch {
    return null;
  }
}

export function randomId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (one) => one.toString(16).padStart(2, "0")).join("");
}
