// Numbered frames -> a growing answer. One that comes twice counts once, one that comes early waits for those before it,
// and the last one has the whole answer, so whatever was missed is there in the end.
// Pure. Knows frames; refuses to know how they travel.

export const ENDS = ["done", "failed", "missing"];

/** An answer of which nothing was heard yet; `begun` is what had been said of it, where it is continued. */
export function fresh(begun = { text: "", thinking: "" }) {
  return {
    next: 0, early: new Map(), note: "", text: begun.text, thinking: begun.thinking, error: "", finish: null, stats: null,
    version: null, missing: null, budget: 0,
  };
}

/** The answer after one more frame; the same object where the frame changes nothing that people see. */
export function heard(answer, frame) {
  if (!frame || !Number.isInteger(frame.seq) || over(answer)) return answer;
  if (ENDS.includes(frame.kind)) return applied(answer, frame);
  if (frame.seq < answer.next || answer.early.has(frame.seq)) return answer;
  if (frame.seq > answer.next) {
    answer.early.set(frame.seq, frame);
    return answer;
  }
  let now = applied(answer, frame);
  for (let next = now.early.get(now.next); next; next = now.early.get(now.next)) {
    now.early.delete(next.seq);
    now = applied(now, next);
  }
  return now;
}

/** Whether no more can come. */
export function over(answer) {
  return answer.finish !== null || answer.missing !== null;
}

function applied(answer, frame) {
  const now = { ...answer, next: frame.seq + 1 };
  switch (frame.kind) {
    case "begun": return { ...now, version: frame.version ?? null };
    case "waiting": return { ...now, note: string(frame.note) };
    case "thinking": return thought({ ...now, note: "", thinking: now.thinking + string(frame.text) }, frame);
    case "answer": return { ...now, note: "", text: now.text + string(frame.text) };
    case "recast": return { ...now, note: "", thinking: now.thinking + now.text, text: "" };
    case "missing": return { ...now, missing: Array.isArray(frame.files) ? frame.files : [] };
    case "done": case "failed": return ended(now, frame);
    default: return now; // of a later server: what it means isn't known here
  }
}

/** With what is known of its tokens: how many there are, and how many there may be where the thought can be ended. */
function thought(answer, { tokens, budget }) {
  if (!(tokens > 0)) return answer;
  const most = budget > 0 ? budget : answer.budget;
  return { ...answer, budget: most, stats: { ...answer.stats, thinking_tokens: tokens, ...(most ? { thinking_budget: most } : {}) } };
}

function ended(answer, frame) {
  return {
    ...answer, note: "", early: new Map(),
    text: string(frame.text, answer.text),
    thinking: string(frame.thinking, answer.thinking),
    error: string(frame.sentence),
    finish: frame.kind === "failed" ? "error" : string(frame.finish, "end"),
    stats: frame.stats && answer.budget ? { ...frame.stats, thinking_budget: answer.budget } : frame.stats ?? null,
  };
}

function string(value, otherwise = "") {
  return typeof value === "string" ? value : otherwise;
}
