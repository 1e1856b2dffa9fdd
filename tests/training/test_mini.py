"""A training run of a few steps at a tiny size: it ends, resumes, and what it writes answers as it did."""

from __future__ import annotations

import random
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from PIL import Image

from ovis_app.checkpoints.load import load
from ovis_app.models.config import OvisConfig
from ovis_app.models.prompt import IMAGE, VIDEO
from ovis_app.training.mini import course, data_mixture, stages
from ovis_app.training.mini.architecture import PIXELS, grown, new_model, unlearnt
from ovis_app.training.mini.evaluate import KINDS, cases, overlap, right
from ovis_app.training.mini.packing import UNASKED, Sample, allowed, embed, language_loss, pack
from ovis_app.training.mini.probe import seeing_batch, targets
from ovis_app.training.mini.stages import Stage
from ovis_app.training.mini.trainer import Run
from ovis_app.training.mini.world.scenes import Clip, Scene, Shape, random_clip, random_scene, random_word


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    course.prepare(Run(folder, course.PLAN), tiny=True)
    return folder


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of few pictures."""
    for module, name in (
        (stages, "SEE_PICTURES"), (stages, "PRACTICE_PICTURES"), (data_mixture, "SCENES"), (data_mixture, "WORDS"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, 2)


@pytest.mark.usefixtures("small")
def test_two_steps_of_each_stage_write_a_checkpoint_that_loads(work: Path, tmp_path: Path) -> None:
    course.train(0, 1, work, tmp_path, tiny=True, steps=2)
    model = load(tmp_path)
    trained = torch.load(work / "whole.pt", weights_only=True)
    assert trained["step"] == 2
    assert torch.allclose(model.vte.weight, trained["model"]["vte.weight"], atol=2e-3)
    assert {"config.json", "tokenizer.json", "vocab.json", "merges.txt"} <= {path.name for path in tmp_path.iterdir()}


def test_a_saved_model_answers_as_it_did(work: Path, tmp_path: Path) -> None:
    config, tokenizer = course.prepare(Run(work, course.PLAN), tiny=True)
    model = new_model(config).half().float().eval()
    course.export(model, config, Run(work, course.PLAN), tmp_path)
    pictures, samples = data_mixture.step(random.Random("a"), simple=True)
    rows, grids = torch.cat([p.rows for p in pictures]), [p.grid for p in pictures]
    losses = []
    for each in (model, load(tmp_path)):
        losses.append(language_loss(each, pack(samples[:2], pictures, tokenizer), each.encode(rows, grids))[0].item())
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_questions_packed_together_are_asked_as_if_alone(work: Path) -> None:
    config, tokenizer = course.prepare(Run(work, course.PLAN), tiny=True)
    model = new_model(config).eval()
    pictures, samples = data_mixture.step(random.Random("b"))
    visual = model.encode(torch.cat([p.rows for p in pictures]), [p.grid for p in pictures])
    for sample in (samples[0], samples[-3], samples[-2], samples[-1]):
        together = language_loss(model, pack([sample], pictures, tokenizer), visual)[0].item()
        total, number = 0.0, 0
        for question in sample.questions:
            alone = pack([Sample(sample.pictures, (question,))], pictures, tokenizer)
            asked = int((alone.labels != UNASKED).sum())
            total += language_loss(model, alone, visual)[0].item() * asked
            number += asked
        assert together == pytest.approx(total / number, abs=1e-4)


def test_a_branch_sees_the_trunk_up_to_its_fork_and_itself() -> None:
    seen = allowed(torch.tensor([[0, 0, 1, 1, 2, -1]]), torch.tensor([[0, 0, 1, 1, 2, 0]]))[0]
    assert seen.int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 0, 1, 0, 0, 0],
        [1, 0, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 1],
    ]


@pytest.mark.usefixtures("small")
def test_a_run_that_was_killed_goes_on_as_if_nothing_had_happened(work: Path, tmp_path: Path) -> None:
    config, tokenizer = course.prepare(Run(work, course.PLAN), tiny=True)
    weights = []
    for name, sessions in (("in one go", (2,)), ("killed", (1, 2))):
        run = Run(tmp_path / name, {"see": 1, "whole": 2})
        for most in sessions:
            for stage in ("see", "whole"):
                model = new_model(config)
                Stage(run, stage, model, tokenizer).train(most=most)
            (tmp_path / name / "whole.pt.partial").write_bytes(b"half a checkpoint")
        weights.append(model.state_dict())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_a_grown_checkpoint_says_what_it_said_and_its_unlearnt_rows_begin_apart(work: Path) -> None:
    config, _ = course.prepare(Run(work, course.PLAN), tiny=True)
    old = new_model(config, seed=3).eval()
    larger = deepcopy(config)
    larger["vit_config"]["num_hidden_layers"] += 1
    larger["visual_vocab_size"] += 8
    rows = old.llm.get_input_embeddings().weight.data
    rows[1::2] = rows[0] + 0.01 * torch.randn_like(rows[1::2])
    said = rows.clone()
    model = grown(old, larger).eval()
    pictures, _ = data_mixture.step(random.Random("e"), simple=True)
    pixels, grids = torch.cat([p.rows for p in pictures]), [p.grid for p in pictures]
    before, after = old.encode(pixels, grids), model.encode(pixels, grids)
    assert torch.nn.functional.cosine_similarity(before, after).min() > 0.9
    now = model.llm.get_input_embeddings().weight
    assert torch.equal(now[2::2], said[2::2]) and torch.equal(rows, said)
    assert unlearnt(said).sum() > len(said) // 2 and not unlearnt(now).any()


def test_what_is_written_says_how_its_pictures_are_made(work: Path, tmp_path: Path) -> None:
    config, _ = course.prepare(Run(work, course.PLAN), tiny=True)
    course.export(new_model(config), config, Run(work, course.PLAN), tmp_path)
    said = OvisConfig.read(tmp_path).pixel_format
    assert said == PIXELS and said.resample == Image.Resampling.BILINEAR


def test_every_answer_of_a_long_conversation_is_asked_for_with_the_pictures_that_were_there() -> None:
    rng = random.Random("f")
    media = [*(random_scene(rng) for _ in range(4)), random_word(rng), random_clip(rng)]
    sample = data_mixture.conversation(media, rng, turns=12)
    asked = [question for question in sample.questions if question.turns[-1].role == "user"]
    assert len(asked) == 24 and len({len(question.turns) for question in asked}) == 12
    for question in sample.questions:
        places = [part for turn in question.turns for part in turn.content if part in (IMAGE, VIDEO)]
        kinds = [VIDEO if isinstance(media[n], Clip) else IMAGE for n in sample.pictures]
        assert places == kinds[: len(places)]


def test_targets_lie_where_the_shape_is() -> None:
    scene = Scene(224, 224, (240, 240, 240), (Shape("star", "green", 8, 187, 187, 26),))
    told = targets(scene, (1, 14, 14))
    middle = 5 * 7 + 5  # the token of pixel 187, 187
    assert told.kind[middle] == 4 and told.color[middle] == 2 and told.cell[middle] == 8
    assert told.centre.nonzero().flatten().tolist() == [middle]
    assert told.kind[0] == 0


def test_a_seeing_batch_has_a_target_row_for_each_visual_token() -> None:
    batch = seeing_batch(random.Random("c"), 4)
    tokens = sum(grid[0] * grid[1] * grid[2] // 4 for grid in batch.grids)
    assert len(batch.wanted.kind) == tokens == len(batch.pixels) // 4


@pytest.mark.parametrize("kind", KINDS)
def test_fresh_cases_are_the_same_every_time_and_judged(kind: str) -> None:
    first, again = cases(kind, 3), cases(kind, 3)
    assert [case.asked for case in first] == [case.asked for case in again]
    assert all(right(case, case.asked.answer) and not right(case, "No.") for case in first)


def test_boxes_are_judged_by_overlap() -> None:
    assert overlap((0, 0, 1, 1), (0, 0, 1, 1)) == pytest.approx(1)
    assert overlap((0, 0, 0.5, 1), (0.5, 0, 1, 1)) == 0


def test_packed_attention_is_the_models_own(work: Path) -> None:
    config, tokenizer = course.prepare(Run(work, course.PLAN), tiny=True)
    model = new_model(config).eval()
    pictures, samples = data_mixture.step(random.Random("d"))
    sample = samples[-2]
    visual = model.encode(torch.cat([p.rows for p in pictures]), [p.grid for p in pictures])
    alone = pack([Sample(sample.pictures, sample.questions[:1])], pictures, tokenizer)
    ours = language_loss(model, alone, visual)[0].item()
    model.llm.config._attn_implementation = "sdpa"
    logits = model.llm(inputs_embeds=embed(model, alone, visual)).logits[0]
    theirs = torch.nn.functional.cross_entropy(logits, alone.labels[0], ignore_index=UNASKED).item()
    assert ours == pytest.approx(theirs, abs=1e-2)
