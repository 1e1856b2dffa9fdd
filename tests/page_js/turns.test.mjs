// What can be done with turns, without a browser: continued, reworded, taken back, branched, shown as examples; keys; the
// connection.
import assert from "node:assert/strict";
import { test } from "node:test";

import { unfinished } from "../../ovis_app/ui/static/page/asking.mjs";
import { Connection, FIRST_MS, LONGEST_MS, UPDATED } from "../../ovis_app/ui/static/page/connection.mjs";
import { finalAnswer } from "../../ovis_app/ui/static/page/final_answer.mjs";
import { figures, together } from "../../ovis_app/ui/static/page/figures.mjs";
import { branch, rate, remove, reword } from "../../ovis_app/ui/static/page/revising.mjs";
import { message } from "../../ovis_app/ui/static/page/schema.mjs";
import { fitted, turned } from "../../ovis_app/ui/static/page/setting_rows.mjs";
import { actOf } from "../../ovis_app/ui/static/page/shortcuts.mjs";
import { WireError } from "../../ovis_app/ui/static/page/wire.mjs";
import { browser, last, messages, picture, say, shown } from "./tabs.mjs";

const THINKS = { knobs: [{ name: "temperature", side: false, recommended: 0.2, low: 0, high: 2, step: 0.05 }], switches: ["thinking"] };
const never = () => new Promise(() => {});
const soon = () => new Promise((go) => setTimeout(go, 20));

test("an answer that a reload cut goes on as it was asked for, and is one message", async () => {
  const { server, tab } = await browser();
  let session = await tab();
  session.settings = { thinking: true, system: "Be brief.", max_new_tokens: 64 };
  server.script = () => [{ kind: "thinking", text: "Let me " }, never()];
  await session.attach([picture("p.png")]);
  session.draft.text = "what?";
  session.ask();
  await soon();
  session = await session.reload();
  assert.ok(unfinished(last(session)));
  session.settings = { thinking: false, system: "", max_new_tokens: 99 };
  server.script = () => [{ kind: "thinking", text: "see." }, { kind: "answer", text: "A cup." }];
  server.stats = { answer_tokens: 5, thinking_tokens: 2, begun_tokens: 4, begun_thinking_tokens: 4, visual_tokens: 64, thinking_seconds: 1 };
  await session.goOn(last(session).id);
  const { continue_final_message, add_generation_prompt, messages: sent, chat_template_kwargs, ovis } = server.asked.at(-1);
  assert.deepEqual([continue_final_message, add_generation_prompt, chat_template_kwargs.enable_thinking], [true, false, true]);
  assert.deepEqual(sent.at(-1), { role: "assistant", content: "", reasoning: "Let me " });
  assert.deepEqual([sent[0].content, ovis.details.length], ["Be brief.", 1]);
  const { text, thinking, finish, stats } = last(session);
  assert.deepEqual([text, thinking, finish, session.path.length], ["A cup.", "Let me see.", "end", 2]);
  assert.deepEqual([stats.answer_tokens, stats.thinking_tokens, stats.visual_tokens, stats.thinking_seconds], [9, 6, 64, undefined]);
  assert.ok(!unfinished(last(session)));
});

test("what goes on can be stopped, lost and refused, and nothing of it is", async () => {
  const { server, tab } = await browser();
  const session = await tab();
  server.script = () => [{ kind: "answer", text: "one " }, new WireError("gone", { lost: true })];
  await say(session, "go");
  const { id } = last(session);
  server.up = false;
  await session.goOn(id);
  assert.deepEqual([last(session).text, last(session).finish, session.lines.has("offline")], ["one ", "cut", true]);
  server.up = true;
  server.script = () => [{ kind: "answer", text: "two " }, never()];
  const going = session.goOn(id);
  await soon();
  assert.equal(session.lines.has("offline"), false);
  await session.stop();
  await going;
  assert.deepEqual([last(session).text, last(session).finish], ["one two ", "stopped"]);
  server.script = () => [new WireError("An answer of box can't be continued from here.")];
  await session.goOn(id);
  assert.deepEqual([last(session).text, last(session).error], ["one two ", "An answer of box can't be continued from here."]);
  server.script = () => [{ kind: "answer", text: "three" }];
  await session.goOn(id);
  assert.deepEqual([last(session).text, last(session).error, last(session).finish], ["one two three", "", "end"]);
});

