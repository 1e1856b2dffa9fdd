// A table's cells -> rows of equal length, and those as CSV, as Markdown and as HTML. Pure.

/** @typedef {{text: string, colspan: number, rowspan: number}} Cell */

const MOST = 200_000; // cells
const FORMULA = /^'*[=+\-@\t\r]/; // behind apostrophes too, so that each is told from what it stood for
const NUMBER = /^[+-]?\d[\d.,]{0,40}%?$/;

/** Every cell in its place: what spans several stands in the first of them. @param {Cell[][]} rows @returns {string[][]} */
export function grid(rows) {
  const places = rows.map(() => []);
  let count = 0;
  for (const [down, row] of rows.entries()) {
    let right = 0;
    for (const cell of row) {
      while (places[down][right] !== undefined) right += 1;
      for (let y = down; y < Math.min(down + cell.rowspan, rows.length) && count < MOST; y += 1) {
        for (let x = right; x < right + cell.colspan && count < MOST; x += 1, count += 1) places[y][x] ??= y === down && x === right ? cell.text : "";
      }
    }
  }
  const width = Math.max(0, ...places.map((row) => row.length));
  return places.map((row) => Array.from({ length: width }, (_, place) => row[place] ?? ""));
}

/** As CSV that spreadsheets read. What they would take for a formula gets an apostrophe, so that nothing is computed, as
 * in what `ovis batch` writes. */
export function csv(table) {
  return table.map((row) => `${row.map(field).join(",")}\r\n`).join("");
}

function field(text) {
  const safe = FORMULA.test(text) && !NUMBER.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** As Markdown, of which the first row is the head. */
export function markdown(table) {
  const line = (row) => `| ${row.map((text) => text.replace(/\|/g, "\\|").replace(/\r?\n/g, "<br>")).join(" | ")} |\n`;
  const [head, ...body] = table;
  return head ? line(head) + line(head.map(() => "---")) + body.map(line).join("") : "";
}

/** As an HTML table, of which the first row is the head; nothing in a cell is more than text. */
export function html(table) {
  const escaped = (text) => text.replace(/[&<>"]/g, (one) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[one]).replace(/\r?\n/g, "<br>");
  const line = (row, tag) => `<tr>${row.map((text) => `<${tag}>${escaped(text)}</${tag}>`).join("")}</tr>\n`;
  const [head, ...body] = table;
  return head ? `<table>\n${line(head, "th")}${body.map((row) => line(row, "td")).join("")}</table>\n` : "";
}
