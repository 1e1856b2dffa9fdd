// A table as a workbook of one sheet, as spreadsheets open it (Office Open XML): strings and numbers, nothing else.
// Pure. Knows the few parts that a workbook can't be without; nothing in a cell is ever a formula, a link or a date.

import { zipped } from "./zip.mjs";

const NUMBER = /^-?(?:0|[1-9]\d{0,14})(?:\.\d{1,14})?$/; // what reads back as it was written: no leading zeros, no long ones
const DIGITS = 15; // that a spreadsheet keeps of a number
const MOST_TEXT = 32_767; // characters of a cell
const [MOST_ROWS, MOST_COLUMNS] = [1_048_576, 16_384];
const HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n';
const OFFICE = "http://schemas.openxmlformats.org";

const PARTS = {
  "[Content_Types].xml": `<Types xmlns="${OFFICE}/package/2006/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>`
    + '<Override PartName="/xl/workbook.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/>'
    + '<Override PartName="/xl/worksheets/sheet1.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/></Types>',
  "_rels/.rels": relation("officeDocument", "xl/workbook.xml"),
  "xl/workbook.xml": `<workbook xmlns="${OFFICE}/spreadsheetml/2006/main" xmlns:r="${OFFICE}/officeDocument/2006/relationships">`
    + '<sheets><sheet name="Table" sheetId="1" r:id="rId1"/></sheets></workbook>',
  "xl/_rels/workbook.xml.rels": relation("worksheet", "worksheets/sheet1.xml"),
};

/** How many texts are longer than a cell is, and cut. @param {string[][]} rows */
export function cutIn(rows) {
  return rows.reduce((sum, row) => sum + row.filter((text) => text.length > MOST_TEXT).length, 0);
}

/** @param {string[][]} rows @returns {Promise<Blob>} */
export async function workbook(rows) {
  const parts = { ...PARTS, "xl/worksheets/sheet1.xml": sheet(rows) };
  const entries = Object.entries(parts).map(([name, xml]) => ({ name, blob: new Blob([HEAD, xml]) }));
  return new Blob([await zipped(entries)], { type: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" });
}

/** Whether a text stands as a number. What would lose digits, or a zero before it, stays text. */
export function isNumber(text) {
  return NUMBER.test(text) && text.replace(/\D/g, "").replace(/^0+/, "").length <= DIGITS;
}

function relation(kind, target) {
  return `<Relationships xmlns="${OFFICE}/package/2006/relationships"><Relationship Id="rId1" Type="${OFFICE}/officeDocument/2006/relationships/${kind}" Target="${target}"/></Relationships>`;
}

function sheet(rows) {
  const lines = rows.slice(0, MOST_ROWS).map((row, down) => {
    const cells = row.slice(0, MOST_COLUMNS).map((text, across) => cell(`${column(across)}${down + 1}`, text));
    return `<row r="${down + 1}">${cells.join("")}</row>`;
  });
  return `<worksheet xmlns="${OFFICE}/spreadsheetml/2006/main"><sheetData>${lines.join("")}</sheetData></worksheet>`;
}

function cell(place, text) {
  if (text === "") return "";
  if (isNumber(text)) return `<c r="${place}"><v>${text}</v></c>`;
  return `<c r="${place}" t="inlineStr"><is><t xml:space="preserve">${escaped(text.slice(0, MOST_TEXT))}</t></is></c>`;
}

/** 0, 1, ... 26 as A, B, ... AA. */
function column(number) {
  const rest = Math.floor(number / 26);
  return (rest ? column(rest - 1) : "") + String.fromCharCode(65 + (number % 26));
}

/** Without what XML can't hold. What looks like a spreadsheet's own escape stays as it was written. */
function escaped(text) {
  const held = text.toWellFormed?.() ?? text.replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, "\ufffd");
  return held.replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, "").replace(/_(?=x[0-9A-Fa-f]{4}_)/g, "_x005F_")
    .replace(/[&<>]/g, (one) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[one]).replace(/\r/g, "&#13;");
}