test("figures of an answer in parts are those of the whole, and none that nobody counted", () => {
  const first = { answer_tokens: 10, first_token_seconds: 0.2, thinking_seconds: 2, thinking_tokens: 6 };
  assert.deepEqual(together(first, { answer_tokens: 5, tokens_per_second: 9, first_token_seconds: 0.1 }),
    { answer_tokens: 15, tokens_per_second: 9, first_token_seconds: 0.2, thinking_seconds: 2, thinking_tokens: 6 });
  assert.equal(together(first, { answer_tokens: 5, begun_tokens: 12, thinking_seconds: 1 }).thinking_seconds, 3);
  assert.equal(together(first, { answer_tokens: 5, begun_tokens: 12 }).answer_tokens, 17);
  assert.deepEqual(together(null, { answer_tokens: 5 }), {});
  assert.equal(together(first, null), null);
});

test("asking again says the same words only where nothing changed and nothing is drawn; other settings are for once", async () => {
  const { server, tab } = await browser();
  const session = await tab();
  session.settings = { temperature: 0, system: "" };
  session.facts.model = { knobs: [{ name: "temperature", side: false, recommended: 0 }], switches: [] };
  session.facts.name = "Ovis";
  await say(session, "one");
  assert.ok(session.same(last(session)));
  await session.again(last(session).id, { temperature: 0.8 });
  assert.deepEqual([server.asked[0].temperature, server.asked[1].temperature], [undefined, 0.8]);
  assert.ok(!session.same(last(session)));
  await session.again(last(session).id);
  assert.equal(server.asked[2].temperature, undefined);
  session.settings = { temperature: 0, system: "Be brief." };
  assert.ok(!session.same(last(session)));
  session.settings = { temperature: 0, system: "" };
  session.facts.name = "another";
  assert.ok(!session.same(last(session)));
});

test("an answer in other words is a version of it, and is what the next question is asked after", async () => {
  const { server, tab } = await browser();
  const session = await tab();
  await say(session, "one");
  await reword(session, last(session).id, "I say: one");
  assert.deepEqual([shown(session), last(session).edited, figures(last(session))], [["one", "I say: one"], true, ["edited by hand"]]);
  await say(session, "two");
  assert.equal(messages(server)[1].content, "I say: one");
  await session.choose(session.tree.children.get(session.path[0].id)[0].id);
  assert.deepEqual(shown(session), ["one", "You said: one"]);
  assert.ok(last(await session.reload()).edited === false);
});

test("what was deleted comes back as it was, also once another chat is shown, or none was left", async () => {
  const { store, tab } = await browser();
  const session = await tab();
  await say(session, "one");
  await say(session, "two");
  const before = shown(session);
  const one = await remove(session, session.path[2].id);
  assert.deepEqual(shown(session), ["one", "You said: one"]);
  await one();
  assert.deepEqual(shown(session), before);
  const all = await remove(session, session.path[0].id);
  assert.equal((await store.conversations()).length, 0);
  await session.newChat();
  await say(session, "elsewhere");
  await all();
  assert.deepEqual(shown(session), before);
  assert.deepEqual((await store.conversations()).map((each) => each.title).sort(), ["elsewhere", "one"]);
  assert.deepEqual(shown(await session.reload()), before);
});

test("a new chat goes on from an answer, or from before a question, and the old one stays as it is", async () => {
  const { server, store, tab } = await browser();
  const session = await tab();
  await session.attach([picture("p.png")]);
  await say(session, "one");
  await say(session, "two");
  const [old, path] = [session.conversation.id, session.path];
  await branch(session, path[1].id);
  assert.deepEqual([shown(session), session.conversation.title], [["one", "You said: one"], "one"]);
  await say(session, "three");
  assert.equal(messages(server)[0].content[0].type, "image_url");
  await session.open(old);
  assert.deepEqual(shown(session), ["one", "You said: one", "two", "You said: two"]);
  await branch(session, path[0].id);
  assert.deepEqual([shown(session), session.draft.text, session.draft.files[0].name], [[], "one", "p.png"]);
  assert.equal((await store.conversations()).length, 3);
  assert.equal((await session.reload()).draft.text, "one");
});

