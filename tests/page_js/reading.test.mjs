// Pages read as Markdown: what a text is while it grows, what is kept when it ends, and what is taken along.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Reading, grown, readingOf, withFigures } from "../../ovis_app/ui/static/page/reading.mjs";
import { Crops } from "../../ovis_app/ui/static/page/reading_bench.mjs";
import { pageRead } from "../../ovis_app/ui/static/page/schema.mjs";
import { open } from "../../ovis_app/ui/static/page/store.mjs";
import { WireError } from "../../ovis_app/ui/static/page/wire.mjs";
import { FACTS } from "./tabs.mjs";

const figure = '<img src="images/abc-1.jpg" alt="Figure 1">';
let files = 0;
const file = (page) => ({ hash: `h${page}-${files}`, name: `report.pdf page ${page}`, kind: "image", source: { hash: `doc${files}`, name: "report.pdf", page } });

/** A session whose server reads page n as `says(n)`: frames, or an error. Knows which pages were drawn and read. */
function around(says) {
  files += 1;
  const told = { drawn: [], read: [], lost: 0 };
  const session = {
    facts: { ...FACTS, name: "Ovis" }, settings: {}, draft: { files: [] }, path: [{ files: [{ ...file(4), source: { hash: "other", page: 2 } }] }], connection: { lost: () => { told.lost += 1; } },
    store: { temporary: null, read: async () => [], putRead: async () => {} },
    files: {
      placed: async (wanted) => new Map(wanted.map((one) => [one.hash, one.name])),
      look: async () => ({ count: 4, pages: [] }),
      pages: async (source, { pages }) => { told.drawn.push(pages); return { files: [file(Number(pages))], notes: [] }; },
    },
    wire: {
      address: (place) => place, shown: async (path) => new Blob([path]),
      ask: async ({ request }, hear, { signal, of }) => {
        const page = Number(request.messages[0].content[0].image_url.url.split(" ").at(-1));
        assert.equal(of, "reads");
        told.read.push(page);
        for (const frame of says(page)) {
          if (signal.aborted) throw new DOMException("stopped", "AbortError");
          if (frame instanceof Error) throw frame;
          hear(frame);
          await null;
        }
      },
    },
  };
  return { session, told };
}

const whole = (page, text = `Text ${page}`) => [{ kind: "grown", from: 0, text: text.slice(0, 3) }, { kind: "grown", from: 3, text: text.slice(3) },
  { kind: "read", text, notes: [], part: `<!-- ${page} -->\n\n${text}\n\n`, figures: text.includes("<img") ? [{ name: "images/abc-1.jpg", path: "/f" }] : [], stats: null }];

test("a text grows from the place that a frame names, counted as browsers do", () => {
  assert.equal(grown("😀 abc", { from: 3, text: "xyz" }), "😀 xyz");
  for (const odd of [{}, { from: "0", text: "x" }, { from: 0 }]) assert.equal(grown("stays", odd), "stays");
});

test("figures stand between the words, by the server's names alone", () => {
  assert.deepEqual(withFigures(`a ${figure} b`), ["a ", { name: "images/abc-1.jpg", label: "Figure 1" }, " b"]);
  for (const other of ['<img src="http://x/y.jpg" alt="Figure 1">', '<img src="images/../x.jpg/a" alt="Figure 1">', '<img src="images/a.jpg" alt="x" onload=y>']) assert.deepEqual(withFigures(other), [other]);
});

test("pages are read in turn; one that fails costs itself, and what was read isn't read again", async () => {
  const says = { 1: whole(1), 2: [{ kind: "failed", sentence: "tired" }], 3: whole(3, `see ${figure}`) };
  const { session, told } = around((page) => says[page]);
  const reading = await readingOf(session, file(1));
  assert.equal(reading.count, 4);
  const texts = new Set();
  reading.changed = () => texts.add(reading.at(1)?.text);
  await reading.start([1, 2, 3]);
  assert.deepEqual([...texts], ["", "Tex", "Text 1"]);
  assert.deepEqual([told.read, told.drawn, reading.left, reading.at(2).error], [[1, 2, 3], ["2", "3"], [2], "tired"]);
  says[2] = whole(2);
  await (await readingOf(session, file(1))).start([1, 2, 3]);
  assert.deepEqual([told.read, told.drawn, reading.left], [[1, 2, 3, 2], ["2", "3"], []]);
  assert.equal(reading.markdown, `<!-- 1 -->\n\nText 1\n\n<!-- 2 -->\n\nText 2\n\n<!-- 3 -->\n\nsee ${figure}\n\n`);
  assert.deepEqual(reading.figures.map((one) => one.name), ["images/abc-1.jpg"]);
  const { text, files: pictures, answer } = reading.turn;
  assert.deepEqual([text, pictures, answer], ["Read pages 1-3 of report.pdf.", [], "Text 1\n\nText 2\n\nsee *Figure 1*"]);
});

