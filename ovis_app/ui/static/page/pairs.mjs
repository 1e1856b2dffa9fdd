// Which two versions of an answer stand beside one another: remembered by their ids for this tab, so that a reload shows
// them again.
// Pure but for the tab's words. Refuses to know how they are drawn, and what they say.

export class Pair {
  #tab;

  constructor(tab) {
    this.#tab = tab;
    this.ids = read(tab.get("pair"));
  }

  /** Both, where a path ends with one of them; else null. @param {any[]} path @param {Map<string, any>} messages */
  at(path, messages) {
    const last = path.at(-1);
    if (!last || !this.ids.includes(last.id)) return null;
    const both = this.ids.map((id) => messages.get(id));
    return both.every((one) => one?.role === "assistant" && one.parent === last.parent) ? both : null;
  }

  show(ids) {
    this.ids = ids;
    this.#tab.set("pair", JSON.stringify(ids));
  }

  close() {
    this.ids = [];
    this.#tab.set("pair", null);
  }
}

function read(text) {
  try {
    const ids = JSON.parse(text);
    return Array.isArray(ids) && ids.length === 2 && ids[0] !== ids[1] ? ids : [];
  } catch {
    return [];
  }
}
