// What a question would take: shares of the context, seconds, and that a question is weighed as it would be asked.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { paceOf, secondsOf, shares, tooLong, worthShowing } from "../../ovis_app/ui/static/page/cost.mjs";
import { thought } from "../../ovis_app/ui/static/page/figures.mjs";
import { fresh, heard } from "../../ovis_app/ui/static/page/frames.mjs";
import { asksOutside, looksDrawn } from "../../ovis_app/ui/static/page/outside.mjs";
import { canEnd, twice, usedUp } from "../../ovis_app/ui/static/page/thinking.mjs";
import { Weighing } from "../../ovis_app/ui/static/page/weighing.mjs";
import { browser, last, picture, say } from "./tabs.mjs";

const weight = (more) => ({ prompt: 100, visual: 60, room: 1000, dropped: 0, files: [], ...more });
const file = (more) => ({ tokens: 60, seen: [224, 224], pieces: 1, split: 1, ...more });
const soon = (ms = 20) => new Promise((go) => setTimeout(go, ms));

test("shares of the context add up, and say when little or nothing is left", () => {
  assert.deepEqual(shares(weight(), 512), { text: 40, visual: 60, answer: 512, left: 900, state: "calm" });
  assert.deepEqual(shares(weight({ prompt: 900 }), 512).state, "tight");
  assert.equal(shares(weight({ prompt: 950 }), 32).state, "calm"); // as much as was asked for
  assert.deepEqual(shares(weight({ prompt: 1000 }), 512), { text: 940, visual: 60, answer: 0, left: 0, state: "over" });
});

test("mere text is shown once it is much, pictures always", () => {
  assert.ok(!worthShowing(weight(), 512) && worthShowing(weight({ prompt: 250 }), 512) && worthShowing(weight({ files: [file()] }), 512));
  assert.deepEqual(tooLong(weight({ files: [file(), file({ split: 6 })] })), [1]);
});

test("seconds are told by what the latest answers of the same model took", () => {
  const answer = (created, tokens, seconds, more = {}) => ({ role: "assistant", model: "A", created, stats: { prompt_tokens: tokens, first_token_seconds: seconds, ...more } });
  const pace = paceOf([answer(1, 100, 1), answer(2, 100, 0.5), answer(3, 300, 1), answer(4, 20, 9, { cached_tokens: 10 }), { role: "user" }], "A");
  assert.equal(pace, 200);
  assert.equal(paceOf([answer(1, 100, 1)], "B"), null);
  assert.equal(secondsOf(weight(), [], "A", null), null);
  assert.equal(secondsOf(weight(), [], "A", 200), 0.5);
  assert.equal(secondsOf(weight(), [answer(1, 50, 1, { answer_tokens: 10 })], "A", 40), 1); // what was read isn't read again
  assert.equal(secondsOf(weight(), [answer(1, 50, 1)], "B", 40), 2.5);
});

test("what is weighed is what would be asked, with sizes for files, once for all that is typed in a hurry", async () => {
  const { server, tab } = await browser();
  const asked = [];
  server.bring = async (session, path) => ({ files: [{ kind: "image", name: "a.png", path, size: [640, 480] }] });
  server.weigh = async (sent) => { asked.push(sent); return weight({ files: [file()] }); };
  const session = await tab();
  const weighing = new Weighing(session, { changed: () => {}, pause: 1, quiet: 5 });
  await session.attach([picture("a.png")]);
  for (const text of ["W", "Wh", "What?"]) { session.type(text); weighing.look(); }
  await soon();
  weighing.look();
  await soon();
  assert.deepEqual([asked.length, asked[0].session, weighing.weight.prompt, weighing.stale], [1, "session-1", 100, false]);
  const [{ content }] = asked[0].request.messages;
  assert.deepEqual(content, [{ type: "image_url", image_url: { url: "size:640x480" } }, { type: "text", text: "What?" }]);
  await session.ask();
  assert.deepEqual(last(session).text, "You said: What?");
  weighing.look();
  assert.equal(weighing.weight, null); // nothing stands in the box
  session.type("And?");
  weighing.look();
  await soon();
  const { messages } = asked[1].request;
  assert.deepEqual([messages.length, messages[0].content[0].image_url.url, messages[2].content], [3, "size:640x480", "And?"]);
});

test("a file whose size nobody wrote down is looked at once, and one that nobody can size leaves all unsaid", async () => {
  const { server, tab, store } = await browser();
  const session = await tab();
  await session.askExample({ text: "What?", media: [{ url: "a.png", name: "a.png" }], wants: {} });
  let [brought, asked] = [0, 0];
  server.bring = async (_, path) => { brought += 1; return brought > 1 ? {} : { files: [{ kind: "image", name: "a", path, size: [7, 9] }] }; };
  server.weigh = async () => { asked += 1; return weight(); };
  const weighing = new Weighing(session, { changed: () => {}, pause: 1, quiet: 5 });
  for (const text of ["one", "two"]) { session.type(text); weighing.look(); await soon(); }
  assert.deepEqual([brought, asked, weighing.weight !== null], [1, 2, true]);
  await store.putFile({ hash: "f".repeat(64), blob: new Blob(["x"]) });
  session.draft.files.push({ hash: "f".repeat(64), name: "b.png", kind: "image", state: "ready" });
  weighing.look();
  await soon();
  assert.deepEqual([brought, asked, weighing.weight], [2, 2, null]);
});

