// What is often asked of what is attached, as buttons in the box while nothing is written there: one asks at once, or puts
// its words into the box with the cursor where a word of the person's belongs. Loaded once something is attached.
// Knows which words go with which files; refuses to know which model knows them: the page is told.

import { make } from "./elements.mjs";
import { language, said, t } from "./i18n.mjs";
import { severalClips } from "./numbered.mjs";

const PLACE = "…"; // where a word belongs

/** What can be asked of these files: {label, text, at}, with the place of the cursor, or -1 where it is asked at once. On
 * the Chinese page in Chinese, but for words that models know as they are. Pure.
 * @param {{label: string, image: string, images: string, video: string}[]} tasks @param {{kind: string}[]} files */
export function offered(tasks, files) {
  if (!files.length || severalClips(files)) return []; // nobody knows words for several clips
  const of = files.length > 1 ? "images" : files[0].kind === "video" ? "video" : "image";
  return tasks.filter((one) => one[of]).map((one) => {
    const words = !one[of].includes("<ref>") ? said(one[of]) : one[of];
    const at = words.indexOf(PLACE);
    return { label: one.label, text: at < 0 ? words : words.replace(PLACE, ""), at };
  });
}

export class Tasks {
  #root; #session; #put;

  /** `put` writes words into the box, with the cursor at a place of them. */
  constructor(root, session, put) {
    [this.#root, this.#session, this.#put] = [root, session, put];
  }

  draw() {
    const { draft, running, facts } = this.#session;
    const idle = running === null && !draft.text && !draft.editing && draft.files.every((one) => one.state === "ready");
    const rows = idle && facts ? offered(facts.tasks ?? [], draft.files) : [];
    const key = `${language()} ${rows.map((one) => one.text).join("|")}`;
    this.#root.hidden = !rows.length;
    if (this.#root.dataset.key === key) return;
    this.#root.dataset.key = key;
    this.#root.setAttribute("aria-label", t("Often asked"));
    this.#root.replaceChildren(...rows.map((one) => make("button.task", { type: "button", title: one.text, onclick: () => this.#press(one) }, said(one.label))));
  }

  #press({ text, at }) {
    const { draft, running } = this.#session;
    if (running || draft.text) return; // pressed twice
    if (at >= 0) return this.#put(text, at);
    this.#session.type(text);
    this.#session.ask();
  }
}
