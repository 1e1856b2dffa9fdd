// Many questions of a table: what is given is told apart, each row is asked with its own files or fails, and whatever
// happens meanwhile, what is answered stays and the rest is asked once.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import { begun, jsonLines, pathOf, sorted, tableOf, tally, unicode } from "../../ovis_app/ui/static/page/many.mjs";
import { lacks, made } from "../../ovis_app/ui/static/page/many_export.mjs";
import { Batch } from "../../ovis_app/ui/static/page/many_run.mjs";
import { open } from "../../ovis_app/ui/static/page/many_store.mjs";
import { decoded } from "../../ovis_app/ui/static/page/texts.mjs";
import { FACTS, Server, picture } from "./tabs.mjs";

const read = (id, prompt, files = [], more = {}) => ({ id, prompt, turns: [{ role: "user", text: prompt, files }], ...more });
const hashed = (name) => ({ name, hash: name.padEnd(64, "0"), blob: picture(name).blob });

async function batch({ server = new Server(), store = null, ...more } = {}) {
  store ??= await open({ factory: null });
  const session = { facts: { ...FACTS, name: "Ovis" }, settings: { thinking: true }, connection: { lost: () => {}, found: () => {} } };
  let clock = 0;
  const made = new Batch({ store, wire: server, session, alone: (work) => work(), now: () => (clock += 1000), ...more });
  return { batch: made, server, store, session };
}
const states = (made) => made.rows.map((one) => one.status).join(" ");
const turn = () => new Promise((resolve) => { setTimeout(resolve, 0); });

test("what somebody gives is told apart", () => {
  const of = (name, type) => ({ name, blob: new Blob(["x"], { type }) });
  const given = [of("a.PNG", "image/png"), of("q.csv", "text/csv"), of("x/.hidden.png", "image/png"), of("r.pdf", "application/pdf"), of("s.xlsx", "application/x"), of("t.tsv", "")];
  const { table, files, leftOut } = sorted(given);
  assert.equal(table.name, "q.csv");
  assert.deepEqual(files.map((one) => one.name), ["a.PNG", "r.pdf"]);
  assert.deepEqual(leftOut, ["x/.hidden.png", "s.xlsx", "t.tsv"]);
});