test("examples stand before the first question of a new chat until they are taken away, and are no chat themselves", async () => {
  const { server, store, tab } = await browser();
  const session = await tab();
  await session.attach([picture("p.png")]);
  await say(session, "one");
  const answer = last(session);
  await session.examples.add(session.path[0], answer);
  assert.ok(session.examples.has(answer.id));
  await session.newChat();
  server.up = false;
  await say(session, "mine");
  assert.deepEqual([session.path.length, session.draft.text], [0, "mine"]); // taken back with all before it
  server.up = true;
  await session.ask();
  assert.deepEqual(shown(session), ["one", "You said: one", "mine", "You said: mine"]);
  assert.deepEqual(session.path.map((each) => each.example), [true, true, false, false]);
  assert.equal(messages(server)[0].content[0].type, "image_url");
  assert.equal(session.conversation.title, "mine");
  assert.equal((await store.conversations()).length, 2);
  await session.newChat();
  session.examples.used = false;
  await say(session, "alone");
  assert.deepEqual(shown(session), ["alone", "You said: alone"]);
  await session.examples.remove(answer.id);
  await session.newChat();
  await say(session, "later");
  assert.equal(session.path.length, 2);
});

test("what somebody thinks of an answer is kept with it", async () => {
  const { tab } = await browser();
  const session = await tab();
  await say(session, "one");
  await rate(session, last(session).id, { good: false, reason: "It repeats me." });
  const again = await session.reload();
  assert.deepEqual(last(again).feedback, { good: false, reason: "It repeats me." });
  await rate(again, last(again).id, null);
  assert.equal(last(again).feedback, null);
  assert.equal(message({ id: "m", conversation: "c", role: "assistant", text: "", feedback: { good: "yes" } }).feedback, null);
});

test("what a step-by-step answer comes to is what stands behind the words that it was to end with", () => {
  assert.equal(finalAnswer("2 and 2.\n**Final answer: 4.**"), "4");
  assert.equal(finalAnswer("The answer is 3? No.\nSo the answer is $\\boxed{4}$."), "4");
  assert.equal(finalAnswer("因此，最终答案：四个圆。"), "四个圆");
  assert.equal(finalAnswer("**Final Answer:** 1.5 m\nDone."), "1.5 m");
  for (const none of ["", "4", "Final answer:", `Final answer: ${"x".repeat(300)}`]) assert.equal(finalAnswer(none), "");
});

test("a new chat begins with what the model recommends, and a chat that is opened with its own settings", async () => {
  const { tab } = await browser();
  const session = await tab();
  session.follow({ ...session.facts, name: "Ovis", model: THINKS });
  const first = { thinking: false, temperature: 0.2, system: "", drop_old_turns: false };
  assert.deepEqual(session.settings, first);
  session.turn({ temperature: 0.9, system: "Be brief.", thinking: true });
  await say(session, "one");
  const { id } = session.conversation;
  await session.newChat();
  assert.deepEqual(session.settings, first);
  await session.open(id);
  assert.deepEqual(session.settings, { ...first, temperature: 0.9, system: "Be brief.", thinking: true });
});

test("with another model settings stand as it recommends, but for what is about the conversation", async () => {
  const { tab } = await browser();
  const session = await tab();
  const told = (name, model) => session.follow({ ...session.facts, name, model });
  told("Ovis", THINKS);
  session.turn({ temperature: 0.9, system: "Be brief.", thinking: true, drop_old_turns: true });
  told("Ovis", THINKS); // once more: what people set stays
  assert.equal(session.settings.temperature, 0.9);
  told("Tiles", { switches: ["split"], knobs: [{ name: "max_partition", recommended: 9, low: 1, high: 16, step: 1 }] });
  assert.deepEqual(session.settings, { split: false, max_partition: 9, system: "Be brief.", drop_old_turns: true });
});

