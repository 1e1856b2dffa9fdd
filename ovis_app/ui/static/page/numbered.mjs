// What a file is called among those of its message: by its number, as the model has them in order. Pure.

import { t } from "./i18n.mjs";

/** Whether there are several clips, and nothing else. @param {{kind: string}[]} files */
export function severalClips(files) {
  return files.length > 1 && files.every((one) => one.kind === "video");
}

/** `words` with the number in front where there are several. */
export function numbered(words, index, count, { clips = false } = {}) {
  if (count < 2) return words;
  const told = { number: index + 1, name: words };
  return clips ? t("Clip {number}: {name}", told) : t("Image {number}: {name}", told);
}
