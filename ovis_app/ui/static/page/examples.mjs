// Questions with answers that show how answers are meant: marked where they were said, kept as copies of their own, and
// put before the first question of a new chat.
// Knows records and the store; refuses to know how they are drawn.

import * as schema from "./schema.mjs";
import * as trees from "./tree.mjs";

const ids = (answer) => [`q.${answer}`, `a.${answer}`];

export class Examples {
  #store; #now;

  constructor({ store, now }) {
    [this.#store, this.#now] = [store, now];
    this.pairs = []; // [{of, question, answer}], the one that was marked first before the others
    this.used = true; // whether the next new chat begins with them
  }

  async load() {
    const found = await this.#store.conversation(schema.EXAMPLES);
    const tree = trees.build(found?.messages ?? []);
    const questions = (tree.children.get(null) ?? []).filter((one) => one.role === "user");
    this.pairs = questions.map((question) => ({ of: question.id.slice(2), question, answer: tree.children.get(question.id)?.[0] }))
      .filter((one) => one.answer && !one.answer.lost);
  }

  /** Whether the answer of this id is one. */
  has(answer) {
    return this.pairs.some((one) => one.of === answer);
  }

  /** Marks a question and its answer. */
  async add(question, answer) {
    const [q, a] = ids(answer.id);
    const common = { conversation: schema.EXAMPLES, example: true, finish: "end", created: this.#now() };
    await this.#store.putConversation(schema.conversation({ id: schema.EXAMPLES }));
    const { text, files, pasted, detail, wants } = question;
    await this.#store.putMessage(schema.message({ ...common, id: q, role: "user", text, files, pasted, detail, wants }));
    await this.#store.putMessage(schema.message({ ...common, id: a, parent: q, role: "assistant", text: answer.text }));
    await this.load();
  }

  /** Marks it no longer. What was asked after it keeps it. */
  async remove(answer) {
    await this.#store.removeMessages(ids(answer));
    await this.load();
  }

  /** Messages that stand before the first question of a chat, made by `made(role, parent, more)`. */
  before(made) {
    const said = [];
    for (const { question, answer } of this.used ? this.pairs : []) {
      const { text, files, pasted, detail, wants } = question;
      const first = made("user", said.at(-1)?.id ?? null, { text, files, pasted, detail, wants, finish: "end", example: true });
      said.push(first, made("assistant", first.id, { text: answer.text, finish: "end", example: true }));
    }
    return said;
  }
}
