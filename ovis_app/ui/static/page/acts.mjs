// What happens when somebody asks for something at a turn, or by a key: the session does it, and what isn't needed before
// that is loaded then.
// Knows the session and small windows; refuses to know how turns are drawn.

import { unfinished } from "./asking.mjs";
import { t } from "./i18n.mjs";
import { twice } from "./thinking.mjs";

const DRAWN = 0.8; // the temperature of another answer where the panel's is 0

/** `focus` goes to the box; `row` gives the element of a message that is shown; `changed` is called when more can be drawn. */
export function actsOf(session, { focus, row, changed }) {
  const message = (id) => session.messages.get(id);
  const hurried = new Set(); // answers whose thought was asked to end
  let [beside, sides] = [null, null]; // what draws answers side by side, once there are some; those
  const acts = {
    changed,
    choose: (id) => session.keep(id),
    again: (id) => session.again(id),
    different: (id) => session.again(id, { temperature: Math.max(session.settings.temperature ?? 0, DRAWN) }),
    goOn: (id) => session.goOn(id),
    same: (one) => session.same(one),
    hurried: (id) => hurried.has(id),
    longer: (id) => session.again(id, twice(message(id), session.settings)),
    marked: (id) => session.examples.has(id),

    /** `at`: a message (null: the box) and a place among its files. */
    async enlarge(at) {
      const viewer = await import("./viewer.mjs");
      viewer.open(session, at, { focus });
    },

    /** A picture of the camera. */
    async camera() {
      (await import("./camera.mjs")).open(session);
    },

    /** A file from an address: asked for, or offered where `pasted` is one. */
    async fromAddress(pasted = null) {
      const { ask, offer } = await import("./from_address.mjs");
      if (pasted === null) ask(session);
      else offer(session, pasted);
    },

    /** What of a file in the box goes along; `row` is where the files stand. */
    async chooseOf(entry, row) {
      const attachments = await import("./attachments.mjs");
      await attachments.open(session, entry, { row, enlarge: acts.enlarge });
    },

    async hurry(id) {
      hurried.add(id);
      session.changed(id);
      if (await session.wire.hurry(session.facts.session, id).catch(() => false)) return;
      hurried.delete(id); // it ended by itself, or nobody heard: it can be asked again
      session.changed(id);
    },

    pictured: (id) => Boolean(message(message(id).parent)?.files.some((one) => one.kind === "image")),

    /** Whether something of an answer can be looked for in its picture: by a model that finds places. */
    checkable(id) {
      const at = session.path.findIndex((one) => one.id === id);
      const asked = session.path.slice(0, Math.max(at, 0)).findLast((one) => one.files.length);
      return Boolean(session.facts?.model.suffixes?.boxes && asked?.files.some((one) => one.kind === "image"));
    },

    async evidence(id) {
      (await import("./evidence_dialog.mjs")).open(session, id);
    },

    async workbench(id) {
      (await import("./workbench.mjs")).open(session, id);
    },

    edit(id) {
      session.edit(id);
      focus();
    },

    async reword(id) {
      const { editor } = await import("./rewording.mjs");
      const { reword } = await import("./revising.mjs");
      if (row(id)) editor(row(id), message(id).text, (text) => reword(session, id, text));
    },

    async settings(id) {
      window.ovis.toggle("settings", true);
      const { toast } = await import("./toast.mjs");
      const words = t("Regenerate");
      toast(t("Choose the settings, then:"), { words, act: () => { window.ovis.toggle("settings", false); session.again(id); }, stays: true });
    },

    /** Asks for other settings of another answer, to be shown beside the answer `id`; null: of a second one to the box. */
    async compare(id) {
      (await import("./compare.mjs")).compare(session, id);
    },

    sideBySide: (ids, id) => session.sideBySide(ids, id),

    /** Two answers stand side by side now ([{message, element}] twice), or none do any more. */
    sides(both) {
      sides = both;
      if (!both && !beside) return;
      beside ??= import("./side_by_side.mjs").then((module) => module.looks().then(() => new module.SideBySide(session)));
      beside.then((one) => { if (sides === both) one.draw(both); }).catch(() => { beside = null; });
    },

    async branch(id) {
      const { branch } = await import("./revising.mjs");
      await branch(session, id);
      focus();
    },

    async remove(id) {
      const { remove } = await import("./revising.mjs");
      const back = await remove(session, id);
      const { toast } = await import("./toast.mjs");
      if (back) toast(t("Deleted, with what followed."), { words: t("Undo"), act: back });
    },

    async example(id) {
      const { examples } = session;
      const answer = message(id); // before anything is waited for: a new chat may begin meanwhile
      const question = message(answer?.parent);
      const marked = examples.has(id);
      if (marked) await examples.remove(id);
      else if (question) await examples.add(question, answer);
      session.changed(id);
      if (!marked) (await import("./toast.mjs")).toast(t("New chats begin with this question and its answer, until you take it away there."));
    },

    async code(id) {
      const [{ open }, transfer] = await Promise.all([import("./menu.mjs"), import("./transfer.mjs")]);
      if (row(id)) open(row(id).querySelector("button.more"), transfer.programs(session, { id: session.conversation.id, message: id }));
    },

    async rate(id, good) {
      const { reason } = await import("./dialogs.mjs");
      const { rate } = await import("./revising.mjs");
      if (!message(id)) return; // another chat is shown by now
      const { feedback } = message(id);
      const given = feedback?.good === good ? feedback.reason : undefined;
      reason({ good, given, save: (words) => rate(session, id, { good, reason: words }), forget: () => rate(session, id, null) });
    },
  };
  return acts;
}

/** What keys do; each says whether there was anything to do. */
export function keysOf(session, acts, { focus, box }) {
  const last = () => session.path.at(-1);
  const did = (there, work) => { if (there) work(); return Boolean(there); };
  const idle = () => session.running === null;
  const atBox = () => document.activeElement === box;
  return {
    newChat: () => did(true, () => window.ovis.put("new", true)),
    focus: () => did(!atBox(), focus),
    editLast() {
      const asked = session.path.findLast((one) => one.role === "user");
      return did(idle() && asked && !session.draft.files.length && !session.draft.editing, () => acts.edit(asked.id));
    },
    again: () => did(idle() && last()?.role === "assistant" && !last().example, () => (session.same(last()) ? acts.different(last().id) : acts.again(last().id))),
    goOn: () => did(idle() && last() && unfinished(last()), () => acts.goOn(last().id)),
    list: () => did(true, async () => (await import("./dialogs.mjs")).shortcuts()),
  };
}
