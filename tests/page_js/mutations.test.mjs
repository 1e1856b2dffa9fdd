// Fifty conversations that a browser kept and fifty that somebody imports, each broken in its own way by a seed: the page
// opens them, leaves out what is broken, throws nothing, and goes on.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";

import { ArchiveError, packed, unpacked } from "../../ovis_app/ui/static/page/archive.mjs";
import { conversation as conversationOf, message as messageOf } from "../../ovis_app/ui/static/page/schema.mjs";
import { browser, last, messages as asked, say, shown } from "./tabs.mjs";

const SEEDS = 50;
const PNG = Buffer.concat([Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]), Buffer.from("pixels")]);
const HASH = createHash("sha256").update(PNG).digest("hex");
const ODD = [
  null, undefined, NaN, Infinity, -1, 1e999, 0, 7.5, true, "", "x", "\ud800", "../../etc/passwd", "__proto__", "x".repeat(5000), [], [null], [[[]]], {},
  { length: 1e9 }, { toString: null }, "m2", "m4", HASH, new Date(NaN), new Map(), { hash: HASH, name: 5, kind: "html" }, JSON.parse('{"__proto__": {"text": 1}}'),
];

/** Numbers from 0 to 1, the same for the same seed. */
function dice(seed) {
  let state = seed * 2654435761 + 1;
  return () => {
    state = Math.imul(state ^ (state >>> 15), 2246822519) ^ Math.imul(state ^ (state >>> 13), 3266489917);
    return ((state ^= state >>> 16) >>> 0) / 2 ** 32;
  };
}
const of = (list, roll) => list[Math.floor(roll() * list.length)];

/** A conversation of three questions, the first with a picture. */
function whole() {
  const file = { hash: HASH, name: "p.png", kind: "image", size: [96, 64] };
  const stats = { answer_tokens: 3, first_token_seconds: 0.1, engine: "plain", remarks: ["small"], frame_times: [0, 1] };
  const messages = [1, 2, 3, 4, 5, 6].map((i) => messageOf({
    id: `m${i}`, conversation: "c", parent: i > 1 ? `m${i - 1}` : null, role: i % 2 ? "user" : "assistant", created: i, text: `words ${i}`,
    ...(i === 1 ? { files: [file] } : {}), ...(i % 2 ? {} : { finish: "end", stats, thinking: "hm", asked: { temperature: 0.5, system: "Be brief." } }),
  }));
  return { conversation: conversationOf({ id: "c", created: 1, changed: 2, title: "T", leaf: "m6", settings: { temperature: 1 } }), messages };
}

/** One of an object's values, or of what lies in it, in place of which something odd stands; or it is gone. */
function broken(value, roll) {
  const copy = Array.isArray(value) ? [...value] : { ...value };
  const name = of(Object.keys(copy), roll);
  const inner = copy[name];
  if (inner && typeof inner === "object" && Object.keys(inner).length && roll() < 0.5) copy[name] = broken(inner, roll);
  else if (roll() < 0.15) delete copy[name];
  else copy[name] = of(ODD, roll);
  return copy;
}

/** The conversation with up to four records broken: fields, records that are none, doubles, circles. */
function mutated(seed, odd = broken) {
  const roll = dice(seed);
  const { conversation, messages } = whole();
  const all = { conversation, messages };
  for (let times = 1 + Math.floor(4 * roll()); times; times -= 1) {
    const place = Math.floor(roll() * all.messages.length);
    const kind = roll();
    if (kind < 0.6) all.messages[place] = odd(all.messages[place] ?? {}, roll);
    else if (kind < 0.8) all.conversation = odd(all.conversation, roll);
    else if (kind < 0.9) all.messages[place] = { ...all.messages[place], parent: "m6" };
    else all.messages.splice(place, 0, of(ODD, roll));
  }
  const untouched = whole().messages.filter((one) => all.messages.some((kept) => JSON.stringify(kept) === JSON.stringify(one)));
  return { ...all, untouched };
}

/** That what is drawn and asked may trust a message's values. */
function sound(one, where) {
  for (const name of ["id", "conversation", "text", "thinking", "error", "model"]) assert.equal(typeof one[name], "string", `${where}: ${name}`);
  for (const name of ["created", "touched"]) assert.ok(Number.isFinite(one[name]), `${where}: ${name}`);
  assert.ok(one.role === "user" || one.role === "assistant", where);
  assert.ok(one.parent === null || typeof one.parent === "string", where);
  for (const { hash, name, kind } of one.files) assert.ok(/^[0-9a-f]{64}$/.test(hash) && typeof name === "string" && ["image", "video"].includes(kind), where);
  for (const value of Object.values({ ...one.stats, ...one.asked })) assert.ok(value === null || typeof value !== "object" || Array.isArray(value), where);
  assert.deepEqual(messageOf(one), one, where);
}

