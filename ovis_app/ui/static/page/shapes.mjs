// Arrows and boxes that somebody draws on a picture: where their lines run. Pure. Knows shares and pixels; refuses to know
// what they are drawn with.

const HEAD = Math.PI / 7; // between an arrow's line and each side of its head

/**
 * In shares of a picture: @typedef {{x: number, y: number}} Point
 * @typedef {{kind: "arrow" | "box", from: Point, to: Point}} Shape
 * @typedef {{width: number, height: number}} Size
 */

/** How thick lines are, in pixels of the picture, so that they are seen in any. @param {Size} size */
export function thickness({ width, height }) {
  return Math.max(2, Math.max(width, height) / 160);
}

/** Whether it is more than a click. @param {Shape} shape @param {Size} size */
export function drawnOut({ from, to }, size) {
  return Math.hypot((to.x - from.x) * size.width, (to.y - from.y) * size.height) >= 2 * thickness(size);
}

/** The shape moved, no further than the picture's edges; with `end`, only where it ends. @param {Shape} shape */
export function moved(shape, dx, dy, { end = false } = {}) {
  const { from, to } = shape;
  const held = (value) => Math.min(1, Math.max(0, value));
  if (end) return { ...shape, to: { x: held(to.x + dx), y: held(to.y + dy) } };
  const along = (one, other, by) => Math.min(1 - Math.max(one, other), Math.max(-Math.min(one, other), by));
  const [x, y] = [along(from.x, to.x, dx), along(from.y, to.y, dy)];
  return { ...shape, from: { x: from.x + x, y: from.y + y }, to: { x: to.x + x, y: to.y + y } };
}

/** Its lines in pixels of the picture, as SVG and canvases write paths. @param {Shape} shape @param {Size} size */
export function pathOf({ kind, from, to }, size) {
  const at = (point) => ({ x: point.x * size.width, y: point.y * size.height });
  const [start, end] = [at(from), at(to)];
  const word = ({ x, y }) => `${x.toFixed(2)} ${y.toFixed(2)}`;
  if (kind === "box") return `M${word(start)} L${word({ x: end.x, y: start.y })} L${word(end)} L${word({ x: start.x, y: end.y })} Z`;
  const angle = Math.atan2(end.y - start.y, end.x - start.x);
  const length = Math.min(Math.hypot(end.x - start.x, end.y - start.y), 5 * thickness(size));
  const side = (turn) => ({ x: end.x - length * Math.cos(angle + turn), y: end.y - length * Math.sin(angle + turn) });
  return `M${word(start)} L${word(end)} M${word(side(HEAD))} L${word(end)} L${word(side(-HEAD))}`;
}
