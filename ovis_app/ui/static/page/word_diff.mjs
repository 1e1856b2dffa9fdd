// Which words of two texts differ. Pure: knows words, in any script; refuses to know where they stand.
// Long texts are cut where both have the same rare words (as "patience" does), and only what lies between is compared word
// by word; so the work grows with the length of the texts, and of what can't be cut all differs.

const WORD = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]|[\p{L}\p{M}\p{N}_]+|[^\s]/gu; // a sign is a word too
const MOST_CELLS = 250_000; // of a table of two parts that are compared word by word
const DEEPEST = 20; // cuts within cuts
const RUNS = [8, 4, 2, 1]; // words in a row, by which both are cut

/** The words of a text and where each begins. @param {string} text @returns {{word: string, at: number}[]} */
export function words(text) {
  return Array.from(text.matchAll(WORD), (found) => ({ word: found[0], at: found.index }));
}

/** For each word of both lists, whether it differs. @param {string[]} one @param {string[]} other @returns {[Uint8Array, Uint8Array]} */
export function differing(one, other) {
  const marks = [new Uint8Array(one.length).fill(1), new Uint8Array(other.length).fill(1)];
  const same = (i, j) => { marks[0][i] = 0; marks[1][j] = 0; };
  compare({ one, other, same }, [0, one.length], [0, other.length], 0);
  return marks;
}

function compare(both, [from, until], [start, end], depth) {
  const { one, other, same } = both;
  while (from < until && start < end && one[from] === other[start]) same(from++, start++);
  while (from < until && start < end && one[until - 1] === other[end - 1]) same(--until, --end);
  const [length, width] = [until - from, end - start];
  if (!length || !width) return;
  if ((length + 1) * (width + 1) <= MOST_CELLS) return table(both, [from, until], [start, end]);
  if (depth >= DEEPEST) return;
  const cuts = anchors(both, [from, until], [start, end]);
  if (!cuts.length) return;
  let [at, beside] = [from, start];
  for (const [i, j] of [...cuts, [until, end]]) {
    compare(both, [at, i], [beside, j], depth + 1);
    if (i < until) same(i, j);
    [at, beside] = [i + 1, j + 1];
  }
}

/** Places where both have the same words in a row, which stand once in each, in the order of both. */
function anchors({ one, other }, [from, until], [start, end]) {
  for (const run of RUNS) {
    const mine = once(one, from, until, run);
    const theirs = once(other, start, end, run);
    const pairs = [...mine].filter(([key, i]) => i >= 0 && theirs.get(key) >= 0).map(([key, i]) => [i, theirs.get(key)]);
    const kept = rising(pairs.sort((a, b) => a[0] - b[0]));
    if (kept.length) return kept;
  }
  return [];
}

/** Runs of words -> where each begins; -1 where it stands more than once. */
function once(list, from, until, run) {
  const found = new Map();
  for (let at = from; at + run <= until; at += 1) {
    const key = run === 1 ? list[at] : list.slice(at, at + run).join("\u0000");
    found.set(key, found.has(key) ? -1 : at);
  }
  return found;
}

/** The longest part of these pairs in which the second numbers rise as the first do. */
function rising(pairs) {
  const tails = []; // of parts of each length, the one with the least end
  const before = new Array(pairs.length);
  for (const [place, pair] of pairs.entries()) {
    let [low, high] = [0, tails.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (pairs[tails[middle]][1] < pair[1]) low = middle + 1;
      else high = middle;
    }
    before[place] = low ? tails[low - 1] : -1;
    tails[low] = place;
  }
  const kept = [];
  for (let at = tails.at(-1) ?? -1; at >= 0; at = before[at]) kept.unshift(pairs[at]);
  return kept;
}

/** The longest common part of two short lists. */
function table({ one, other, same }, [from, until], [start, end]) {
  const width = end - start + 1;
  const longest = new Uint16Array((until - from + 1) * width); // [i][j]: of what follows both
  for (let i = until - from - 1; i >= 0; i -= 1) {
    for (let j = end - start - 1; j >= 0; j -= 1) {
      longest[i * width + j] = one[from + i] === other[start + j]
        ? longest[(i + 1) * width + j + 1] + 1 : Math.max(longest[(i + 1) * width + j], longest[i * width + j + 1]);
    }
  }
  for (let i = from, j = start; i < until && j < end;) {
    const [down, right] = [longest[(i - from + 1) * width + j - start], longest[(i - from) * width + j - start + 1]];
    if (one[i] === other[j]) same(i++, j++);
    else if (down >= right) i += 1;
    else j += 1;
  }
}
