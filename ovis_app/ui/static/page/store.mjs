// Where conversations are kept: in records of this browser, which are in this tab's memory where there is no room.
// The only one that writes there. Knows records as schema.mjs has them; refuses to know what they mean.

import { leftOut, opened, safely, sentenceOf } from "./database.mjs";
import { whole } from "./pasted.mjs";
import { Records } from "./records.mjs";
import * as schema from "./schema.mjs";

const MINUTE = 60 * 1000;
const DAY = 24 * 3600 * 1000;
const PATIENCE = 5000; // milliseconds that the page waits for what it keeps, before it begins without

/** Opens the store of this browser. `say` is called with a sentence where something isn't as people may expect, and with it
 * again, as `over`, once it is. A browser that doesn't answer within `patience` keeps what is said once it does. */
export async function open(say, { factory = safely(() => globalThis.indexedDB), now = Date.now, patience = PATIENCE } = {}) {
  const records = new Records(say);
  const store = new Store(records, say, now);
  let timer;
  try {
    if (!factory) throw new Error("there is no IndexedDB");
    const found = opened(factory).then((database) => store.use(database));
    await Promise.race([found, new Promise((_, reject) => { timer = setTimeout(() => reject(new Error("silent")), patience); })]);
  } catch (error) {
    records.missed(error);
  } finally {
    clearTimeout(timer);
  }
  return store;
}

class Store {
  #records; #say; #now;
  #ears = new Set(); // who is told which conversation was written
  #held = null; // {id, files}: a conversation that is in memory only, and the files that came while it was shown

