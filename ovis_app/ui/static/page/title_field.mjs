// A field in which something is given another name. Knows keys; refuses to know what is named.

import { make } from "./elements.mjs";
import { t } from "./i18n.mjs";
import { LONGEST_TITLE } from "./schema.mjs";

/** `ended` is called once: with the new name, or null where it is left as it was. @returns {HTMLInputElement} */
export function titleField(before, ended) {
  let over = false;
  const input = make("input.library-rename", { type: "text", value: before, maxLength: LONGEST_TITLE, "aria-label": t("Title"), dir: "auto" });
  const end = (keeps) => {
    if (over) return;
    over = true;
    const title = input.value.replace(/\s+/g, " ").trim();
    ended(keeps && title && title !== before ? title : null);
  };
  input.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.isComposing || event.keyCode === 229) return;
    if (event.key === "Enter") end(true);
    if (event.key === "Escape") end(false);
  });
  input.addEventListener("blur", () => end(true));
  return input;
}
