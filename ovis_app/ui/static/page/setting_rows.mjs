// What can be set for an answer, a row each, and in what two answers differ. Pure. Knows what the page was told of the model;
// refuses to know where settings are shown.

import { said, t } from "./i18n.mjs";

const LONGEST = 60; // characters of a system prompt that are shown

/**
 * A row: @typedef {{name: string, label: string, kind: "switch" | "number" | "text", low?: number, high?: number, step?: number}} Row
 * @returns {Row[]}
 */
export function rowsOf(model) {
  const switches = model.switches.map((name) => ({ name, label: model.labels?.[name] ?? name, kind: "switch" }));
  const knobs = model.knobs.map(({ name, label = name, low, high, step }) => ({ name, label, kind: "number", low, high, step }));
  return [...switches, ...knobs, { name: "system", label: "System prompt", kind: "text" }];
}

/** A setting as it counts: one that was never turned is off, or nothing. */
export function valueOf(row, settings) {
  const value = settings?.[row.name];
  if (row.kind === "switch") return value === true;
  return row.kind === "text" ? (value ?? "").trim() : value;
}

/** The rows in which these settings differ. @param {Row[]} rows */
export function differences(rows, one, other) {
  return rows.filter((row) => valueOf(row, one) !== valueOf(row, other));
}

/** What a setting is, in words. */
export function shown(row, settings) {
  const value = valueOf(row, settings);
  if (row.kind === "switch") return value ? t("on") : t("off");
  if (row.kind === "text") return !value ? t("none") : value.length > LONGEST ? `${value.slice(0, LONGEST)}…` : value;
  return value === undefined ? t("recommended") : value.toLocaleString("en");
}

/** What sets an answer apart from the one beside it, in a few words; nothing where nothing does that is known. */
export function apart(message, other, rows) {
  if (message.edited) return [t("edited by hand")];
  const model = message.model && other.model && message.model !== other.model ? [message.model] : [];
  if (!message.asked || !other.asked) return model;
  if (model.length) rows = rows.filter((row) => row.kind === "switch"); // each has numbers of its own
  const named = (row) => `${said(row.label)}: ${shown(row, message.asked)}`;
  return [...model, ...differences(rows, message.asked, other.asked).map(named)];
}
