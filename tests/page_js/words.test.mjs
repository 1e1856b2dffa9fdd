// A model's words: what is a formula and what is money, what is HTML, what is bold, and what a table is as CSV.

import assert from "node:assert/strict";
import { test } from "node:test";

import { csv, grid, markdown } from "../../ovis_app/ui/static/page/csv.mjs";
import { extract, formula } from "../../ovis_app/ui/static/page/extract.mjs";
import { table } from "../../ovis_app/ui/static/page/html_table.mjs";
import { Reader, blocks } from "../../ovis_app/ui/static/page/markdown.mjs";

const html = (text) => blocks(text).join("");
const formulas = (text) => extract(text).taken.filter((one) => one.kind === "formula").map((one) => one.source);

test("formulas are found by each kind of delimiter, whatever stands in them", () => {
  const found = {
    "energy $E=mc^2$, $n$th, 设$x$为": ["$E=mc^2$", "$n$", "$x$"],
    "$5$ or $2x+1$ or $\\$5$": ["$5$", "$2x+1$", "$\\$5$"],
    "\\(a_1 * b_2 * c\\) and \\( x \\)": ["\\(a_1 * b_2 * c\\)", "\\( x \\)"],
    "\\[\na \\\\[2pt]\n\nb\n\\]": ["\\[\na \\\\[2pt]\n\nb\n\\]"],
    "$$\\alpha$$ and\n$$\na\n$$": ["$$\\alpha$$", "$$\na\n$$"],
    "\\begin{align*}\na &= \\begin{cases}1\\end{cases}\n\\end{align*}": ["\\begin{align*}\na &= \\begin{cases}1\\end{cases}\n\\end{align*}"],
    "> $$\n> x = 1\n> $$": ["$$\nx = 1\n$$"],
    "1. so:\n   \\[\n   a\n   \\]": ["\\[\n   a\n   \\]"],
  };
  for (const [text, expected] of Object.entries(found)) assert.deepEqual(formulas(text), expected, text);
  assert.deepEqual(["$x$", "\\(x\\)", "$$ x $$", "\\[x\\]", "\\begin{align}x\\end{align}"].map(formula), ["x", "x", " x ", "x", "\\begin{align}x\\end{align}"]);
});

test("money, names in a shell, code and what isn't closed are no formulas", () => {
  for (const text of ["$5 and $10", "from $5-$10", "$5 or 10$ each", "US$5, A$6", "$1,000 to $2,000", "$HOME/$USER and $PATH", "\\$x\\$",
    "`$a$` and ``\\(b\\)``", "```\n$a$\n\\[b\\]\n```", "~~~tex\n$$a$$\n~~~", "- item\n  ```\n  $a$\n  ```", "$x\ny$", "\\(x", "$$x", "\\[\nx",
    "\\begin{align} x", "\\begin{document}x\\end{document}", "https://a.example/?p=$a$", "a \\\\(x\\\\)", "$$$"]) {
    assert.deepEqual(formulas(text), [], text);
  }
  assert.deepEqual(formulas("$5, $10 and $x^2$; `$` and $y$"), ["$x^2$", "$y$"]);
});

test("a formula stands in its place as it was written, in tables too", () => {
  assert.equal(html("so \\(a_1 * b_2 * c\\)"), "<p>so <span class=\"formula\">\\(a_1 * b_2 * c\\)</span></p>\n");
  assert.match(html("|a|b|\n|-|-|\n|\\(x|y\\)|$|z|$|"), /<td><span class="formula">\\\(x\|y\\\)<\/span><\/td>\n<td><span class="formula">\$\|z\|\$<\/span>/);
  assert.match(html("    code $x$"), /<code>code \$x\$\n<\/code>/); // an indented block, which is seen late
  assert.match(html("x \ue0000\ue001 $y$"), /\ue0000\ue001 <span class="formula">\$y\$/);
});

