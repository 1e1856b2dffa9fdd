// Where pictures come from beside files: the camera, asked about again and again, and addresses.
import assert from "node:assert/strict";
import { test } from "node:test";

import { addressIn, nameAt, namesFile } from "../../ovis_app/ui/static/page/addresses.mjs";
import { KEPT, keepAsking } from "../../ovis_app/ui/static/page/keep_asking.mjs";
import * as trees from "../../ovis_app/ui/static/page/tree.mjs";
import { WireError } from "../../ovis_app/ui/static/page/wire.mjs";
import { browser, last, messages, say, shown } from "./tabs.mjs";

const TEXT = "what is it?";

/** Keeps asking until there were so many answers, or `ends` says so. */
async function asked(session, most, { during = () => {} } = {}) {
  const ending = new AbortController();
  const waits = [];
  let shots = 0;
  const why = await keepAsking(session, {
    text: TEXT, seconds: 5, signal: ending.signal,
    shot: async () => ({ blob: new Blob([`picture ${++shots}`], { type: "image/jpeg" }), size: [4, 3] }),
    wait: async (milliseconds) => { waits.push(milliseconds); },
    heard: () => { during(waits.length + 1, ending); if (waits.length + 1 === most) ending.abort(); },
  });
  return { why, waits, shots };
}

test("the same question about the picture of now is a version of the one before, and the conversation stays as long", async () => {
  const { server, store, tab } = await browser();
  const session = await tab();
  await say(session, "before");
  session.draft.text = "typed meanwhile";
  const { why, waits } = await asked(session, 3);
  assert.equal(why, "");
  assert.deepEqual(shown(session), ["before", "You said: before", TEXT, `You said: ${TEXT}`]);
  const questions = trees.versions(session.tree, last(session).parent);
  assert.equal(questions.length, 3);
  assert.equal(new Set(questions.map((one) => one.files[0].hash)).size, 3); // each about its own picture, kept here
  for (const one of questions) assert.ok(await store.file(one.files[0].hash));
  assert.equal(messages(server).length, 3); // nothing of the other versions is sent
  assert.equal(session.draft.text, "typed meanwhile");
  assert.ok(waits.every((one) => one > 0 && one <= 5000), waits.join());
  const again = await session.reload();
  assert.equal(trees.versions(again.tree, last(again).parent).length, 3);
});

test("of many versions the last ones stay", async () => {
  const { store, tab } = await browser();
  const session = await tab();
  await asked(session, KEPT + 3);
  assert.equal(trees.versions(session.tree, last(session).parent).length, KEPT);
  const kept = await store.conversation(session.conversation.id);
  assert.equal(kept.messages.length, 2 * KEPT);
  assert.equal(kept.conversation.leaf, last(session).id);
});

test("it stops by itself where an answer fails, nobody hears it, or another conversation is shown", async () => {
  const { server, tab } = await browser();
  const session = await tab();
  const say2 = (second) => { let count = 0; server.script = () => (++count === 2 ? second() : [{ kind: "answer", text: "fine" }]); };
  say2(() => [{ kind: "answer", text: "half" }, new WireError("The model failed.")]);
  assert.equal((await asked(session, 9)).why, "The model failed.");
  say2(() => [{ kind: "answer", text: "half" }, new WireError("gone", { lost: true })]);
  assert.match((await asked(session, 9)).why, /wasn't finished/);
  server.script = () => [{ kind: "answer", text: "fine" }];
  const before = session.path.length;
  const lost = await asked(session, 9, { during: () => { server.up = false; } });
  assert.match(lost.why, /no connection/);
  assert.deepEqual([session.path.length, session.draft.text, session.draft.files.length], [before + 2, "", 0]); // the box is as it was
  server.up = true;
  assert.match((await asked(session, 9, { during: () => session.newChat() })).why, /another conversation/);
  assert.equal(session.path.length, 0);
});

test("stopping it stops the answer under way, and what was said stays", async () => {
  const { server, tab } = await browser();
  const session = await tab();
  const ending = new AbortController();
  server.script = () => [{ kind: "answer", text: "It is a " }, new Promise(() => { setTimeout(() => ending.abort(), 10); }), { kind: "answer", text: "cup" }];
  const shot = async () => ({ blob: new Blob(["p"], { type: "image/jpeg" }), size: [4, 3] });
  assert.equal(await keepAsking(session, { text: TEXT, seconds: 1, shot, wait: async () => {}, signal: ending.signal }), "");
  assert.deepEqual([last(session).text, last(session).finish, session.running], ["It is a ", "stopped", null]);
});

test("what lies at an address stands in the box as a file, and is kept here", async () => {
  const { server, store, tab } = await browser();
  const session = await tab();
  server.fetched = async (_, address) => {
    if (address.includes("private")) throw new WireError("“x” has an address in a private network, which isn't fetched: download it and attach the file.");
    server.uploads.set("/fetched/cat.png", new Blob(["cat"]));
    return { blob: new Blob(["cat"], { type: "image/png" }), place: "/fetched/cat.png" };
  };
  await session.attach([{ address: "https://private.example/x", name: "x" }, { address: "https://example.org/cat.png", name: "cat.png" }]);
  assert.match(session.notice, /private network/);
  assert.deepEqual(session.draft.files.map((one) => [one.name, one.state]), [["cat.png", "ready"]]);
  assert.equal(await (await store.file(session.draft.files[0].hash)).blob.text(), "cat");
  await say(session, "one");
  assert.equal(server.uploads.size, 1); // it isn't sent a second time
  server.restart();
  await say(session, "two");
  assert.equal(server.uploads.size, 1); // but from this browser's copy, where the server lost it
  server.fetched = (_, __, { signal }) => new Promise((_done, failed) => { signal.addEventListener("abort", () => failed(new DOMException("stopped", "AbortError"))); });
  const coming = session.attach([{ address: "https://example.org/slow.png", name: "slow.png" }]);
  await session.detach(session.draft.files[0]);
  await coming;
  assert.deepEqual([session.draft.files.length, session.notice], [0, ""]);
});

test("addresses are told from other texts", () => {
  assert.equal(addressIn(" https://example.org/a b.png "), null);
  assert.equal(addressIn("see https://example.org/a.png"), null);
  assert.equal(addressIn("ftp://example.org/a.png"), null);
  assert.equal(addressIn("javascript:alert(1)"), null);
  assert.equal(addressIn("https://"), null);
  assert.equal(addressIn("https://例え.jp/猫.png"), "https://xn--r8jz45g.jp/%E7%8C%AB.png");
  assert.equal(nameAt("https://xn--r8jz45g.jp/%E7%8C%AB.png?x"), "猫.png");
  assert.equal(nameAt("https://example.org/"), "example.org");
  assert.equal(nameAt("https://example.org/%ff.png"), "%ff.png");
  assert.deepEqual(["https://e.org/a.PNG?x=1", "https://e.org/a.pdf#page=2", "https://e.org/a.html", "https://e.org/?f=a.png"].map(namesFile), [true, true, false, false]);
});