test("a conversation that a browser kept and that broke in fifty ways opens, without what is broken, and goes on", async () => {
  for (let seed = 0; seed < SEEDS; seed += 1) {
    const { conversation, messages, untouched } = mutated(seed);
    const here = await browser();
    const records = messages.filter((one) => typeof one?.id === "string"); // a database keeps nothing without its key
    const own = typeof conversation?.id === "string" ? [{ conversation, messages: records }] : [{ conversation: { id: "c" }, messages: records }];
    await here.store.putAll(own, [{ hash: HASH, blob: new Blob([PNG], { type: "image/png" }) }]);
    const tab = await here.tab();
    await tab.open("c");
    for (const one of tab.messages.values()) sound(one, `seed ${seed}`);
    if (tab.conversation.id === "c") for (const one of untouched) assert.ok(tab.messages.has(one.id), `seed ${seed}: ${one.id} is lost`);
    assert.ok(shown(tab).every((text) => typeof text === "string"), `seed ${seed}`);
    await here.store.conversations(), await here.store.texts(), await here.store.tidy();
    tab.draft.text = "and now?";
    tab.draft.files = [];
    await tab.ask();
    assert.ok(last(tab).text === "You said: and now?", `seed ${seed}: ${JSON.stringify(last(tab))}`);
    const fresh = await here.tab();
    await say(fresh, "another chat");
    assert.equal(last(fresh).text, "You said: another chat");
    assert.ok(asked(here.server).every((one) => ["user", "assistant", "system"].includes(one.role)));
  }
});

test("a file that somebody imports and that is broken in fifty ways is read without what is broken, or refused in a word", async () => {
  const digest = async (blob) => createHash("sha256").update(Buffer.from(await blob.arrayBuffer())).digest("hex");
  let ids = 0;
  const around = { digest, newId: () => `new${(ids += 1)}`, now: 5 };
  let [read, refused] = [0, 0];
  for (let seed = 0; seed < SEEDS; seed += 1) {
    const { conversation, messages, untouched } = mutated(1000 + seed);
    const usable = { conversation: conversation ?? {}, messages: messages.filter((one) => one && typeof one === "object") };
    const fileOf = async () => ({ blob: new Blob([PNG], { type: "image/png" }) });
    const library = [{ ...usable, messages: usable.messages.map((one) => ({ ...one, files: Array.isArray(one.files) ? one.files.filter(Boolean) : [] })) }];
    let blob = await packed(library, { fileOf, app: "1.0", model: { name: "M", id: "M" }, now: 1 });
    const bytes = Buffer.from(await blob.arrayBuffer());
    const roll = dice(seed);
    const onTheWay = seed % 2 ? Math.floor(4 * roll()) : 0; // every other one is damaged as a file, too
    for (let times = onTheWay; times; times -= 1) bytes[Math.floor(roll() * bytes.length)] ^= 1 << Math.floor(8 * roll());
    blob = new Blob([seed % 10 === 9 ? bytes.subarray(0, Math.floor(roll() * bytes.length)) : bytes]);
    try {
      const { library: found, files } = await unpacked(blob, around);
      read += 1;
      for (const { conversation: one, messages: said } of found) {
        assert.deepEqual(conversationOf(one), one, `seed ${seed}`);
        for (const each of said) sound(each, `seed ${seed}`);
      }
      for (const one of files) assert.equal(await digest(one.blob), HASH);
      if (!onTheWay && seed % 10 !== 9) for (const one of untouched) assert.ok(found[0].messages.some((each) => each.text === one.text), `seed ${seed}: ${one.text} is lost`);
      const here = await browser();
      assert.ok(await here.store.putAll(found, files));
      const tab = await here.tab();
      if (found.length) await tab.open(found[0].conversation.id);
      tab.draft.text = "and now?";
      await tab.ask();
      assert.ok(last(tab).text === "You said: and now?", `seed ${seed}`);
    } catch (error) {
      if (!(error instanceof ArchiveError)) throw new Error(`seed ${seed}: ${error.stack}`);
      assert.ok(["damaged", "foreign", "newer", "large"].includes(error.kind));
      refused += 1;
    }
  }
  assert.ok(read >= 25 && refused >= 5, `${read} read, ${refused} refused`);
});
