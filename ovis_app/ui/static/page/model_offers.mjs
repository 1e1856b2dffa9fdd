// Which of the models that the server offers are listed, and what is chosen of them. Pure. Knows offers as they are told
// (panels/models.py): each with its row for people, and wishes with the order that they have them in; refuses to know why.

/** Those that are meant by a wish, as it sorts them, in whose rows every word of `search` stands, as they are told or as
 * they are `read`. The model that answers isn't among them. */
export function listed({ offers, wishes }, { wish = "", search = "", present = "", read = (text) => text } = {}) {
  const order = wishes.find((one) => one.name === wish)?.order;
  const wished = order ? order.map((place) => offers[place]) : offers;
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  return wished.filter(({ id, row }) => {
    const text = `${row}\n${read(row)}`.toLowerCase();
    return id !== present && words.every((word) => text.includes(word));
  });
}

/** Why nothing is listed for a wish, as a sentence; empty where something is, or nobody knows. */
export function lacking({ wishes }, wish) {
  return wishes.find((one) => one.name === wish)?.lacking ?? "";
}

/** The weights to choose among, of the model that is `chosen` or else of the one that answers: what they are called, their
 * ways, and which is meant: the one that was `pressed`, or else the one that is `used` now. Null where there is no choice. */
export function weights({ offers }, { chosen = "", present = "", pressed = null, used = "none" }) {
  const offer = offers.find((one) => one.id === (chosen || present));
  if (!offer?.ways.length) return null;
  const known = (way) => offer.ways.some((one) => one.way === way);
  return { label: offer.label, ways: offer.ways, way: [pressed, used].find(known) ?? offer.ways[0].way };
}
