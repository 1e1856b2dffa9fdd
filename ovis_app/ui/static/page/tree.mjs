// Messages as a tree: every message knows its parent, and a path from a root to a leaf is what is asked.
// Pure: knows ids and times. Refuses to know what a message says, and where it is kept.

/**
 * @typedef {{id: string, parent: string | null, created: number}} Node
 * @typedef {{byId: Map<string, any>, children: Map<string | null, any[]>}} Tree
 */

/** The tree of these messages. One whose parent isn't there, or that is its own ancestor, stands as a root.
 * @param {Iterable<any>} messages @returns {Tree} */
export function build(messages) {
  const byId = new Map();
  for (const one of messages) byId.set(one.id, one);
  const roots = rootsOf(byId);
  const children = new Map();
  for (const one of byId.values()) {
    const parent = roots.has(one.id) ? null : one.parent;
    if (!children.has(parent)) children.set(parent, []);
    children.get(parent).push(one);
  }
  for (const several of children.values()) several.sort(older);
  return { byId, children };
}

function older(one, other) {
  return one.created - other.created || (one.id < other.id ? -1 : 1);
}

/** The messages that begin a path: they have no parent here, or going up from them leads back to them. In a circle the
 * oldest message is the root, so that nobody in it is lost. Each is looked at once, however long a path is. */
function rootsOf(byId) {
  const roots = new Set();
  const walks = new Map(); // id -> the walk that came by
  const above = (one) => (one.parent === null ? undefined : byId.get(one.parent));
  for (const start of byId.values()) {
    let at = start;
    for (let up; at && !walks.has(at.id); at = up) {
      walks.set(at.id, start);
      up = above(at);
      if (!up) roots.add(at.id);
    }
    if (at && walks.get(at.id) === start) roots.add(oldestAround(at, above).id);
  }
  return roots;
}

function oldestAround(start, above) {
  let oldest = start;
  for (let at = above(start); at !== start; at = above(at)) if (older(at, oldest) < 0) oldest = at;
  return oldest;
}

/** From the root to this message; nothing where it isn't there. @param {Tree} tree @param {string | null} id */
export function path(tree, id) {
  const found = [];
  const seen = new Set();
  for (let at = tree.byId.get(id); at && !seen.has(at.id); at = parentOf(tree, at)) {
    seen.add(at.id);
    found.unshift(at);
  }
  return found;
}

function parentOf(tree, message) {
  return (tree.children.get(null) ?? []).includes(message) ? undefined : tree.byId.get(message.parent);
}

/** The versions of a message, itself among them: what else has the same parent and the same role, oldest first.
 * @param {Tree} tree @param {string} id */
export function versions(tree, id) {
  const message = tree.byId.get(id);
  if (!message) return [];
  const parent = parentOf(tree, message) ? message.parent : null;
  return (tree.children.get(parent) ?? []).filter((one) => one.role === message.role);
}

/** The leaf below a message that was said last. @param {Tree} tree @param {string} id */
export function newestLeaf(tree, id) {
  let newest = tree.byId.get(id) ?? null;
  const left = newest ? [newest] : [];
  let leaf = null;
  while (left.length) {
    const at = left.pop();
    const below = tree.children.get(at.id) ?? [];
    if (!below.length && (leaf === null || older(leaf, at) < 0)) leaf = at;
    left.push(...below);
  }
  return leaf;
}

/** Where to stand in a tree: at `wanted` if it is there, else at what was said last. @param {Tree} tree */
export function standing(tree, wanted) {
  if (tree.byId.has(wanted)) return wanted;
  const leaves = (tree.children.get(null) ?? []).map((root) => newestLeaf(tree, root.id));
  return leaves.sort(older).at(-1)?.id ?? null;
}

/** A message and all below it, by their ids. @param {Tree} tree @param {string} id */
export function below(tree, id) {
  const found = [];
  const left = tree.byId.has(id) ? [id] : [];
  while (left.length) {
    const at = left.pop();
    found.push(at);
    left.push(...(tree.children.get(at) ?? []).map((one) => one.id));
  }
  return found;
}
