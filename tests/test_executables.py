"""Many different fits in one process must not exhaust the memory maps of the process."""

import gc

import jax
import jax.numpy as jnp
import pytest

import ladder_jax as lj
from ladder_jax.storage import environment


def compiled():
    function = jax.jit(lambda x: jnp.sin(x) + 1)
    function(jnp.ones(3))
    assert function._cache_size() == 1
    return function


@pytest.fixture
def limit(tmp_path, monkeypatch):
    """Sets the limit of memory maps, as a process would read it."""

    def put(text):
        (tmp_path / "limit").write_text(text)
        monkeypatch.setattr(environment, "MEMORY_MAP_LIMIT", tmp_path / "limit")

    (tmp_path / "maps").write_text("a map\n" * 1000)
    monkeypatch.setattr(environment, "MEMORY_MAPS", tmp_path / "maps")
    return put


@pytest.mark.parametrize("maximum, forgets", [(65530, False), (2000, False), (1999, True)])
def test_programs_are_forgotten_above_half_of_the_limit(limit, maximum, forgets):
    function = compiled()
    limit(f"{maximum}\n")
    assert environment.make_room() is forgets
    assert function._cache_size() == (0 if forgets else 1)
    assert function(jnp.zeros(3)).tolist() == [1, 1, 1]


@pytest.mark.parametrize("text", [None, "", "none"])
def test_without_such_a_limit_nothing_is_forgotten(limit, text, tmp_path, monkeypatch):
    if text is None:
        monkeypatch.setattr(environment, "MEMORY_MAP_LIMIT", tmp_path / "absent")
    else:
        limit(text)
    function = compiled()
    assert not environment.make_room()
    assert function._cache_size() == 1


@pytest.mark.skipif(not environment.MEMORY_MAPS.exists(), reason="no /proc: no such limit")
def test_forgotten_programs_free_their_maps(monkeypatch, tmp_path):
    def maps():
        return len(environment.MEMORY_MAPS.read_bytes().splitlines())

    functions = [jax.jit(lambda x, n=n: jnp.sin(x * n) @ x) for n in range(5)]
    before = maps()
    for function in functions:
        function(jnp.ones((7, 7)))
    full = maps()
    assert full >= before + 10
    (tmp_path / "limit").write_text("10")
    monkeypatch.setattr(environment, "MEMORY_MAP_LIMIT", tmp_path / "limit")
    assert environment.make_room()
    gc.collect()
    assert maps() <= full - 10


def test_a_run_makes_room_and_gives_the_same_numbers(limit, blobs, tiny_config):
    run = lj.TrainConfig(labels=20, epochs=1, batch_size=50)
    limit("65530")
    plenty = lj.train_and_evaluate(tiny_config, run, blobs)
    function = compiled()
    limit("10")
    scarce = lj.train_and_evaluate(tiny_config, run, blobs)
    assert function._cache_size() == 0
    assert jax.tree.all(
        jax.tree.map(lambda a, b: (a == b).all(), plenty.variables, scarce.variables)
    )
