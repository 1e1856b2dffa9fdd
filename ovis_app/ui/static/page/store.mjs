// Where conversations are kept: this browser's IndexedDB, or this tab's memory where there is none or it is full.
// The only one that writes there. Knows records as schema.mjs has them; refuses to know what they mean.

import { NEWER, done, leftOut, opened, safely, sentenceOf, span } from "./database.mjs";
import { whole } from "./pasted.mjs";
import * as schema from "./schema.mjs";

const MINUTE = 60 * 1000;
const DAY = 24 * 3600 * 1000;
const STORES = ["conversations", "messages", "files"];

/** Opens the store of this browser. `say` is called with a sentence where something isn't as people may expect. */
export async function open(say, { factory = safely(() => globalThis.indexedDB), now = Date.now } = {}) {
  let database = null;
  try {
    if (!factory) throw new Error("there is no IndexedDB");
    database = await opened(factory);
  } catch (error) {
    say(sentenceOf(error));
  }
  return new Store(database, say, now);
}

class Store {
  #database; #say; #now;
  #ears = new Set(); // who is told which conversation was written
  #held = null; // {id, files}: a conversation that is in memory only, and the files that came while it was shown
  #memory = Object.fromEntries(STORES.map((name) => [name, new Map()])); // what couldn't be written down

