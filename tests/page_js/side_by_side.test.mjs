// One question asked twice: which words differ, in which settings, one answer after the other, stopped and kept through a
// reload.
import assert from "node:assert/strict";
import { test } from "node:test";

import { apart, differences, rowsOf, shown as valueShown } from "../../ovis_app/ui/static/page/setting_rows.mjs";
import { differing, words } from "../../ovis_app/ui/static/page/word_diff.mjs";
import { browser, last, messages, picture, say, shown } from "./tabs.mjs";

const MODEL = {
  switches: ["thinking"], labels: { thinking: "Think" },
  knobs: [{ name: "temperature", label: "Temperature", side: false, recommended: 0, low: 0, high: 2, step: 0.05 }],
};
const list = (text) => words(text).map((one) => one.word);
function marked(one, other) {
  const [left, right] = [list(one), list(other)];
  const marks = differing(left, right);
  return [left.filter((_, i) => marks[0][i]), right.filter((_, i) => marks[1][i])];
}

test("words differ, in any script, and what moved or is missing is told", () => {
  assert.deepEqual(marked("There are 3 red circles.", "There are 4 red circles."), [["3"], ["4"]]);
  assert.deepEqual(marked("图中有三个红色圆形。", "图中有四个红色圆形。"), [["三"], ["四"]]);
  assert.deepEqual(marked("a b c d e", "a c d b e"), [["b"], ["b"]]);
  assert.deepEqual(marked("", "all new"), [[], ["all", "new"]]);
  assert.deepEqual(marked("same, even so: $x^2$", "same, even so: $x^2$"), [[], []]);
  assert.deepEqual(words("3.2 naïve, 好的").map((one) => one.at), [0, 1, 2, 4, 9, 11, 12]);
});

/** Words that come again and again, as models have them, from a seed. */
function text(count, kinds, seed) {
  let state = seed;
  const next = () => { state = (state * 1103515245 + 12345) % 2147483648; return state; };
  return Array.from({ length: count }, () => `w${next() % kinds}`);
}

test("what is told of long texts is true: what isn't marked is the same in both, in order", () => {
  for (const [count, kinds, every] of [[20_000, 3000, 50], [20_000, 40, 9], [20_000, 2, 3], [4000, 4000, 1]]) {
    const one = text(count, kinds, 7);
    const other = one.flatMap((word, i) => (i % every ? [word] : i % 2 ? [] : ["new", word]));
    const marks = differing(one, other);
    assert.deepEqual(one.filter((_, i) => !marks[0][i]), other.filter((_, i) => !marks[1][i]));
    if (every > 8) assert.ok(marks[1].reduce((sum, each) => sum + each, 0) < 1.2 * other.filter((word) => word === "new").length + 200);
  }
  const [none, all] = [text(20_000, 1e9, 1), text(20_000, 1e9, 2).map((word) => `x${word}`)];
  assert.ok(differing(none, all).every((marks) => marks.every(Boolean))); // nothing in common
  const same = differing(Array(20_000).fill("哈"), Array(19_000).fill("哈"));
  assert.equal(same[0].reduce((sum, each) => sum + each, 0), 1000);
});

test("settings differ where they count, and are told in words", () => {
  const rows = rowsOf(MODEL);
  const [one, other] = [{ temperature: 0, thinking: false, system: " " }, { temperature: 0.7, system: "", top_k: 5 }];
  assert.deepEqual(differences(rows, one, other).map((row) => row.name), ["temperature"]);
  assert.equal(valueShown(rows[0], one), "off");
  const said = (asked, more) => ({ asked, model: "Ovis", ...more });
  assert.deepEqual(apart(said({ ...one, thinking: true }), said(other), rows), ["Think: on", "Temperature: 0"]);
  assert.deepEqual(apart(said(one, { model: "Ovis2-1B" }), said(one), rows), ["Ovis2-1B"]);
  assert.deepEqual(apart(said(null), said(one), rows), []);
  assert.deepEqual(apart(said(one, { edited: true }), said(one), rows), ["edited by hand"]);
});

async function ready() {
  const here = await browser();
  const session = await here.tab();
  session.facts.model = MODEL;
  session.settings = { thinking: false, temperature: 0 };
  return { ...here, session };
}
const both = (session) => session.beside?.map((one) => [one.text, one.finish, one.asked.thinking]);

test("what stands in the box is asked twice, one after the other, and both answers are versions of one another", async () => {
  const { server, session } = await ready();
  let open = 0;
  server.script = (question) => { assert.equal(open++ % 2, 0); return [{ kind: "answer", text: `${question}!` }, Promise.resolve().then(() => { open++; })]; };
  await session.attach([picture("a.png")]);
  session.draft.text = "Which?";
  await session.ask({}, { beside: { settings: { thinking: true, temperature: 0 } } });
  assert.deepEqual(both(session), [["Which?!", "end", false], ["Which?!", "end", true]]);
  assert.deepEqual(server.asked.map((one) => one.chat_template_kwargs.enable_thinking), [false, true]);
  assert.ok(server.asked.every((one) => one.messages.length === 1 && one.messages[0].content.length === 2));
  assert.deepEqual([shown(session), session.draft.text, session.running], [["Which?", "Which?!"], "", null]);
  await say(session, "and then?");
  assert.equal(session.beside, null); // the conversation went on
  assert.equal(messages(server).length, 3);
});

