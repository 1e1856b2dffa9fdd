// One tab's conversation without a browser: asked, streamed, stopped, reloaded, kept through a restart of the server.
import assert from "node:assert/strict";
import { test } from "node:test";

import { WAITS } from "../../ovis_app/ui/static/page/asking.mjs";
import { UPDATED } from "../../ovis_app/ui/static/page/connection.mjs";
import { remove } from "../../ovis_app/ui/static/page/revising.mjs";
import { GONE_MS } from "../../ovis_app/ui/static/page/thread.mjs";
import { WireError } from "../../ovis_app/ui/static/page/wire.mjs";
import { browser, last, messages, picture, say, shown } from "./tabs.mjs";

test("a question is answered, and the next one has both before it", async () => {
  const { server, tab } = await browser();
  const session = await tab();
  await say(session, "one");
  await say(session, "two");
  assert.deepEqual(shown(session), ["one", "You said: one", "two", "You said: two"]);
  assert.deepEqual(messages(server).map((one) => one.role), ["user", "assistant", "user"]);
  assert.equal(session.draft.text, "");
  assert.equal(session.conversation.title, "one");
});

test("a reload has everything, and the next question continues", async () => {
  const { server, tab } = await browser();
  let session = await tab();
  await session.attach([picture("p.png")]);
  await say(session, "one");
  session.draft.text = "half a";
  await session.saveDraft();
  session.settings = { thinking: true }; // since the last question
  session = await session.reload();
  assert.deepEqual(shown(session), ["one", "You said: one"]);
  assert.equal(session.draft.text, "half a");
  assert.equal(session.settings.thinking, true);
  await say(session, "two");
  assert.equal(messages(server).length, 3);
  assert.equal(messages(server)[0].content[0].type, "image_url");
});

test("a reload in the middle of an answer keeps what was said, to the last word, and marks it as cut", async () => {
  const { server, tab } = await browser();
  let session = await tab();
  server.script = () => [{ kind: "thinking", text: "Hm. " }, { kind: "answer", text: "It is a " }, new Promise(() => {})];
  session.draft.text = "what?";
  session.ask();
  await new Promise((go) => setTimeout(go, 20));
  session = await session.reload();
  assert.deepEqual([last(session).text, last(session).thinking, last(session).finish], ["It is a ", "Hm. ", "cut"]);
  server.script = () => [{ kind: "answer", text: "It is a cup." }];
  await session.again(last(session).id);
  assert.equal(last(session).text, "It is a cup.");
  assert.equal(messages(server).length, 1);
});

test("stop keeps what was said, and nothing comes after", async () => {
  const { server, tab } = await browser();
  const session = await tab();
  server.script = () => [{ kind: "answer", text: "word1 " }, new Promise(() => {}), { kind: "answer", text: "word2" }];
  session.draft.text = "go on";
  const asking = session.ask();
  await new Promise((go) => setTimeout(go, 20));
  session.draft.text = "typed meanwhile";
  await session.ask(); // not yet
  await session.stop();
  await asking;
  assert.deepEqual([last(session).text, last(session).finish, session.running], ["word1 ", "stopped", null]);
  assert.equal(session.draft.text, "typed meanwhile");
  assert.equal(server.asked.length, 1);
});

test("a server that was started again gets the files that it lacks, and answers with all history", async () => {
  const { server, tab } = await browser();
  const session = await tab();
  await session.attach([picture("a.png"), picture("b.png")]);
  await say(session, "one");
  server.restart();
  await say(session, "two");
  assert.equal(last(session).text, "You said: two");
  assert.equal(server.uploads.size, 2);
  assert.deepEqual(session.path.map((one) => one.error), ["", "", "", ""]);
});

test("without a connection the question waits in the box, files and all, and can be sent later", async () => {
  const { server, tab } = await browser();
  const session = await tab();
  server.up = false;
  await session.attach([picture("a.png")]);
  await say(session, "anybody?");
  assert.deepEqual([session.draft.text, session.draft.files.length, session.path.length], ["anybody?", 1, 0]);
  assert.equal(session.lines.get("offline"), WAITS);
  const after = await session.reload();
  assert.deepEqual([after.draft.text, after.draft.files[0].name], ["anybody?", "a.png"]);
  server.up = true;
  await after.ask();
  assert.equal(last(after).text, "You said: anybody?");
  assert.equal(after.lines.size, 0);
});

