"""The gate: names made safe to show, a turn's rules, and one sentence for what is left out."""

from __future__ import annotations

import importlib

import pytest

from ovis_app.errors import MediaError
from ovis_app.limits import Limits, refusal, shown_name
from ovis_app.media import attach, attach_all, attach_turns, decoder_process
from tests.media.made import clip, corners, encoded, numbered

PNG = encoded(corners(), "PNG")
attaching = importlib.import_module("ovis_app.media.attach")  # whose name in its package is the function's


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("../../etc/cron.d/x.png", "x.png"),
        ("C:\\Users\\me\\x.png", "x.png"),
        ("/etc/passwd", "passwd"),
        ("x.png\0.html", "x.png .html"),
        ("new\nline.png", "new line.png"),
        ("rtl\u202egnp.exe", "rtl gnp.exe"),
        ("sep\u2028arated.png", "sep arated.png"),
        ("", "file"),
        ("..", "file"),
        (".", "file"),
        ("名前 \U0001f600.png", "名前 \U0001f600.png"),
        (".hidden.png", ".hidden.png"),
    ],
)
def test_names_are_made_safe_to_show(given, shown):
    assert shown_name(given) == shown


def test_long_names_are_cut_in_the_middle():
    shown = shown_name("n" * 5000 + ".png")
    assert len(shown) <= 80 and shown.endswith("nnn.png") and "…" in shown


def test_the_media_carries_the_shown_name(write):
    assert attach(write("a.png", PNG), "../holiday\n.png", Limits()).name == "holiday .png"


def test_a_missing_file_and_a_folder(tmp_path, refused):
    assert "again" in refused(tmp_path / "gone.png", "gone.png")
    assert "not a file" in refused(tmp_path, "folder.png")


def test_pictures_go_together_and_bad_ones_are_named(write):
    files = [(write(f"{i}.png", PNG), f"{i}.png") for i in range(3)] + [(write("bad.png", b"text"), "bad.png")]
    good, sentences = attach_all(files, Limits())
    assert [media.name for media in good] == ["0.png", "1.png", "2.png"]
    assert len(sentences) == 1 and sentences[0].startswith("“bad.png” ")


def test_clips_or_pictures_never_both(write, tmp_path):
    movie = (clip(tmp_path / "m.mp4", map(numbered, range(3))), "m.mp4")
    photo = (write("p.png", PNG), "p.png")
    for files, kept, left in (
        ([movie, photo], "m.mp4", "“p.png” can't go with a clip"),
        ([photo, movie], "p.png", "“m.mp4” can't go with pictures"),
    ):
        good, sentences = attach_all(files, Limits())
        assert [media.name for media in good] == [kept]
        assert len(sentences) == 1 and sentences[0].startswith(left)
    good, sentences = attach_all([movie, (movie[0], "second.mp4")], Limits())
    assert [(media.kind, media.name) for media in good] == [("video", "m.mp4"), ("video", "second.mp4")]
    assert not sentences


def test_too_many_files_are_one_sentence_and_stay_unopened(write):
    files = [(write("a.png", PNG), f"{i}.png") for i in range(200)]
    good, sentences = attach_all(files, Limits(files_per_turn=4))
    assert len(good) == 4
    assert sentences == ("“4.png” and 195 more did not fit: attach at most 4 files to a message.",)
    _, sentences = attach_all(files[:2], Limits(files_per_turn=1))
    assert sentences == ("“1.png” did not fit: attach at most 1 file to a message.",)


def test_no_files_are_fine():
    assert attach_all([], Limits()) == ((), ())


def test_refusals_are_one_family(write):
    with pytest.raises(MediaError):
        attach(write("a", b"\1\2\3\4"), "a", Limits())


def test_a_conversations_files_are_looked_at_once_however_often_it_is_sent(write, tmp_path, monkeypatch):
    """By their content: another name, another folder, another message make no difference."""
    begun = []
    run = decoder_process.image_records
    monkeypatch.setattr(decoder_process, "image_records", lambda *given: begun.append(given) or run(*given))
    one, other = encoded(corners(), "PNG"), encoded(corners(), "BMP")
    first = attach_turns([[(write("a.png", one), "a")], [(write("b.bmp", other), "b")]], Limits())
    assert [[media.name for media in turn] for turn in first] == [["a"], ["b"]] and len(begun) == 1
    movie = (clip(tmp_path / "m.mp4", map(numbered, range(3))), "m.mp4")
    again = attach_turns([[(write("c.png", one), "c")], [(write("d.bmp", other), "d")], [movie], []], Limits())
    assert [[media.kind for media in turn] for turn in again] == [["image"], ["image"], ["video"], []]
    assert len(begun) == 1
    attach_turns([[(write("a.png", one), "a")]], Limits(image_pixels=59_000_000))
    assert len(begun) == 2, "other limits are another question"


def test_the_first_file_that_cant_go_is_named(write, tmp_path):
    movie = (clip(tmp_path / "m.mp4", map(numbered, range(3))), "m.mp4")
    photo = (write("p.png", PNG), "p.png")
    for turns in ([[photo], [photo, movie]], [[movie, photo]], [[photo], [(write("bad.png", PNG[:40]), "bad.png")]]):
        for _ in range(2):  # what was refused is refused again
            with pytest.raises(MediaError, match=r"^“(m|p|bad)\.\w+” "):
                attach_turns(turns, Limits())


def test_many_slow_clips_take_no_longer_than_a_few(write, tmp_path, monkeypatch):
    clock, looked = [0.0], []

    def slow(path, name, limits):
        looked.append(name)
        clock[0] += 19
        raise refusal(name, "takes too long to read.")

    monkeypatch.setattr(attaching.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(attaching, "check_video", slow)
    files = [(clip(tmp_path / f"{n}.mp4", map(numbered, range(n, n + 3))), f"{n}.mp4") for n in range(6)]
    media, refused = attach_all(files, Limits())
    assert media == () and looked == ["0.mp4", "1.mp4", "2.mp4"]
    assert "by itself" in refused[3] and len(refused) == 6
    clock[0], looked[:] = 0.0, []
    with pytest.raises(MediaError):
        attach_turns([[file] for file in files], Limits())


def test_more_clips_than_a_model_watches_are_refused_before_one_is_opened(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(attaching, "check_video", lambda *given: opened.append(given))
    files = [(clip(tmp_path / f"{n}.mp4", map(numbered, range(n, n + 3))), f"{n}.mp4") for n in range(3)]
    with pytest.raises(MediaError, match=r"“1\.mp4” can't go with another clip"):
        attach_turns([files], Limits().for_clips(several=False))
    assert opened == []
    assert len(attach_turns([files], Limits().for_clips(several=True))[0]) == 3
    media, refused = attach_all(files, Limits().for_clips(several=False))
    assert [one.name for one in media] == ["0.mp4"] and len(refused) == 2
