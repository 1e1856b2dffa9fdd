// What a question would take: shares of the context, seconds, and that a question is weighed as it would be asked.
import assert from "node:assert/strict";
import { test } from "node:test";

import { paceOf, secondsOf, shares, tooLong, worthShowing } from "../../ovis_app/ui/static/page/cost.mjs";
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
  const weighing = new Weighing(session, { changed: () => {}, pause: 1 });
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
  const weighing = new Weighing(session, { changed: () => {}, pause: 1 });
  for (const text of ["one", "two"]) { session.type(text); weighing.look(); await soon(); }
  assert.deepEqual([brought, asked, weighing.weight !== null], [1, 2, true]);
  await store.putFile({ hash: "f".repeat(64), blob: new Blob(["x"]) });
  session.draft.files.push({ hash: "f".repeat(64), name: "b.png", kind: "image", state: "ready" });
  weighing.look();
  await soon();
  assert.deepEqual([brought, asked, weighing.weight], [2, 2, null]);
});

test("a weight that comes late is nobody's once the box holds something else, and a refusal is said", async () => {
  const { server, tab } = await browser();
  const session = await tab();
  let tell;
  server.weigh = () => new Promise((resolve) => { tell = resolve; });
  const weighing = new Weighing(session, { changed: () => {}, pause: 1 });
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
