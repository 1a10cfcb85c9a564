"""The denoising functions g(z_tilde, u) of a Ladder Network in plain NumPy.

Part of the tests' oracle, sharing no code with the library. Each function takes
z_tilde, u and the stacked parameters a, whose rows come in the order in which the
function unpacks them and belong to the last axis of z_tilde: (P, C) for (..., C).
u=None asks for the form without u, which has rows of its own.

Sources: sec. 3 of Rasmus et al. 2015 (gaussian), Pezeshki et al. 2016 (the MLPs and
most ablations), the authors' code (start values, forms without u).

Every function keeps the dtype of its arrays.
"""

import numpy as np


def sigmoid(x):
    """1 / (1 + exp(-x)), without overflow."""
    return np.exp(-np.logaddexp(0, -x))


def gaussian(z_tilde, u, a):
    """Sec. 3: z_hat = (z_tilde - mu(u)) v(u) + mu(u), each unit on its own."""
    if u is None:
        w, b = a
        return w * z_tilde + b
    mu, v = mu_and_v(u, a)
    return (z_tilde - mu) * v + mu


def gaussian_stable_v(z_tilde, u, a):
    """Sec. 3 with v kept between 0 and 1 by a sigmoid."""
    if u is None:
        return gaussian(z_tilde, None, a)
    mu, v = mu_and_v(u, a)
    return (z_tilde - mu) * sigmoid(v) + mu


def mu_and_v(u, a):
    """Sec. 3: the prior mean mu(u) and the weight v(u) of the lateral signal."""
    a1, a2, a3, a4, a5, a6, a7, a8, a9, a10 = a
    mu = a1 * sigmoid(a2 * u + a3) + a4 * u + a5
    v = a6 * sigmoid(a7 * u + a8) + a9 * u + a10
    return mu, v


def vanilla(z_tilde, u, a):
    """A sigmoid unit beside a linear one, both with the product z_tilde u."""
    if u is None:
        a1, a2, b1, c1, c2 = a
        return a1 + a2 * z_tilde + b1 * sigmoid(c1 + c2 * z_tilde)
    a1, a2, a3, a4, b1, c1, c2, c3, c4 = a
    linear_part = a1 + a2 * z_tilde + a3 * u + a4 * z_tilde * u
    return linear_part + b1 * sigmoid(c1 + c2 * z_tilde + c3 * u + c4 * z_tilde * u)


def no_cross(z_tilde, u, a):
    """Vanilla without the products z_tilde u."""
    if u is None:
        return vanilla(z_tilde, None, a)
    a1, a2, a3, b1, c1, c2, c3 = a
    return a1 + a2 * z_tilde + a3 * u + b1 * sigmoid(c1 + c2 * z_tilde + c3 * u)


def no_sigmoid(z_tilde, u, a):
    """Vanilla without the sigmoid unit."""
    if u is None:
        a1, a2 = a
        return a1 + a2 * z_tilde
    a1, a2, a3, a4 = a
    return a1 + a2 * z_tilde + a3 * u + a4 * z_tilde * u


def additive(z_tilde, u, a):
    """n(z_tilde) + n(u): nothing is mixed before the sum; the shift b1 is shared."""
    if u is None:
        w1z, w2z, w3z, b1, b2 = a
        return w2z * sigmoid(b1 + w1z * z_tilde) + w3z * z_tilde + b2
    w1z, w2z, w3z, w1u, w2u, w3u, b1, b2 = a
    from_z = w2z * sigmoid(b1 + w1z * z_tilde) + w3z * z_tilde
    from_u = w2u * sigmoid(b1 + w1u * u) + w3u * u
    return from_z + from_u + b2


def linear(z_tilde, u, a):
    """The lateral signal scaled and shifted; u is ignored."""
    a1, b = a
    return a1 * z_tilde + b


def identity(z_tilde, u, a):
    """The lateral signal as it is, without parameters: a has no rows. u is ignored."""
    assert len(a) == 0
    return z_tilde


