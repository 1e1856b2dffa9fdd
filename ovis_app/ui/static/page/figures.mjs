// The quiet line under an answer, and durations, in words. Pure.

import { t } from "./i18n.mjs";

const ENDS = { end: "done", length: "reached the limit of new tokens", stopped: "stopped", cut: "cut off" };
const SHOWN_TIMES = 8;

/** What is to be said of how an answer was made; nothing while it grows.
 * @returns {string[]} */
export function figures(message) {
  if (message.finish === null || message.example) return [];
  if (message.edited) return [t("edited by hand")];
  const stats = message.stats ?? {};
  const count = (value) => value.toLocaleString("en");
  const parts = [];
  if (stats.visual_tokens) parts.push(`${count(stats.visual_tokens)} visual tokens`);
  if (stats.first_token_seconds !== undefined) parts.push(`first token ${seconds(stats.first_token_seconds)}`);
  if (stats.tokens_per_second) parts.push(`${pace(stats.tokens_per_second)} tokens/s`);
  if (stats.answer_tokens) parts.push(`${count(stats.answer_tokens)} tokens`);
  if (stats.engine) parts.push(String(stats.engine));
  if (ENDS[message.finish]) parts.push(ENDS[message.finish]);
  if (stats.frame_times?.length) parts.push(frames(stats.frame_times));
  parts.push(...(stats.remarks ?? []).map(String));
  if (stats.dropped_turns) {
    const many = stats.dropped_turns > 1 ? `${stats.dropped_turns} oldest questions` : "oldest question";
    parts.push(`without the ${many}, to fit`);
  }
  return parts;
}

/** The figures of an answer that was continued: `before` are those of what had been said, `now` those of the rest. What
 * nobody counted isn't told: an answer that was cut has no figures of its own. */
export function together(before, now) {
  if (!now) return null;
  const { begun_tokens: begun, begun_thinking_tokens: begunThought = 0, ...rest } = now;
  const sum = (name, counted) => {
    const first = counted ?? before?.[name];
    return first === undefined ? undefined : first + (now[name] ?? 0);
  };
  const counts = {
    answer_tokens: sum("answer_tokens", begun),
    thinking_tokens: sum("thinking_tokens", begun === undefined ? undefined : begunThought),
    thinking_seconds: now.thinking_seconds === undefined ? before?.thinking_seconds : sum("thinking_seconds"),
    first_token_seconds: before?.first_token_seconds,
  };
  return Object.fromEntries(Object.entries({ ...before, ...rest, ...counts }).filter(([, value]) => value !== undefined && value !== 0));
}

/** What stands over a thought. */
export function thought(message) {
  const stats = message.stats ?? {};
  const going = message.finish === null && !message.text;
  const parts = [going ? "Thinking" : "Thought"];
  if (stats.thinking_seconds !== undefined) parts.push(seconds(stats.thinking_seconds));
  if (stats.thinking_tokens) parts.push(`${stats.thinking_tokens.toLocaleString("en")} tokens`);
  return parts.join(" · ");
}

/** A duration in as few characters as it deserves. */
export function seconds(value) {
  if (value < 1) return `${value.toFixed(2)} s`;
  if (value < 60) return `${value.toFixed(1)} s`;
  return `${Math.floor(value / 60)} min ${Math.floor(value) % 60} s`;
}

function pace(value) {
  return value >= 10 ? Math.round(value).toLocaleString("en") : value.toFixed(1);
}

function frames(times) {
  const shown = times.slice(0, SHOWN_TIMES).map((one) => one.toFixed(1)).join(", ");
  const more = times.length > SHOWN_TIMES ? " …" : "";
  return `${times.length} ${times.length === 1 ? "frame" : "frames"} at ${shown}${more} s`;
}
