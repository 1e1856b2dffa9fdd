// The page's pure modules: a conversation as a tree, records as they are read, requests, frames, digests, figures.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";

import { digest } from "../../ovis_app/ui/static/page/digest.mjs";
import { figures, thought } from "../../ovis_app/ui/static/page/figures.mjs";
import { fresh, heard, over } from "../../ovis_app/ui/static/page/frames.mjs";
import { detailOf, requestOf } from "../../ovis_app/ui/static/page/request.mjs";
import { conversation, message, titleOf, usable } from "../../ovis_app/ui/static/page/schema.mjs";
import { below, build, newestLeaf, path, standing, versions } from "../../ovis_app/ui/static/page/tree.mjs";

const HASH = "a".repeat(64);
const said = (id, parent, role = "user", more = {}) => message({
  id, conversation: "c", parent, role, text: id, created: Number(id.replace(/\D/g, "")) || 0, ...more,
});
const ids = (messages) => messages.map((one) => one.id);

test("a path leads from the first question to where somebody stands, whatever else was said", () => {
  const tree = build([said("q1", null), said("a2", "q1", "assistant"), said("a3", "q1", "assistant"), said("q4", "a2")]);
  assert.deepEqual(ids(path(tree, "q4")), ["q1", "a2", "q4"]);
  assert.deepEqual(ids(versions(tree, "a3")), ["a2", "a3"]);
  assert.equal(newestLeaf(tree, "q1").id, "q4");
  assert.equal(newestLeaf(tree, "a3").id, "a3");
  assert.deepEqual(below(tree, "a2").sort(), ["a2", "q4"]);
  assert.equal(standing(tree, "gone"), "q4");
});

test("edited first questions are versions of one another", () => {
  const tree = build([said("q1", null), said("q2", null)]);
  assert.deepEqual(ids(versions(tree, "q2")), ["q1", "q2"]);
});

test("what lost its parent stands as a root, and a circle is opened where it began", () => {
  const tree = build([said("q5", "gone"), said("x1", "y2"), said("y2", "x1", "assistant"), said("z3", "y2"), said("s4", "s4")]);
  assert.deepEqual(ids(path(tree, "q5")), ["q5"]);
  assert.deepEqual(ids(path(tree, "z3")), ["x1", "y2", "z3"]);
  assert.deepEqual(ids(path(tree, "s4")), ["s4"]);
  const reached = tree.children.get(null).flatMap((root) => below(tree, root.id));
  assert.deepEqual(reached.sort(), ["q5", "s4", "x1", "y2", "z3"]);
});

test("ten thousand messages in a row are no deep recursion", () => {
  const many = Array.from({ length: 10_000 }, (_, i) => said(`m${i}`, i ? `m${i - 1}` : null));
  const tree = build(many);
  assert.equal(path(tree, "m9999").length, 10_000);
  assert.equal(newestLeaf(tree, "m0").id, "m9999");
  assert.equal(below(tree, "m0").length, 10_000);
});

test("any record is read, mended or left out, and none throws", () => {
  const throwing = { get id() { throw new Error("no"); } };
  const records = [
    { id: "m1", conversation: "c", role: "user", text: "hello", parent: null, created: 1 },
    null, 7, "x", [], {}, throwing, { id: "m2" }, { id: "../../m", conversation: "c" },
    { id: "m3", conversation: "c", parent: "m1", role: "robot", text: 5, created: NaN, files: "x", stats: [], boxes: [1, {}] },
    { id: "m4", conversation: "c", role: "assistant", text: "t", finish: "exploded", files: [{ hash: "../x" }, { hash: HASH }, null] },
  ];
  const { good, broken } = usable(records, message);
  assert.deepEqual(ids(good), ["m1", "m3", "m4"]);
  assert.equal(broken, 9); // eight left out, and one that lost its words but not its place
  assert.equal(good[1].lost, true);
  assert.equal(good[1].parent, "m1");
  assert.deepEqual(good[2].files, [{ hash: HASH, name: "file", kind: "image" }]);
  assert.equal(good[2].finish, null);
  for (const value of [null, [], { id: "a b" }, { id: 3 }]) assert.equal(conversation(value), null);
  assert.deepEqual(conversation({ id: "c", draft: { text: 4, files: [{}] }, leaf: {} }).draft, { text: "", files: [], pasted: [], editing: null });
});

