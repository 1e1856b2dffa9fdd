// Whether the server can be reached: believed until something fails, then asked again and again, with growing pauses, and
// never while nobody looks at the tab.
// Knows a probe and clocks; refuses to know what was asked, and what is drawn of it.

import { later } from "./i18n.mjs";
import { OFFLINE, reach } from "./wire.mjs";

export const FIRST_MS = 1000; // until it is asked again, then twice as long each time
export const LONGEST_MS = 30_000;
export const UPDATED = later("This page was updated: reload to get the new one. Nothing is lost.");

export class Connection {
  #lines; #changed; #probe; #later; #seen; #waiting = null; #pause = FIRST_MS;

  /** `lines` holds what is said of the whole page. `probe` resolves to what answers: "here", "updated" or "gone"; `later`
   * calls a function after a while and gives what ends that; `seen` is whether somebody looks. */
  constructor({ lines, changed, probe = reach, later = timer, seen = () => !globalThis.document?.hidden }) {
    [this.#lines, this.#changed, this.#probe, this.#later, this.#seen] = [lines, changed, probe, later, seen];
    this.down = false;
  }

  /** Something didn't get through. */
  lost(sentence = OFFLINE) {
    this.#lines.set("offline", sentence);
    this.down = true;
    this.#changed();
    if (!this.#waiting) this.#wait();
  }

  /** Something did. */
  found() {
    if (!this.down) return;
    this.down = false;
    this.#lines.delete("offline");
    this.#waiting?.();
    [this.#waiting, this.#pause] = [null, FIRST_MS];
    this.#changed();
  }

  /** A server of another version answers. */
  updated() {
    this.#lines.set("version", UPDATED);
  }

  /** Something that the page is made of didn't come: says so, where that is since nobody is there, or another version. */
  async missed() {
    const said = await this.#probe();
    if (said === "gone") return this.lost();
    if (said === "updated") this.updated();
    this.#changed();
  }

  /** Asks now: the browser says that something changed, or somebody looks again. */
  async look() {
    if (!this.down) return;
    this.#waiting?.();
    this.#waiting = null;
    const said = await this.#probe();
    if (said === "updated") this.updated();
    if (said !== "gone") this.found();
    else if (this.down && !this.#waiting) this.#wait();
  }

  #wait() {
    if (!this.#seen()) return; // whoever comes back to the tab looks at once
    this.#waiting = this.#later(() => { this.#waiting = null; this.look(); }, this.#pause);
    this.#pause = Math.min(2 * this.#pause, LONGEST_MS);
  }
}

function timer(work, milliseconds) {
  const id = setTimeout(work, milliseconds);
  id.unref?.(); // node doesn't wait for it
  return () => clearTimeout(id);
}
