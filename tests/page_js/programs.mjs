// Prints the programs that ask a question, for the tests that run them: JSON in, JSON out.
import { readFileSync } from "node:fs";

import * as code from "../../ovis_app/ui/static/page/programs.mjs";
import { requestOf } from "../../ovis_app/ui/static/page/request.mjs";

const { path, settings, model, base, way } = JSON.parse(readFileSync(0, "utf-8"));
const address = (file) => new code.FileAt(`media/${file.name}`, file.type);
const request = code.openRequest(requestOf(path, settings, model, address), model);
const languages = ["python", "curl", "openai", "gradio"];
process.stdout.write(JSON.stringify(Object.fromEntries(languages.map((name) => [name, code[name](request, { base, way })]))));
