"""Tiny runs of one tree, for compare_commits.py, which starts it with that tree in PYTHONPATH.

python compare_runs.py one|eight FOLDER OUT.json NAMES    trains, on one device or on eight
python compare_runs.py read FOLDER OUT.json NAMES         loads the runs that are in the folder

NAMES is a pattern of the names of runs. What it writes is an object: name of a run -> name of a
thing -> its value. Names that begin with sha256 are of digests, which change with a single bit.
"""

import dataclasses
import fnmatch
import hashlib
import json
import shutil
import sys
from pathlib import Path

import jax
import numpy as np

if sys.argv[1] == "eight":
    jax.config.update("jax_num_cpu_devices", 8)

import jax.numpy as jnp
from flax import linen as nn

import ladder_jax as lj
from ladder_jax.combinators import COMBINATORS

FOLDER = Path(sys.argv[2])
DENSE = lj.LadderConfig((16, 4), (10, 1, 0.1), input_shape=(12,))
CONV = lj.LadderConfig(
    ("conv:6:3:full", "maxpool:2", "conv:4:2", "globalmean"),
    (10, 1, 0.5, 0.1, 0.1),
    input_shape=(7, 6, 2),
    activation="leaky_relu",
)
STRIDED = lj.LadderConfig(
    ("conv:5:3:full:2", "maxpool:2", "8", "4"),
    (10, 1, 0.5, 0.1, 0.1),
    hidden_noise=(0.1, 0.2, 0.3, 0.4),
    input_shape=(7, 6, 2),
    pool_ties="first",
)
TRAIN = lj.TrainConfig(labels=20, epochs=3, batch_size=40, learning_rate=0.01)
WITHOUT_U = [f"{name}:no_u" for name, own in COMBINATORS.items() if own.without_u]
ALL_COMBINATORS = [
    *COMBINATORS,
    *("mlp", "augmented_mlp", "mlp:3:2", "augmented_mlp:2"),
    *(*WITHOUT_U, "mlp:no_u", "augmented_mlp:no_u"),
]


def rows(shape, count=237, test=80, **settings):
    """Well separated classes, as bytes where they are to be preprocessed."""
    rng = np.random.default_rng(0)
    y = np.arange(count + test) % 4
    x = rng.normal(size=(4, *shape))[y] + 0.5 * rng.normal(size=(len(y), *shape))
    x = x.astype(np.float32)
    if settings:
        x = np.clip(x * 40 + 128, 0, 255).astype(np.uint8)
    return lj.data.from_arrays(x[:count], y[:count], x[count:], y[count:], name="rows", **settings)


def digest(array):
    array = np.ascontiguousarray(array)
    text = f"{array.shape} {array.dtype}".encode()
    return hashlib.sha256(text + array.tobytes()).hexdigest()


def arrays(tree):
    """Of each array its shape, norm and digest."""
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        a, name = np.asarray(leaf), jax.tree_util.keystr(path)
        found[name] = [list(a.shape), float(np.linalg.norm(a.astype(np.float64)))]
        found[f"sha256 of {name}"] = digest(a)
    return found


def probabilities(model, x):
    kinds = {kind: model.predict_proba(x, kind) for kind in model.statistics}
    found = {f"sha256 by {kind} statistics": digest(p) for kind, p in kinds.items()}
    return found | {kind: np.asarray(p[:10], np.float64).tolist() for kind, p in kinds.items()}


