// Tables in an answer: each scrolls in itself, and can be taken along as CSV, Markdown, HTML and a workbook.
// Knows the DOM of a table; refuses to know who wrote it.

import { csv, grid, html, markdown } from "./csv.mjs";
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
    copies(t("Copy CSV"), "copy-csv", csv), copies(t("Copy Markdown"), "copy-markdown", markdown), copies(t("Copy HTML"), "copy-html", html),
    button(t("Download CSV"), () => download(new Blob([MARK + csv(cells())], { type: "text/csv;charset=utf-8" }), "table.csv"), { name: "download-csv" }),
    button(t("Download Excel"), async () => download(await (await import("./xlsx.mjs")).workbook(cells()), "table.xlsx"), { name: "download-xlsx" })));
}

async function taken(pressed, act) {
  await act();
  pressed.classList.add("done");
  setTimeout(() => pressed.classList.remove("done"), 1500);
}

function download(blob, name) {
  const address = URL.createObjectURL(blob);
  make("a", { href: address, download: name }).click();
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
