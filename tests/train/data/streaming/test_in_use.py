import gc
import os

from ultra_train.data.streaming.in_use import PATTERN, WindowsInUse
from ultra_train.data.token_cache.cache_folders import unfinished
from ultra_train.data.token_cache.manifest import SHARD


def _until(loader, batches, window):
    while loader._next.window < window:
        next(batches)


def test_windows_that_another_run_reads_are_not_removed(make_loader):
    fast, slow = make_loader(budget=1), make_loader(budget=1)
    ahead, behind = iter(fast), iter(slow)
    _until(slow, behind, 2)
    _until(fast, ahead, 6)
    next(ahead)
    assert {2, 6} <= set(fast.stream.folder.present())
    wanted = [batch["input_ids"].tolist() for batch in make_loader("alone")]
    index = slow.state_dict()["index"]
    assert [batch["input_ids"].tolist() for batch in behind] == wanted[index:]
    _until(fast, ahead, 7)
    next(ahead)
    assert 2 not in fast.stream.folder.present()


def test_marks_end_with_their_reader_and_count_only_while_it_lives(tmp_path):
    one, two = WindowsInUse(tmp_path), WindowsInUse(tmp_path)
    one.begin(3)
    one.begin(4)
    two.begin(7)
    assert one.of_all() == {3, 4, 7}
    one.come_to(4)
    assert two.of_all() == {4, 7}
    if not (child := os.fork()):  # it does not own the marks
        two.close()
        os._exit(0)
    os.waitpid(child, 0)
    assert one.of_all() == {4, 7}
    (path,) = tmp_path.glob("used-7-*")
    path.write_text(path.read_text().replace(f" {os.getpid()}", f" {child}"))
    assert one.of_all() == {4}
    assert WindowsInUse(tmp_path).of_all() == {4}
    assert not path.exists()
    del one
    gc.collect()
    assert not list(tmp_path.glob(PATTERN))


def test_what_killed_processes_left_is_removed_with_the_next_stream_and_with_the_folder(make_loader):
    folder = make_loader().stream.folder
    if not (child := os.fork()):
        for number in (3, 5):
            with unfinished(folder.path(number)) as path:
                (path / SHARD.format(0)).write_bytes(b"tokens")
                if number == 5:
                    os._exit(0)
    os.waitpid(child, 0)
    assert len(list(folder.directory.glob(".window-*"))) == 1
    make_loader()
    assert not list(folder.directory.glob(".window-*"))
    gc.collect()
    assert folder.remove()
