// A rectangle that somebody draws on a picture, with a pointer or with keys. Knows the element that the picture fills;
// refuses to know what becomes of it.

import { between, notation, pixels, shifted } from "./geometry.mjs";
import { make } from "./elements.mjs";
import { t } from "./i18n.mjs";

const LEAST = 16; // pixels of the picture on a side: less is nothing to look at
const STEP = 0.02; // of the picture, for a key

export class Region {
  #stage; #size; #element; #grip = null;
  sides = { left: 0.25, top: 0.25, right: 0.75, bottom: 0.75 };

  /** In the middle of the picture, whose size in pixels is `size`. */
  constructor(stage, size) {
    [this.#stage, this.#size] = [stage, size];
    const corners = ["nw", "ne", "sw", "se"].map((name) => make(`i.corner.${name}`, {}));
    this.#element = make("div.region", { tabIndex: 0, role: "group" }, ...corners);
    stage.append(this.#element);
    this.#draw(between({ x: 0.25, y: 0.25 }, { x: 0.75, y: 0.75 }, this.#least));
  }

  get notation() { return notation(this.sides); }

  get #least() { return { x: LEAST / this.#size.width, y: LEAST / this.#size.height }; }

  focus() {
    this.#element.focus();
  }

  remove() {
    this.#element.remove();
  }

  #draw(sides) {
    this.sides = sides;
    const percent = (share) => `${(100 * share).toFixed(3)}%`;
    Object.assign(this.#element.style, {
      left: percent(sides.left), top: percent(sides.top), width: percent(sides.right - sides.left), height: percent(sides.bottom - sides.top),
    });
    const { left, top, width, height } = pixels(sides, this.#size);
    this.#element.setAttribute("aria-label", t("Selected: {width} × {height} pixels, from {left}, {top}", { width, height, left, top }));
  }

  // --- a pointer: a corner changes its size, its inside moves it, elsewhere it begins anew ----------------------------

  down(event) {
    const at = this.#at(event);
    const corner = event.target.closest?.(".corner");
    const { left, top, right, bottom } = this.sides;
    if (corner) this.#grip = { from: { x: corner.matches(".nw, .sw") ? right : left, y: corner.matches(".nw, .ne") ? bottom : top } };
    else if (at.x > left && at.x < right && at.y > top && at.y < bottom) this.#grip = { at, was: this.sides };
    else this.#grip = { from: at };
  }

  moved(event) {
    const at = this.#at(event);
    if (this.#grip?.from) this.#draw(between(this.#grip.from, at, this.#least));
    else if (this.#grip) this.#draw(shifted(this.#grip.was, at.x - this.#grip.at.x, at.y - this.#grip.at.y));
  }

  drop() {
    this.#grip = null;
    this.focus();
  }

  #at({ clientX, clientY }) {
    const box = this.#stage.getBoundingClientRect();
    return { x: (clientX - box.left) / box.width, y: (clientY - box.top) / box.height };
  }

  // --- keys ----------------------------------------------------------------------------------------------------------

  /** Whether it was a key for this. */
  key(event) {
    const step = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key];
    if (!step || event.target !== this.#element) return false;
    const { left, top, right, bottom } = this.sides;
    if (event.shiftKey) {
      const to = { x: Math.max(left + this.#least.x, right + step[0]), y: Math.max(top + this.#least.y, bottom + step[1]) };
      this.#draw(between({ x: left, y: top }, to, this.#least));
    } else this.#draw(shifted(this.sides, ...step));
    return true;
  }
}
