// What came of many questions, as a file to take along. Loaded when asked for.
// Knows kinds of files; what stands in them is many.mjs's.

import { csv } from "./csv.mjs";
import { later } from "./i18n.mjs";
import { jsonLines, tableOf } from "./many.mjs";
import { save, stem } from "./saving.mjs";

const MARK = "\ufeff"; // without it Excel takes a CSV for the machine's old encoding

/** Saves it. Gives a sentence where the file lacks something. @param {"csv" | "jsonl" | "xlsx" | "parquet"} kind */
export async function take(kind, rows, { title, data }) {
  save(await made(kind, rows, data), `${stem(title.split("/").at(-1)) || "answers"} (answers).${kind}`);
  return kind === "xlsx" ? await lacks(rows, data) : "";
}

/** What of the answers a workbook has no room for, in a sentence. */
export async function lacks(rows, data) {
  const count = (await import("./xlsx.mjs")).cutIn(tableOf(rows, { data }));
  return count ? later("Cells longer than the 32,767 characters that Excel's hold were cut: {count}. CSV and JSON Lines have all of them.", { count }) : "";
}

/** @returns {Promise<Blob>} */
export async function made(kind, rows, data) {
  if (kind === "jsonl") return new Blob([jsonLines(rows, { data })], { type: "application/jsonl" });
  const table = tableOf(rows, { data });
  if (kind === "csv") return new Blob([MARK, csv(table)], { type: "text/csv" });
  if (kind === "parquet") return (await import("./many_parquet.mjs")).parquet(table);
  return (await import("./xlsx.mjs")).workbook(table);
}
