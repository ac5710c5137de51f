"""Runs on a cluster: workers that are killed lose nothing and double nothing; batch jobs ask for what they are told."""

from __future__ import annotations

import fakework
import pytest
from test_runs import begun, contents, in_this_process, marks, table  # noqa: F401

from memsci import runs
from memsci.errors import MemsciError
from memsci.runs import cluster

pytest.importorskip("dask_jobqueue")
dask = pytest.importorskip("dask")


def test_two_workers_one_of_them_killed(table, marks, tmp_path, monkeypatch):  # noqa: F811
    prepared = fakework.prepare(table, tmp_path / "runs")
    labels = [job.cell.label for job in prepared.jobs]
    monkeypatch.setenv("FAKE_KILL", labels[1])
    folder = runs.run(prepared, processes=2, cluster="local", progress=False)
    # Begun once more, and no other; each cell has its lines once, in the order of the grid.
    assert sorted(begun(marks)) == sorted([*labels, labels[1]])
    monkeypatch.delenv("FAKE_KILL")
    assert contents(folder) == contents(in_this_process(fakework.prepare(table, tmp_path / "alone")))


def test_a_cell_that_kills_every_worker_fails_alone(table, marks, tmp_path, monkeypatch):  # noqa: F811
    prepared = fakework.prepare(table, tmp_path / "runs", partitions=(0,))
    monkeypatch.setenv("FAKE_KILL", prepared.jobs[0].cell.label)
    monkeypatch.setenv("FAKE_ALWAYS", "1")
    with pytest.raises(runs.Failed, match="1 of 2 cells failed.*worker was killed 2 times"):
        runs.run(prepared, processes=1, cluster="local", progress=False)
    assert begun(marks).count(prepared.jobs[0].cell.label) == 2


def test_a_scheduler_by_its_address(table, marks, tmp_path):  # noqa: F811
    prepared = fakework.prepare(table, tmp_path / "runs", partitions=(0,))
    with cluster.started("local", 1, 1) as there:
        runs.run(prepared, cluster=there.scheduler_address, progress=False)
    assert runs.status(prepared.folder) == "finished"


@pytest.mark.parametrize(("queue", "line"), [("slurm", "#SBATCH --mem=30G"), ("pbs", "#PBS -l"), ("lsf", "#BSUB -M")])
def test_a_batch_job_asks_for_what_it_is_told(queue, line):
    options = {"memory": "32GB", "walltime": "08:00", "queue": "gpu"}
    with cluster.started(queue, 0, 4, {**options, **({"use_stdin": True} if queue == "lsf" else {})}) as there:
        script = there.job_script()
    assert line in script and "gpu" in script and "08:00" in script
    assert script.rindex("--nthreads 1") > script.index("--nthreads 4")  # four cores, one cell at a time


@pytest.mark.parametrize("given", ["--gres=gpu:1", ["--gres=gpu:1", "--exclusive"]])
def test_one_directive_needs_no_list(given):
    options = {"memory": "32GB", "job_extra_directives": given, "worker_extra_args": "--no-dashboard"}
    with cluster.started("slurm", 0, 1, options) as there:
        script = there.job_script()
    asked = [given] if isinstance(given, str) else given
    assert [line for line in script.splitlines() if any(text in line for text in asked)] == [
        f"#SBATCH {text}" for text in asked
    ]
    assert "--no-dashboard --nthreads 1" in script


def test_what_the_configuration_file_asks_of_workers_holds():
    with dask.config.set({"jobqueue.slurm.worker-extra-args": ["--no-dashboard"]}):
        with cluster.started("slurm", 0, 1, {"memory": "32GB"}) as there:
            assert "--no-dashboard --nthreads 1" in there.job_script()


def test_errors_name_what_is_allowed():
    with pytest.raises(MemsciError, match=r"tcp://HOST:PORT, local, slurm, pbs, lsf; 'sge' was given"):
        cluster.started("sge", 1, 1)
    with pytest.raises(MemsciError, match="memory"):
        cluster.started("slurm", 1, 1)
    with pytest.raises(MemsciError, match="local: .*'threads_per_worker'"):
        cluster.started("local", 1, 1, {"threads_per_worker": 2})
