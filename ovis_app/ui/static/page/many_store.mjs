// Where the questions of a table are kept, with their files and what came of them: a database of their own in this
// browser, one batch at a time, or this tab's memory where there is none or it is full.
// Knows records; refuses to know what they mean.

const NAME = "ovis-many";
const STORES = ["batch", "rows", "files"];
const ONE = "now"; // the key of the batch

/** @param {{factory?: IDBFactory | null}} options */
export async function open({ factory = safely(() => globalThis.indexedDB) } = {}) {
  try {
    const asked = factory.open(NAME, 1);
    asked.onupgradeneeded = () => { for (const name of STORES) asked.result.createObjectStore(name, { keyPath: { batch: "key", rows: "place", files: "hash" }[name] }); };
    return new ManyStore(await new Promise((resolve, reject) => { [asked.onsuccess, asked.onerror] = [() => resolve(asked.result), () => reject(asked.error)]; }));
  } catch {
    return new ManyStore(null);
  }
}

function safely(get) {
  try { return get(); } catch { return null; }
}

class ManyStore {
  #database; #memory = Object.fromEntries(STORES.map((name) => [name, new Map()]));

  constructor(database) {
    this.#database = database;
  }

  /** Whether what is written outlives the tab. */
  get kept() { return this.#database !== null; }

  /** The batch and its rows, or null. */
  async load() {
    if (!this.#database) {
      const batch = this.#memory.batch.get(ONE);
      return batch ? { batch, rows: [...this.#memory.rows.values()].sort((one, other) => one.place - other.place) } : null;
    }
    const batch = await this.#done("batch", "readonly", (records) => records.get(ONE));
    return batch ? { batch, rows: await this.#done("rows", "readonly", (records) => records.getAll()) } : null;
  }

  /** Another batch in place of the one before. Where there is no room for it, it is in memory alone. */
  async begin(batch, rows, files) {
    const records = [["batch", { ...batch, key: ONE }], ...rows.map((one) => ["rows", one]), ...files.map((one) => ["files", one])];
    if (this.#database) {
      try {
        await this.#done(STORES, "readwrite", (_, transaction) => {
          for (const name of STORES) transaction.objectStore(name).clear();
          return records.map(([name, one]) => transaction.objectStore(name).put(one)).at(-1);
        });
        return;
      } catch {
        this.#database.close();
        this.#database = null;
      }
    }
    for (const name of STORES) this.#memory[name].clear();
    for (const [name, one] of records) this.#memory[name].set(one.key ?? one.hash ?? one.place, one);
  }

  putBatch(batch) { return this.#put("batch", { ...batch, key: ONE }, ONE); }
  putRow(row) { return this.#put("rows", row, row.place); }

  /** @returns {Promise<Blob | null>} */
  async file(hash) {
    const found = this.#database ? await this.#done("files", "readonly", (records) => records.get(hash)) : this.#memory.files.get(hash);
    return found?.blob ?? null;
  }

  /** Nothing of it stays. */
  async clear() {
    for (const name of STORES) {
      this.#memory[name].clear();
      if (this.#database) await this.#done(name, "readwrite", (records) => records.clear());
    }
  }

  async #put(name, record, key) {
    if (this.#database) await this.#done(name, "readwrite", (records) => records.put(record));
    else this.#memory[name].set(key, record);
  }

  /** What a transaction gives, once it is written down. */
  #done(stores, mode, work) {
    return new Promise((resolve, reject) => {
      const transaction = this.#database.transaction(stores, mode);
      const asked = work(transaction.objectStore([stores].flat()[0]), transaction);
      transaction.oncomplete = () => resolve(asked?.result);
      transaction.onabort = () => reject(transaction.error ?? new Error("aborted"));
    });
  }
}