test("a connection that is lost in mid-answer leaves it cut, a refusal leaves its sentence, and both can be asked again", async () => {
  const { server, tab } = await browser();
  const session = await tab();
  server.script = () => [{ kind: "answer", text: "half" }, new WireError("gone", { lost: true })];
  await say(session, "one");
  assert.deepEqual([last(session).text, last(session).finish, last(session).error], ["half", "cut", ""]);
  server.script = () => [new WireError("Too many questions.")];
  await session.again(last(session).id);
  assert.deepEqual([last(session).error, last(session).finish], ["Too many questions.", "error"]);
  server.script = () => [{ kind: "answer", text: "whole" }];
  await session.again(last(session).id);
  assert.deepEqual(shown(session), ["one", "whole"]);
});

test("a server of another version is said, and nothing is lost", async () => {
  const { server, tab } = await browser();
  const session = await tab();
  server.version = "v2";
  await say(session, "one");
  assert.equal(session.lines.get("version"), UPDATED);
  assert.equal(last(session).text, "You said: one");
});

test("an edit is another version of its question, with its files; leaving it brings back what was typed", async () => {
  const { server, tab } = await browser();
  const session = await tab();
  await session.attach([picture("a.png")]);
  await say(session, "first");
  await say(session, "second");
  session.draft.text = "half a thought";
  session.edit(session.path[0].id);
  assert.deepEqual([session.draft.text, session.draft.files[0].name], ["first", "a.png"]);
  session.leaveEdit();
  assert.equal(session.draft.text, "half a thought");
  session.edit(session.path[0].id);
  session.draft.text = "other";
  const reloaded = await session.reload();
  assert.deepEqual([reloaded.draft.text, reloaded.draft.files[0].name], ["other", "a.png"]);
  reloaded.leaveEdit();
  assert.equal(reloaded.draft.text, "half a thought");
  await session.ask();
  assert.deepEqual(shown(session), ["other", "You said: other"]);
  assert.equal(session.draft.text, "half a thought");
  assert.equal(messages(server).length, 1);
  const [before] = session.tree.children.get(null);
  await session.choose(before.id);
  assert.deepEqual(shown(session), ["first", "You said: first", "second", "You said: second"]);
});

test("what is deleted goes with all that followed from it, and what stands beside it is shown", async () => {
  const { store, tab } = await browser();
  const session = await tab();
  await say(session, "one");
  await session.again(last(session).id);
  await say(session, "two");
  await remove(session, session.path[1].id);
  assert.deepEqual(shown(session), ["one", "You said: one"]);
  await remove(session, session.path[0].id);
  assert.deepEqual([session.path.length, (await store.conversations()).length], [0, 0]);
});

test("a refused file is named and the rest stays; a document becomes its pages; clips stand alone; three are enough", async () => {
  const { tab } = await browser();
  const session = await tab();
  await session.attach([picture("a.png"), picture("notes.txt"), picture("film.mp4")]);
  assert.deepEqual(session.draft.files.map((one) => one.name), ["a.png"]);
  assert.match(session.notice, /notes\.txt.*film\.mp4/);
  await session.attach([picture("two.pdf")]);
  assert.deepEqual(session.draft.files.map((one) => [one.name, one.state]), [["a.png", "ready"], ["page 1", "ready"], ["page 2", "ready"]]);
  await session.attach([picture("more.png")]);
  assert.match(session.notice, /“more\.png” did not fit/);
  assert.equal(session.draft.files.length, 3);
  await session.detach(session.draft.files[1]);
  await say(session, "which?");
  assert.deepEqual(last(session).error, "");
});

