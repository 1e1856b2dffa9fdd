// The browser's IndexedDB as promises. Knows its transactions and who makes its stores; refuses to know what is in them.

import * as schema from "./schema.mjs";

const NAME = "ovis";

/** The database, with its stores. Rejects where there is none, or one of a later version. */
export function opened(factory) {
  return new Promise((resolve, reject) => {
    const asked = factory.open(NAME, schema.VERSION);
    asked.onupgradeneeded = (event) => schema.upgrade(asked.result, event.oldVersion);
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => reject(asked.error);
    asked.onblocked = () => reject(asked.error ?? new Error("blocked"));
  });
}

/** What `get` gives, or null: some browsers throw where cookies are forbidden. */
export function safely(get) {
  try { return get(); } catch { return null; }
}

/** What a transaction gives, once it is written down. `work` has the first of its stores, and itself. */
export function done(database, stores, mode, work) {
  return new Promise((resolve, reject) => {
    const transaction = database.transaction(stores, mode);
    let asked;
    try {
      asked = work(transaction.objectStore([stores].flat()[0]), transaction);
    } catch (error) {
      transaction.abort(); // else what was put before it would be kept
      throw error;
    }
    transaction.oncomplete = () => resolve(asked.result);
    transaction.onabort = () => reject(transaction.error ?? asked?.error ?? new Error("aborted"));
  });
}
