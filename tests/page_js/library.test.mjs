// The list of conversations: groups, search; and exports as texts.
import assert from "node:assert/strict";
import { test } from "node:test";

import { fileName, html, markdown } from "../../ovis_app/ui/static/page/exports.mjs";
import { grouped, nameOf, search, searchable } from "../../ovis_app/ui/static/page/library.mjs";
import { conversation, message } from "../../ovis_app/ui/static/page/schema.mjs";

const HOUR = 3600 * 1000;
const NOON = new Date(2026, 2, 10, 12).getTime();
const kept = (id, changed, more = {}) => conversation({ id, changed, title: id, ...more });
const names = (groups) => groups.map((group) => [group.name, group.conversations.map((one) => one.id)]);

test("conversations stand under the days that they belong to, the pinned ones first, the newest first in each", () => {
  const all = [
    kept("old", NOON - 400 * HOUR), kept("now", NOON), kept("ahead", NOON + 5 * HOUR), kept("midnight", NOON - 12 * HOUR),
    kept("evening", NOON - 12 * HOUR - 1), kept("week", NOON - 7 * 24 * HOUR), kept("pinned", 1, { pinned: true }), kept("never", NaN),
  ];
  assert.deepEqual(names(grouped(all, NOON)), [
    ["Pinned", ["pinned"]], ["Today", ["ahead", "now", "midnight"]], ["Yesterday", ["evening"]], ["Previous 7 days", ["week"]], ["Older", ["old", "never"]],
  ]);
  assert.deepEqual(grouped([], NOON), []);
});

test("a draft that was never asked is called by what stands in it", () => {
  assert.equal(nameOf(conversation({ id: "c", draft: { text: "half a  thought" } })), "half a thought");
  assert.equal(nameOf(conversation({ id: "c" })), "");
});

const LIBRARY = [
  { conversation: kept("a", 1, { title: "Receipt of the Bakery" }), messages: [{ id: "m1", text: "The total is 12.50 €, with Ｆｕｌｌ width and CRÈME." }] },
  { conversation: kept("b", 2, { title: "发票" }), messages: [{ id: "m2", text: "这张收据的总额是多少？" }, { id: "m3", text: "总额是一百二十元。" }] },
  { conversation: kept("c", 0, { title: "Shapes", pinned: true }), messages: [{ id: "m4", text: "total: three" }] },
].map(({ conversation, messages }) => ({ conversation, messages: messages.map(searchable) }));
const found = (query) => search(query, LIBRARY).map((one) => [one.conversation.id, one.message]);

test("every word is sought in titles and in what was said, whatever its case and width, also within Chinese", () => {
  assert.deepEqual(found("receipt TOTAL"), [["a", "m1"]]);
  assert.deepEqual(found("total"), [["c", "m4"], ["a", "m1"]]);
  assert.deepEqual(found("full crème"), [["a", "m1"]]);
  assert.deepEqual(found("收据"), [["b", "m2"]]);
  assert.deepEqual(found("发票 一百"), [["b", "m3"]]);
  assert.deepEqual(found("bakery"), [["a", null]]);
  assert.deepEqual(found("receipt nowhere"), []);
  assert.match(search("12.50", LIBRARY)[0].around, /The total is 12\.50/);
  assert.deepEqual(found("(.*["), []);
});

const file = { hash: "a".repeat(64), name: "<b>\"p\".png", kind: "image" };
const PATH = [
  message({ id: "q", conversation: "c", role: "user", text: "a <script>alert(1)</script> & \"b\"\n# no heading", files: [file], finish: "end" }),
  message({ id: "a", conversation: "c", role: "assistant", text: "**bold** <img src=x> `<b>`", thinking: "hm", error: "<i>", finish: "end" }),
];
const SAID = { title: "T <title>", path: PATH, model: "Ovis-mini", when: "today" };

test("a web page has everything inside, and nothing in it runs or is fetched", () => {
  const uri = "data:image/png;base64,iVBORw0KGgo=";
  const page = html(SAID, { words: () => "<strong>bold</strong>", pictures: new Map([[file.hash, uri]]) });
  assert.match(page, /Content-Security-Policy" content="default-src &#39;none&#39;/);
  assert.ok(page.includes(`<img src="${uri}" alt="&lt;b&gt;&quot;p&quot;.png">`) && page.includes("<strong>bold</strong>"));
  assert.ok(!/<script|<i>|<title>T </.test(page) && page.includes("&lt;script&gt;alert(1)"));
  const odd = html(SAID, { words: () => "", pictures: new Map([[file.hash, 'data:text/html;base64,"><script>']]) });
  assert.ok(!/<script|<img/.test(odd) && odd.includes("[&lt;b&gt;"));
});

test("in Markdown a question stays what was typed, and an answer what was meant", () => {
  const text = markdown(SAID);
  assert.match(text, /^# T \\<title\\>\n/);
  assert.ok(text.includes("> a \\<script>alert(1)\\</script> & \"b\"\n> # no heading"));
  assert.ok(text.includes("\n\n**bold** \\<img src=x> `<b>`\n\n"));
  assert.ok(text.includes("> hm") && text.includes("1. \\<b\\>"));
});

test("a title becomes a name that every disk takes", () => {
  assert.equal(fileName("a/b\\c: *what?* \u202e", ".md"), "a b c what.md");
  assert.equal(fileName("../..", ".md"), "conversation.md");
  assert.equal(fileName("总额".repeat(60), ".md"), `${"总额".repeat(30)}.md`);
});