  constructor(records, say, now) {
    [this.#records, this.#say, this.#now] = [records, say, now];
  }

  get kept() {
    return this.#records.kept;
  }

  /** This is where records are from now on, those too that were in memory until then. */
  async use(database) {
    this.#records.use(database);
    await this.#catchUp();
  }

  /** All conversations, the latest first, without their messages. */
  async conversations() {
    const records = await this.#records.all("conversations");
    const { good, broken } = schema.usable(records, schema.conversation);
    if (broken) this.#say(leftOut(broken));
    return good.filter((one) => !one.deleted && one.id !== schema.EXAMPLES).sort((one, other) => other.changed - one.changed);
  }

  /** A conversation's own record, or null. */
  async described(id) {
    const found = schema.usable([await this.#records.get("conversations", id)].filter(Boolean), schema.conversation).good[0];
    return found?.deleted || id === schema.EXAMPLES ? null : found ?? null;
  }

  /** A conversation and its messages, or null. */
  async conversation(id) {
    const found = schema.usable([await this.#records.get("conversations", id)].filter(Boolean), schema.conversation).good[0];
    const records = await this.#records.all("messages", id);
    const { good, broken } = schema.usable(records, schema.message);
    if (broken) this.#say(leftOut(broken));
    if ((!found && !good.length) || found?.deleted) return null;
    return { conversation: found ?? schema.conversation({ id }), messages: good };
  }

  /** What was said in all conversations, or in those of these `ids`, by their ids; each message as `read` has it. */
  async texts({ ids = null, read = (one) => one } = {}) {
    const found = new Map();
    const take = (records) => {
      for (const { id, conversation, ...said } of schema.usable(records, schema.message).good) {
        if (!found.has(conversation)) found.set(conversation, []);
        found.get(conversation).push(read({ id, text: whole(said) }));
      }
    };
    if (ids) for (const id of ids) take(await this.#records.all("messages", id));
    else for await (const records of this.#records.parts("messages")) take(records);
    return found;
  }

  /** Calls `hear` with the id of each conversation that this tab writes or removes. */
  watch(hear) {
    this.#ears.add(hear);
  }

  /** Sets a part of these conversations' records, such as a title, and leaves the rest as it is, whoever wrote it. */
  async describe(ids, part) {
    const held = ids.map((id) => this.#records.memory.conversations.get(id)).filter(Boolean);
    for (const one of held) await this.#put("conversations", { ...one, ...part });
    for (const id of await this.#records.change("conversations", ids, part)) this.#tell(id);
  }

  /** Conversations from elsewhere with their files: all of it is kept, or nothing. Resolves to whether it is. */
  async putAll(library, files) {
    const kept = await this.#records.putAll([
      ...files.map((one) => ["files", { schema: schema.SCHEMA, added: this.#now(), shown: null, ...one }]),
      ...library.flatMap(({ conversation, messages }) => [["conversations", conversation], ...messages.map((one) => ["messages", one])]),
    ]);
    if (kept) for (const { conversation } of library) this.#tell(conversation.id);
    return kept;
  }

  /** The conversation that is in memory only, or null. */
  get temporary() {
    return this.#held?.id ?? null;
  }

  /** From now on this conversation is in memory only, with these files and those that come until it is let go. */
  async hold(id, hashes) {
    this.letGo();
    await this.removeConversation(id);
    this.#held = { id, files: new Set(hashes) };
    const others = await this.#named();
    for (const hash of hashes) {
      const records = [await this.#records.get("files", hash), ...await this.#readOf(hash)].filter(Boolean);
      if (!others.has(hash)) await this.#records.removeBeginning("files", hash);
      for (const one of records) {
        this.#held.files.add(one.hash);
        this.#records.remember("files", one);
      }
    }
  }

  /** What was in memory only is gone. */
  letGo() {
    if (!this.#held) return;
    const { id, files } = this.#held;
    this.#held = null;
    const { memory } = this.#records;
    for (const hash of files) memory.files.delete(hash);
    for (const [key, one] of memory.messages) if (one.conversation === id) memory.messages.delete(key);
    memory.conversations.delete(id);
  }

  /** What was in memory only is kept after all. */
  async keep() {
    if (!this.#held) return;
    const { id, files } = this.#held;
    this.#held = null;
    const { memory } = this.#records;
    const own = [
      ...[...files].map((hash) => ["files", memory.files.get(hash)]),
      ...[...memory.messages.values()].filter((one) => one.conversation === id).map((one) => ["messages", one]),
      ["conversations", memory.conversations.get(id)],
    ];
    for (const [store, record] of own) if (record) await this.#put(store, record);
  }

  async message(id) {
    const found = await this.#records.get("messages", id);
    return found ? schema.message(found) : null;
  }

  putConversation(record) { return this.#put("conversations", { ...record, schema: schema.SCHEMA }); }
  putMessage(record) { return this.#put("messages", { ...record, schema: schema.SCHEMA }); }

  /** @param {{hash: string, blob: Blob, shown?: Blob | null}} file */
  putFile(file) {
    return this.#put("files", { schema: schema.SCHEMA, added: this.#now(), shown: null, ...file });
  }

  async file(hash) {
    const found = await this.#records.get("files", hash);
    return found ? schema.bytes(found) : null;
  }

  /** Keeps what was read of a page of this file, or of this picture, for as long as that. */
  putRead(hash, page) {
    return this.#put("files", { schema: schema.SCHEMA, added: this.#now(), hash: `${hash}.${page.page}`, read: schema.pageRead(page) });
  }

  /** What was read of a file, page by page. */
  async read(hash) {
    return schema.usable(await this.#readOf(hash), ({ read }) => schema.pageRead(read)).good;
  }

  removeMessages(ids) { return this.#records.remove("messages", ids); }

  async removeConversation(id) {
    await this.removeMessages((await this.#records.all("messages", id)).map((one) => one.id));
    await this.#records.remove("conversations", [id]);
    this.#tell(id);
  }

  /** Removes conversations for good, and the files that nothing else names: all but those that just came again. */
  async purge(ids) {
    const named = new Set();
    for (const id of ids) {
      const said = await this.#records.all("messages", id);
      for (const hash of [...said, await this.#records.get("conversations", id)].flatMap(schema.hashesOf)) named.add(hash);
      await this.removeMessages(said.map((one) => one.id));
    }
    await this.#records.remove("conversations", ids); // the last of each: what is left of it is found again
    for (const id of ids) this.#tell(id);
    const others = named.size ? await this.#named() : named;
    for (const hash of named) {
      const file = others.has(hash) ? null : await this.#records.get("files", hash);
      if (file && !(this.#now() - file.added < MINUTE)) await this.#records.removeBeginning("files", hash);
    }
    await this.#catchUp();
  }

  /** Removes files that no message and no draft names any more, once they are a day old: another tab may be about to. */
  async tidy() {
    if (!this.kept) return;
    const deleted = (await this.#records.all("conversations")).filter((one) => one?.deleted > 0 && !(this.#now() - one.deleted < MINUTE));
    if (deleted.length) await this.purge(deleted.map((one) => one.id));
    const named = await this.#named();
    for await (const files of this.#records.parts("files")) {
      const over = files.filter((one) => !named.has(one.hash?.slice(0, 64)) && !(this.#now() - one.added < DAY));
      await this.#records.remove("files", over.map((one) => one.hash));
    }
  }

  /** The files that any message or draft names. */
  async #named() {
    const named = new Set();
    for (const store of ["messages", "conversations"]) {
      for await (const records of this.#records.parts(store)) for (const hash of records.flatMap(schema.hashesOf)) named.add(hash);
    }
    return named;
  }

  #isHeld(store, record) {
    if (!this.#held) return false;
    if (store === "files") this.#held.files.add(record.hash);
    return store === "files" || this.#held.id === (store === "messages" ? record.conversation : record.id);
  }

  #tell(id) {
    for (const hear of this.#ears) hear(id);
  }

  async #put(store, record) {
    if (this.#isHeld(store, record)) this.#records.remember(store, record);
    else if (await this.#records.put(store, record)) await this.#catchUp();
    if (store !== "files") this.#tell(store === "messages" ? record.conversation : record.id);
  }

  /** There may be room now for what there was none for; whatever is in memory while a conversation is that stays there. */
  async #catchUp() {
    if (!this.#held) await this.#records.catchUp();
  }

  /** Records of what was read of a file: their keys are the file's, and behind it which page. */
  #readOf(hash) { return this.#records.beginning("files", `${hash}.`); }
}