test("HTML is characters, but for line breaks, small letters and whole tables", () => {
  for (const text of ["if a<b and c>d", "<title>x</title>", "<script>alert(1)</script>", "<!-- x -->", "<b>x</b>", "<br class=x>", "<sub>open",
    "<table>", "<table>words<tr><td>1</td></tr></table>", "<me@example.com>"]) {
    assert.equal(html(text).replace(/<\/?p>|\n/g, ""), text.replaceAll("<", "&lt;").replaceAll(">", "&gt;"), text);
  }
  assert.equal(html("H<sub>2</sub>O<br/>x<SUP>2<sub>i</sub></SUP>"), "<p>H<sub>2</sub>O<br>\nx<sup>2<sub>i</sub></sup></p>\n");
  const drawn = html("So <table border=1 onclick='x'>\n <thead>\n\n<tr><th colspan=\"2\">A</th></tr></thead>\n<tr><td>$x$<br>y<td><b>q</b></tr></table> end");
  assert.equal(drawn, "<p>So</p>\n<table><thead><tr><th colspan=\"2\">A</th></tr></thead><tbody><tr><td><span class=\"formula\">$x$</span><br>\ny</td>"
    + "<td>&lt;b&gt;q&lt;/b&gt;</td></tr></tbody></table><p>end</p>\n");
  assert.match(html("<table><tr><td><table><tr><td>in</td></tr></table></td></tr></table>"), /<td><table>.*in.*<\/table><\/td>/);
  assert.match(html("<table><tr><td>1</td></tr><tr><td>2"), /<table>.*1.*<\/table><p>&lt;tr&gt;&lt;td&gt;2/); // cut off
  const spans = (more, rows = 1) => table(`<table>${`<tr><td ${more}>a</td></tr>`.repeat(rows)}</table>`);
  assert.deepEqual(spans("rowspan=99999 colspan='2x'").body[0][0], { head: false, source: "a", colspan: 1, rowspan: 1000 });
  assert.equal(spans("rowspan=1000 colspan=100"), null); // nobody's table, and some browsers' end
  assert.equal(spans("rowspan=1000", 1000), null);
});

test("bold is bold beside Chinese, and ranges and names stay as they are", () => {
  const cases = {
    "**注意：**请看": "<strong>注意：</strong>请看", "价格**“半价”**后面": "价格<strong>“半价”</strong>后面", "是**重点（1）**吗": "是<strong>重点（1）</strong>吗",
    "**Note:**请": "<strong>Note:</strong>请", "*斜体。*后": "<em>斜体。</em>后", "**公式：**$x$": "<strong>公式：</strong><span class=\"formula\">$x$</span>",
    "3~5 and 100~200": "3~5 and 100~200", "~~x~~ 10~~20~~30": "<s>x</s> 10~~20~~30", "2*3*4 = 24": "2*3*4 = 24",
    "snake_case_name __init__.py": "snake_case_name __init__.py", "C:\\new\\_old\\*.txt": "C:\\new\\_old\\*.txt",
  };
  for (const [text, expected] of Object.entries(cases)) assert.equal(html(text), `<p>${expected}</p>\n`, text);
});

test("links say where they lead, pictures of elsewhere are links, and no other address is one", () => {
  const link = (address, words = address) => `<a href="${address}">${words}</a>`;
  const cases = {
    "https://a.example/x_y_z. 见https://b.example/c。然后": `${link("https://a.example/x_y_z")}. 见${link("https://b.example/c")}。然后`,
    "(https://a.example/(b))": `(${link("https://a.example/(b)")})`, "**https://a.example**": `<strong>${link("https://a.example")}</strong>`,
    "![pic](http://a.example/x.png)": link("http://a.example/x.png", "pic"),
    "[x](javascript:alert(1)) README.md main.py": "[x](javascript:alert(1)) README.md main.py",
  };
  for (const [text, expected] of Object.entries(cases)) assert.equal(html(text), `<p>${expected}</p>\n`, text);
});

