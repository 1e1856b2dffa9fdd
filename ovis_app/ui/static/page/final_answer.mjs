// What a step-by-step answer comes to: what stands behind the words that the model was asked to end with.
// Pure. Knows both families' words, in English and Chinese; refuses to know what is right.

const MARKS = /(?:final answer|the answer is|最终答案|答案是)\**\s*[:：]?/gi; // "Final answer: " of Ovis2.5, "the answer is" of Ovis2
const LONGEST = 200;

/** The last one in a text, on its line, without Markdown around it; empty where there is none. */
export function finalAnswer(text) {
  const last = [...text.matchAll(MARKS)].at(-1);
  if (!last) return "";
  const behind = text.slice(last.index + last[0].length).trimStart().split("\n", 1)[0];
  const boxed = /\\boxed\{([^{}]*)\}/.exec(behind)?.[1] ?? behind;
  const bare = boxed.replace(/[*_`$]/g, "").replace(/^[\s:：]+|[\s.。]+$/g, "");
  return bare.length <= LONGEST ? bare : "";
}
