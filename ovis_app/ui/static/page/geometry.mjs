// Where things lie: a picture in a window that zooms and moves, a rectangle that is drawn on it, boxes in pixels.
// Pure. Knows numbers only.

export const MOST_ZOOM = 16; // screen pixels of one pixel of the picture

/**
 * How a picture stands in a window: its left upper corner, and how many pixels of the screen one of its own takes.
 * @typedef {{x: number, y: number, scale: number}} View
 * @typedef {{width: number, height: number}} Size
 * In shares of a picture: @typedef {{left: number, top: number, right: number, bottom: number}} Sides
 */

/** The whole picture in the middle of the window, no larger than it is unless it is tiny. @returns {View} */
export function fitted(/** @type {Size} */ picture, /** @type {Size} */ room) {
  const whole = Math.min(room.width / picture.width, room.height / picture.height);
  const scale = Math.min(whole, Math.max(1, Math.min(room.width, room.height, 512) / Math.max(picture.width, picture.height)));
  return { x: (room.width - picture.width * scale) / 2, y: (room.height - picture.height * scale) / 2, scale };
}

/** `times` as large, with what is at (x, y) staying there. */
export function zoomed(view, times, { x, y }, picture, room) {
  const least = fitted(picture, room).scale;
  const scale = Math.min(Math.max(view.scale * times, least), Math.max(least, MOST_ZOOM));
  const grown = scale / view.scale;
  return held({ x: x - (x - view.x) * grown, y: y - (y - view.y) * grown, scale }, picture, room);
}

export function moved(view, dx, dy, picture, room) {
  return held({ ...view, x: view.x + dx, y: view.y + dy }, picture, room);
}

/** Whether more of the picture is there than fits. */
export function larger(view, picture, room) {
  return view.scale > fitted(picture, room).scale * 1.01;
}

/** No further than its edges; what is smaller than the window stands in its middle. */
function held(view, picture, room) {
  const along = (at, length, space) => (length <= space ? (space - length) / 2 : Math.min(0, Math.max(space - length, at)));
  return { ...view, x: along(view.x, picture.width * view.scale, room.width), y: along(view.y, picture.height * view.scale, room.height) };
}

/** The rectangle between two points, within the picture and no smaller than `least` on a side. @returns {Sides} */
export function between(from, to, least) {
  const along = (one, other, small) => {
    const [low, high] = [Math.min(one, other), Math.max(one, other)].map((at) => Math.min(1, Math.max(0, at)));
    const size = Math.min(1, Math.max(small, high - low));
    const start = Math.min(low, 1 - size);
    return [start, start + size];
  };
  const [left, right] = along(from.x, to.x, least.x);
  const [top, bottom] = along(from.y, to.y, least.y);
  return { left, top, right, bottom };
}

/** The same rectangle elsewhere, whole. @param {Sides} sides @returns {Sides} */
export function shifted(sides, dx, dy) {
  const x = Math.min(1 - sides.right, Math.max(-sides.left, dx));
  const y = Math.min(1 - sides.bottom, Math.max(-sides.top, dy));
  return { left: sides.left + x, top: sides.top + y, right: sides.right + x, bottom: sides.bottom + y };
}

/** In pixels of a picture, as the server counts them: edges to the nearest. @param {Sides} sides @param {Size} picture */
export function pixels(sides, { width, height }) {
  const [left, top] = [Math.round(sides.left * width), Math.round(sides.top * height)];
  const [right, bottom] = [Math.round(sides.right * width), Math.round(sides.bottom * height)];
  return { left, top, right, bottom, width: right - left, height: bottom - top };
}

/** A rectangle as models write it: shares in [0, 1), to a thousandth. @param {Sides} sides */
export function notation(sides) {
  const share = (value) => Math.min(0.999, Math.max(0, value)).toFixed(3);
  return `<box>(${share(sides.left)},${share(sides.top)}),(${share(sides.right)},${share(sides.bottom)})</box>`;
}
