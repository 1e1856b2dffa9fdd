// The quiet line under an answer, and durations, in words. Pure.

import { said, t } from "./i18n.mjs";

const SHOWN_TIMES = 8;

/** What is to be said of how an answer was made; nothing while it grows.
 * @returns {string[]} */
export function figures(message) {
  if (message.finish === null || message.example) return [];
  if (message.edited) return [t("edited by hand")];
  const stats = message.stats ?? {};
  const parts = [];
  if (stats.visual_tokens) parts.push(t("{count} visual tokens", { count: count(stats.visual_tokens) }));
  if (stats.first_token_seconds !== undefined) parts.push(t("first token {time}", { time: seconds(stats.first_token_seconds) }));
  if (stats.tokens_per_second) parts.push(t("{pace} tokens/s", { pace: pace(stats.tokens_per_second) }));
  if (stats.answer_tokens) parts.push(t("{count} tokens", { count: count(stats.answer_tokens) }));
  if (stats.engine) parts.push(said(String(stats.engine)));
  const over = end(message.finish);
  if (over) parts.push(over);
  if (stats.frame_times?.length) parts.push(frames(stats.frame_times));
  parts.push(...(stats.remarks ?? []).map((one) => said(String(one))));
  if (stats.dropped_turns) {
    parts.push(stats.dropped_turns > 1
      ? t("without the {count} oldest questions, to fit", { count: stats.dropped_turns }) : t("without the oldest question, to fit"));
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
  const parts = [going ? t("Thinking") : t("Thought")];
  if (stats.thinking_seconds !== undefined) parts.push(seconds(stats.thinking_seconds));
  if (stats.thinking_tokens) parts.push(thoughtTokens(stats.thinking_tokens, stats.thinking_budget));
  return parts.join(" · ");
}

/** How long a thought is: what ends one whose budget is used up goes past that. */
function thoughtTokens(used, budget) {
  if (!(budget > 0)) return t("{count} tokens", { count: count(used) });
  return used > budget ? t("all {budget} tokens of its budget", { budget: count(budget) }) : t("{count} of {budget} tokens", { count: count(used), budget: count(budget) });
}

/** A duration in as few characters as it deserves. */
export function seconds(value) {
  if (value < 60) return t("{count} s", { count: value.toFixed(value < 1 ? 2 : 1) });
  return t("{minutes} min {seconds} s", { minutes: Math.floor(value / 60), seconds: Math.floor(value) % 60 });
}

/** How an answer came to its end. */
function end(finish) {
  switch (finish) {
    case "end": return t("done");
    case "length": return t("reached the limit of new tokens");
    case "stopped": return t("stopped");
    case "cut": return t("cut off");
    default: return "";
  }
}

function count(value) {
  return value.toLocaleString("en");
}

function pace(value) {
  return value >= 10 ? Math.round(value).toLocaleString("en") : value.toFixed(1);
}

function frames(times) {
  const shown = times.slice(0, SHOWN_TIMES).map((one) => one.toFixed(1)).join(", ");
  const at = times.length > SHOWN_TIMES ? `${shown} …` : shown;
  return times.length === 1 ? t("1 frame at {times} s", { times: at }) : t("{count} frames at {times} s", { count: times.length, times: at });
}
