// Moments and pages that an answer names, as links to where they are: the player goes there, the page opens large. Loaded
// with the first answer about a clip or a document.
// Knows the DOM; refuses to know how moments are written (times.mjs) and what a press does.

import { make } from "./elements.mjs";
import { t } from "./i18n.mjs";
import { clipsOf } from "./numbered.mjs";
import { named } from "./times.mjs";

/** What an answer can be about: the latest question before it that has one clip, whose moments are meant then, or pages of
 * a document; null where there is none. @returns {{id: string, clip: boolean, pages: Map<number, number>} | null} pages by their numbers, with their places */
export function subjectOf(path, message) {
  const before = path.slice(0, path.indexOf(message));
  const asked = before.findLast((one) => one.role === "user" && one.files.length);
  if (!asked) return null;
  const pages = new Map();
  for (const [place, file] of asked.files.entries()) {
    const page = file.source?.page ?? Number(/ page (\d{1,6})$/.exec(file.name)?.[1]);
    if (page && !pages.has(page)) pages.set(page, place);
  }
  const clip = clipsOf(asked.files).length === 1;
  return clip || pages.size ? { id: asked.id, clip, pages } : null;
}

/** Makes links of what an element's words name. Code stays, and what is a link already. `seek` gets seconds, `turn` the place
 * of a page among the question's files; `latest` is how long the clip is, where that is known. */
export function link(element, subject, { seek, turn, latest = Infinity }) {
  const texts = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  const nodes = [];
  for (let node = texts.nextNode(); node; node = texts.nextNode()) if (!node.parentElement?.closest("code, pre, a, button, .formula, .katex")) nodes.push(node);
  for (const node of nodes) {
    const found = named(node.data, { moments: subject.clip, pages: subject.pages.size > 0 })
      .filter((one) => (one.kind === "moment" ? one.value <= latest + 0.5 : subject.pages.has(one.value)));
    if (!found.length) continue;
    const parts = [];
    let at = 0;
    for (const one of found) {
      parts.push(node.data.slice(at, one.from), jump(node.data.slice(one.from, one.to), one, { seek, turn, subject }));
      at = one.to;
    }
    node.replaceWith(...parts, node.data.slice(at));
  }
}

/** A player stands at this second and is seen. */
export function seek(player, seconds) {
  if (!player) return;
  player.pause();
  player.currentTime = Number.isFinite(player.duration) ? Math.min(seconds, Math.max(0, player.duration - 0.05)) : seconds;
  player.scrollIntoView({ block: "center" });
  player.focus({ preventScroll: true });
}

function jump(words, { kind, value }, { seek, turn, subject }) {
  const title = kind === "moment" ? t("Show this moment of the clip") : t("Open this page");
  const act = kind === "moment" ? () => seek(value) : () => turn(subject.pages.get(value));
  return make("button.jump", { type: "button", title, onclick: act }, words);
}
