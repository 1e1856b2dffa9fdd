// Which moments of a clip are looked at, as somebody chose them: how many, of which part, without which; and that in words.
// Pure. Knows numbers as a request has them; refuses to know where clips are, and how a choice is made.

import { t } from "./i18n.mjs";

export const MOST_FRAMES = 64; // of a clip that is asked about here
const MOST_DROPPED = 256;
const LATEST = 86_400; // seconds into a clip
const SAME = 0.0005; // seconds between two ways to write when a frame begins

const moment = (value) => Number.isFinite(value) && value >= 0 && value <= LATEST;

/** How a clip is looked at, out of a record of any age; null where nothing was chosen. `fps` only says how the number of
 * frames was found.
 * @returns {{frames?: number, fps?: number, excerpt?: {start: number, end: number | null, dropped: number[]}} | null} */
export function chosen(given) {
  const made = {};
  if (Number.isInteger(given?.frames) && given.frames >= 1 && given.frames <= 256) made.frames = given.frames;
  if (made.frames && Number.isFinite(given.fps) && given.fps > 0 && given.fps <= 1000) made.fps = given.fps;
  const part = given?.excerpt;
  if (part && typeof part === "object") {
    const start = moment(part.start) ? part.start : 0;
    const end = moment(part.end) && part.end > start ? part.end : null;
    const dropped = (Array.isArray(part.dropped) ? part.dropped : []).filter(moment).slice(0, MOST_DROPPED);
    if (start || end !== null || dropped.length) made.excerpt = { start, end, dropped };
  }
  return Object.keys(made).length ? made : null;
}

/** The same as a request says it. */
export function asSent(given) {
  const { frames, excerpt } = given ?? {};
  return { ...(frames ? { frames } : {}), ...(excerpt ? { excerpt } : {}) };
}

/** How many frames so many a second are, in this many seconds. */
export function framesOf(fps, seconds) {
  return Math.min(MOST_FRAMES, Math.max(1, Math.round(fps * seconds)));
}

/** How long a part of a clip is. */
export function lengthOf({ start = 0, end = null } = {}, duration) {
  return Math.max(0, Math.min(end ?? duration, duration) - start);
}

/** Whether a frame that begins then is left out. */
export function isDropped(time, dropped) {
  return dropped.some((one) => Math.abs(one - time) < SAME);
}

/** The same without a frame, or with it again. */
export function toggled(time, dropped) {
  return isDropped(time, dropped) ? dropped.filter((one) => Math.abs(one - time) >= SAME) : [...dropped, time].sort((one, other) => one - other);
}

/** What was chosen, in a few words; nothing where nothing was. */
export function wordsOf(given) {
  if (!given) return "";
  const { frames, fps, excerpt } = given;
  const { start = 0, end = null, dropped = [] } = excerpt ?? {};
  const part = end !== null ? t("{from}–{to} s", { from: short(start), to: short(end) }) : start ? t("from {from} s", { from: short(start) }) : "";
  const without = dropped.length === 1 ? t("without 1 frame") : dropped.length ? t("without {count} frames", { count: dropped.length }) : "";
  const count = fps ? t("{fps} frames a second", { fps: short(fps) }) : frames === 1 ? t("1 frame") : frames ? t("{count} frames", { count: frames }) : "";
  return [count, part, without].filter(Boolean).join(" · ");
}

/** A number as people write it: no more digits than it needs. */
export function short(value) {
  return String(Math.round(value * 100) / 100);
}
