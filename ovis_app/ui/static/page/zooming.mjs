// A picture under fingers, a mouse or a wheel: larger, smaller, moved. Knows pointers and the element that it moves;
// refuses to know what the picture is. The arithmetic is geometry.mjs.

import { fitted, larger, moved, zoomed } from "./geometry.mjs";

const SWIPE = 60; // pixels that a finger goes sideways for the next picture
const STILL = 6; // pixels that a click may tremble
const TWICE_MS = 350; // between the two taps of a double one

export class Zoom {
  #room; #stage; #hooks; #size = { width: 1, height: 1 }; #view = null; #pointers = new Map(); #start = null; #tap = { at: 0, x: 0, y: 0 }; #whole = true; #watch;

  /** `hooks`: changed(percent), swiped(by), beside() for a click next to the picture, and drawing(): what takes a single
   * pointer instead, or null. */
  constructor(room, stage, hooks) {
    [this.#room, this.#stage, this.#hooks] = [room, stage, hooks];
    room.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    room.addEventListener("pointerdown", (event) => this.#down(event));
    room.addEventListener("pointermove", (event) => this.#moved(event));
    for (const name of ["pointerup", "pointercancel"]) room.addEventListener(name, (event) => this.#up(event));
    this.#watch = new ResizeObserver(() => this.refit());
    this.#watch.observe(room);
  }

  end() {
    this.#watch.disconnect();
  }

  /** Shows a picture of this size whole. */
  fit(size) {
    this.#size = size;
    this.whole();
  }

  whole() {
    this.#draw(fitted(this.#size, this.#space));
  }

  /** The window has another size: what was whole stays so. */
  refit() {
    if (!this.#view) return;
    if (this.#whole) this.whole();
    else this.move(0, 0);
  }

  by(times, at = { x: this.#space.width / 2, y: this.#space.height / 2 }) {
    if (this.#view) this.#draw(zoomed(this.#view, times, at, this.#size, this.#space));
  }

  move(dx, dy) {
    if (this.#view) this.#draw(moved(this.#view, dx, dy, this.#size, this.#space));
  }

  get #space() {
    return { width: this.#room.clientWidth, height: this.#room.clientHeight };
  }

  #draw(view) {
    this.#view = view;
    this.#whole = !larger(view, this.#size, this.#space);
    Object.assign(this.#stage.style, {
      width: `${this.#size.width * view.scale}px`, height: `${this.#size.height * view.scale}px`, transform: `translate(${view.x}px, ${view.y}px)`,
    });
    this.#stage.classList.toggle("pixels", view.scale >= 4);
    this.#room.classList.toggle("larger", !this.#whole);
    this.#hooks.changed(Math.round(view.scale * 100));
  }

  #point({ clientX, clientY }) {
    const box = this.#room.getBoundingClientRect();
    return { x: clientX - box.left, y: clientY - box.top };
  }

  #wheel(event) {
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 16 : 1;
    this.by(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.002)), this.#point(event));
  }

  #down(event) {
    if (event.button !== 0 || !this.#view) return;
    this.#room.setPointerCapture(event.pointerId);
    this.#pointers.set(event.pointerId, this.#point(event));
    const drawing = this.#hooks.drawing();
    if (this.#pointers.size === 1) {
      this.#start = { ...this.#point(event), far: 0, several: false, beside: event.target === this.#room };
      if (drawing) drawing.down(event);
    } else if (this.#start) {
      this.#start.several = true;
      drawing?.drop();
    }
  }

  #moved(event) {
    const before = this.#pointers.get(event.pointerId);
    if (!before || !this.#start) return;
    const now = this.#point(event);
    this.#start.far = Math.max(this.#start.far, Math.hypot(now.x - this.#start.x, now.y - this.#start.y));
    const other = [...this.#pointers].find(([id]) => id !== event.pointerId)?.[1];
    this.#pointers.set(event.pointerId, now);
    if (other) this.#pinch(before, now, other);
    else if (this.#start.several) return; // the last finger of two that goes
    else if (this.#hooks.drawing()) this.#hooks.drawing().moved(event);
    else this.move(now.x - before.x, now.y - before.y);
  }

  #pinch(before, now, other) {
    const [was, is] = [Math.hypot(before.x - other.x, before.y - other.y), Math.hypot(now.x - other.x, now.y - other.y)];
    const middle = { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 };
    if (was > 0 && is > 0) this.by(is / was, middle);
    this.move((now.x - before.x) / 2, (now.y - before.y) / 2);
  }

  #up(event) {
    if (!this.#pointers.delete(event.pointerId) || this.#pointers.size || !this.#start) return;
    const start = this.#start;
    this.#start = null;
    const drawing = this.#hooks.drawing();
    if (drawing) return drawing.drop();
    if (start.several || event.type === "pointercancel") return;
    const now = this.#point(event);
    const [dx, dy] = [now.x - start.x, now.y - start.y];
    if (start.far <= STILL) this.#tapped(event, now, start);
    else if (event.pointerType === "touch" && this.#whole && Math.abs(dx) > SWIPE && Math.abs(dx) > 2 * Math.abs(dy)) this.#hooks.swiped(dx < 0 ? 1 : -1);
  }

  /** Twice on the picture: larger there, or whole again; once beside it: enough of it. */
  #tapped(event, now, start) {
    const twice = event.timeStamp - this.#tap.at < TWICE_MS && Math.hypot(now.x - this.#tap.x, now.y - this.#tap.y) < 30;
    this.#tap = { at: twice ? 0 : event.timeStamp, ...now };
    if (start.beside) this.#hooks.beside();
    else if (twice && this.#whole) this.by(2.5, now);
    else if (twice) this.whole();
  }
}