def relu(z_tilde, u, a):
    """A rectifier of u; the lateral signal is ignored."""
    if u is None:
        raise ValueError("relu needs u")
    (b,) = a
    return np.maximum(u + b, 0)


def sigmoid_of_u(z_tilde, u, a):
    """A sigmoid of u; the lateral signal is ignored."""
    if u is None:
        raise ValueError("sigmoid needs u")
    c, b = a
    return sigmoid(c * (u + b))


def mlp(hidden, augmented):
    """A g that is a small MLP of its own for every unit (Pezeshki et al. 2016).

    hidden: sizes of the hidden layers, leaky rectifiers of slope 0.1; the one output is
    linear. The inputs are z_tilde and u, augmented by z_tilde u or not; z_tilde alone
    if there is no u. Rows, layer after layer: w[out=0][in=0], w[0][1], ..., w[1][0], ...,
    then b[0], b[1], ...
    """

    def g(z_tilde, u, a):
        values = [z_tilde]
        if u is not None:
            values.append(u)
            if augmented:
                values.append(z_tilde * u)
        rows = list(a)
        for size in hidden:
            values = [np.where(x > 0, x, 0.1 * x) for x in affine(values, rows, size)]
        (z_hat,) = affine(values, rows, 1)
        assert not rows, "more parameters than the MLP has"
        return z_hat

    return g


def affine(inputs, rows, outputs):
    """One layer of the MLP: takes its weights and biases off the front of the rows."""
    weights = [[rows.pop(0) for _ in inputs] for _ in range(outputs)]
    biases = [rows.pop(0) for _ in range(outputs)]
    results = []
    for weights_of_output, bias in zip(weights, biases, strict=True):
        total = bias
        for weight, value in zip(weights_of_output, inputs, strict=True):
            total = total + weight * value
        results.append(total)
    return results


COMBINATORS = {  # name -> g(z_tilde, u, parameters)
    "gaussian": gaussian,
    "gaussian_stable_v": gaussian_stable_v,
    "vanilla": vanilla,
    "no_cross": no_cross,
    "no_sigmoid": no_sigmoid,
    "additive": additive,
    "linear": linear,
    "relu": relu,
    "sigmoid": sigmoid_of_u,
    "identity": identity,
}

START = {  # name -> start value of each row
    "gaussian": [0, 1, 0, 0, 0, 0, 1, 0, 0, 0],
    "gaussian_stable_v": [0, 1, 0, 0, 0, 0, 1, 0, 0, 0],
    "vanilla": [0, 1, 0, 0, 1, 0, 1, 0, 0],
    "no_cross": [0, 1, 0, 1, 0, 1, 0],
    "no_sigmoid": [0, 1, 0, 0],
    "additive": [1, 1, 0, 1, 1, 0, 0, 0],
    "linear": [1, 0],
    "relu": [0],
    "sigmoid": [1, 0],
    "identity": [],
}

START_WITHOUT_U = {
    "gaussian": [1, 0],
    "gaussian_stable_v": [1, 0],
    "vanilla": [0, 1, 1, 0, 1],
    "no_cross": [0, 1, 1, 0, 1],
    "no_sigmoid": [0, 1],
    "additive": [1, 1, 0, 0, 0],
    "linear": [1, 0],
    "identity": [],
}


def without_u(g):
    """g in its form without u, whatever u it is given."""

    def g_of_z_tilde(z_tilde, u, a):
        return g(z_tilde, None, a)

    g_of_z_tilde.ignores_u = True
    return g_of_z_tilde


def uses_u(g):
    """Whether u makes a difference to g: false for linear, identity and without_u(g)."""
    return g not in (linear, identity) and not getattr(g, "ignores_u", False)


def resolve(entry):
    """The g of one level: by its name, "name:no_u", or itself; None for "none"."""
    if callable(entry):
        return entry
    if entry == "none":
        return None
    name, separator, ending = entry.partition(":")
    if not separator:
        return COMBINATORS[name]
    assert ending == "no_u"
    return without_u(COMBINATORS[name])