def of_folder(folder):
    """What the files of a run say, without times and versions of the code."""
    found = {}
    files = [p for p in folder.rglob("*") if p.is_file() and "checkpoints" not in p.parts]
    found["files"] = sorted(str(p.relative_to(folder)) for p in files if p.name != ".lock")
    for name in ("config.json", "label_indices.json"):
        found[name] = (folder / name).read_text() if (folder / name).exists() else None
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    found["metrics"] = [{k: v for k, v in line.items() if k != "seconds"} for line in lines]
    weights, classifier = folder / "weights.msgpack", folder / "classifier.json"
    if weights.exists():
        found["sha256 of weights.msgpack"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    if classifier.exists():
        known = json.loads(classifier.read_text())
        found["sha256 of its weights"] = known.pop("weights", None)
        for line in known["history"]:
            line.pop("seconds", None)
        found["classifier.json"] = known
    if (folder / "result.json").exists():
        result = json.loads((folder / "result.json").read_text())
        result |= {"wall_seconds": 1.0, "versions": {}}
        found["result.json"] = result
        found["report.html"] = report(folder, result, found["metrics"])
    return found


def report(folder, result, lines):
    """The report of a copy whose times and versions are always the same."""
    copy = FOLDER.parent / "report" / folder.name
    copy.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "label_indices.json", "classifier.json"):
        if (folder / name).exists():
            shutil.copy(folder / name, copy)
    (copy / "result.json").write_text(json.dumps(result))
    text = "".join(json.dumps(line | {"seconds": 1.0}) + "\n" for line in lines)
    (copy / "metrics.jsonl").write_text(text)
    lj.report.write_report(copy)
    text = (copy / "report.html").read_text()
    shutil.rmtree(copy)
    return text.replace("><", ">\n<")


def trained(name, config=DENSE, train=TRAIN, data=None, stops=(), again=False, **ways):
    """What a run leaves; ``stops``: for each call, after how many chunks it is stopped."""
    data = data or rows(config.input_shape)
    folder, found = FOLDER / name.replace(" ", "_"), {}
    for count in stops:
        calls = iter(range(count))
        stop = lambda calls=calls: next(calls, None) is None  # noqa: E731
        try:
            lj.train_and_evaluate(config, train, data, workdir=folder, should_stop=stop, **ways)
            found["stop"] = "none"
        except lj.StoppedError as error:
            found[f"stop {count}"] = str(error).replace(str(FOLDER), "FOLDER")
    result = lj.train_and_evaluate(config, train, data, workdir=folder, **ways)
    if again:
        ways["resume"] = False
        result = lj.train_and_evaluate(config, train, data, workdir=folder, **ways)
    found |= {"result": repr(result), "split": arrays(vars(result.split))}
    for number, own in enumerate(result.runs or [result]):
        found[f"weights {number}"] = arrays(own.variables)
        found[f"statistics {number}"] = arrays(own.statistics)
        found[f"probabilities {number}"] = probabilities(own, data.x_test)
    summary = lj.finished_summary(folder, config, train, ways.get("num_seeds", 1))
    return found | of_folder(folder) | {"finished": summary == result.summary}


def classifier(name, shape, labels, keep=None, **settings):
    data = rows(shape, count=120)
    y = np.array(
        [labels[k] if i < 40 else settings["unlabeled_label"] for i, k in enumerate(data.y_train)],
        dtype=object,
    )
    own = lj.LadderClassifier(steps=60, random_state=3, **settings)
    folder = FOLDER / name.replace(" ", "_")
    own.fit(data.x_train, y, workdir=folder if keep == "workdir" else None)
    if keep == "save":
        own.save(folder)
    p = own.predict_proba(data.x_test)
    history = [{k: v for k, v in line.items() if k != "seconds"} for line in own.history_]
    found = {"history": history, "n_iter": own.n_iter_, "classes": own.classes_.tolist()}
    found |= {"probabilities": p[:10].tolist(), "sha256 of probabilities": digest(p)}
    found |= {"weights": arrays(own.model_.variables), "predicted": own.predict(data.x_test[:9])}
    found["predicted"] = found["predicted"].tolist()
    return found | (of_folder(folder) if keep == "workdir" else {})