test("a table is UTF-8 for the server, whatever Excel wrote, and what was guessed is said", async () => {
  const of = async (bytes, old = "windows-1252") => {
    const { blob, note } = await unicode(new Blob([Uint8Array.from(bytes)]), "in.csv", { decoded, old });
    return [new Uint8Array(await blob.arrayBuffer()), note];
  };
  const [western, note] = await of([0x42, 0xe4, 0x72, 0x3b, 0xdf]); // Bär;ß
  assert.equal(new TextDecoder().decode(western), "Bär;ß");
  assert.match(note, /“in.csv” isn't UTF-8 and was read as Windows-1252/);
  assert.equal(new TextDecoder().decode((await of([0xc4, 0xe3], "gb18030"))[0]), "你");
  for (const kept of [[0x42, 0xc3, 0xa4], [0xef, 0xbb, 0xbf, 0x61], [0xff, 0xfe, 0x61, 0], [0xff, 0xfe, 0, 0, 0x61, 0, 0, 0]]) {
    assert.deepEqual(await of(kept), [Uint8Array.from(kept), ""]);
  }
});

test("files stand at their places, pages of a document a line each, and a shape is asked for behind it", () => {
  const file = (path) => ({ path, kind: "image", hash: path, name: path });
  const row = begun({ id: "1", prompt: "", turns: [{ role: "user", text: "🐻 , then ?", files: ["a", "b"], places: [2, 9] }] }, 0);
  const found = new Map([["a", [file("a")]], ["b", [file("b1"), file("b2")]]]);
  const { messages, places } = pathOf(row, found, { wanted: "As JSON." });
  assert.equal(messages[0].text, "🐻 , then \n?\n\nAs JSON.");
  assert.deepEqual([places, messages[0].files.map((one) => one.path)], [[2, 9, 10], ["a", "b1", "b2"]]);
  assert.deepEqual(pathOf(begun(read("1", "What?", ["a"]), 0), found).places, []);
});

test("rows are asked one after another, each with its files; what can't be asked fails and is told", async () => {
  const { batch: made, server } = await batch();
  const rows = [read("x", "One?", ["a.png"]), { id: "y", prompt: "Two?", problem: "There is no file “gone.png” among those that were given: add it, or mend its name.", turns: [] }, read("z", "Three?", [], { system: "Be brief." })];
  await made.begin(rows, [hashed("a.png"), hashed("other.png")], { title: "q.csv" });
  await made.go();
  assert.equal(states(made), "answered failed answered");
  assert.equal(made.rows[0].text, "You said: One?");
  assert.deepEqual(server.asked.map((one) => one.messages.map((message) => message.role).join(" ")), ["user", "system user"]);
  assert.deepEqual([...server.uploads.keys()], ["/folder1/a.png"]); // a file that no row names isn't sent
  assert.equal(server.asked[0].chat_template_kwargs.enable_thinking, true);
  assert.deepEqual(tally(made.rows), { all: 3, answered: 2, failed: 1, left: 0, seconds: null });
});

test("a row whose file this browser lost fails, and is never asked without it", async () => {
  const { batch: made, server } = await batch();
  await made.begin([read("x", "One?", ["a.png"])], [], { title: "q.csv" });
  await made.go();
  assert.match(made.rows[0].error, /“a.png” is no longer in this browser/);
  assert.equal(server.asked.length, 0);
});

test("what the server lost is sent again; a file that it refuses is the row's own failure", async () => {
  const { batch: made, server } = await batch();
  await made.begin([read("1", "One?", ["a.png"]), read("2", "Two?", ["a.png"]), read("3", "Three?", ["b.txt"]), read("4", "Four?", ["r.pdf"])], ["a.png", "b.txt", "r.pdf"].map(hashed), { title: "q" });
  server.script = (question) => { if (question === "One?") setTimeout(() => {}, 0); return [{ kind: "answer", text: "yes" }]; };
  const going = made.go();
  while (server.asked.length < 1) await turn();
  server.restart();
  await going;
  assert.equal(states(made), "answered answered failed answered");
  assert.match(made.rows[2].error, /is no picture/);
  assert.equal(server.asked.at(-1).messages[0].content.length, 3); // two pages and the question
});

test("a pause lets an answer end, a stop doesn't, and either goes on where it was, after a reload too", async () => {
  const here = await batch();
  const { batch: made, server, store } = here;
  let release;
  server.script = (question) => [new Promise((resolve) => { release = resolve; }), { kind: "answer", text: question }];
  await made.begin([read("1", "One?"), read("2", "Two?"), read("3", "Three?")], [], { title: "q" });
  let going = made.go();
  while (server.asked.length < 1) await turn();
  assert.equal(states(made), "asked waiting waiting");
  await made.pause();
  release();
  await going;
  assert.equal(states(made), "answered waiting waiting");
  assert.equal(made.batch.going, false);
  going = made.go();
  while (server.asked.length < 2) await turn();
  await made.stop();
  assert.equal(states(made), "answered waiting waiting");
  going = made.go();
  while (server.asked.length < 3) await turn();
  const { batch: reloaded } = await batch({ store, server }); // the tab is gone in the middle of the second
  await reloaded.load();
  assert.equal(reloaded.batch.going, true);
  assert.equal(states(reloaded), "answered waiting waiting");
  server.script = (question) => [{ kind: "answer", text: question }];
  await reloaded.go();
  assert.deepEqual(reloaded.rows.map((one) => one.text), ["One?", "Two?", "Three?"]);
  assert.equal(server.asked.filter((one) => one.messages[0].content === "One?").length, 1);
  release();
  await going;
});

test("without a connection it waits and goes on; failures are asked again, alone", async () => {
  const pauses = [];
  const { batch: made, server } = await batch({ sleep: async (milliseconds) => { pauses.push(milliseconds); if (pauses.length === 3) server.up = true; } });
  server.up = false;
  await made.begin([read("1", "One?"), read("2", "Two?")], [], { title: "q" });
  server.script = (question) => (question === "Two?" ? [new Error("Out of memory: ask with smaller pictures.")] : [{ kind: "answer", text: "yes" }]);
  await made.go();
  assert.deepEqual(pauses, [1000, 2000, 4000]);
  assert.equal(states(made), "answered failed");
  server.script = () => [{ kind: "answer", text: "now" }];
  await made.again();
  assert.deepEqual(made.rows.map((one) => [one.text, one.error]), [["yes", ""], ["now", ""]]);
  assert.equal(server.asked.length, 3);
});

test("two tabs never ask one batch", async () => {
  const { batch: made, server } = await batch({ alone: () => false });
  await made.begin([read("1", "One?")], [], { title: "q" });
  await made.go();
  assert.match(made.notice, /Another tab/);
  assert.equal(server.asked.length, 0);
});

test("an answer in another shape is asked for once more, then it is an error that says where", async () => {
  const { batch: made, server } = await batch();
  server.look = async (what, session, place, { answer }) => (answer.startsWith("{") ? { data: answer } : { unfit: "The answer is not JSON.", again: "The answer is not JSON. Answer again, with JSON alone that fits the schema." });
  server.script = (question) => [{ kind: "answer", text: question.startsWith("The answer is not JSON.") ? (server.asked.length < 4 ? '{"count": 3}' : "no") : "three" }];
  await made.begin([read("1", "One?"), read("2", "Two?")], [], { title: "q", schema: "{}", wanted: "As JSON." });
  await made.go();
  assert.deepEqual(made.rows[0].data, { count: 3 });
  assert.deepEqual([made.rows[1].status, made.rows[1].error, made.rows[1].text], ["failed", "The answer is not JSON.", "no"]);
  assert.deepEqual(server.asked[1].messages.map((one) => [one.role, one.content]).slice(0, 2), [["user", "One?\n\nAs JSON."], ["assistant", "three"]]);
});

const ANSWERED = [
  { ...begun(read("1", "=Wie viele?", ["ä.png", "b.png"]), 0), status: "answered", text: '3, "drei"', thinking: "", finish: "end", error: "", stats: { answer_tokens: 4 }, data: { count: 3 } },
  { ...begun({ id: "2", prompt: "x", problem: "no file" }, 1) },
  begun(read("3", "waits"), 2),
];

test("what is taken along has the fields of the command, runs no formula, and is told without what waits", async () => {
  const [first, second] = jsonLines(ANSWERED, { data: true }).trim().split("\n").map((line) => JSON.parse(line));
  assert.deepEqual(Object.keys(first), ["id", "prompt", "media", "text", "thinking", "finish", "error", "stats", "data"]);
  assert.deepEqual([first.media, first.data, second.error, second.data], [["ä.png", "b.png"], { count: 3 }, "no file", null]);
  assert.deepEqual(tableOf(ANSWERED)[1], ["1", "=Wie viele?", "ä.png;b.png", '3, "drei"', "", "end", "", '{"answer_tokens":4}']);
  const csv = new Uint8Array(await (await made("csv", ANSWERED, true)).arrayBuffer());
  assert.deepEqual([...csv.slice(0, 3)], [0xef, 0xbb, 0xbf]);
  assert.match(new TextDecoder().decode(csv), /^id,prompt.*data\r\n1,'=Wie viele\?,ä.png;b.png,"3, ""drei""",/);
});

test("what a workbook's cells have no room for is said, and other kinds have it", async () => {
  const long = (length) => [{ ...ANSWERED[0], text: "x".repeat(length) }];
  assert.equal(await lacks(long(32_767), false), "");
  assert.match(await lacks(long(32_768), false), /longer than the 32,767 characters that Excel's hold were cut: 1\./);
  assert.ok((await (await made("csv", long(40_000), false)).text()).includes("x".repeat(40_000)));
});

test("Parquet is byte for byte what pyarrow read", async () => {
  const written = new Uint8Array(await (await made("parquet", ANSWERED, true)).arrayBuffer());
  assert.deepEqual(written, new Uint8Array(await readFile(new URL("../fixtures/answers.parquet", import.meta.url))));
});
