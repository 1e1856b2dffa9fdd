// What a question would take, reckoned from what the server says of it: shares of the context, seconds, what to do where
// it doesn't fit. Pure. Knows weights and figures; refuses to know where they come from, and how they are drawn.

export const SHOWN_FROM = 0.25; // of the context: less of mere text is nobody's concern
const LEAST_ANSWER = 256; // tokens of an answer, fewer of which are worth a word
const TELLING = 16; // new tokens of a prompt that tell how long one takes
const LATEST = 5; // answers of which the middle one counts

/** @typedef {{prompt: number, visual: number, room: number, dropped: number, files: {tokens: number, seen: number[], size: number[], pieces: number, split: number}[]}} Weight */

/** What of the context is text, what pictures, and what is left for an answer of `longest` tokens; `state` is "over" where
 * it doesn't fit, "tight" where only a short answer does.
 * @param {Weight} weight @param {number} longest */
export function shares(weight, longest) {
  const left = Math.max(weight.room - weight.prompt, 0);
  const state = left < 1 ? "over" : left < Math.min(longest, LEAST_ANSWER) ? "tight" : "calm";
  return { text: weight.prompt - weight.visual, visual: weight.visual, answer: Math.min(longest, left), left, state };
}

/** Whether there is something to show: pictures are sent, or much of the context is used. */
export function worthShowing(weight, longest) {
  return weight.files.length > 0 || weight.prompt >= SHOWN_FROM * weight.room || shares(weight, longest).state !== "calm";
}

/** New tokens a second until a first one came, as the latest answers of a model took; null where none tells.
 * @param {any[]} answers @param {string} model */
export function paceOf(answers, model) {
  const paces = answers.filter((one) => one.role === "assistant" && one.model === model && !one.edited).map(({ created, stats }) => {
    const fresh = (stats?.prompt_tokens ?? 0) - (stats?.cached_tokens ?? 0);
    return stats?.first_token_seconds > 0 && fresh >= TELLING ? { created, pace: fresh / stats.first_token_seconds } : null;
  }).filter(Boolean);
  const latest = paces.sort((one, other) => other.created - one.created).slice(0, LATEST).map((one) => one.pace).sort((a, b) => a - b);
  return latest.length ? latest[latest.length >> 1] : null;
}

/** Seconds until an answer begins: what the last answer on the path left behind needn't be read again. */
export function secondsOf(weight, path, model, pace) {
  if (!pace) return null;
  const { stats, model: by } = path.findLast((one) => one.role === "assistant") ?? {};
  const known = by === model && !weight.dropped && stats?.prompt_tokens ? stats.prompt_tokens + (stats.answer_tokens ?? 0) : 0;
  return Math.max(weight.prompt - known, 1) / pace;
}

/** The files of a question that are read too small and would be read better in pieces, by their places. */
export function tooLong(weight) {
  return [...weight.files.keys()].filter((place) => weight.files[place].split > 1);
}