  constructor(database, say, now) {
    [this.#database, this.#say, this.#now] = [database, say, now];
    // Another tab wants a later version: this one goes on from memory, and reads what it needs no more.
    if (database) database.onversionchange = () => { database.close(); this.#lose(NEWER); };
  }

  get kept() {
    return this.#database !== null;
  }

  /** All conversations, the latest first, without their messages. */
  async conversations() {
    const records = await this.#all("conversations");
    const { good, broken } = schema.usable(records, schema.conversation);
    if (broken) this.#say(leftOut(broken));
    return good.filter((one) => !one.deleted && one.id !== schema.EXAMPLES).sort((one, other) => other.changed - one.changed);
  }

  /** A conversation's own record, or null. */
  async described(id) {
    const found = schema.usable([await this.#get("conversations", id)].filter(Boolean), schema.conversation).good[0];
    return found?.deleted || id === schema.EXAMPLES ? null : found ?? null;
  }

  /** A conversation and its messages, or null. */
  async conversation(id) {
    const found = schema.usable([await this.#get("conversations", id)].filter(Boolean), schema.conversation).good[0];
    const records = await this.#all("messages", id);
    const { good, broken } = schema.usable(records, schema.message);
    if (broken) this.#say(leftOut(broken));
    if ((!found && !good.length) || found?.deleted) return null;
    return { conversation: found ?? schema.conversation({ id }), messages: good };
  }

  /** What was said in all conversations, by their ids, to be searched. */
  async texts() {
    const { good } = schema.usable(await this.#all("messages"), schema.message);
    const found = new Map();
    for (const { id, conversation, ...said } of good) {
      if (!found.has(conversation)) found.set(conversation, []);
      found.get(conversation).push({ id, text: whole(said) });
    }
    return found;
  }

  /** Calls `hear` with the id of each conversation that this tab writes or removes. */
  watch(hear) {
    this.#ears.add(hear);
  }

  /** Sets a part of a conversation's record, such as its title, and leaves the rest as it is, whoever wrote it. */
  async describe(id, part) {
    const held = this.#memory.conversations.get(id);
    if (held || !this.#database) {
      if (held) await this.#put("conversations", { ...held, ...part });
      return;
    }
    const change = (records) => {
      const asked = records.get(id);
      asked.onsuccess = () => { if (asked.result) records.put({ ...asked.result, ...part }); };
      return asked;
    };
    await done(this.#database, "conversations", "readwrite", change).catch((error) => this.#say(sentenceOf(error)));
    this.#tell(id);
  }

  /** Conversations from elsewhere with their files: all of it is kept, or nothing. Resolves to whether it is. */
  async putAll(library, files) {
    const records = [
      ...files.map((one) => ["files", { schema: schema.SCHEMA, added: this.#now(), shown: null, ...one }]),
      ...library.flatMap(({ conversation, messages }) => [["conversations", conversation], ...messages.map((one) => ["messages", one])]),
    ];
    if (!this.#database) {
      for (const [store, record] of records) this.#memory[store].set(keyOf(store, record), record);
    } else {
      try {
        await done(this.#database, STORES, "readwrite", (_, transaction) => records.map(([store, one]) => transaction.objectStore(store).put(one)).at(-1));
      } catch {
        return false;
      }
    }
    for (const { conversation } of library) this.#tell(conversation.id);
    return true;
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
      const records = [await this.#get("files", hash), ...await this.#readOf(hash)].filter(Boolean);
      if (!others.has(hash)) await this.#forget(hash);
      for (const one of records) {
        this.#held.files.add(one.hash);
        this.#memory.files.set(one.hash, one);
      }
    }
  }

  /** What was in memory only is gone. */
  letGo() {
    if (!this.#held) return;
    const { id, files } = this.#held;
    this.#held = null;
    for (const hash of files) this.#memory.files.delete(hash);
    for (const [key, one] of this.#memory.messages) if (one.conversation === id) this.#memory.messages.delete(key);
    this.#memory.conversations.delete(id);
  }

  /** What was in memory only is kept after all. */
  async keep() {
    if (!this.#held) return;
    const { id, files } = this.#held;
    this.#held = null;
    for (const hash of files) await this.#put("files", this.#memory.files.get(hash));
    for (const one of [...this.#memory.messages.values()]) if (one.conversation === id) await this.#put("messages", one);
    const own = this.#memory.conversations.get(id);
    if (own) await this.#put("conversations", own);
  }

  async message(id) {
    const found = await this.#get("messages", id);
    return found ? schema.message(found) : null;
  }

  putConversation(record) { return this.#put("conversations", { ...record, schema: schema.SCHEMA }); }
  putMessage(record) { return this.#put("messages", { ...record, schema: schema.SCHEMA }); }

  /** @param {{hash: string, blob: Blob, shown?: Blob | null}} file */
  putFile(file) {
    return this.#put("files", { schema: schema.SCHEMA, added: this.#now(), shown: null, ...file });
  }

  async file(hash) {
    const found = await this.#get("files", hash);
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

  async removeMessages(ids) {
    for (const id of ids) await this.#remove("messages", id);
  }

  async removeConversation(id) {
    for (const one of await this.#all("messages", id)) await this.#remove("messages", one.id);
    await this.#remove("conversations", id);
    this.#tell(id);
  }

  /** Removes a conversation for good, and the files that nothing else names: all but those that just came again. */
  async purge(id) {
    const named = new Set([...await this.#all("messages", id), await this.#get("conversations", id)].flatMap(schema.hashesOf));
    await this.removeConversation(id);
    const others = await this.#named();
    for (const hash of named) {
      const file = others.has(hash) ? null : await this.#get("files", hash);
      if (file && !(this.#now() - file.added < MINUTE)) await this.#forget(hash);
    }
  }

  /** Removes files that no message and no draft names any more, once they are a day old: another tab may be about to. */
  async tidy() {
    if (!this.#database) return;
    for (const one of await this.#all("conversations")) {
      if (one?.deleted > 0 && !(this.#now() - one.deleted < MINUTE)) await this.purge(one.id);
    }
    const named = await this.#named();
    for (const one of await this.#all("files")) {
      if (!named.has(one.hash?.slice(0, 64)) && !(this.#now() - one.added < DAY)) await this.#remove("files", one.hash);
    }
  }

  /** The files that any message or draft names. */
  async #named() {
    return new Set([...await this.#all("messages"), ...await this.#all("conversations")].flatMap(schema.hashesOf));
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
    await this.#write(store, record);
    if (store !== "files") this.#tell(store === "messages" ? record.conversation : record.id);
  }

  async #write(store, record) {
    if (!this.#isHeld(store, record) && this.#database) {
      try {
        await done(this.#database, store, "readwrite", (records) => records.put(record));
        this.#memory[store].delete(keyOf(store, record));
        return;
      } catch (error) {
        this.#say(sentenceOf(error));
      }
    }
    this.#memory[store].set(keyOf(store, record), record);
  }

  async #get(store, key) {
    const held = this.#memory[store].get(key);
    if (held || !this.#database) return held ?? null;
    try {
      return (await done(this.#database, store, "readonly", (records) => records.get(key))) ?? null;
    } catch {
      return null;
    }
  }

  /** All records of a store, of one conversation where it is named. */
  async #all(store, conversation = null) {
    const held = [...this.#memory[store].values()].filter((one) => conversation === null || one.conversation === conversation);
    if (!this.#database) return held;
    const ask = (records) => (conversation === null ? records.getAll() : records.index("conversation").getAll(conversation));
    try {
      const found = await done(this.#database, store, "readonly", ask);
      return [...found.filter((one) => !this.#memory[store].has(keyOf(store, one))), ...held];
    } catch {
      return held;
    }
  }

  async #remove(store, key) {
    this.#memory[store].delete(key);
    if (!this.#database) return;
    await done(this.#database, store, "readwrite", (records) => records.delete(key)).catch(() => {});
  }

  /** Records of what was read of a file: their keys are the file's, and behind it which page. */
  async #readOf(hash) {
    const held = [...this.#memory.files.values()].filter((one) => one.hash.startsWith(`${hash}.`));
    const kept = this.#database ? await done(this.#database, "files", "readonly", (records) => records.getAll(span(`${hash}.`, `${hash}/`))).catch(() => []) : [];
    return [...kept, ...held]; // what couldn't be written down is the newer one
  }

  /** A file goes, with what was read of it. */
  async #forget(hash) {
    for (const key of [...this.#memory.files.keys()]) if (key.startsWith(hash)) this.#memory.files.delete(key);
    if (this.#database) await done(this.#database, "files", "readwrite", (records) => records.delete(span(hash, `${hash}/`))).catch(() => {});
  }

  #lose(sentence) {
    this.#database = null;
    this.#say(sentence);
  }
}

const keyOf = (store, record) => (store === "files" ? record.hash : record.id);
