// Where emphasis begins and ends beside Chinese, Japanese and Korean, which put no spaces between words: CommonMark's rule
// takes their punctuation for an end of words, and `**注意：**请` for stars. The rule here is markdown-cjk-friendly's: such a
// punctuation mark is like a letter, and beside such a letter any other punctuation mark is, too.
// Pure. Knows markdown-it's inline state by its public names.

// Formulas are private characters by now (extract.mjs), and stand as freely.
const CJK = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\p{Script=Bopomofo}\u3001-\u303f\uff00-\uffef\ufe30-\ufe4f\ue000\ue001]/u;

/** An inline state with that rule, for `markdown.inline.State`. */
export function besideLetters(State, { isMdAsciiPunct, isPunctChar, isWhiteSpace }) {
  const punctuation = (char) => !CJK.test(char) && (isMdAsciiPunct(char.codePointAt(0)) || isPunctChar(char));
  const white = (char) => isWhiteSpace(char.codePointAt(0));
  return class extends State {
    scanDelims(start, canSplitWord) {
      const usual = super.scanDelims(start, canSplitWord);
      if (!canSplitWord) { // underscores are part of names: __init__.py, __init__()
        const part = /^[.([][\w)\]]/.test(this.src.slice(start + usual.length, start + usual.length + 2));
        return part ? { ...usual, can_close: false } : usual;
      }
      const before = lastOf(this.src.slice(Math.max(start - 2, 0), start)) || " ";
      const after = this.posMax > start + usual.length ? String.fromCodePoint(this.src.codePointAt(start + usual.length)) : " ";
      if (/\d/.test(before) && /\d/.test(after)) return { ...usual, can_open: false, can_close: false }; // 2*3*4, 10~~20
      if (!CJK.test(before) && !CJK.test(after)) return usual;
      return {
        length: usual.length,
        can_open: !white(after) && (!punctuation(after) || white(before) || punctuation(before) || CJK.test(before)),
        can_close: !white(before) && (!punctuation(before) || white(after) || punctuation(after) || CJK.test(after)),
      };
    }
  };
}

function lastOf(text) {
  return [...text].at(-1);
}
