// Exported conversations: what goes out comes in again and asks the same; what strangers made of such a file harms nobody.
import assert from "node:assert/strict";
import { createHash, webcrypto } from "node:crypto";
import { test } from "node:test";
import { deflateRawSync } from "node:zlib";

import { ArchiveError, FORMAT, MOST_JSON, MOST_UNPACKED, packed, unpacked } from "../../ovis_app/ui/static/page/archive.mjs";
import { Files } from "../../ovis_app/ui/static/page/files.mjs";
import { Session } from "../../ovis_app/ui/static/page/session.mjs";
import { message } from "../../ovis_app/ui/static/page/schema.mjs";
import { open } from "../../ovis_app/ui/static/page/store.mjs";
import { randomId } from "../../ovis_app/ui/static/page/thread.mjs";
import { build, path, standing } from "../../ovis_app/ui/static/page/tree.mjs";
import { checksum, contents, zipped } from "../../ovis_app/ui/static/page/zip.mjs";

globalThis.crypto ??= webcrypto; // node 18 has it by that name alone

const sum = (data) => createHash("sha256").update(data).digest("hex");
const digest = async (blob) => sum(Buffer.from(await blob.arrayBuffer()));
const AROUND = { digest, newId: randomId };
const PNG = (text) => Buffer.concat([Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]), Buffer.from(text)]);
const text = (value) => new Blob([typeof value === "string" ? value : JSON.stringify(value)]);

/** A zip file as any other program writes one. @param {{name: string, data: Buffer, packs?: boolean, size?: number, sum?: number, flags?: number}[]} entries */
async function foreign(entries, { comment = "" } = {}) {
  const [parts, directory] = [[], []];
  let at = 0;
  for (const { name, data, packs = false, size = data.length, sum: crc, flags = 0 } of entries) {
    const [title, body] = [Buffer.from(name), packs ? deflateRawSync(data) : data];
    const fields = Buffer.alloc(26);
    [20, flags, packs ? 8 : 0].forEach((value, place) => fields.writeUInt16LE(value, 2 * place));
    fields.writeUInt32LE(crc ?? await checksum(new Blob([data])), 10);
    [body.length, size].forEach((value, place) => fields.writeUInt32LE(value, 14 + 4 * place));
    fields.writeUInt16LE(title.length, 22);
    const rest = Buffer.alloc(14);
    rest.writeUInt32LE(at, 10);
    parts.push(Buffer.from("PK\x03\x04"), fields, title, body);
    directory.push(Buffer.from("PK\x01\x02\x14\0"), fields, rest, title);
    at += 30 + title.length + body.length;
  }
  const end = Buffer.alloc(22 + comment.length);
  end.write("PK\x05\x06");
  [8, 10].forEach((place) => end.writeUInt16LE(entries.length, place));
  end.writeUInt32LE(directory.reduce((length, part) => length + part.length, 0), 12);
  end.writeUInt32LE(at, 16);
  end.writeUInt16LE(comment.length, 20);
  end.write(comment, 22);
  return new Blob([...parts, ...directory, end]);
}

const said = (id, parent, more = {}) => ({ id, parent, role: "user", text: id, created: Number(id.replace(/\D/g, "")) || 0, files: [], ...more });
const manifest = (messages, more = {}) => ({ format: FORMAT, version: 1, conversations: [{ id: "c", title: "T", leaf: null, messages, ...more }] });
const archive = (told, ...more) => foreign([{ name: "conversation.json", data: Buffer.from(JSON.stringify(told)) }, ...more]);
const refused = async (blob, kind) => assert.rejects(unpacked(blob, AROUND), (error) => error instanceof ArchiveError && error.kind === kind);
const shown = ({ conversation, messages }) => path(build(messages), standing(build(messages), conversation.leaf)).map((one) => one.text);

