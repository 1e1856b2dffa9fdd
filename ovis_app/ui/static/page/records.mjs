// Records by their keys: in this browser's IndexedDB, and in this tab's memory what there is no room for there, or no
// database. Knows stores, transactions and keys; refuses to know what a record says: store.mjs does.

import { NEWER, done, sentenceOf, span } from "./database.mjs";

export const STORES = ["conversations", "messages", "files"];
const AT_ONCE = 200; // records that are read or written in one piece: a few milliseconds

export const keyOf = (store, record) => (store === "files" ? record.hash : record.id);

export class Records {
  #database = null; #say; #told = null; // what was said of what couldn't be written down

  /** By store and key, what couldn't be written down, or mustn't be. */
  memory = Object.fromEntries(STORES.map((name) => [name, new Map()]));

  constructor(say) {
    this.#say = say;
  }

  use(database) {
    this.#database = database;
    // Another tab wants a later version: this one goes on from memory, and reads what it needs no more.
    database.onversionchange = () => { database.close(); this.#database = null; this.#say(NEWER); };
  }

  /** Says why something can't be written down, until it can. */
  missed(error) {
    const before = this.#told;
    this.#told = sentenceOf(error);
    if (before && before !== this.#told) this.#say(before, { over: true });
    this.#say(this.#told);
  }

  get kept() {
    return this.#database !== null;
  }

  async get(store, key) {
    const held = this.memory[store].get(key);
    if (held || !this.#database) return held ?? null;
    try {
      return (await done(this.#database, store, "readonly", (records) => records.get(key))) ?? null;
    } catch {
      return null;
    }
  }

  /** All records of a store, of one conversation where it is named. */
  async all(store, conversation = null) {
    const held = [...this.memory[store].values()].filter((one) => conversation === null || one.conversation === conversation);
    if (!this.#database) return held;
    const ask = (records) => (conversation === null ? records.getAll() : records.index("conversation").getAll(conversation));
    try {
      const found = await done(this.#database, store, "readonly", ask);
      return [...found.filter((one) => !this.memory[store].has(keyOf(store, one))), ...held];
    } catch {
      return held;
    }
  }

  /** All records of a store, some at a time, so that the page goes on meanwhile however many there are. */
  async *parts(store) {
    const held = this.memory[store];
    yield [...held.values()];
    for (let last = null; this.#database;) {
      const beyond = last === null ? null : IDBKeyRange.lowerBound(last, true);
      const found = await done(this.#database, store, "readonly", (records) => records.getAll(beyond, AT_ONCE)).catch(() => []);
      yield found.filter((one) => !held.has(keyOf(store, one)));
      if (found.length < AT_ONCE) return;
      last = keyOf(store, found.at(-1));
    }
  }

  /** Those whose keys begin with these words. */
  async beginning(store, words) {
    const held = [...this.memory[store].values()].filter((one) => keyOf(store, one).startsWith(words));
    const kept = this.#database ? await done(this.#database, store, "readonly", (records) => records.getAll(beginningWith(words))).catch(() => []) : [];
    return [...kept, ...held]; // what couldn't be written down is the newer one
  }

  /** Writes a record down; where that can't be, it is said, and the record is in memory. Resolves to whether it could. */
  async put(store, record) {
    const [key, held] = [keyOf(store, record), this.memory[store]];
    if (this.#database) {
      if (held.has(key)) held.set(key, record); // else an older one could be caught up with behind this
      try {
        await done(this.#database, store, "readwrite", (records) => records.put(record));
        if (held.get(key) === record) held.delete(key);
        return true;
      } catch (error) {
        this.missed(error);
      }
    }
    this.remember(store, record);
    return false;
  }

  /** Has a record in memory alone. */
  remember(store, record) {
    this.memory[store].set(keyOf(store, record), record);
  }

  /** All of these, `[store, record]`, or none of them. Resolves to whether they are kept. */
  async putAll(records) {
    if (!this.#database) {
      for (const [store, record] of records) this.remember(store, record);
      return true;
    }
    const put = (store, transaction, from = 0) => { // some in each task, so that the page goes on meanwhile
      const to = from + AT_ONCE;
      const last = records.slice(from, to).map(([store, one]) => transaction.objectStore(store).put(one)).at(-1);
      if (to < records.length) last.onsuccess = () => put(store, transaction, to);
      return last;
    };
    return await done(this.#database, STORES, "readwrite", put).then(() => true, () => false);
  }

  /** Writes down what couldn't be before, as far as it can be now; that it couldn't is over then. */
  async catchUp() {
    const left = STORES.flatMap((store) => [...this.memory[store]].map(([key, record]) => ({ store, key, record })));
    if (!this.#database || (!left.length && !this.#told)) return;
    try {
      for (const { store, key, record } of left) {
        if (this.memory[store].get(key) !== record) continue; // a newer one is written
        await done(this.#database, store, "readwrite", (records) => records.put(record));
        if (this.memory[store].get(key) === record) this.memory[store].delete(key);
      }
      if (this.#told) this.#say(this.#told, { over: true });
      this.#told = null;
    } catch { /* not yet, which was said */ }
  }

  /** Sets a part of each record that is there, and leaves the rest as it is, whoever wrote it. Where that can't be written
   * down, the whole record is in memory with it, until there is room. Resolves to the keys of those that are changed so; what
   * was in memory alone is left to whoever put it there. */
  async change(store, keys, part) {
    const kept = this.#database ? keys.filter((key) => !this.memory[store].has(key)) : [];
    if (!kept.length) return [];
    const change = (records) => kept.map((key) => {
      const asked = records.get(key);
      asked.onsuccess = () => { if (asked.result) records.put({ ...asked.result, ...part }); };
      return asked;
    }).at(-1);
    await done(this.#database, store, "readwrite", change).catch(async (error) => {
      this.missed(error);
      const found = await Promise.all(kept.map((key) => this.get(store, key)));
      for (const one of found) if (one) this.remember(store, { ...one, ...part });
    });
    return kept;
  }

  async remove(store, keys) {
    for (const key of keys) this.memory[store].delete(key);
    if (!this.#database || !keys.length) return;
    await done(this.#database, store, "readwrite", (records) => keys.map((key) => records.delete(key)).at(-1)).catch(() => {});
  }

  /** Removes those whose keys begin with these words. */
  async removeBeginning(store, words) {
    for (const key of [...this.memory[store].keys()]) if (key.startsWith(words)) this.memory[store].delete(key);
    if (this.#database) await done(this.#database, store, "readwrite", (records) => records.delete(beginningWith(words))).catch(() => {});
  }
}

/** The keys that begin with these words: hashes and numbers, which stand before “/”. */
const beginningWith = (words) => span(words, `${words.replace(/\.$/, "")}/`);