test("a record that was read is read the same again", () => {
  const once = message({ id: "m", conversation: "c", role: "user", text: "x", wants: { thinking: true, cot: 1 }, detail: { frames: 4 } });
  assert.deepEqual(message(once), once);
  assert.deepEqual(once.wants, { thinking: true });
});

test("a title is the beginning of the question, or what the files are called", () => {
  assert.equal(titleOf("  How\n many? ", []), "How many?");
  assert.equal(titleOf("x".repeat(200), []).length, 80);
  assert.equal(titleOf(" ", [{ name: "a.png" }, { name: "b.png" }]), "a.png, b.png");
});

const MODEL = {
  switches: ["thinking", "cot", "boxes", "split"],
  knobs: [
    { name: "max_new_tokens", side: false, recommended: 1024 }, { name: "temperature", side: false, recommended: 0 },
    { name: "top_p", side: false, recommended: 0.95 }, { name: "max_pixels", side: true, recommended: 1552 },
    { name: "frames", side: false, recommended: 8 },
  ],
};

test("a request says what was turned, in the words of /v1, and what only the page knows beside it", () => {
  const picture = { hash: HASH, name: "p.png", kind: "image" };
  const clip = { hash: "b".repeat(64), name: "c.mp4", kind: "video" };
  const asked = [
    said("q1", null, "user", { files: [picture], detail: { max_pixels: 4096 } }),
    said("a2", "q1", "assistant", { thinking: "hm" }),
    said("q3", "a2", "user", { files: [clip], wants: { thinking: true } }),
  ];
  const settings = { temperature: 0.7, top_p: 0.95, max_pixels: 512, frames: 4, boxes: true, cot: false, thinking: false, system: "Be brief." };
  assert.deepEqual(requestOf(asked, settings, MODEL, (file) => `at/${file.name}`), {
    messages: [
      { role: "system", content: "Be brief." },
      { role: "user", content: [{ type: "image_url", image_url: { url: "at/p.png" } }, { type: "text", text: "q1" }] },
      { role: "assistant", content: "a2", reasoning: "hm" },
      { role: "user", content: [{ type: "video_url", video_url: { url: "at/c.mp4" } }, { type: "text", text: "q3" }] },
    ],
    temperature: 0.7,
    chat_template_kwargs: { enable_thinking: true },
    mm_processor_kwargs: { max_pixels: 512 * 512 },
    media_io_kwargs: { video: { num_frames: 4 } },
    ovis: { cot: false, boxes: true, split: false, drop_old_turns: false, details: [{ max_pixels: 4096 }] },
  });
  assert.deepEqual(detailOf(settings, MODEL), { max_pixels: 512 * 512, frames: 4 });
});

test("what a model can't do isn't asked for, however the switches stand", () => {
  const request = requestOf([said("q1", null)], { thinking: true, boxes: true, cot: true, min_pixels: 64 }, { switches: [], knobs: [] }, String);
  assert.deepEqual(request.chat_template_kwargs, { enable_thinking: false });
  assert.deepEqual(request.ovis, { cot: false, boxes: false, split: false, drop_old_turns: false, details: [] });
  assert.equal(request.mm_processor_kwargs, undefined);
});

const STREAM = [
  { seq: 0, kind: "begun", version: "v" }, { seq: 1, kind: "waiting", note: "Starting" }, { seq: 2, kind: "thinking", text: "Hm" },
  { seq: 3, kind: "answer", text: "A cir" }, { seq: 4, kind: "beat" }, { seq: 5, kind: "answer", text: "cle." },
];
const DONE = { seq: 6, kind: "done", finish: "end", text: "A circle.", thinking: "Hm", stats: { answer_tokens: 3 } };
const after = (frames) => frames.reduce(heard, fresh());

