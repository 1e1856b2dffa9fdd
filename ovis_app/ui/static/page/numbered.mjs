// What a file is called among those of its message: by its number, as the model has them in order. Pure.

import { t } from "./i18n.mjs";

/** The files of a message that are watched: an animation (`moves`) beside others is a picture.
 * @template {{kind: string, moves?: boolean}} F @param {F[]} files @returns {F[]} */
export function clipsOf(files) {
  return files.filter((one) => one.kind === "video" && !(one.moves && files.length > 1));
}

/** Whether there are several clips, and nothing else. @param {{kind: string, moves?: boolean}[]} files */
export function severalClips(files) {
  return files.length > 1 && clipsOf(files).length === files.length;
}

/** `words` with the number in front where there are several. */
export function numbered(words, index, count, { clips = false } = {}) {
  if (count < 2) return words;
  const told = { number: index + 1, name: words };
  return clips ? t("Clip {number}: {name}", told) : t("Image {number}: {name}", told);
}