def mathematics(config):
    """The pure functions, and the gradient of the cost."""
    key, data = jax.random.key(5), rows(config.input_shape)
    x, y = jnp.asarray(data.x_train[:24]), jnp.asarray(data.y_train[:8])

    @jax.jit
    def parts(key, x, y):
        variables, noise = lj.init(config, key), lj.draw_noise(config, key, 8, 16)
        noisy = lj.encode(config, variables, x[:8], x[8:], noise)

        def total(params):
            costs = lj.costs(config, variables | {"params": params}, x[:8], y, x[8:], noise)
            return costs.total, costs

        gradient, costs = jax.grad(total, has_aux=True)(variables["params"])
        found = {"init": variables, "noise": noise, "encode": noisy, "costs": costs}
        found |= {"decode": lj.decode(config, variables, noisy), "gradient": gradient}
        found |= {"clean": lj.encode(config, variables, None, x)}
        return found | {
            "statistics": lj.population_statistics(config, variables, x, jnp.float32(1), 10)
        }

    found = parts(key, x, y)
    counts = lj.parameter_counts(config)
    return {k: arrays(v) for k, v in found.items()} | {"counts": counts, "json": config.to_json()}


class Net(nn.Module):
    """A backbone with averages, noise and dropout."""

    @nn.compact
    def __call__(self, x, train=True):
        x = nn.BatchNorm(use_running_average=not train)(nn.Dense(9)(x))
        x = lj.Noise(0.3)(nn.relu(x))
        return nn.Dropout(0.1, deterministic=not self.has_rng("dropout"))(x)


def wrapped(combinator):
    data, key = rows((12,)), jax.random.key(2)
    gamma = lj.GammaWrapper(Net(), 4, combinator=combinator, evaluation={"train": False})
    x, y = jnp.asarray(data.x_train[:24]), jnp.asarray(data.y_train[:8])

    @jax.jit
    def parts(key, x, y):
        variables = gamma.init(key, x)
        costs, state = gamma.costs(variables, x[:8], y, x[8:], key)
        after = gamma.predict_proba({"params": variables["params"], **state}, x)
        return {"init": variables, "costs": costs, "state": state, "probabilities": after}

    return arrays(parts(key, x, y))


def change(config=TRAIN, **fields):
    return dataclasses.replace(config, **fields)


def cases_on_one_device():
    yield "dense ladder", trained, {}
    yield "baseline", trained, {"config": change(DENSE, denoising_weights=(0, 0, 0))}
    yield "bottom", trained, {"config": change(DENSE, denoising_weights=(10, 0, 0))}
    gamma = change(DENSE, denoising_weights=(0, 0, 2), top_scale=False)
    yield "gamma", trained, {"config": gamma}
    yield "conv ladder", trained, {"config": CONV}
    yield "strided conv ladder", trained, {"config": STRIDED}
    part = change(validation=60, statistics="running", data_seed=5)
    yield "validation rows", trained, {"train": part}
    odd = change(prng="rbg", steps_per_epoch=2, statistics="unlabelled", decay_start=0.3)
    yield "other settings", trained, {"train": odd}
    images = rows((5, 5, 2), preprocessing="gcn_zca")
    flat = change(DENSE, input_shape=(50,))
    yield (
        "whitened images",
        trained,
        {"config": flat, "train": change(validation=60, data_seed=2), "data": images},
    )
    for mode in ("sequential", "vmap"):
        ways = {"num_seeds": 2, "parallel": lj.Parallel(devices=1, seed_mode=mode)}
        yield f"two seeds {mode}", trained, ways
    for order in ("same", "independent"):
        full = change(labels="all", labelled_order=order, labelled_batch_size=40)
        yield f"all labels {order}", trained, {"train": full}
    cut = {"checkpoint_every": 1, "keep": 1}
    yield "stopped and resumed", trained, {"stops": (1, 2), **cut}
    seeds = {"num_seeds": 2, "parallel": lj.Parallel(devices=1, seed_mode="sequential")}
    yield "stopped in the second seed", trained, {"stops": (4,), **cut, **seeds}
    yield "set aside", trained, {"again": True}
    split = lj.data.Split(np.arange(90), np.arange(100, 120), np.arange(30))
    yield "own split", trained, {"split": split, "train": change(validation=20)}
    for at in range(0, len(ALL_COMBINATORS), 4):
        names = (ALL_COMBINATORS[at : at + 4] + ["gaussian"] * 4)[:4]
        config = change(DENSE, layers=(9, 6, 4), denoising_weights=(9, 1, 0.5, 0.1))
        config = change(config, combinator=tuple(names))
        yield f"combinators {', '.join(names)}", trained, {"config": config}
    none = change(DENSE, layers=(9, 6, 4), denoising_weights=(9, 1, 0.5, 0.1))
    none = change(none, combinator=("vanilla", "none", "gaussian", "gaussian"))
    yield "combinator none", trained, {"config": none}
    words, empty = ["ant", "bee", "cat", "dog"], {"unlabeled_label": ""}
    yield "classifier", classifier, {"shape": (12,), "labels": words, **empty}
    kept = {"shape": (12,), "labels": [3, 5, 7, 9], "unlabeled_label": -1, "layers": (12,)}
    yield "classifier workdir", classifier, {**kept, "keep": "workdir", "scaling": "range"}
    net = {"layers": "conv:4:3, globalmean", "statistics": "running"}
    image = {"shape": (6, 6, 1), "labels": words, **empty, **net}
    yield "classifier of images", classifier, {**image, "keep": "save"}
    for name, config in {"dense": DENSE, "conv": CONV, "strided": STRIDED, "none": none}.items():
        yield f"functions {name}", lambda name, config: mathematics(config), {"config": config}
    for combinator in ("gaussian", "augmented_mlp"):
        yield f"GammaWrapper {combinator}", lambda name, c: wrapped(c), {"c": combinator}