test("what was read is kept beside its document, and goes with it where that isn't kept", async () => {
  const store = await open(() => {}, { factory: null });
  const hash = "d".repeat(64);
  const page = (number) => ({ ...file(number), hash: String(number).repeat(64), source: { hash, name: "report.pdf", page: number }, leave: new AbortController() });
  const { session, told } = around((number) => whole(number, `see ${figure} ${number}`));
  Object.assign(session, { store });
  session.files.pages = async (source, { pages }) => ({ files: [page(Number(pages))], notes: [] });
  await new Reading(session, page(1)).start([1, 2]);
  const later = new Reading(session, page(1), await store.read(hash)); // in another tab, or after a reload
  later.count = 4;
  await later.start([1, 2, 3]);
  assert.deepEqual([told.read, later.left, later.at(2).file.name], [[1, 2, 3], [], "report.pdf page 2"]);
  assert.equal(later.markdown, [1, 2, 3].map((number) => `<!-- ${number} -->\n\nsee ${figure} ${number}\n\n`).join(""));
  assert.equal(later.figures.length, 3);
  await store.hold("chat", [hash]);
  await new Reading(session, page(1), await store.read(hash)).start([4]);
  assert.equal((await store.read(hash)).length, 4);
  store.letGo();
  assert.deepEqual(await store.read(hash), []);
});

test("what was read is mended when it is read back, or left out", () => {
  for (const odd of [null, 5, {}, { page: -1, text: "" }, { page: 1 }, { page: 1, text: 5 }]) assert.equal(pageRead(odd), null);
  const blob = new Blob(["x"]);
  const figures = [{ name: "images/a.jpg", blob }, { name: "../a.jpg", blob }, { name: "images/b.jpg", blob: "x" }, null];
  const kept = pageRead({ page: 0, text: "a", part: 5, notes: ["b", 5], figures, stats: { tokens: "x", answer_tokens: 3 }, file: { hash: "x" }, finish: "hm" });
  assert.deepEqual(kept, { page: 0, text: "a", part: "", notes: ["b"], figures: [figures[0]], stats: { answer_tokens: 3 }, file: null, model: "", finish: "end", error: "" });
  assert.deepEqual(pageRead(kept), kept);
});

test("Stop keeps what was read, and a lost connection is said and goes on later", async () => {
  let cut = true;
  const { session, told } = around((page) => (page === 2 && cut ? [{ kind: "grown", from: 0, text: "half" }, new WireError("gone", { lost: true })] : whole(page)));
  const reading = new Reading(session, file(1));
  reading.count = 4;
  await reading.start([1, 2, 3]);
  assert.deepEqual([told.lost, reading.left, reading.at(2).text, reading.at(2).finish], [1, [2, 3], "half", "stopped"]);
  assert.match(String(reading.problem), /Continue/);
  cut = false;
  reading.changed = () => { if (reading.at(2).text === "Text 2" && reading.at(2).finish === "end") reading.stop(); };
  await reading.start([1, 2, 3]);
  assert.deepEqual([told.read, reading.left, reading.problem], [[1, 2, 2], [3], ""]);
  await reading.again(1); // stopped at once
  assert.deepEqual([reading.at(1).text, reading.left], ["Text 1", [3]]);
  reading.changed = () => {};
  await reading.again(1);
  assert.deepEqual([told.read, reading.left], [[1, 2, 2, 1], [3]]);
});

test("a page that can't be read again stands as it was, beside why", async () => {
  let says = whole(1);
  const { session } = around(() => says);
  const reading = new Reading(session, file(1));
  await reading.start([1]);
  says = [{ kind: "grown", from: 0, text: "ha" }, { kind: "failed", sentence: "tired" }];
  const seen = [];
  reading.changed = () => { if (!reading.running) seen.push([reading.at(1).text, reading.at(1).finish, reading.problem]); };
  await reading.again(1);
  assert.deepEqual(seen.at(-1), ["Text 1", "end", "tired"]);
  says = [new WireError("gone", { lost: true })];
  await reading.again(1);
  assert.deepEqual(seen.at(-1), ["Text 1", "end", "The page wasn't read to its end again: it stands as it was."], "there is nothing to continue");
  says = whole(1, "Text one");
  await reading.again(1);
  assert.deepEqual(seen.at(-1), ["Text one", "end", ""]);
});

test("a page that is read again shows its new figures, and what was under their names is let go", (context) => {
  const gone = context.mock.method(URL, "revokeObjectURL").mock;
  const [old, other, renewed] = ["old", "other", "renewed"].map((words) => new Blob([words]));
  const image = { dataset: { name: "images/abc-1.jpg" }, src: "", removeAttribute(name) { this[name] = ""; }, getAttribute(name) { return this[name]; } };
  const crops = new Crops();
  const seen = (...figures) => { crops.keep(figures); crops.show(image); return image.src; };
  const second = { name: "images/xyz-1.jpg", blob: other };
  const first = seen({ name: "images/abc-1.jpg", blob: old }, second);
  assert.match(first, /^blob:/);
  assert.equal(seen({ name: "images/abc-1.jpg", blob: old }, second), first);
  assert.equal(gone.callCount(), 0);
  assert.equal(seen(second), "", "while it is read again nothing old stands for what is new");
  const now = seen({ name: "images/abc-1.jpg", blob: renewed }, second);
  assert.ok(now && now !== first);
  const after = seen({ name: "images/abc-1.jpg", blob: old }, second);
  assert.ok(after && after !== now, "another in its place at once");
  assert.deepEqual(gone.calls.map((one) => one.arguments[0]), [first, now]);
  crops.keep([]);
  assert.equal(gone.callCount(), 4);
});
