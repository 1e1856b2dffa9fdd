import assert from "node:assert/strict";
import { test } from "node:test";

import { decoded, textOf, wordsOf } from "../../ovis_app/ui/static/page/texts.mjs";
import { zipped } from "../../ovis_app/ui/static/page/zip.mjs";
import { browser, last, messages, picture, say } from "./tabs.mjs";

const body = (inner) => `<?xml version="1.0"?><w:document xmlns:w="x"><w:body>${inner}</w:body></w:document>`;
const p = (words) => `<w:p><w:pPr><w:pStyle w:val="a"/></w:pPr><w:r><w:t xml:space="preserve">${words}</w:t></w:r></w:p>`;

test("text is read as it was written: UTF-8, UTF-16 by its mark, or what came before", () => {
  assert.equal(decoded(Buffer.from("\ufeffgrün"), "windows-1252"), "grün");
  assert.equal(decoded(Buffer.from("\ufeff图", "utf16le"), "windows-1252"), "图");
  assert.equal(decoded(Buffer.from([0x67, 0x72, 0xfc, 0x6e]), "windows-1252"), "grün");
  assert.equal(decoded(Buffer.from([0xd6, 0xd0, 0xce, 0xc4]), "gb18030"), "中文");
});

test("a Word document is its paragraphs and tables, and nothing in it is more than text", () => {
  const table = `<w:tbl><w:tr><w:tc>${p("a|b")}</w:tc><w:tc>${p("1")}${p("2")}</w:tc></w:tr></w:tbl>`;
  const said = wordsOf(body(`${p("One &lt;b&gt; &#65;&amp;")}<w:p/>${table}<w:p><w:r><w:t>x</w:t><w:tab/><w:t>y</w:t></w:r></w:p>`));
  assert.equal(said, "One <b> A&\n\n| a\\|b | 1 2 |\nx\ty");
  assert.equal(wordsOf(body('<!DOCTYPE a [<!ENTITY b "boom">]><w:p><w:r><w:t>&b;</w:t></w:r></w:p>')), "&b;");
  const long = wordsOf("<w:p><w:t>".repeat(200_000));
  assert.equal(long, "");
});

test("what isn't text is left to others, and what can't be read is a sentence", async () => {
  const file = (content, type = "") => new Blob([content], { type });
  assert.equal(await textOf(file("x", "image/png"), "x.png"), null);
  assert.equal(await textOf(file("a,b"), "a.CSV"), "a.CSV\n\na,b");
  const docx = new Blob([await zipped([{ name: "word/document.xml", blob: new Blob([body(p("Hello"))]) }])]);
  assert.equal(await textOf(docx, "letter.docx"), "letter.docx\n\nHello");
  for (const [content, name] of [[" \n", "a.txt"], ["a\0b", "a.txt"], ["no zip", "a.docx"], [new Uint8Array(17 * 2 ** 20), "a.txt"]]) {
    await assert.rejects(textOf(file(content), name), /^Error: “a\.(txt|docx)” .*\.$/);
  }
});

test("a text file goes along with the question as text, beside its pictures", async () => {
  const { server, tab } = await browser();
  const session = await tab();
  const notes = new Blob(["Total: 12"], { type: "text/plain" });
  await session.attach([picture("a.png"), { blob: notes, name: "notes.md" }, { blob: new Blob(["x\0"]), name: "b.txt" }]);
  assert.deepEqual([session.draft.pasted, session.draft.files.length], [["notes.md\n\nTotal: 12"], 1]);
  assert.match(String(session.notice), /b\.txt/);
  await say(session, "What is the total?");
  assert.equal(messages(server)[0].content.at(-1).text, "notes.md\n\nTotal: 12\n\nWhat is the total?");
  assert.deepEqual(last(session).error, "");
});