test("frames in order grow an answer", () => {
  const growing = after(STREAM);
  assert.deepEqual([growing.thinking, growing.text, growing.finish, growing.version], ["Hm", "A circle.", null, "v"]);
  assert.equal(after(STREAM.slice(0, 2)).note, "Starting");
  assert.deepEqual(after([...STREAM, DONE]).stats, { answer_tokens: 3 });
});

test("frames that come twice or out of order make the same answer, those after a gap wait, and the last one fills it", () => {
  const orders = [[0, 1, 1, 2, 3, 3, 4, 5], [1, 0, 3, 2, 5, 4], [5, 4, 3, 2, 1, 0], [0, 0, 5, 1, 2, 3, 4, 5]];
  for (const order of orders) assert.equal(after(order.map((i) => STREAM[i])).text, "A circle.");
  const gap = after([STREAM[0], STREAM[1], STREAM[2], STREAM[5]]);
  assert.equal(gap.text, "");
  assert.equal(heard(gap, DONE).text, "A circle.");
  assert.equal(after([DONE, ...STREAM]).text, "A circle.");
  assert.ok(over(after([DONE])));
});

test("what is no frame changes nothing", () => {
  const before = after(STREAM);
  for (const odd of [null, 4, {}, { seq: "6" }, { seq: -1, kind: "answer", text: "x" }, { seq: 0.5 }]) assert.equal(heard(before, odd), before);
  assert.equal(heard(before, { seq: 6, kind: "answer", text: { toString: 1 } }).text, "A circle.");
  assert.equal(heard(before, { seq: 6, kind: "sung", text: "la" }).text, "A circle.");
});

test("an answer turns out to have been the thought; a failure keeps what was said; files may be missing", () => {
  assert.deepEqual([after([...STREAM, { seq: 6, kind: "recast" }]).thinking, after([...STREAM, { seq: 6, kind: "recast" }]).text], ["HmA circle.", ""]);
  const failed = heard(after(STREAM), { seq: 6, kind: "failed", sentence: "Out of memory.", text: "A circle.", thinking: "Hm" });
  assert.deepEqual([failed.text, failed.error, failed.finish], ["A circle.", "Out of memory.", "error"]);
  const missing = after([STREAM[0], { seq: 1, kind: "missing", files: [0] }]);
  assert.ok(over(missing) && missing.missing[0] === 0);
});

test("the digest is SHA-256, with what browsers have and without", async () => {
  for (const size of [0, 1, 55, 56, 63, 64, 65, 1000, 5_000_001]) {
    const data = Buffer.alloc(size, "ovis");
    const right = createHash("sha256").update(data).digest("hex");
    assert.equal(await digest(new Blob([data])), right);
    assert.equal(await digest(new Blob([data]), { subtle: null }), right);
  }
});

test("figures say what was measured and no more", () => {
  const line = (stats, finish = "end") => figures({ finish, stats }).join(" · ");
  assert.equal(line({ visual_tokens: 1392, first_token_seconds: 0.214, tokens_per_second: 38.4, answer_tokens: 12 }),
    "1,392 visual tokens · first token 0.21 s · 38 tokens/s · 12 tokens · done");
  assert.equal(line(null, "stopped"), "stopped");
  assert.equal(line(null, "cut"), "cut off");
  assert.equal(line(null, null), "");
  assert.match(line({ frame_times: Array.from({ length: 10 }, (_, i) => i) }), /10 frames at 0\.0, 1\.0, .*7\.0 … s/);
  assert.match(line({ dropped_turns: 2 }), /without the 2 oldest questions, to fit/);
  assert.equal(thought({ finish: null, text: "", stats: null }), "Thinking");
  assert.equal(thought({ finish: "end", text: "x", stats: { thinking_seconds: 61.5, thinking_tokens: 84 } }), "Thought · 1 min 1 s · 84 tokens");
});
