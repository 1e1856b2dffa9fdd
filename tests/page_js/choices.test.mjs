// What of a file goes along, in numbers and words: moments of a clip, pages of a document; and how it travels and is kept.
import assert from "node:assert/strict";
import { test } from "node:test";

import { subjectOf } from "../../ovis_app/ui/static/page/jumps.mjs";
import { severalClips } from "../../ovis_app/ui/static/page/numbered.mjs";
import { pagesIn, written } from "../../ovis_app/ui/static/page/page_range.mjs";
import { requestOf } from "../../ovis_app/ui/static/page/request.mjs";
import { chosen, framesOf, lengthOf, toggled, wordsOf } from "../../ovis_app/ui/static/page/sampling.mjs";
import * as schema from "../../ovis_app/ui/static/page/schema.mjs";
import { browser, last, say } from "./tabs.mjs";

const HASH = "0".repeat(64);

test("pages are read as people write them, and none that isn't there", () => {
  assert.deepEqual(pagesIn("1-3, 7,10-", 12), [1, 2, 3, 7, 10, 11, 12]);
  assert.deepEqual(pagesIn("3，1–2", 5), [3, 1, 2]);
  assert.deepEqual(pagesIn("2-4,3", 5), [2, 3, 4]);
  for (const text of ["", "0", "4-2", "1-9", "6", "-2", "x", "1e3", "1".repeat(9), "1,".repeat(300)]) assert.equal(pagesIn(text, 5), null, text);
  assert.equal(written([1, 2, 3, 7, 10, 11]), "1-3,7,10-11");
  assert.deepEqual(pagesIn(written([4, 1, 2]), 5), [4, 1, 2]);
});

test("a record of how a clip is looked at is mended, or left out", () => {
  const good = { frames: 8, fps: 2, excerpt: { start: 1, end: 3, dropped: [1.5] } };
  assert.deepEqual(chosen(good), good);
  assert.deepEqual(chosen({ frames: 4, excerpt: { start: 2 } }), { frames: 4, excerpt: { start: 2, end: null, dropped: [] } });
  for (const bad of [null, 5, {}, { frames: 0 }, { frames: 999 }, { frames: "8" }, { fps: 2 }, { excerpt: "all" }, { excerpt: { start: NaN, end: -1, dropped: [Infinity] } }]) assert.equal(chosen(bad), null);
  assert.deepEqual(chosen({ excerpt: { start: 5, end: 2, dropped: [-1, 1e9, 3] } }), { excerpt: { start: 5, end: null, dropped: [3] } });
});

test("frames a second are counted in the part that was chosen, and never too many", () => {
  assert.equal(framesOf(2, lengthOf({ start: 1, end: 3 }, 10)), 4);
  assert.equal(framesOf(2, lengthOf({ start: 8, end: 99 }, 10)), 4);
  assert.equal(framesOf(30, 600), 64);
  assert.equal(framesOf(0.01, 3), 1);
  assert.deepEqual(toggled(1.2, [0.5]), [0.5, 1.2]);
  assert.deepEqual(toggled(1.2001, [0.5, 1.2]), [0.5]);
});

test("what was chosen is said in a few words", () => {
  assert.equal(wordsOf({ frames: 4, excerpt: { start: 1, end: 3.25, dropped: [1.5] } }), "4 frames · 1–3.25 s · without 1 frame");
  assert.equal(wordsOf({ frames: 4, fps: 0.5, excerpt: { start: 2, end: null, dropped: [] } }), "0.5 frames a second · from 2 s");
  assert.equal(wordsOf(null), "");
});

test("each clip of a conversation has its own moments, in every question that it stands before", () => {
  const model = { knobs: [{ name: "frames", recommended: 8 }], switches: [] };
  const part = (start) => ({ frames: 4, fps: 2, excerpt: { start, end: null, dropped: [] } });
  const clip = (name, detail) => ({ hash: HASH, name, kind: "video", ...(detail ? { detail } : {}) });
  const said = (role, files = [], detail = {}) => ({ role, text: "x", files, detail });
  const path = [said("user", [clip("a", part(1))], { frames: 16, max_pixels: 5 }), said("assistant"), said("user", [clip("b")], { frames: 16 }), said("assistant"), said("user", [clip("c", part(3))])];
  const request = requestOf(path, { frames: 16 }, model, (file) => file.name);
  const sent = (start) => ({ frames: 4, excerpt: { start, end: null, dropped: [] } });
  assert.deepEqual(request.ovis.details, [{ max_pixels: 5, ...sent(1) }, { frames: 16 }, sent(3)]);
  assert.deepEqual(request.media_io_kwargs, { video: { num_frames: 4 } });
  const both = requestOf([said("user", [clip("a", part(1)), clip("b")])], { frames: 16 }, model, (file) => file.name);
  assert.deepEqual(both.ovis.details, [sent(1), {}]);
  assert.deepEqual(both.media_io_kwargs, { video: { num_frames: 16 } }); // the second's
  assert.deepEqual(both.messages[0].content.map((one) => one.video_url?.url), ["a", "b", undefined]);
});

