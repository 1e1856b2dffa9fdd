"""The modules that the page begins with are sent as one, and do the same."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from ovis_app.ui.joined import NotJoined, joined
from ovis_app.ui.page import EXAMPLES
from ovis_app.ui.static_files import StaticFiles
from tests.waiting import PATIENCE

LATER = {  # modules that load when first needed
    "page/addresses.mjs",
    "page/archive.mjs",
    "page/attachments.css",
    "page/attachments.mjs",
    "page/boxes.mjs",
    "page/camera.css",
    "page/camera.mjs",
    "page/clip_panel.mjs",
    "page/coco.mjs",
    "page/code.mjs",
    "page/compare.mjs",
    "page/conversation_list.mjs",
    "page/cost.mjs",
    "page/cost_line.mjs",
    "page/csv.mjs",
    "page/dialogs.mjs",
    "page/drawing.mjs",
    "page/drawer.css",
    "page/dress.mjs",
    "page/emphasis.mjs",
    "page/evidence.css",
    "page/evidence.mjs",
    "page/evidence_check.mjs",
    "page/evidence_dialog.mjs",
    "page/exports.mjs",
    "page/extract.mjs",
    "page/finding.mjs",
    "page/from_address.mjs",
    "page/geometry.mjs",
    "page/html_table.mjs",
    "page/jumps.mjs",
    "page/keep_asking.mjs",
    "page/knobs.mjs",
    "page/library.mjs",
    "page/looking.mjs",
    "page/many.css",
    "page/many.mjs",
    "page/many_dialog.mjs",
    "page/many_export.mjs",
    "page/many_parquet.mjs",
    "page/many_run.mjs",
    "page/many_setup.mjs",
    "page/many_store.mjs",
    "page/markdown.mjs",
    "page/math.mjs",
    "page/media_types.mjs",
    "page/menu.mjs",
    "page/model_offers.mjs",
    "page/models.css",
    "page/models.mjs",
    "page/outside.mjs",
    "page/overlay.mjs",
    "page/page_range.mjs",
    "page/pages_panel.mjs",
    "page/panels.mjs",
    "page/presets.mjs",
    "page/programs.mjs",
    "page/reading.mjs",
    "page/reading_bench.mjs",
    "page/region.mjs",
    "page/revising.mjs",
    "page/rewording.mjs",
    "page/saving.mjs",
    "page/sees.css",
    "page/sees.mjs",
    "page/shapes.mjs",
    "page/side_by_side.css",
    "page/side_by_side.mjs",
    "page/sight.mjs",
    "page/tables.mjs",
    "page/tasks.mjs",
    "page/temporary.mjs",
    "page/texts.mjs",
    "page/times.mjs",
    "page/title_field.mjs",
    "page/toast.mjs",
    "page/transfer.mjs",
    "page/viewer.mjs",
    "page/weighing.mjs",
    "page/which_picture.mjs",
    "page/word_diff.mjs",
    "page/words.mjs",
    "page/workbench.css",
    "page/workbench.mjs",
    "page/xlsx.mjs",
    "page/zh.mjs",
    "page/zh_server.mjs",
    "page/zip.mjs",
    "page/zooming.mjs",
}
SOURCES = {
    "a.mjs": '// a\nimport { b as other,\n  twice } from "./b.mjs";\nimport * as c from "./c.mjs";\n'
    "const found = 1;\nexport const sum = () => other + twice(c.found) + found;\n",
    "b.mjs": 'import { found } from "./c.mjs";\nexport const b = found * 100;\n'
    "function twice(x) { return 2 * x; }\nexport { twice }; // further down\n",
    "c.mjs": "export const found = 3;\nexport async function later() { return found; }\n",
    "late.mjs": 'import { found } from "./c.mjs";\nexport const same = found;\n',
}


def test_names_stay_each_modules_own_and_later_ones_get_the_same_values(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    for name, text in {**SOURCES, **joined(SOURCES, "a.mjs")}.items():
        (tmp_path / name).write_text(text, "utf-8")
    script = 'import { sum } from "./a.mjs"; const { same } = await import("./late.mjs"); console.log(sum(), same);'
    (tmp_path / "run.mjs").write_text(script, "utf-8")
    done = subprocess.run([node, "run.mjs"], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stdout.split() == ["307", "3"]


@pytest.mark.parametrize(
    "text",
    [
        "export let x = 1;",
        "export default 1;",
        "export { found as b };",
        'import "./c.mjs";',
        'import d from "./c.mjs";',
        'export * from "./c.mjs";',
        'import { x } from "../vendor/x.js";',
        'import { sum } from "./a.mjs";',
        'import { y } from "./gone.mjs";',
    ],
)
def test_what_is_written_otherwise_is_refused(text: str) -> None:
    with pytest.raises(NotJoined):
        joined({**SOURCES, "b.mjs": text}, "a.mjs")


def test_every_module_that_the_page_begins_with_is_in_the_first_one() -> None:
    static = StaticFiles.of(EXAMPLES)
    modules = {name for name in static.files if name.startswith("page/")}
    assert modules - LATER == set(static.made)  # else a browser asks once more at each first load