test("another answer is asked for beside one that is there, whatever its question wants; one is kept", async () => {
  const { server, session } = await ready();
  session.draft.text = "How many?";
  await session.ask({ thinking: true });
  const first = last(session);
  await say(session, "Why?");
  server.script = () => [{ kind: "answer", text: "Four." }];
  await session.askBeside(first.id, { settings: { ...first.asked, thinking: false } });
  assert.equal(server.asked.at(-1).chat_template_kwargs.enable_thinking, false);
  assert.deepEqual(both(session), [["You said: How many?", "end", true], ["Four.", "end", false]]);
  await session.keep(first.id);
  assert.deepEqual([session.beside, shown(session).at(-1)], [null, "You said: Why?"]); // and what followed it
  const [, four] = session.tree.children.get(first.parent);
  await session.sideBySide([first.id, four.id], four.id);
  assert.equal(both(session).length, 2);
  await session.keep(four.id);
  assert.deepEqual(shown(session), ["How many?", "Four."]);
});

test("another model answers one question alone, by its own knobs, and goes on by itself", async () => {
  const { server, session } = await ready();
  const knobs = [{ name: "temperature", label: "Temperature", side: false, recommended: 0.5, low: 0, high: 2, step: 0.05 }];
  session.facts.name = "Small";
  session.facts.others = [{ key: "Large on box", name: "Large", model: { switches: [], labels: {}, knobs } }];
  session.settings = { thinking: true, temperature: 0 };
  session.draft.text = "Which?";
  await session.ask({}, { beside: { settings: { thinking: true, temperature: 0.5 }, model: "Large" } });
  assert.deepEqual(server.asked.map((one) => [one.ovis.model, one.chat_template_kwargs.enable_thinking, one.temperature]), [[undefined, true, undefined], ["Large on box", false, undefined]]);
  assert.deepEqual(session.beside.map((one) => one.model), ["Small", "Large"]);
  assert.deepEqual(apart(...[...session.beside].reverse(), rowsOf(MODEL)), ["Large"]);
  await session.keep(session.beside[1].id);
  server.script = () => [{ kind: "answer", text: "and " }, new Promise(() => {})];
  session.replace({ ...last(session), finish: "length" });
  session.goOn(last(session).id);
  await new Promise((go) => setTimeout(go, 20));
  assert.equal(server.asked.at(-1).ovis.model, "Large on box");
  await session.stop();
  server.script = () => [{ kind: "answer", text: "small again" }];
  await session.again(last(session).id);
  assert.deepEqual([server.asked.at(-1).ovis.model, last(session).model], [undefined, "Small"]);
});

test("stop ends both, and a reload in the middle shows both, cut", async () => {
  const { server, session } = await ready();
  server.script = () => [{ kind: "answer", text: "One " }, new Promise(() => {})];
  session.draft.text = "Go";
  let asking = session.ask({}, { beside: { settings: { thinking: true } } });
  await new Promise((go) => setTimeout(go, 20));
  assert.equal(session.beside[1].note, "Waiting for the other answer");
  await session.stop();
  await asking;
  assert.deepEqual(both(session), [["One ", "stopped", false], ["", "stopped", true]]);
  assert.equal(server.asked.length, 1);
  session.draft.text = "Again";
  asking = session.ask({}, { beside: { settings: { thinking: true } } });
  await new Promise((go) => setTimeout(go, 20));
  const after = await session.reload();
  assert.deepEqual(both(after), [["One ", "cut", false], ["", "cut", true]]);
});

test("a question that nobody heard stands in the box again, and neither answer is left", async () => {
  const { server, session } = await ready();
  server.up = false;
  session.draft.text = "anybody?";
  await session.ask({}, { beside: { settings: { thinking: true } } });
  assert.deepEqual([session.draft.text, session.messages.size, session.running, session.beside], ["anybody?", 0, null, null]);
  server.up = true;
  server.script = () => [new Error("That went wrong.")];
  await session.ask({}, { beside: { settings: { thinking: true } } });
  assert.deepEqual(session.beside.map((one) => [one.finish, one.error]), [["error", "That went wrong."], ["error", "That went wrong."]]);
});

test("what a tab remembers of two answers does no harm where it is broken or they are gone", async () => {
  const { tab } = await browser();
  for (const words of ["{", "[1]", '["a","a"]', '["a","b"]', "null"]) {
    const session = await tab();
    session.tab.set("pair", words);
    const after = await session.reload();
    await say(after, "hello");
    assert.equal(after.beside, null);
  }
});
