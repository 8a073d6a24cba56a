from __future__ import annotations

import itertools

from posthorn_local.logs import follow


def test_follows_old_files_from_their_last_lines_and_new_files_from_their_start(tmp_path):
    old, new = tmp_path / "auth.log", tmp_path / "mailer.log"
    old.write_text("one\ntwo\nthree\n")
    rounds = iter([{old: "four\nhalf a li"}, {old: "ne\n", new: "hello\n"}])

    def wait(_seconds):
        for path, text in next(rounds).items():
            with path.open("a") as file:
                file.write(text)

    followed = follow(lambda: sorted(tmp_path.glob("*.log")), last=2, wait=wait)

    assert list(itertools.islice(followed, 5)) == [
        ("auth", "two"),
        ("auth", "three"),
        ("auth", "four"),
        ("auth", "half a line"),
        ("mailer", "hello"),
    ]
