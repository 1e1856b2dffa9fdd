// The browser's IndexedDB as promises, and what is said where it can't be used.
// Knows its transactions and who makes its stores; refuses to know what is in them.

import { later } from "./i18n.mjs";
import * as schema from "./schema.mjs";

const NAME = "ovis";

const NOT_KEPT = later("This window keeps nothing: what is said here is gone once it closes.");
export const NEWER = later("This browser's conversations were kept by a newer version of this page: they are left as they are, and what is said now isn't kept.");
const FULL = later("This browser has no room left for this page: what is said from now on is gone once the tab closes. Delete conversations, or make room on the disk.");

export const leftOut = (count) => (count === 1 ? later("One part of what was kept couldn't be read and was left out.")
  : later("{count} parts of what was kept couldn't be read and were left out.", { count }));

/** Why nothing is written down. */
export function sentenceOf(error) {
  return { QuotaExceededError: FULL, VersionError: NEWER }[error?.name] ?? NOT_KEPT;
}

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

/** The keys from `first` up to `last`, which isn't among them. */
export const span = (first, last) => IDBKeyRange.bound(first, last, false, true);

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