def cases_on_eight_devices():
    for kind in ("jit", "pmap"):
        ways = {"parallel": lj.Parallel(devices="all", kind=kind)}
        yield f"8 devices {kind}", trained, {**ways, "train": change(batch_size=39)}
        yield f"8 devices {kind} conv", trained, {**ways, "config": CONV}
    yield "8 devices two seeds", trained, {"num_seeds": 2}
    pmap = lj.Parallel(devices=8, kind="pmap")
    yield "8 devices two seeds pmap", trained, {"num_seeds": 2, "parallel": pmap}
    baseline = change(DENSE, denoising_weights=(0, 0, 0))
    yield "8 devices eight seeds", trained, {"num_seeds": 8, "config": baseline}


def read(name):
    """A run folder as this tree loads it, whichever tree made it."""
    folder, found = FOLDER / name, {}
    known = json.loads((folder / "config.json").read_text())
    config = lj.LadderConfig.from_json(known["model"])
    train = lj.TrainConfig.from_json(known["training"])
    x = rows(config.input_shape).x_test
    if (folder / "classifier.json").exists():
        own = lj.LadderClassifier.load(folder)
        x = rows(own.input_shape_).x_test
        found["probabilities"] = {"classes": own.classes_.tolist(), **arrays(own.predict_proba(x))}
        return found
    for seed in range(train.seed, train.seed + known["num_seeds"]):
        model = lj.load(folder, seed)
        x = rows(model.prepare.shape, preprocessing="gcn_zca").x_test if model.prepare.shape else x
        found[f"probabilities {seed}"] = probabilities(model, x)
    summary = lj.finished_summary(folder, config, train, known["num_seeds"])
    return found | {"errors": summary and summary["runs"]} | of_folder(folder)


def runs_in_folder():
    for path in sorted(FOLDER.iterdir()):
        yield f"load {path.name}", lambda name, own: read(own), {"own": path.name}


def main():
    part, _, out, pattern = sys.argv[1:]
    parts = {"one": cases_on_one_device, "eight": cases_on_eight_devices, "read": runs_in_folder}
    found = {}
    for name, call, settings in parts[part]():
        if part != "read" and not fnmatch.fnmatchcase(name, pattern):
            continue
        try:
            found[name] = call(name, **settings)
        except Exception as error:
            found[name] = {"failed": f"{type(error).__name__}: {error}"}
    Path(out).write_text(json.dumps(found))


main()
