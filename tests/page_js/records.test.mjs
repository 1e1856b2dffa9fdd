// What is written down while a browser that had no room, or said nothing, takes records again: the newest stays.
import assert from "node:assert/strict";
import { test } from "node:test";

import { Records } from "../../ovis_app/ui/static/page/records.mjs";

/** A database whose transactions end one after the other, each when `next` is called. */
class Database {
  kept = new Map(); waiting = [];

  transaction() {
    const [put, mine] = [[], {}];
    mine.objectStore = () => ({ put: (record) => { put.push(record); return { result: record.id }; } });
    this.waiting.push(() => { for (const one of put) this.kept.set(one.id, one); mine.oncomplete(); });
    return mine;
  }

  async next() {
    this.waiting.shift()?.();
    await new Promise(setImmediate);
  }
}

test("an answer that ends while an earlier piece of it is caught up with is kept whole", async () => {
  const [database, records] = [new Database(), new Records(() => {})];
  for (const id of ["first", "answer"]) await records.put("messages", { id, text: "a piece" });
  records.use(database);
  const caught = records.catchUp();
  const written = records.put("messages", { id: "answer", text: "all of it" });
  while (database.waiting.length) await database.next();
  await Promise.all([caught, written]);
  assert.equal(database.kept.get("first").text, "a piece");
  assert.equal(database.kept.get("answer").text, "all of it");
  assert.equal(records.memory.messages.size, 0);
});
