// What is read out to whoever doesn't see the page: that an answer is on its way, what it waits for, and the whole of it
// once it is there; not each word as it comes, and nothing that was there before.
// Knows messages and one hidden line; refuses to know how the conversation is drawn.

import { make } from "./elements.mjs";
import { said, t } from "./i18n.mjs";

const LONGEST = 1500; // characters that are read out by themselves; the rest is in the conversation
const SOON = 1500; // milliseconds after which it is worth saying what an answer waits for

export class Announcer {
  #line = make("div.unseen", { role: "status" });
  #of = null; // the message that grows
  #note = "";
  #since = 0;

  constructor(root) {
    root.append(this.#line);
  }

  /** Called with each state: the messages that are shown, and the id of the one that grows. */
  hear(path, running) {
    const before = this.#of;
    this.#of = running;
    if (running !== null && running !== before) {
      [this.#note, this.#since] = ["", performance.now()];
      return this.#say(t("The answer is on its way."));
    }
    const message = path.find((one) => one.id === (running ?? before));
    if (!message) return;
    if (running === null) return this.#say(message.error ? said(message.error) : ended(message));
    const waited = performance.now() - this.#since > SOON;
    if (waited && !message.text && message.note && message.note !== this.#note) this.#say(said(this.#note = message.note));
  }

  /** Nothing is read out again, in another language. */
  renew() {
    this.#say("");
  }

  #say(words) {
    this.#line.textContent = words;
  }
}

function ended(message) {
  if (!message.text) return t("There is no answer.");
  return message.text.length > LONGEST ? t("Answer, its beginning: {text}", { text: message.text.slice(0, LONGEST) }) : t("Answer: {text}", { text: message.text });
}
