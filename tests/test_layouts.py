"""What the compiled chunk of a layout is: how rows are split, where the host is waited for."""

import re
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ladder_jax as lj
from ladder_jax.train import parallel
from ladder_jax.train.parallel import Layout, PmapLayout
from ladder_jax.train.schedule import longest_chunk, make_plan
from ladder_jax.train.step import TrainData

CONFIG = lj.LadderConfig((32, 4), (10, 1, 0.1), input_shape=(12,))
SETTINGS = lj.TrainConfig(labels=104, batch_size=96, labelled_batch_size=104)
PRECISIONS = {"float32": "HIGHEST", "tensorfloat32": "HIGH", "bfloat16": "DEFAULT"}


def arguments(layout):
    """Of a chunk of two steps: configuration, plan, state, data and keys."""
    rng = np.random.default_rng(0)
    data = TrainData(
        x=rng.normal(size=(192, 12)).astype(np.float32),
        y=np.arange(192, dtype=np.int32) % 4,
        labelled=np.tile(np.arange(104, dtype=np.int32), (layout.runs, 1)).squeeze(),
        scale=np.float32(1),
        train=np.tile(np.arange(192, dtype=np.int32), (layout.runs, 1)).squeeze(),
    )
    keys = [jax.random.key(seed) for seed in range(layout.runs)]
    plan = make_plan(SETTINGS, 192, 104)
    state = layout.init_state(CONFIG, plan, keys)
    return CONFIG, plan, state, layout.put_data(data), layout.put_keys(keys)


def of_program(layout):
    """What the compiled chunk itself is given, but for ``track``."""
    config, plan, *rest = arguments(layout)
    return layout, config.structure, plan.costs_length, config.strengths, plan, *rest


def test_no_device_multiplies_all_rows():
    """Of 104 + 96 + 96 on eight devices each has 37, or 13 and 12 where the parts are apart."""
    layout = Layout(tuple(jax.devices()))
    text = parallel._jitted.lower(*of_program(layout), False).compile().as_text()
    rows = {int(found) for found in re.findall(r"f32\[(\d+),32\]\S* dot\(", text)}
    assert rows and max(rows - {12}) <= 37  # [12, 32] is also the kernel's gradient


@pytest.mark.parametrize("runs", [1, 2])
@pytest.mark.parametrize("track", [False, True])
def test_no_step_waits_for_the_host_on_a_gpu(runs, track):
    """A branch would, and a loop whose end is an argument. On a CPU they spare other programs."""
    layout = Layout((jax.devices()[0],), runs=runs)
    given = of_program(layout)
    for chunk, platform in ((parallel._jitted_apart, "cuda"), (parallel._jitted, "cpu")):
        traced = chunk.trace(*given, track)
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        assert "stablehlo.while" in text and "callback" not in text
        # A case by platform has a constant for its index; one of the data has a converted bool.
        asked = [
            re.search(rf"{index} = stablehlo.convert .*tensor<i1>", text) is not None
            for index in re.findall(r'"stablehlo.case"\((%\w+)\)', text)
        ]
        on_cpu = platform == "cpu"
        assert sum(asked) == (len(CONFIG.shapes) + 1 if on_cpu else 0)  # the draws and ``track``
        assert ("while[" in str(traced.jaxpr)) == on_cpu  # a scan where the end is known


@pytest.mark.parametrize("platform", ["cpu", "gpu", "tpu"])
def test_branch_or_two_programs_by_device(monkeypatch, platform):
    layout, called = Layout((SimpleNamespace(platform=platform),)), []
    for name in ("_jitted", "_jitted_apart"):
        chunk = lambda *given, name=name: called.append(name) or (0, {"total": jnp.zeros(3)})  # noqa: E731
        monkeypatch.setattr(parallel, name, chunk)
    plan = SimpleNamespace(chunk_steps=3, costs_length=3)
    layout.train_chunk(CONFIG, plan, None, None, None, False)
    assert called == ["_jitted" if platform == "cpu" else "_jitted_apart"]


def test_an_epoch_of_ten_seeds_is_one_program_on_a_gpu():
    preset = lj.presets.get("mnist-ladder-100")
    longest = longest_chunk(preset.config, preset.train_config, "gpu", runs=10)
    assert make_plan(preset.train_config, 60_000, 100, longest).chunk_steps == 600


def test_seeds_are_made_at_once_on_one_gpu(monkeypatch):
    assert not lj.Parallel(devices=1).seeds_at_once(10)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert lj.Parallel(devices=1).seeds_at_once(10)


@pytest.mark.parametrize("kind", [Layout, PmapLayout])
def test_the_state_before_a_chunk_is_given_up(kind):
    layout = kind(tuple(jax.devices()[:2]))
    config, plan, state, data, keys = arguments(layout)
    layout.train_chunk(config, plan, state, data, keys, False)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params))


@pytest.mark.parametrize("mode", PRECISIONS)
def test_precision_of_every_product(mode):
    layout = Layout((jax.devices()[0],))
    with jax.default_matmul_precision(mode):
        chunk = parallel._jitted_apart.trace(*of_program(layout), False)
        text = chunk.lower(lowering_platforms=("cuda",)).as_text()
    products = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
    assert len(products) > 10
    for line in products:
        found = re.search(r"precision = \[(\w+), (\w+)\]", line)
        assert set(found.groups() if found else ("DEFAULT",)) == {PRECISIONS[mode]}


def test_a_run_has_the_precision_of_its_settings(tiny_config, blobs):
    seen = []
    for mode in PRECISIONS:
        settings = lj.TrainConfig(labels=20, epochs=1, batch_size=40, matmul_precision=mode)
        told = lambda _: seen.append(jax.config.jax_default_matmul_precision)  # noqa: E731
        lj.train_and_evaluate(tiny_config, settings, blobs, on_progress=told)
    assert seen == list(PRECISIONS)


@pytest.mark.parametrize(
    ("kind", "devices", "runs"),
    [(Layout, 1, 1), (Layout, 1, 4), (Layout, 2, 1), (Layout, 2, 4), (PmapLayout, 2, 1)],
)
def test_the_variables_of_a_run_are_its_own(kind, devices, runs):
    layout = kind(tuple(jax.devices()[:devices]), runs)
    _, _, state, _, _ = arguments(layout)
    everything = layout.to_host(state.params)
    for run in range(runs):
        own = layout.of_run(state.params, run)
        for got, want in zip(jax.tree.leaves(own), jax.tree.leaves(everything), strict=True):
            np.testing.assert_array_equal(got, want if runs == 1 else want[run])
            assert len(got.devices()) == 1


@pytest.mark.parametrize("layout", [Layout, PmapLayout])
def test_a_fetched_state_is_a_copy_of_its_own(layout):
    """Else the next chunk, to which the state is given up, could write into it."""
    layout = layout(tuple(jax.devices()[:1]))
    config, plan, state, data, keys = arguments(layout)
    fetched = layout.to_host(state.params)
    before = jax.tree.map(np.copy, fetched)
    layout.train_chunk(config, plan, state, data, keys, False)
    jax.tree.map(np.testing.assert_array_equal, fetched, before)
