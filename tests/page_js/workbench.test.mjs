// What an answer beside its picture needs: where words stand, which pages there are, tables as workbooks.

import assert from "node:assert/strict";
import { test } from "node:test";

import { html } from "../../ovis_app/ui/static/page/csv.mjs";
import { places, sheetsOf } from "../../ovis_app/ui/static/page/finding.mjs";
import { isNumber } from "../../ovis_app/ui/static/page/xlsx.mjs";

test("words are found whatever their case and however they are set apart", () => {
  assert.deepEqual(places("Total amount:\ntotal  AMOUNT", "total amount"), [[0, 12], [14, 27]]);
  assert.deepEqual(places("a.b a+b", "a+b"), [[4, 7]]);
  assert.deepEqual(places("发票号码 123", "号码"), [[2, 4]]);
  for (const none of ["", "  ", "\n"]) assert.deepEqual(places("a b", none), []);
  for (const odd of ["(", "[a-", "\\", "a{1,", "-", "/", "}"]) assert.deepEqual(places(`x${odd}x`, odd), [[1, 1 + odd.length]]);
  assert.equal(places("a".repeat(100_000), "a").length, 2000);
});

test("each picture of a question stands with each answer to it on the path", () => {
  const image = (name) => ({ kind: "image", name });
  const messages = [
    { id: "q1", role: "user", text: "", files: [image("a"), { kind: "video", name: "v" }, image("b")] },
    { id: "a1", role: "assistant", text: "one", parent: "q1", finish: "end", files: [] },
    { id: "q2", role: "user", text: "more", parent: "a1", files: [] },
    { id: "a2", role: "assistant", text: "two", parent: "q2", finish: "end", files: [] },
    { id: "q3", role: "user", text: "", parent: "a2", files: [image("c")] },
    { id: "a3", role: "assistant", text: "grows", parent: "q3", finish: null, files: [] },
  ];
  const by = new Map([...messages, { id: "a1b", role: "assistant", text: "other", parent: "q1", finish: "end", files: [] }].map((one) => [one.id, one]));
  const told = (id) => sheetsOf(messages, by, id).map(({ answer, picture }) => `${answer.id} ${picture.file.name} ${picture.index + 1}/${picture.count}`);
  assert.deepEqual(told("a1"), ["a1 a 1/3", "a1 b 3/3"]);
  assert.deepEqual(told("a1b"), ["a1b a 1/3", "a1b b 3/3"]); // a version that the path doesn't go through
  assert.deepEqual(told("gone"), []);
});

test("only what reads back the same is a number", () => {
  for (const one of ["0", "-1", "12.50", "123456789012345", "0.001"]) assert.ok(isNumber(one), one);
  for (const other of ["", "007", "1,234", "1e5", "+1", "=1+1", " 1", "1 ", "-", ".5", "5.", "1234567890123456", "1.123456789012345", "½", "٣", "0x1", "NaN"]) assert.ok(!isNumber(other), other);
});

test("a table as HTML holds text alone", () => {
  assert.equal(html([["A & B"], ['<img src="x">\nc']]), "<table>\n<tr><th>A &amp; B</th></tr>\n<tr><td>&lt;img src=&quot;x&quot;&gt;<br>c</td></tr>\n</table>\n");
});
