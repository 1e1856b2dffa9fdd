// Where conversations are kept: this browser's IndexedDB, or this tab's memory where there is none or it is full.
// The only one that writes there. Knows records as schema.mjs has them; refuses to know what they mean.

import { later } from "./i18n.mjs";
import * as schema from "./schema.mjs";

const NAME = "ovis";
const DAY = 24 * 3600 * 1000;
const STORES = ["conversations", "messages", "files"];

export const NOT_KEPT = later("This window keeps nothing: what is said here is gone once it closes.");
export const NEWER = later("This browser's conversations were kept by a newer version of this page: they are left as they are, and what is said now isn't kept.");
export const FULL = later("This browser has no room left for this page: what is said from now on is gone once the tab closes. Delete conversations, or make room on the disk.");
const leftOut = (count) => (count === 1 ? later("One part of what was kept couldn't be read and was left out.")
  : later("{count} parts of what was kept couldn't be read and were left out.", { count }));

/** Opens the store of this browser. `say` is called with a sentence where something isn't as people may expect. */
export async function open(say, { factory = safely(() => globalThis.indexedDB), now = Date.now } = {}) {
  let database = null;
  try {
    if (!factory) throw new Error("there is no IndexedDB");
    database = await request(opening(factory));
  } catch (error) {
    say(error?.name === "VersionError" ? NEWER : NOT_KEPT);
  }
  return new Store(database, say, now);
}

function opening(factory) {
  const asked = factory.open(NAME, schema.VERSION);
  asked.onupgradeneeded = (event) => schema.upgrade(asked.result, event.oldVersion);
  return asked;
}

function safely(get) {
  try { return get(); } catch { return null; } // some browsers throw where cookies are forbidden
}

function request(asked) {
  return new Promise((resolve, reject) => {
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => reject(asked.error);
    asked.onblocked = () => reject(asked.error ?? new Error("blocked"));
  });
}

class Store {
  #database; #say; #now;
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
    return good.filter((one) => one.id !== schema.EXAMPLES).sort((one, other) => other.changed - one.changed);
  }

  /** A conversation and its messages, or null. */
  async conversation(id) {
    const found = schema.usable([await this.#get("conversations", id)].filter(Boolean), schema.conversation).good[0];
    const records = await this.#all("messages", id);
    const { good, broken } = schema.usable(records, schema.message);
    if (broken) this.#say(leftOut(broken));
    if (!found && !good.length) return null;
    return { conversation: found ?? schema.conversation({ id }), messages: good };
  }

  async message(id) {
    const found = await this.#get("messages", id);
    return found ? schema.message(found) : null;
  }

  putConversation(record) {
    return this.#put("conversations", { ...record, schema: schema.SCHEMA });
  }

  putMessage(record) {
    return this.#put("messages", { ...record, schema: schema.SCHEMA });
  }

  /** @param {{hash: string, blob: Blob, shown?: Blob | null}} file */
  putFile(file) {
    return this.#put("files", { schema: schema.SCHEMA, added: this.#now(), shown: null, ...file });
  }

  async file(hash) {
    const found = await this.#get("files", hash);
    return found ? schema.bytes(found) : null;
  }

  async removeMessages(ids) {
    for (const id of ids) await this.#remove("messages", id);
  }

  async removeConversation(id) {
    for (const one of await this.#all("messages", id)) await this.#remove("messages", one.id);
    await this.#remove("conversations", id);
  }

  /** Removes files that no message and no draft names any more, once they are a day old: another tab may be about to. */
  async tidy() {
    if (!this.#database) return;
    const named = new Set();
    for (const one of await this.#all("messages")) for (const file of one?.files ?? []) named.add(file?.hash);
    for (const one of await this.#all("conversations")) for (const file of one?.draft?.files ?? []) named.add(file?.hash);
    for (const one of await this.#all("files")) {
      if (!named.has(one.hash) && !(this.#now() - one.added < DAY)) await this.#remove("files", one.hash);
    }
  }

  async #put(store, record) {
    if (this.#database) {
      try {
        await this.#done(store, "readwrite", (records) => records.put(record));
        this.#memory[store].delete(keyOf(store, record));
        return;
      } catch (error) {
        this.#say(error?.name === "QuotaExceededError" ? FULL : NOT_KEPT);
      }
    }
    this.#memory[store].set(keyOf(store, record), record);
  }

  async #get(store, key) {
    const held = this.#memory[store].get(key);
    if (held || !this.#database) return held ?? null;
    try {
      return (await this.#done(store, "readonly", (records) => records.get(key))) ?? null;
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
      const found = await this.#done(store, "readonly", ask);
      return [...found.filter((one) => !this.#memory[store].has(keyOf(store, one))), ...held];
    } catch {
      return held;
    }
  }

  async #remove(store, key) {
    this.#memory[store].delete(key);
    if (!this.#database) return;
    await this.#done(store, "readwrite", (records) => records.delete(key)).catch(() => {});
  }

  /** What a transaction of one request gives, once it is written down. */
  #done(store, mode, work) {
    return new Promise((resolve, reject) => {
      const transaction = this.#database.transaction(store, mode);
      const asked = work(transaction.objectStore(store));
      transaction.oncomplete = () => resolve(asked.result);
      transaction.onabort = () => reject(transaction.error ?? asked.error ?? new Error("aborted"));
      transaction.onerror = (event) => event.preventDefault?.();
    });
  }

  #lose(sentence) {
    this.#database = null;
    this.#say(sentence);
  }
}

function keyOf(store, record) {
  return store === "files" ? record.hash : record.id;
}