test("what was kept elsewhere stands only as far as a model has it, within its ranges", () => {
  const model = { switches: ["boxes"], knobs: [{ name: "frames", recommended: 8, low: 1, high: 64, step: 1 }, { name: "temperature", recommended: 0, low: 0, high: 2, step: 0.05 }] };
  const kept = (settings) => fitted(model, settings);
  const first = { boxes: false, frames: 8, temperature: 0, system: "", drop_old_turns: false };
  assert.deepEqual(kept({}), first);
  assert.deepEqual(kept({ thinking: true, frames: "8", temperature: NaN, boxes: 1, system: 5, drop_old_turns: null }), first);
  assert.deepEqual(kept({ frames: 999.4, temperature: -1, boxes: true }), { ...first, frames: 64, boxes: true });
  assert.deepEqual(kept({ frames: 7.6, temperature: 0.123 }), { ...first, frames: 8, temperature: 0.123 });
});

test("a smallest picture that is larger than the largest raises that, and the other way round", () => {
  const side = { side: true, low: 448, high: 1792, step: 16 };
  const model = { switches: [], knobs: [{ ...side, name: "min_pixels", recommended: 448 }, { ...side, name: "max_pixels", recommended: 1792 }] };
  const sizes = (part) => { const { min_pixels, max_pixels } = turned(model, { min_pixels: 600, max_pixels: 800 }, part); return [min_pixels, max_pixels]; };
  assert.deepEqual(sizes({ min_pixels: 1000 }), [1000, 1000]);
  assert.deepEqual(sizes({ max_pixels: 500 }), [500, 500]);
  assert.deepEqual(sizes({ min_pixels: 700 }), [700, 800]);
});

test("a server that can't be reached is asked again with growing pauses, and only while somebody looks", async () => {
  const pauses = [];
  const lines = new Map();
  let [answers, seen, next, ended] = ["gone", true, null, 0];
  const connection = new Connection({
    lines, changed: () => {}, seen: () => seen, probe: async () => answers,
    later: (work, pause) => { pauses.push(pause); next = work; return () => { ended += 1; }; },
  });
  await connection.look();
  assert.deepEqual([pauses.length, connection.down], [0, false]); // all is well: nobody asks
  connection.lost("It waits.");
  connection.lost("It waits.");
  assert.deepEqual([lines.get("offline"), pauses], ["It waits.", [FIRST_MS]]);
  for (let i = 0; i < 8; i++) { next(); await soon(); }
  assert.ok(pauses.every((one, place) => place === 0 || one >= pauses[place - 1]) && pauses.at(-1) === LONGEST_MS);
  seen = false;
  const count = pauses.length;
  next();
  await soon();
  assert.equal(pauses.length, count); // nobody looks: nobody asks
  seen = true;
  answers = "updated";
  await connection.look();
  assert.deepEqual([connection.down, lines.has("offline"), lines.get("version")], [false, false, UPDATED]);
  connection.lost();
  assert.equal(pauses.at(-1), FIRST_MS);
  connection.found();
  assert.ok(ended > 0 && !connection.down);
});

test("keys do what they say, and nothing where they are typed, held, or belong to an input method", () => {
  const press = (key, code, more = {}, where = {}) => actOf({ key, code, ...more }, { mac: false, ...where });
  assert.equal(press("O", "KeyO", { ctrlKey: true, shiftKey: true }, { typing: true }), "newChat");
  assert.equal(press("o", "KeyO", { metaKey: true, shiftKey: true }, { mac: true }), "newChat");
  assert.equal(press("/", "Slash"), "focus");
  assert.equal(press("/", "Slash", {}, { typing: true }), null);
  assert.equal(press("?", "Slash", { shiftKey: true }), "list");
  assert.equal(press("?", "Slash", { shiftKey: true }, { typing: true }), null);
  assert.equal(press("Escape", "Escape", { shiftKey: true }, { typing: true }), "focus");
  assert.equal(press("Escape", "Escape"), null); // page.js hears it
  assert.equal(press("ArrowUp", "ArrowUp", {}, { typing: true, empty: true }), "editLast");
  assert.equal(press("ArrowUp", "ArrowUp", {}, { typing: true }), null);
  assert.equal(press("r", "KeyR", { altKey: true }, { typing: true }), "again");
  assert.equal(press("®", "KeyR", { altKey: true }, { typing: true, mac: true }), null);
  assert.equal(press("c", "KeyC", { altKey: true }), "goOn");
  for (const odd of [{ isComposing: true }, { keyCode: 229 }, { repeat: true }, { ctrlKey: true, altKey: true }, { getModifierState: () => true }]) {
    assert.equal(press("r", "KeyR", { altKey: true, ...odd }), null);
  }
});
