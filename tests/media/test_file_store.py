"""Where attached files live: whose they are, what stays of them, and what happens on a full disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from ovis_app.conversation import Media
from ovis_app.errors import MediaError
from ovis_app.limits import Limits
from ovis_app.media import attach_all, file_store, with_copies
from ovis_app.media.file_store import IDLE_SECONDS, LEFT_SECONDS, UNUSED_SECONDS, FileStore
from ovis_app.media.incoming_file import IncomingFile, NoRoom
from ovis_app.private_folder import PrivateFolder, sweep
from tests.media.made import corners, encoded
from tests.threads import none_begins
from tests.waiting import PATIENCE, until

PNG = encoded(corners(), "PNG")


@pytest.fixture
def now() -> SimpleNamespace:
    return SimpleNamespace(time=1000.0)


@pytest.fixture
def store(tmp_path: Path, now: SimpleNamespace) -> Iterator[FileStore]:
    made = FileStore(tmp_path, Limits(), most=1000, clock=lambda: now.time)
    yield made
    made.close()


def brought(store: FileStore, data: bytes = PNG, name: str = "my secret.png", by: str = "") -> Path:
    coming = store.begin(name, by)
    try:
        step = max(64, len(data) // 16)
        for at in range(0, len(data), step):
            coming.write(data[at : at + step])
        return coming.finish()
    finally:
        coming.abort()


def on_disk(store: FileStore) -> list[str]:
    assert store.folder is not None
    return sorted(str(path.relative_to(store.folder)) for path in store.folder.rglob("*") if path.is_file())


def test_a_file_is_named_by_its_content_in_a_folder_that_nobody_can_guess(store: FileStore) -> None:
    one, other = brought(store), brought(store, name="yours.gif")
    assert one.name == other.name and one.suffix == ".png" and len(one.stem) == 64
    assert one.parent != other.parent and len(one.parent.name) == 32
    assert store.name_of(one) == "my secret.png" and store.name_of(other) == "yours.gif"
    assert not any("secret" in name for name in on_disk(store))
    assert brought(store, b"<html>", "page.html").suffix == ""
    assert store.folder is not None and store.folder.stat().st_mode & 0o077 == 0


def test_the_same_content_lies_on_the_disk_once_and_stays_until_its_last_owner_is_gone(
    store: FileStore, now: SimpleNamespace
) -> None:
    one, other = brought(store), brought(store)
    assert one.stat().st_ino == other.stat().st_ino
    store.claim(one, "page:a"), store.claim(other, "page:b")
    store.arrive("page:a"), store.arrive("page:b")
    store.leave("page:a")
    now.time += LEFT_SECONDS
    store.sweep()
    assert not one.exists() and other.read_bytes() == PNG


def test_only_whoever_used_a_file_first_may_use_it(store: FileStore) -> None:
    path = brought(store)
    assert store.claim(path, "page:a") == store.claim(path, "page:a") == path
    for holder in ("page:b", ""):
        with pytest.raises(MediaError) as refused:
            store.claim(path, holder, "x.png")
        assert str(refused.value) == "“x.png” is no longer here: attach it again."


def test_what_isnt_one_of_the_files_cant_be_used(store: FileStore, tmp_path: Path) -> None:
    path = brought(store)
    outside = tmp_path / "outside.png"
    outside.write_bytes(PNG)
    (path.parent / "link.png").symlink_to(outside)
    assert store.folder is not None
    folder = store.folder
    inside = [path.parent, path.parent / "link.png", path.parent / "x" / ".." / path.name, folder, folder / path.name]
    for forged in (outside, *inside, folder / ("0" * 32), Path(path.name), Path("/etc/passwd"), Path()):
        with pytest.raises(MediaError):
            store.claim(forged, "page:a")
        assert store.shown(forged) is None


def test_files_go_when_their_session_was_left_and_doesnt_come_back(store: FileStore, now: SimpleNamespace) -> None:
    path = brought(store)
    store.claim(path, "page:a")
    store.arrive("page:a"), store.arrive("page:a")
    store.leave("page:a")
    now.time += IDLE_SECONDS
    store.sweep()
    assert path.exists()  # it is still open, elsewhere
    store.leave("page:a")
    now.time += LEFT_SECONDS - 1
    store.sweep()
    store.arrive("page:a")  # the connection broke, and it is back
    now.time += IDLE_SECONDS
    store.sweep()
    assert path.exists()
    store.leave("page:a")
    with store.reading("page:a"):
        now.time += LEFT_SECONDS
        store.sweep()
        assert path.exists()
    store.sweep()
    assert on_disk(store) == ["lock"]


def test_what_nobody_uses_goes_by_age(store: FileStore, now: SimpleNamespace) -> None:
    unused, used = brought(store), brought(store)
    store.claim(used, "page:a")  # of which nothing else is ever heard
    now.time += UNUSED_SECONDS
    store.sweep()
    assert not unused.exists() and used.exists()
    now.time += IDLE_SECONDS
    store.sweep()
    assert on_disk(store) == ["lock"]


def test_the_oldest_of_whoever_holds_most_goes_first(store: FileStore) -> None:
    mine = brought(store, b"m" * 300)
    store.claim(mine, "page:me")
    theirs = [brought(store, bytes([65 + n]) * 200) for n in range(3)]
    for path in theirs:
        store.claim(path, "page:greedy")
    more = brought(store, b"z" * 300, by="stranger")
    assert [path.exists() for path in (mine, *theirs, more)] == [True, False, True, True, True]


def test_countless_small_files_push_out_no_other(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_store, "MOST_FILES", 10)
    mine = brought(store, b"m" * 300)
    store.claim(mine, "page:me")
    theirs = [brought(store, b"") for _ in range(20)]
    assert mine.exists() and [path.exists() for path in theirs] == [False] * 11 + [True] * 9


def test_what_is_on_its_way_pushes_out_no_other(store: FileStore) -> None:
    mine = brought(store, b"m" * 300)
    store.claim(mine, "page:me")
    coming = store.begin("a.png", "stranger")
    coming.write(b"x" * 600)
    with pytest.raises(NoRoom):
        coming.write(b"x" * 300)
    assert mine.exists()
    coming.abort()


def test_sessions_that_one_visitor_makes_up_count_as_one(store: FileStore) -> None:
    mine = brought(store, b"m" * 250, by="me")
    store.claim(mine, "page:me")
    theirs = []
    for number in range(4):
        theirs.append(brought(store, b"%d" % number * 100, by="stranger"))
        store.claim(theirs[-1], f"page:{number}")
        store.put(b"%d" % number * 50, "page 1", f"page:{number}")  # of a document
    brought(store, b"z" * 250, by="third")
    assert mine.exists() and not theirs[0].exists() and theirs[3].exists()


def test_what_an_answer_reads_stays_and_then_nothing_more_is_taken(store: FileStore) -> None:
    read = brought(store, b"r" * 900)
    store.claim(read, "page:a")
    with store.reading("page:a"):
        with pytest.raises(NoRoom, match=r"no room for files here now: .*\.$"):
            brought(store, b"x" * 200)
        assert read.exists() and len(on_disk(store)) == 2
    assert brought(store, b"x" * 200).exists() and not read.exists()


def test_what_is_cut_off_leaves_nothing(store: FileStore) -> None:
    coming = store.begin("a.png")
    coming.write(PNG)
    assert len(on_disk(store)) == 2
    coming.abort()
    assert on_disk(store) == ["lock"]
    assert brought(store, b"x" * 1000).exists()  # nor does it count


def test_a_disk_that_is_nearly_full_takes_no_files_until_there_is_room(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(store.folder or "/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(NoRoom):
        brought(store)
    monkeypatch.undo()
    assert brought(store).exists() and len(on_disk(store)) == 2


def test_where_nothing_can_be_written_one_sentence_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = FileStore(tmp_path / "file" / "folder", Limits())
    assert len(caplog.records) == 1 and str(tmp_path) not in caplog.text
    with pytest.raises(NoRoom, match="whoever runs this page"):
        store.begin("a.png")
    store.sweep()
    store.close()


def test_what_people_see_is_the_copy_made_once(tmp_path: Path) -> None:
    made: list[str] = []

    def copies(media: Sequence[Media], folder: Path, limits: Limits) -> tuple[Media, ...]:
        folder.mkdir()
        made.extend(one.label for one in media)
        if any(one.path.stat().st_size < 50 for one in media):
            raise MediaError("broken")
        for one in media:
            (folder / f"{one.path.stem}-image.jpg").write_bytes(b"seen")
        return tuple(replace(one, shown=folder / f"{one.path.stem}-image.jpg") for one in media)

    store = FileStore(tmp_path, Limits(), show=copies)
    path, twin, broken = brought(store), brought(store), brought(store, PNG[:40])
    [kept] = store.keep([Media("image", path, "a.png")], "page:a")
    assert kept.path == path and kept.shown is not None and kept.shown.read_bytes() == b"seen"
    assert store.shown(path) == store.shown(kept.shown) == kept.shown
    [again] = store.keep([Media("image", twin, "b.png")], "page:b")
    assert again.shown is not None and again.shown.parent == twin.parent and again.shown.read_bytes() == b"seen"
    assert len(made) == 1
    with pytest.raises(MediaError, match="broken"):
        store.keep([Media("image", broken, "c.png")], "page:c")
    assert store.shown(broken) is None and store.shown(brought(store, b"text")) is None
    own = Media("image", tmp_path / "example.png")
    assert store.keep([own], "page:a") == (own,)
    assert not any("copies" in name for name in on_disk(store))
    store.close()


def test_an_animation_is_previewed_as_a_picture_and_sent_as_a_clip(tmp_path: Path) -> None:
    moving = BytesIO()
    frames = [Image.new("RGB", (64, 48), color) for color in ("red", "green", "blue")]
    frames[0].save(moving, "GIF", save_all=True, append_images=frames[1:], duration=200)
    with closing(FileStore(tmp_path, Limits(), show=with_copies)) as store:
        path = brought(store, moving.getvalue())
        preview = store.shown(path)
        assert preview is not None and preview.suffix in (".jpg", ".png")
        [media], refused = attach_all([(path, "moving.gif")], Limits())
        sent = store.keep([media], "page:a")[0].shown
        assert not refused and media.moves and sent is not None and sent.suffix == ".mp4"
        assert store.shown(sent) == sent and store.shown(preview) == preview


def test_what_a_killed_process_left_is_swept_and_what_a_live_one_has_is_not(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path\nfrom ovis_app.private_folder import PrivateFolder\n"
        "folder = PrivateFolder(Path(sys.argv[1]))\n(folder.path / 'picture').write_bytes(b'x')\n"
        "print(folder.path, flush=True)\ntime.sleep(600)"
    )
    living = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert living.stdout is not None
        theirs = Path(living.stdout.readline().strip())
        strange = tmp_path / "ovis-of-somebody-else"
        strange.mkdir()
        own = PrivateFolder(tmp_path)
        assert (theirs / "picture").exists()
    finally:
        living.kill()
        living.wait()
    sweep(tmp_path)
    assert not theirs.exists() and own.path.exists() and strange.exists()
    own.close()
    assert not own.path.exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills need a system that forks")
def test_a_folder_whose_removal_was_killed_is_removed_by_the_next(tmp_path: Path) -> None:
    """At whichever file that was: it may hold a model."""
    code = (
        "import os, signal, sys; from pathlib import Path\nfrom ovis_app.private_folder import PrivateFolder, sweep\n"
        "for last in range(8):\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        own, removed = PrivateFolder(Path(sys.argv[1])), []\n"
        "        for name in 'abcd': (own.path / name).mkdir()\n"
        "        for name in ('a/1', 'b/2', 'page'): (own.path / name).write_bytes(b'x')\n"
        "        def removing(event, _):\n"
        "            if event in ('os.remove', 'os.rmdir'):\n"
        "                len(removed) < last or os.kill(os.getpid(), signal.SIGKILL)\n"
        "                removed.append(event)\n"
        "        sys.addaudithook(removing)\n"
        "        own.close()\n"
        "    assert os.waitpid(child, 0)[1] == signal.SIGKILL\n"
        "    sweep(Path(sys.argv[1]))\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=PATIENCE)
    assert not list(tmp_path.iterdir())


def test_files_are_swept_also_where_no_thread_began_at_first(
    tmp_path: Path, now: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_store, "SWEEP_SECONDS", 0.01)
    with closing(FileStore(tmp_path, Limits(), clock=lambda: now.time)) as store:
        with none_begins("ovis-files"), pytest.raises(RuntimeError):
            brought(store)
        path = brought(store)
        now.time += UNUSED_SECONDS
        until(lambda: not path.exists())


def test_a_link_in_place_of_a_folder_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "lock").write_bytes(b"")
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "ovis-x").symlink_to(victim)
    sweep(tmp_path / "all")
    assert (victim / "lock").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 30 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=30m", "none", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("needs the right to mount a disk")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_full_disk_is_a_sentence_and_heals(small_disk: Path) -> None:
    store = FileStore(small_disk, Limits())
    data = os.urandom(1024 * 1024)
    kept = [brought(store, data + bytes([number])) for number in range(20)]
    with pytest.raises(NoRoom, match="no room"):
        for number in range(20, 40):
            kept.append(brought(store, data + bytes([number])))
    assert shutil.disk_usage(small_disk).free > 2 * 1024 * 1024  # some stays for others
    (small_disk / "others").write_bytes(b"x" * (shutil.disk_usage(small_disk).free - 4096))
    with pytest.raises(NoRoom):
        brought(store)
    assert all(path.exists() for path in kept) and len(on_disk(store)) == len(kept) + 1
    (small_disk / "others").unlink()
    store.discard(kept[0]), store.discard(kept[1])
    assert brought(store).exists()
    store.close()


def test_a_disk_that_fills_up_under_a_file_leaves_nothing_of_it(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_store, "ROOM", 0)
    store = FileStore(small_disk, Limits())
    before = shutil.disk_usage(small_disk).free
    with pytest.raises(NoRoom, match="no room"):
        brought(store, os.urandom(1024) * 31 * 1024)
    assert on_disk(store) == ["lock"] and shutil.disk_usage(small_disk).free == before
    assert brought(store).exists()
    store.close()


def test_the_janitor_works_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_store, "SWEEP_SECONDS", 0.01)
    monkeypatch.setattr(file_store, "LEFT_SECONDS", 0.0)
    store = FileStore(tmp_path, Limits())
    path = brought(store)
    store.claim(path, "page:a"), store.arrive("page:a"), store.leave("page:a")
    end = time.monotonic() + 60
    while path.exists() and time.monotonic() < end:
        time.sleep(0.01)
    assert not path.exists()
    store.close()


def push_out(store: FileStore) -> None:
    """Somebody else, who has less, needs the room just now."""
    other = threading.Thread(target=store.make_room, args=(500, "other"), daemon=True)
    other.start()
    other.join(0.3)  # it may have to wait until we are done


def test_a_picture_that_is_pushed_out_at_once_was_put_all_the_same(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(IncomingFile, "abort", lambda _: push_out(store))
    path = store.put(b"x" * 600, "page", "page:a")
    assert store.shown(path) is None


def test_a_file_that_is_pushed_out_at_once_was_kept_all_the_same(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, claim = brought(store, PNG + b"x" * 600), store.claim

    def claimed(*given: Any) -> Path:
        found = claim(*given)
        push_out(store)
        return found

    monkeypatch.setattr(store, "claim", claimed)
    [kept] = store.keep([Media("image", path, "a.png")], "page:a")
    assert kept.path == path
