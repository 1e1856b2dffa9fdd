// Tables in an answer: each scrolls in itself, and can be taken along as CSV and Markdown.
// Knows the DOM of a table; refuses to know who wrote it.

import { csv, grid, markdown } from "./csv.mjs";
import { button, copy, make } from "./elements.mjs";
import { t } from "./i18n.mjs";

const MARK = "\ufeff"; // by which Excel knows UTF-8

/** Puts a frame around a table, but for one in a cell of another. */
export function frame(table) {
  if (table.closest("td, th")) return;
  const holder = make("div.sheet");
  table.replaceWith(holder);
  holder.append(make("div.sheet-scroll", { tabIndex: 0, role: "region", "aria-label": t("Table") }, table));
}

/** Adds what can be done with a table that is whole. */
export function tools(holder) {
  const table = holder.querySelector("table");
  if (!table?.rows.length) return;
  const cells = () => grid(rows(table));
  const copies = (words, name, make_) => button(words, (event) => taken(event.currentTarget, () => copy(make_(cells()))), { name });
  holder.append(make("div.sheet-tools", { role: "group", "aria-label": t("Table") },
    copies(t("Copy CSV"), "copy-csv", csv), copies(t("Copy Markdown"), "copy-markdown", markdown),
    button(t("Download CSV"), () => download(csv(cells())), { name: "download-csv" })));
}

async function taken(pressed, act) {
  await act();
  pressed.classList.add("done");
  setTimeout(() => pressed.classList.remove("done"), 1500);
}

function download(text) {
  const address = URL.createObjectURL(new Blob([MARK + text], { type: "text/csv;charset=utf-8" }));
  make("a", { href: address, download: "table.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

function rows(table) {
  return [...table.rows].map((row) => [...row.cells].map((cell) => ({ text: textOf(cell).trim(), colspan: cell.colSpan, rowspan: cell.rowSpan || 1 })));
}

/** What a cell says, formulas as they were written. */
function textOf(node) {
  if (node.nodeType === Node.TEXT_NODE) return node.data.replace(/\n/g, "");
  if (node.nodeName === "BR") return "\n";
  if (node.nodeName === "TABLE") return rows(node).map((row) => row.map((cell) => cell.text).join(" ")).join("\n");
  if (node.dataset.source) return node.dataset.source;
  return [...node.childNodes].map(textOf).join("");
}