const LONG = `# Title\n\nText with $x$ and\n\n\\[\na\n\nb\n\\]\n\n${Array.from({ length: 80 }, (_, n) => `1. item **${n}** of a list\n   goes on\n`).join("")}
> quote\n> more\n\n| a | b |\n|---|---|\n| 1 | $|y|$ |\n\n\`\`\`python\nx = 1\n\n# not a title\n\`\`\`\n\n<table>\n<tr><td>a</td></tr>\n\n<tr><td>b</td></tr></table>\n\nend`;

test("a text that grows says what it says as a whole, and what is over isn't read again", () => {
  const reader = new Reader();
  const seen = new Map(); // how often each block was made anew
  let before = [];
  for (let length = 1; length < LONG.length + 7; length += 7) {
    const now = reader.blocks(LONG.slice(0, length));
    for (const [place, block] of now.entries()) if (before[place] !== block) seen.set(place, (seen.get(place) ?? 0) + 1);
    before = now;
  }
  const words = (all) => all.join("").replace(/<\/?(?:ol|p)[^>]*>|\s/g, "");
  assert.equal(words(before), words(blocks(LONG)));
  assert.ok(before.length > blocks(LONG).length); // the long list in parts
  assert.ok(Math.max(...seen.values()) < 320, `a block was made ${Math.max(...seen.values())} times`);
  assert.deepEqual(reader.blocks("other"), ["<p>other</p>\n"]); // what was said is taken back
});

test("a formula and a table that are still coming", () => {
  const now = (text) => new Reader().blocks(text).join("");
  assert.equal(now("so \\(a *b* c"), "<p>so \\(a *b* c</p>\n");
  assert.match(now("\\[\na_1\n\n*b*"), /<span class="pending">\\\[\na_1\n\n\*b\*<\/span>/);
  assert.equal(now("<table><tr><td>1</td></tr><tr><td>2"), "<table><tbody><tr><td>1</td></tr></tbody></table>");
  assert.equal(now("I paid $5"), "<p>I paid $5</p>\n");
});

test("hostile text is read in a bounded time", () => {
  const much = (part) => part.repeat(Math.ceil(50_000 / part.length)).slice(0, 50_000);
  const began = process.cpuUsage().user;
  for (const part of ["> ", "[", "![", "[a](", "*a **b ", "_*", "` `` ", "|a", "|a|b|\n|-|-|\n", "- ", "$a ", "$$ ", "\\( ", "\\[\n", "\\begin{align}", "<table><tr><td>",
    "<sub>", "&amp;", "https://a/(", "**注：**", "C:\\", "~~a ", "```a`\n", "> a\n\n", "\ue000", "#\n"]) html(much(part));
  html(`${">".repeat(90)}${much("\na")}`);
  assert.ok((process.cpuUsage().user - began) / 1e6 < 30); // about 5 s here; each alone once took longer than all may now
});

test("a table as CSV that spreadsheets read and compute nothing of, and as Markdown", () => {
  const cell = (text, more = {}) => ({ text, colspan: 1, rowspan: 1, ...more });
  const rows = grid([[cell("Item", { rowspan: 2 }), cell("Price", { colspan: 2 })], [cell("net"), cell("gross")], [cell("Tea, \"hot\""), cell("=1+1"), cell("-2")], [cell("@x\ny")]]);
  assert.deepEqual(rows, [["Item", "Price", ""], ["", "net", "gross"], ["Tea, \"hot\"", "=1+1", "-2"], ["@x\ny", "", ""]]);
  assert.equal(csv(rows), "Item,Price,\r\n,net,gross\r\n\"Tea, \"\"hot\"\"\",'=1+1,-2\r\n\"'@x\ny\",,\r\n");
  assert.equal(csv([["-1,5 %", "-1.5%", "- x", "'=1", "'x'"]]), "\"'-1,5 %\",-1.5%,'- x,''=1,'x'\r\n"); // what isn't only a number may compute
  assert.equal(markdown([["a|b", "c"], ["1\n2", ""]]), "| a\\|b | c |\n| --- | --- |\n| 1<br>2 |  |\n");
  assert.deepEqual(grid([[cell("a", { colspan: 1e9, rowspan: 1e9 })]]).length, 1);
});