test("a choice outlives a reload, an edit and an export; only a clip has moments, only a page a document", async () => {
  const { server, tab } = await browser();
  let session = await tab();
  await session.attach([{ blob: new Blob(["film"], { type: "video/mp4" }), name: "film.mp4" }]);
  session.draft.files[0].detail = { frames: 4, excerpt: { start: 1, end: 3, dropped: [1.5] } };
  await session.saveDraft();
  session = await session.reload();
  await say(session, "one");
  assert.deepEqual(server.asked.at(-1).ovis.details, [{ frames: 4, excerpt: { start: 1, end: 3, dropped: [1.5] } }]);
  session.edit(session.path[0].id);
  assert.deepEqual(session.draft.files[0].detail.excerpt.dropped, [1.5]);
  assert.deepEqual(schema.message(JSON.parse(JSON.stringify(session.path[0]))).files[0], { hash: session.path[0].files[0].hash, name: "film.mp4", kind: "video", detail: session.draft.files[0].detail });
  assert.deepEqual(schema.file({ hash: HASH, name: "a", kind: "image", detail: { frames: 4 }, source: { hash: "x", page: 1 } }), { hash: HASH, name: "a", kind: "image" });
  assert.equal(last(session).finish, "end");
});

test("other pages of a document come from this browser's copy, also once the server has lost it", async () => {
  const { server, tab, store } = await browser();
  const session = await tab();
  server.bring = async (_, path, { pages = "1-2" } = {}) => {
    if (!server.uploads.has(path)) return { refused: "is no longer here" };
    const files = pages.split(/[-,]/).map((page) => ({ kind: "image", name: `r.pdf page ${page}`, page: Number(page), path: `/p${page}` }));
    for (const one of files) server.uploads.set(one.path, new Blob([one.path]));
    return { files, notes: ["Pages 1-2 fit."] };
  };
  await session.attach([{ blob: new Blob(["%PDF"], { type: "application/pdf" }), name: "r.pdf" }]);
  const { source } = session.draft.files[1];
  assert.deepEqual([source.name, source.page, session.notice], ["r.pdf", 2, "Pages 1-2 fit."]);
  server.restart();
  const found = await session.files.pages(source, { pages: "2,5", dpi: 72 });
  assert.deepEqual(found.files.map((one) => [one.source.page, one.source.dpi, one.source.hash]), [[2, 72, source.hash], [5, 72, source.hash]]);
  assert.ok(await store.file(source.hash));
});

test("a long text that was pasted goes along, is kept and comes back, and its length counts", async () => {
  const { server, tab } = await browser();
  let session = await tab();
  await session.box.paste("a long text");
  session.draft.text = "What does it say?";
  await session.saveDraft();
  session = await session.reload();
  assert.deepEqual(session.draft.pasted, ["a long text"]);
  await session.ask();
  assert.equal(server.asked.at(-1).messages[0].content, "a long text\n\nWhat does it say?");
  assert.deepEqual([session.path[0].text, session.path[0].pasted, session.conversation.title], ["What does it say?", ["a long text"], "What does it say?"]);
  session.edit(session.path[0].id);
  await session.box.unpaste(0, { back: true });
  assert.deepEqual([session.draft.text, session.draft.pasted], ["What does it say?\n\na long text", []]);
  session.leaveEdit();
  await session.box.paste("x".repeat(1001));
  await session.ask();
  assert.match(session.notice, /more text than fits/);
  await session.box.unpaste(0);
  await session.box.paste("alone");
  await session.ask();
  assert.equal(server.asked.at(-1).messages.at(-1).content, "alone");
});

test("a question that nobody heard has what was pasted in the box again, with what was pasted since", async () => {
  const { server, tab } = await browser();
  const session = await tab();
  server.up = false;
  await session.box.paste("before");
  const asking = session.ask();
  await session.box.paste("meanwhile");
  await asking;
  assert.deepEqual(session.draft.pasted, ["before", "meanwhile"]);
  server.up = true;
  await session.ask();
  const typed = () => session.draft.pasted;
  await session.box.paste("typed");
  session.edit(session.path[0].id);
  server.up = false;
  await session.ask();
  assert.deepEqual(typed(), ["before", "meanwhile"]); // the edit's own
  session.leaveEdit();
  assert.deepEqual(typed(), ["typed"]);
});

test("animations beside others are pictures, in the box and after a reload; a clip doesn't go with them", async () => {
  const { tab } = await browser();
  let session = await tab();
  session.facts.several_clips = true;
  const given = (name) => ({ blob: new Blob([name], { type: name.endsWith("mp4") ? "video/mp4" : "image/gif" }), name });
  await session.attach([given("a.gif"), given("b.gif")]);
  assert.deepEqual([session.draft.files.length, session.notice, severalClips(session.draft.files)], [2, "", false]);
  await session.attach([given("c.mp4")]);
  assert.equal(session.draft.files.length, 2);
  assert.match(session.notice, /pictures and clips go in messages of their own/);
  session = await session.reload();
  assert.deepEqual([session.draft.files.length, severalClips(session.draft.files)], [2, false]);
  assert.equal(subjectOf([{ id: "q", role: "user", files: session.draft.files.slice(0, 1).concat({ kind: "image", name: "b" }) }, "a"], "a"), null);
  assert.equal(severalClips([{ kind: "video" }, { kind: "video" }]), true);
});