test("a question that is asked before its files are there is asked once they are, or not at all", async () => {
  const { server, tab } = await browser();
  const session = await tab();
  const coming = session.attach([picture("a.png"), picture("b.png")]);
  await say(session, "which?");
  assert.deepEqual([session.path.length, String(session.notice)], [0, "It is asked as soon as its files are there."]);
  await coming;
  assert.deepEqual([shown(session), session.notice], [["which?", "You said: which?"], ""]);
  assert.equal(messages(server)[0].content.length, 3);
  for (const [chosen, meanwhile] of [["notes.txt", () => {}], ["c.png", () => session.stop()], ["c.png", () => session.newChat()]]) {
    await session.newChat();
    const refused = session.attach([picture(chosen)]);
    await say(session, "and this?");
    await meanwhile();
    await refused;
    assert.equal(session.path.length, 0, `${chosen} ${meanwhile}`);
  }
  assert.equal(server.asked.length, 1);
});

test("an example is asked as it is meant, and what stands in the box stays", async () => {
  const { server, tab } = await browser();
  const session = await tab();
  session.draft.text = "mine";
  await session.askExample({ text: "How many?", media: [{ url: "examples/a.png", name: "a.png" }], wants: { thinking: true } });
  assert.equal(server.asked[0].chat_template_kwargs.enable_thinking, true);
  assert.equal(session.draft.text, "mine");
  await say(session, "and now?");
  assert.equal(server.asked[1].chat_template_kwargs.enable_thinking, false);
});

test("two tabs in one conversation don't overwrite each other", async () => {
  const here = await browser();
  const one = await here.tab();
  await say(one, "one");
  const other = await here.tab();
  await other.open(one.conversation.id);
  await say(one, "from the first");
  await say(other, "from the second");
  const third = await here.tab();
  await third.open(one.conversation.id);
  const all = [...third.messages.values()].map((message) => message.text);
  for (const text of ["from the first", "from the second"]) assert.ok(all.includes(text));
  assert.deepEqual(shown(third), ["one", "You said: one", "from the second", "You said: from the second"]);
  assert.deepEqual(shown(await one.reload()).slice(2), ["from the first", "You said: from the first"]);
});

test("an answer that another tab is getting isn't taken for cut until that tab is silent", async () => {
  const here = await browser();
  const one = await here.tab();
  here.server.script = () => [{ kind: "answer", text: "slow" }, new Promise(() => {})];
  one.draft.text = "go";
  one.ask();
  await new Promise((go) => setTimeout(go, 20));
  const other = await here.tab();
  await other.open(one.conversation.id);
  assert.equal(last(other).finish, null);
  here.clock.now += GONE_MS + 1000;
  await other.open(one.conversation.id);
  assert.equal(last(other).finish, "cut");
});

test("what a browser kept that is broken is left out and said, and the rest works", async () => {
  const here = await browser();
  const one = await here.tab();
  await say(one, "one");
  await say(one, "two");
  const [, answer] = one.path;
  await here.store.putMessage({ ...answer, text: 5, role: "robot" });
  await here.store.putMessage({ id: "bad", conversation: one.conversation.id, parent: 7 });
  const other = await here.tab();
  await other.open(one.conversation.id);
  assert.deepEqual(shown(other).filter(Boolean), ["one", "two", "You said: two"]);
  assert.ok(here.said.some((sentence) => sentence.includes("left out")));
  await say(other, "three");
  assert.equal(last(other).text, "You said: three");
});

test("a file that this browser has lost is named, and nothing is asked", async () => {
  const here = await browser();
  const one = await here.tab();
  await one.attach([picture("a.png")]);
  await say(one, "one");
  here.server.restart();
  here.store.file = async () => null;
  await say(one, "two");
  assert.match(last(one).error, /“a.png” is no longer in this browser/);
});

test("pictures of a conversation that isn't shown any more have no address", async () => {
  const here = await browser();
  const one = await here.tab();
  await one.attach([picture("a.png")]);
  await say(one, "what is it?");
  const [{ hash }] = one.path[0].files;
  const address = await one.files.seen(hash);
  const first = one.conversation.id;
  await one.open(first);
  assert.equal(await one.files.seen(hash), address, "it is still shown");
  await one.newChat();
  await assert.rejects(fetch(address));
  await one.open(first);
  assert.equal(await (await fetch(await one.files.seen(hash))).text(), "a.png");
});