test("a server whose model still loads is asked again, with growing pauses, and not for ever", async () => {
  const { server, tab } = await browser();
  const session = await tab();
  let asked = 0;
  server.weigh = async () => { asked += 1; return asked < 3 ? {} : weight(); };
  await new Promise((told) => {
    const weighing = new Weighing(session, { changed: () => { if (weighing.weight) told(); }, pause: 1, quiet: 1 });
    session.type("one");
    weighing.look();
  });
  assert.equal(asked, 3);
  server.weigh = async () => { asked += 1; return {}; };
  await new Promise((told) => {
    const weighing = new Weighing(session, { changed: () => { if (weighing.told === 6) told(); }, pause: 1, quiet: 1 });
    session.type("two");
    weighing.look();
  });
  await soon();
  assert.equal(asked, 9);
});

test("a weight that comes late is nobody's once the box holds something else, and a refusal is said", async () => {
  const { server, tab } = await browser();
  const session = await tab();
  let tell;
  server.weigh = () => new Promise((resolve) => { tell = resolve; });
  const weighing = new Weighing(session, { changed: () => {}, pause: 1, quiet: 5 });
  session.type("one");
  weighing.look();
  await soon();
  session.type("");
  weighing.look();
  tell(weight());
  await soon();
  assert.equal(weighing.weight, null);
  session.type("two");
  weighing.look();
  await soon();
  tell({ refused: "That is too long." });
  await soon();
  assert.deepEqual([weighing.weight, weighing.refused], [null, "That is too long."]);
  await say(session, "two");
  weighing.look();
  assert.equal(weighing.refused, "");
});

test("a thought tells how much of its budget is used while it grows, and whether that ended it", () => {
  let answer = fresh();
  const frames = [{ kind: "begun" }, { kind: "thinking", text: "I ", tokens: 2, budget: 64 }, { kind: "thinking", text: "see", tokens: 3, budget: 64 }];
  for (const [seq, frame] of frames.entries()) answer = heard(answer, { seq, ...frame });
  const message = { role: "assistant", ...answer };
  assert.equal(thought(message), "Thinking · 3 of 64 tokens");
  assert.ok(canEnd(message) && !canEnd({ ...message, text: "A" }) && !canEnd({ ...message, finish: "cut" }));
  const over = (tokens) => ({ role: "assistant", ...heard(answer, { seq: 3, kind: "done", finish: "end", text: "A", thinking: "I see", stats: { thinking_tokens: tokens } }) });
  assert.deepEqual([thought(over(64)), usedUp(over(64))], ["Thought · 64 of 64 tokens", false]);
  assert.deepEqual([thought(over(89)), usedUp(over(89))], ["Thought · all 64 tokens of its budget", true]);
  assert.deepEqual(twice({ ...over(89), asked: { max_new_tokens: 512 } }, {}), { thinking_budget: 128, max_new_tokens: 576 });
});

test("a server that says nothing of a thought's tokens leaves them unsaid", () => {
  const answer = heard(fresh(), { seq: 0, kind: "thinking", text: "I see" });
  assert.deepEqual([answer.stats, thought({ ...answer }), canEnd({ ...answer })], [null, "Thinking", false]);
});

const wordings = (language) => JSON.parse(readFileSync(new URL(`../../ovis_app/training/mini/world/wordings/${language}.json`, import.meta.url), "utf-8"));
const textsIn = (value) => (typeof value === "string" ? [value] : value && typeof value === "object" ? Object.values(value).flatMap(textsIn) : []);

test("no question that Ovis-mini was taught is said to lie outside, and what it never saw is", () => {
  const known = ["en", "zh"].flatMap((language) => textsIn(wordings(language)));
  assert.ok(known.length > 200);
  assert.deepEqual(known.filter(asksOutside), []);
  for (const text of ["Which image has more shapes?", "Which way does it move?", "What does the text say?", "Where is the red circle?", "一共有几个形状？", "hello"]) assert.ok(!asksOutside(text), text);
  for (const text of ["What is the person wearing?", "Sum up this invoice.", "Turn the table into CSV: a Table!", "这张发票的金额是多少？", "总结这份文件"]) assert.ok(asksOutside(text), text);
});

test("a drawing has a background, a photo none", () => {
  const pixels = (colour) => Uint8ClampedArray.from({ length: 4 * 1024 }, (_, at) => (at % 4 === 3 ? 255 : colour(at >> 2, at % 4)));
  assert.ok(looksDrawn(pixels((at) => (at % 3 ? 240 : 30))));
  assert.ok(!looksDrawn(pixels((at, part) => (at * (7 + part)) % 256)));
});
