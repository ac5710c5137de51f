"""Files appear whole or not at all; paths are understood as a shell does; a file where a folder is needed is named."""

from __future__ import annotations

import doctest
import hashlib
import os
import shutil
from pathlib import Path

import pytest

from memsci import files
from memsci.errors import MemsciError


def test_examples():
    assert doctest.testmod(files).failed == 0


def test_paths_are_expanded_and_absolute(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert files.as_path("~/a") == files.as_path(Path("~/a")) == files.as_path("a") == tmp_path / "a"


@pytest.mark.parametrize("given", [3, None, "~nobody-of-this-name/x", "a\0b"])
def test_what_is_no_path_is_refused(given):
    with pytest.raises(MemsciError, match="not a path"):
        files.as_path(given)


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    with files.appearing(tmp_path / "above" / "one") as folder:
        (folder / "x").write_text("x")
        assert not (tmp_path / "above" / "one").exists()
    assert [path.name for path in (tmp_path / "above").rglob("*")] == ["one", "x"]
    with pytest.raises(RuntimeError), files.appearing(tmp_path / "two") as folder:
        (folder / "x").write_text("x")
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["above"]
    with pytest.raises(MemsciError, match="exists already"), files.appearing(tmp_path / "above"):
        pass


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    long = tmp_path / ("x" * 300)
    with pytest.raises(MemsciError, match=r"x cannot be written \(File name too long\).*another path"):
        with files.appearing(long):
            pass
    with pytest.raises(MemsciError, match=r"copy cannot be written \(.*No such file"):
        with files.appearing(tmp_path / "copy") as folder:
            (tmp_path / "source").mkdir()
            (tmp_path / "source" / "gone").symlink_to("nowhere")
            shutil.copytree(tmp_path / "source", folder, dirs_exist_ok=True)  # which raises an error of its own
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_the_first_of_two_folders_is_kept(tmp_path):
    with files.appearing(tmp_path / "one", exist_ok=True) as mine:
        with files.appearing(tmp_path / "one", exist_ok=True) as theirs:
            (theirs / "x").write_text("first")
        (mine / "x").write_text("second")
    assert (tmp_path / "one" / "x").read_text() == "first" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("make", [files.make_folder, lambda path: files.appearing(path / "x").__enter__()])
@pytest.mark.parametrize("below", ["", "a", "a/b"])
def test_a_file_in_the_way_of_a_folder_is_named(tmp_path, make, below):
    (tmp_path / "file").touch()
    with pytest.raises(MemsciError, match=r"file is a file"):
        make(tmp_path / "file" / below)


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_is_replaced_whole_or_stays(tmp_path, durable):
    path = tmp_path / "x.json"
    files.write_json(path, {"name": "Zoë"}, durable)
    assert path.read_bytes() == '{\n  "name": "Zoë"\n}\n'.encode() and files.read_json(path) == {"name": "Zoë"}
    assert files.sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(RuntimeError), files.replacing(path, durable) as unfinished:
        assert unfinished.suffix == ".json"
        unfinished.write_text("half")
        raise RuntimeError
    assert files.read_json(path) == {"name": "Zoë"} and os.listdir(tmp_path) == ["x.json"]


def test_json_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "x").write_bytes(b"{\xff")
    for path in (tmp_path / "x", tmp_path / "none", tmp_path):
        with pytest.raises(MemsciError, match="cannot be read"):
            files.read_json(path)
