"""`ovis merge`: a model and an adapter as one model, in a folder that loads wherever the model did."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from ovis_app import settings as settings_module
from ovis_app.cli.common import BadInput, path, program, say, settings_of
from ovis_app.errors import IS_ADAPTER, AdapterError
from ovis_app.settings import Flags


def run(words: Sequence[str]) -> int:
    flags = Flags(
        prog=f"{program()} merge",
        description="Make one model of a model and an adapter: the same files with other weights, which load here and "
        "in vLLM. Of an adapter that was trained on quantized weights, it makes a model in full.",
    )
    settings_module.add_arguments(flags, ("model", "adapter"))
    flags.add_argument("--out", type=path, required=True, help="the folder to write; nothing may lie there")
    given = flags.parse_args(words)
    settings = settings_of(given)
    if not settings.adapter:
        raise BadInput("there is nothing to merge: name the adapter's folder with --adapter.")
    from ovis_app import zoo
    from ovis_app.backends import require_local

    require_local()
    spec = zoo.adapted(settings.model, settings.adapter)
    if zoo.is_adapter(spec.id):
        raise BadInput(IS_ADAPTER.format(name=settings.model))
    from tqdm import tqdm

    from ovis_app.checkpoints.hub import folder_of
    from ovis_app.checkpoints.merge import Merge

    try:
        merge = Merge.of(folder_of(spec), spec, given.out)
        with tqdm(total=merge.size, unit="B", unit_scale=True) as bar:
            merge.write(bar.update)
    except AdapterError as error:
        raise BadInput(error) from error
    if merge.left_out:
        say(f"left out, since they hold the weights as they were: {', '.join(merge.left_out[:5])}")
    say(f'{len(merge.goals):,} weights changed. Try it: {program()} "..." --model {shlex.quote(str(given.out))}')
    return 0