/** A tab with a store of its own; what it asks of the server stands in `asked`, files by what they are. */
async function tab() {
  const store = await open(() => {}, { factory: null });
  const [kept, uploads, asked] = [new Map(), new Map(), []];
  const wire = {
    address: (place) => `at:${place}`,
    async upload(blob, name) { uploads.set(`/${uploads.size}/${name}`, await digest(blob)); return [...uploads.keys()].at(-1); },
    async bring(_, place) { return { files: [{ kind: place.endsWith(".mp4") ? "video" : "image", name: place.split("/").at(-1), path: place }] }; },
    async ask({ request }, hear) {
      asked.push(JSON.parse(JSON.stringify(request).replace(/at:([^"]+)/g, (_, place) => uploads.get(place))));
      hear({ seq: 0, kind: "done", finish: "end", text: `answer to ${asked.at(-1).messages.length}`, thinking: "hm", stats: { answer_tokens: 3, engine: "plain", remarks: ["small"] }, boxes: [{ name: "cup", left: 0.1, top: 0, right: 1, bottom: 1 }] });
    },
  };
  const files = new Files({ store, wire, session: () => "s" });
  const session = new Session({ store, wire, files, tab: { get: (key) => kept.get(key) ?? null, set: (key, value) => kept.set(key, value) }, changed: () => {} });
  const knobs = [{ name: "temperature", side: false, recommended: 0 }, { name: "max_pixels", side: true, recommended: 1552 }];
  session.facts = { version: "v", session: "s", name: "Ovis-mini", app: "1.0", most_text: 1e6, most_files: 9, model: { id: "Ovis-mini", knobs, switches: ["thinking", "boxes"] } };
  session.poses = async (words) => { session.draft.text = words; await session.ask(); };
  session.asked = asked;
  return session;
}

async function exported(session) {
  const own = { conversation: session.record, messages: [...session.messages.values()] };
  return await packed([own], { fileOf: (hash) => session.store.file(hash), app: "1.0", model: { name: "Ovis-mini", id: "Ovis-mini" } });
}

test("what was exported is imported as it was, and asks the server the same, letter by letter", async () => {
  const one = await tab();
  one.settings = { temperature: 0.7, max_pixels: 512, boxes: true, thinking: true, system: "Be \"brief\".\n" };
  await one.attach([{ blob: new Blob([PNG("left")], { type: "image/png" }), name: "left.png" }, { blob: new Blob([PNG("right")]), name: "右.png" }]);
  await one.poses("Which?\u0000 \ud83d\ude00 `x`");
  await one.poses("and why?");
  await one.again(one.path.at(-1).id); // another version of the answer
  const file = await exported(one);
  const other = await tab();
  const { library, files, left } = await unpacked(file, AROUND);
  assert.deepEqual([left, files.map((it) => it.blob.type)], [{ records: 0, files: [] }, ["image/png", "image/png"]]);
  assert.ok(await other.store.putAll(library, files));
  await other.open(library[0].conversation.id);
  other.settings = other.conversation.settings;
  const plain = (session) => [...session.messages.values()].map(({ role, text: words, thinking, files: its, detail, wants, stats, finish, error }) => ({ role, words, thinking, its, detail, wants, stats, finish, error }));
  assert.deepEqual(plain(other), plain(one));
  const seeds = (session) => [...session.messages.values()].filter((it) => it.role === "assistant").map((it) => it.asked.seed);
  assert.deepEqual(seeds(other), seeds(one)); // what chance drew is drawn again, by copied code too
  assert.deepEqual(seeds(one).filter((it) => !Number.isInteger(it)), []);
  assert.deepEqual([other.conversation.title, other.conversation.model], [one.conversation.title, "Ovis-mini"]);
  await one.again(one.path.at(-1).id);
  await other.again(other.path.at(-1).id);
  await one.poses("next");
  await other.poses("next");
  const chosen = ({ seed, ...rest }) => rest; // each new answer is drawn anew
  assert.deepEqual(chosen(other.asked.at(-2)), chosen(one.asked.at(-2)));
  assert.deepEqual(chosen(other.asked.at(-1)), chosen(one.asked.at(-1)));
  assert.equal(other.asked.at(-1).seed, other.path.at(-1).asked.seed);
  assert.match(JSON.stringify(other.asked.at(-1)), new RegExp(sum(PNG("left"))));
});

test("imported twice it is two, and the names inside say what they hold", async () => {
  const one = await tab();
  await one.attach([{ blob: new Blob([PNG("x")]), name: "x.png" }]);
  await one.poses("what?");
  const file = await exported(one);
  const inside = await contents(file);
  assert.deepEqual([...inside.keys()], ["conversation.json", `media/${sum(PNG("x"))}.png`]);
  const told = JSON.parse(await (await inside.get("conversation.json").read(1e6)).text());
  assert.deepEqual([told.app, told.model, told.version, told.media[0].type], ["1.0", { name: "Ovis-mini", id: "Ovis-mini" }, 1, "image/png"]);
  const [first, second] = [await unpacked(file, AROUND), await unpacked(file, AROUND)];
  const ids = [first, second].flatMap(({ library }) => [library[0].conversation.id, ...library[0].messages.map((it) => it.id)]);
  assert.equal(new Set([...ids, one.conversation.id]).size, 7);
});

test("a document goes along with its pages, so that others can be chosen; only a PDF, and only one that pages name", async () => {
  const [pdf, page] = [Buffer.from("%PDF-1.7\nall pages"), PNG("page 2")];
  const file = (hash, of) => ({ hash, name: "r.pdf page 2", kind: "image", source: { hash: of, page: 2, name: "r.pdf" } });
  const messages = [{ ...said("q1", null), files: [file(sum(page), sum(pdf))] }];
  const held = new Map([[sum(pdf), pdf], [sum(page), page]]);
  const out = await packed([{ conversation: { id: "c", title: "T", leaf: "q1" }, messages }], { fileOf: async (hash) => ({ blob: new Blob([held.get(hash)]) }), app: "", model: {} });
  assert.deepEqual([...(await contents(out)).keys()], ["conversation.json", `media/${sum(page)}.png`, `media/${sum(pdf)}.pdf`]);
  const read = await unpacked(out, AROUND);
  assert.deepEqual(read.files.map((one) => [one.hash, one.blob.type]), [[sum(page), "image/png"], [sum(pdf), "application/pdf"]]);
  assert.deepEqual([read.library[0].messages[0].files[0].source.hash, read.left], [sum(pdf), { records: 0, files: [] }]);
  for (const [name, data] of [["html", Buffer.from("<script>")], ["png", PNG("x")], ["other", Buffer.from("%PDF-1.7 other")]]) {
    const odd = await unpacked(await archive(manifest([{ ...said("q1", null), files: [file(sum(page), name === "other" ? sum(pdf) : sum(data))] }]),
      { name: `media/${sum(page)}.png`, data: page }, { name: `media/${name === "other" ? sum(pdf) : sum(data)}.pdf`, data }), AROUND);
    assert.deepEqual([odd.files.map((one) => one.hash), odd.left.files], [[sum(page)], []], name);
  }
  const asPicture = await unpacked(await archive(manifest([{ ...said("q1", null), files: [{ hash: sum(pdf), name: "p.png" }] }]), { name: `media/${sum(pdf)}.png`, data: pdf }), AROUND);
  assert.deepEqual([asPicture.files, asPicture.left.files], [[], ["p.png"]]);
});

test("other programs read what we write, and what they write is read: packed, with a comment, in another order", async () => {
  const data = Buffer.from(JSON.stringify(manifest([said("q1", null, { files: [{ hash: sum(PNG("p")), name: "p.png" }] })])));
  const file = await foreign([{ name: `media/${sum(PNG("p"))}.png`, data: PNG("p"), packs: true }, { name: "conversation.json", data, packs: true }], { comment: "PK\x05\x06 by hand" });
  const { library, files } = await unpacked(file, AROUND);
  assert.deepEqual([shown(library[0]), files[0].hash], [["q1"], sum(PNG("p"))]);
});

test("what is no export, damaged, cut off, encrypted or of a later version is refused in a word", async () => {
  const good = Buffer.from(await (await archive(manifest([said("q1", null)]))).arrayBuffer());
  await refused(new Blob([]), "damaged");
  await refused(new Blob([PNG("x".repeat(5000))]), "damaged");
  for (const cut of [10, 40, good.length - 60, good.length - 10]) await refused(new Blob([good.subarray(0, cut)]), "damaged");
  await refused(await zipped([{ name: "notes.txt", blob: text("x") }]), "foreign");
  await refused(await archive({ format: "other", version: 1, conversations: [] }), "foreign");
  await refused(await archive([1, 2]), "foreign");
  await refused(await archive({ ...manifest([]), version: 3 }), "newer");
  await refused(await foreign([{ name: "conversation.json", data: Buffer.from("{") }]), "damaged");
  await refused(await foreign([{ name: "conversation.json", data: Buffer.from("{}"), flags: 1 }]), "damaged");
  await refused(await foreign([{ name: "conversation.json", data: Buffer.from("{}"), sum: 7 }]), "damaged");
  const noise = Buffer.from(good);
  for (let at = 0; at < good.length; at += 3) { // any byte may be another
    noise.set(good);
    noise[at] ^= 0xff;
    await unpacked(new Blob([noise]), AROUND).catch((error) => assert.ok(error instanceof ArchiveError, `${at}: ${error.stack}`));
  }
});

test("a bomb goes off at its fuse: what grows past what it was said to be, or past what is read at once", async () => {
  const [name, data] = ["conversation.json", Buffer.alloc(4 * 2 ** 20, " ")];
  await refused(await foreign([{ name, data, packs: true, size: 100, sum: 0 }]), "large");
  await refused(await foreign([{ name, data, packs: true, size: MOST_JSON + 1 }]), "large");
  await refused(await foreign([{ name, data: Buffer.from("{}"), size: 2 ** 32 - 1 }]), "large");
  const zeros = Buffer.concat([PNG(""), Buffer.alloc(1000)]);
  const file = { hash: sum(zeros), name: "zeros.png" };
  const { library, files, left } = await unpacked(await archive(manifest([said("q1", null, { files: [file] })]), { name: `media/${file.hash}.png`, data: zeros, packs: true, size: MOST_UNPACKED + 1 }), AROUND);
  assert.deepEqual([shown(library[0]), files, left.files], [["q1"], [], ["zeros.png"]]);
});

test("a file is one that a message names, that is what its hash says, and that is a picture or a clip; the rest is left out and named", async () => {
  const named = { right: PNG("right"), wrong: PNG("wrong"), page: Buffer.from("<html><script>alert(1)</script>"), gone: PNG("gone") };
  const files = Object.entries(named).map(([name, data]) => ({ hash: sum(data), name: `${name}.png`, kind: "image" }));
  const told = manifest([said("q1", null, { files: [...files, { hash: "../../etc/passwd", name: "up" }] })]);
  const at = (name) => `media/${sum(named[name])}.png`;
  const read = await unpacked(await archive(
    told, { name: at("right"), data: named.right }, { name: at("wrong"), data: PNG("other") }, { name: at("page"), data: named.page },
    { name: `../${at("gone")}`, data: named.gone }, { name: `/media/${sum(named.gone)}`, data: named.gone }, { name: "media/../../x", data: PNG("x") },
    { name: `media/${sum(PNG("nobody's"))}.png`, data: PNG("nobody's") }, { name: at("right"), data: PNG("twice") },
  ), AROUND);
  assert.deepEqual(read.files.map((one) => one.hash), [sum(named.right)]);
  assert.deepEqual(read.left, { records: 0, files: ["wrong.png", "page.png", "gone.png"] });
  assert.equal(read.library[0].messages[0].files.length, 4); // who is missing is known, and said where it stood
});

test("records from elsewhere are read like broken ones: circles, doubles, strangers and odd values", async () => {
  const odd = [
    said("q1", "a2"), said("a2", "q1", { role: "assistant", stats: { first_token_seconds: "x", frame_times: ["a"], remarks: [{}], answer_tokens: 3 }, finish: null }),
    said("q1", null), said("x y", null), null, 7, [], { id: "m", text: "no role", parent: "q1" }, said("q9", "nobody", { wants: { thinking: "yes" }, detail: { max_pixels: "1", split: true } }),
    said("big3", null, { text: "x".repeat(1_000_001) }),
  ];
  const settings = { temperature: "hot", top_p: 1e999, system: { a: 1 }, max_new_tokens: 64, __proto__: { x: 1 } };
  const told = manifest(odd, { settings, leaf: "x y", title: 5 });
  told.conversations.push(null, 7, { id: "d" }, { id: "e", messages: "no" }, { id: "f", messages: [] });
  const { library, left } = await unpacked(await archive(told), AROUND);
  const [{ conversation, messages }] = library;
  assert.equal(library.length, 1);
  assert.equal(left.records, 4 + 1 + 1 + 1 + 5); // no records, a double, one without its words, one cut short, and conversations
  assert.deepEqual(conversation.settings, { max_new_tokens: 64 });
  assert.equal(conversation.title, "q1");
  const answer = messages.find((one) => one.text === "a2"); // it grew when it was exported
  assert.deepEqual([answer.stats, answer.finish], [{ answer_tokens: 3 }, "cut"]);
  assert.deepEqual(messages.find((one) => one.text === "q9").detail, { split: true });
  const tree = build(messages);
  assert.equal(tree.children.get(null).length, 3);
  assert.ok(messages.every((one) => path(tree, one.id).length));
});

test("ten thousand messages in one conversation come in within a moment, in their order", async () => {
  const many = Array.from({ length: 10_000 }, (_, i) => said(`m${i}`, i ? `m${i - 1}` : null, { role: i % 2 ? "assistant" : "user" }));
  const { library } = await unpacked(await archive(manifest(many)), AROUND);
  const texts = shown(library[0]);
  assert.deepEqual([texts.length, texts[0], texts.at(-1)], [10_000, "m0", "m9999"]);
});

test("many conversations are in parts, each written and read by itself; few are in one, as before", async () => {
  const long = (place) => ({ conversation: { id: `c${place}`, title: `T${place}`, leaf: null }, messages: [message({ ...said("q1", null), conversation: `c${place}`, text: String(place).repeat(900_000) })] });
  const around = { fileOf: async () => null, app: "1.0", model: { name: "M", id: "M" } };
  const library = Array.from({ length: 10 }, (_, place) => long(place));
  const file = await packed(library, around);
  const inside = await contents(file);
  assert.deepEqual([...inside.keys()], ["conversation.json", "conversation-2.json", "conversation-3.json"]);
  const found = await unpacked(file, AROUND);
  assert.deepEqual(found.library.map(({ conversation, messages }) => [conversation.title, messages[0].text[0], messages[0].text.length]),
    library.map(({ conversation }, place) => [conversation.title, String(place), 900_000]));
  const few = await packed(library.slice(0, 2), around);
  assert.equal(JSON.parse(await (await (await contents(few)).get("conversation.json").read(MOST_JSON)).text()).version, 1);
});
