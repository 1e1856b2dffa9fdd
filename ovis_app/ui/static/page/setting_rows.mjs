// What can be set for an answer, a row each: how it stands at first, what of it fits a model, and in what two answers differ.
// Pure. Knows what the page was told of the model; refuses to know where settings are shown.

import { said, t } from "./i18n.mjs";

const LONGEST = 60; // characters of a system prompt that are shown

/**
 * A row: @typedef {{name: string, label: string, kind: "switch" | "number" | "text", recommended: boolean | number | string,
 *   low?: number, high?: number, step?: number}} Row
 * What answers can differ in.
 * @returns {Row[]}
 */
export function rowsOf(model) {
  const switches = model.switches.map((name) => switchOf(model, name));
  const knobs = model.knobs.map(({ name, label = name, low, high, step, recommended }) => ({ name, label, kind: "number", low, high, step, recommended }));
  return [...switches, ...knobs, { name: "system", label: "System prompt", kind: "text", recommended: "" }];
}

const switchOf = (model, name) => ({ name, label: model.labels?.[name] ?? name, kind: "switch", recommended: false });
const allOf = (model) => [...rowsOf(model), switchOf(model, "drop_old_turns")];

/** The switches below the box: what changes an answer's nature. @returns {Row[]} */
export function atHand(model) {
  return model.switches.filter((name) => name !== "split").map((name) => switchOf(model, name));
}

/** All settings as the model recommends them. */
export function recommended(model) {
  return fitted(model, {});
}

/** Of these settings what the model has, within its ranges; whatever is missing stands as the model recommends. */
export function fitted(model, settings) {
  return Object.fromEntries(allOf(model).map((row) => [row.name, fit(row, settings[row.name])]));
}

/** A value that a row can have. */
export function fit({ recommended: first, low = -Infinity, high = Infinity, step }, value) {
  if (typeof value !== typeof first || Number.isNaN(value)) return first;
  if (typeof value !== "number") return value;
  return Math.min(high, Math.max(low, Number.isInteger(step) ? Math.round(value) : value));
}

/** The settings once `part` of them is turned: a smallest picture that is larger than the largest raises that, and the other
 * way round. */
export function turned(model, settings, part) {
  const now = fitted(model, { ...settings, ...part });
  const { min_pixels: low, max_pixels: high } = now;
  if (!(low > high)) return now;
  return "min_pixels" in part ? { ...now, max_pixels: low } : { ...now, min_pixels: high };
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
