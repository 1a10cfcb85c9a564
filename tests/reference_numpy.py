"""Ladder Network of Rasmus et al. 2015 (Algorithm 1, sec. 3) in plain NumPy.

An oracle for the tests that shares no code with the library: forward computations only.
The layers are in reference_layers, the denoising functions in reference_combinators.
What the paper leaves open follows the authors' code, as is noted.

Symbols of the paper: l = 0..L numbers the layers; z is clean, z_tilde corrupted and
z_hat denoised; mu, sigma are batch moments; W maps up, V maps down. A layer is flat,
(B, D), or an image, (B, H, W, C). Layers are listed from l = 1, so that the one *above*
level l is layers[l].

Parameters are nested dicts of arrays; D_l is the number of units of layer l:
  params["encoder"]["layer_l"], l = 1..L:
      "kernel" W(l) (D_{l-1}, D_l) or (k, k, C_{l-1}, C_l), "beta" (D_l,) or (C_l,), and
      "gamma" where there is one; poolings have no kernel and, but for a pooling at the
      top, no beta either, hence no entry
  params["decoder"]["layer_l"], for each l that has a z_hat:
      "combinator" (P, D_l), or (P, C_l) if layer l+1 is a convolution or a pooling, and,
      if layer l-1 takes its u from here, "kernel" V(l) (D_l, D_{l-1}) or
      (k, k, C_l, C_{l-1}), which poolings lack

Every function keeps the dtype of its arrays: scalars enter as Python floats, which
NumPy does not let promote float32 to float64.
"""

import numpy as np
from reference_combinators import resolve, uses_u
from reference_layers import forward, inverse

EPSILON = 1e-10  # added to the variance in every batch normalisation (authors' code)


def batch_moments(x):
    """Algorithm 1, batchmean and (squared) batchstd: biased moments.

    Those of each unit over the batch, or of each channel over the batch and the image.
    """
    all_but_last = tuple(range(x.ndim - 1))
    mean = np.mean(x, axis=all_but_last)
    var = np.mean((x - mean) ** 2, axis=all_but_last)
    return mean, var


def normalise(x, mean, var):
    """(x - mu) / sigma, with sigma = sqrt(var + EPSILON)."""
    return (x - mean) / np.sqrt(var + EPSILON)


def batchnorm(x):
    """Algorithm 1, batchnorm: normalisation by the moments of this very minibatch."""
    return normalise(x, *batch_moments(x))


def log_softmax(logits):
    """Logarithm of the class probabilities of each row, without overflow."""
    shifted = logits - np.max(logits, axis=-1, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True))


def rectify(x, activation):
    """The non-linearity below the top: "relu", or "leaky_relu" of slope 0.1."""
    slope = {"relu": 0.0, "leaky_relu": 0.1}[activation]
    return np.where(x > 0, x, slope * x)


def dense_layers(params):
    """The layers of an MLP, from the shapes of its kernels."""
    L = len(params["encoder"])
    widths = [params["encoder"][f"layer_{l}"]["kernel"].shape[1] for l in range(1, L + 1)]
    return [("dense", width) for width in widths]


def encode(params, x, noise=None, noise_std=None, moments=None, layers=None, activation="relu"):
    """Algorithm 1, both encoders: corrupted if there is noise, otherwise clean.

    x is one part of the minibatch, labelled or unlabelled: the authors' code normalises
    each part by its own moments. noise: L+1 standard-normal arrays, noise_std: L+1
    floats. moments: per layer (mean, var) to normalise by instead of those of x, as in
    evaluation (index 0 is ignored). layers: L tuples (None: an MLP).

    Returns lists over l = 0..L: "z" and "h" (z_tilde and h_tilde if corrupted), "mean"
    and "var" (the biased moments of z_pre on x itself, whatever it is normalised by;
    None at l = 0), and "logits", the argument of the top softmax.
    """
    layers = dense_layers(params) if layers is None else layers
    L = len(layers)

    def corrupt(z, l):
        return z if noise is None else z + float(noise_std[l]) * noise[l]

    z, h = [corrupt(x, 0)], [corrupt(x, 0)]  # the input is not normalised
    means, variances = [None], [None]
    for l, layer in enumerate(layers, start=1):
        weights = params["encoder"].get(f"layer_{l}", {})
        z_pre = forward(layer, weights.get("kernel"), h[l - 1])
        mean, var = batch_moments(z_pre)
        means.append(mean)
        variances.append(var)
        if moments is not None:
            mean, var = moments[l]
        z.append(corrupt(normalise(z_pre, mean, var), l))
        if layer[0] in ("maxpool", "globalmean") and l < L:
            h.append(z[l])
            continue
        # activation(gamma * (z + beta)); gamma is redundant, hence absent, below ReLU
        pre_activation = z[l] + weights["beta"]
        if "gamma" in weights:
            pre_activation = weights["gamma"] * pre_activation
        if l < L:
            h.append(rectify(pre_activation, activation))
        else:
            h.append(np.exp(log_softmax(pre_activation)))
    return {"z": z, "h": h, "mean": means, "var": variances, "logits": pre_activation}


def needed_levels(combinators, lowest, weights=None):
    """Whether each level l = 0..L has to be denoised.

    It has, down to `lowest`, if it has a g and has a cost or is asked for its z_hat by
    the level below. weights are the lambda_l; None: all levels down to `lowest` have a
    cost.
    """
    needed = []
    asked_from_below = False
    for l, entry in enumerate(combinators):
        g = resolve(entry)
        has_cost = l >= lowest and (weights is None or weights[l] > 0)
        needed.append(g is not None and (has_cost or asked_from_below))
        asked_from_below = needed[l] and uses_u(g)
    return needed


def decode(
    params,
    corrupted_unlabelled,
    lowest,
    combinator="gaussian",
    layers=None,
    combinators=None,
    weights=None,
):
    """Algorithm 1, "Decoder and denoising", for l = L down to `lowest` instead of 0.

    corrupted_unlabelled is what `encode` returned for the unlabelled part with noise.
    The top takes u(L) from the class probabilities h_tilde(L); what goes down from
    layer to layer is z_hat before z_hat_BN. Below a dense layer everything is unit-wise,
    images included, which are flat until they are denoised; below a convolution or a
    pooling it is channel-wise.

    combinators: L+1 entries from the input up, see reference_combinators.resolve (None:
    `combinator` on every level). A level below one without z_hat gets no u. Levels that
    are not needed (see needed_levels, also for weights) are left out.

    Returns the lists "u" and "z_hat" over l = 0..L, None where there is none.
    """
    z_tilde, h_tilde = corrupted_unlabelled["z"], corrupted_unlabelled["h"]
    L = len(z_tilde) - 1
    layers = dense_layers(params) if layers is None else layers
    combinators = [combinator] * (L + 1) if combinators is None else combinators
    needed = needed_levels(combinators, lowest, weights)
    u, z_hat = [None] * (L + 1), [None] * (L + 1)
    for l in range(L, -1, -1):
        if not needed[l]:
            continue
        g = resolve(combinators[l])
        if uses_u(g) and l == L:
            u[l] = batchnorm(h_tilde[L])
        elif uses_u(g) and z_hat[l + 1] is not None:
            V = params["decoder"][f"layer_{l + 1}"].get("kernel")
            u[l] = batchnorm(inverse(layers[l], V, z_hat[l + 1], z_tilde[l].shape[1:]))
        z_tilde_l = z_tilde[l]
        if l < L and layers[l][0] == "dense":
            z_tilde_l = z_tilde_l.reshape(len(z_tilde_l), -1)
        denoised = g(z_tilde_l, u[l], params["decoder"][f"layer_{l}"]["combinator"])
        assert denoised.shape == z_tilde_l.shape
        z_hat[l] = denoised.reshape(z_tilde[l].shape)
    return {"u": u, "z_hat": z_hat}


def denoising_costs(z_hat, clean_unlabelled):
    """Algorithm 1, last line: ||z(l) - z_hat_BN(l)||^2 of each layer, without lambda_l.

    z_hat_BN uses mu(l), sigma(l) of the clean unlabelled pass; there are none at the
    input. As in the authors' code the squared norm is averaged over the minibatch and
    divided by the number of units of the layer. None where there is no z_hat.
    """
    C = [None] * len(z_hat)
    for l, z_hat_l in enumerate(z_hat):
        if z_hat_l is None:
            continue
        z, z_hat_BN = clean_unlabelled["z"][l], z_hat_l
        if l > 0:
            mean, var = clean_unlabelled["mean"][l], clean_unlabelled["var"][l]
            z_hat_BN = normalise(z_hat_l, mean, var)
        differences = (z - z_hat_BN).reshape(len(z), -1)
        C[l] = np.mean(np.sum(differences**2, axis=1)) / differences.shape[1]
    return C


def supervised_cost(logits, labels):
    """Algorithm 1, -log P(y_tilde = t(n) | x(n)), averaged over the labelled rows."""
    rows = np.arange(len(labels))
    return -np.mean(log_softmax(logits)[rows, labels])


def costs(
    params,
    x_l,
    y_l,
    x_u,
    noise,
    noise_std,
    weights,
    combinator="gaussian",
    layers=None,
    activation="relu",
    combinators=None,
):
    """Algorithm 1 as a whole: the cost C of one minibatch.

    noise is joint: the first rows of its arrays belong to the labelled part x_l, y_l,
    the others to the unlabelled part x_u. weights are the lambda_l. The decoder reaches
    down to the lowest layer with lambda_l > 0 (only the top: the Gamma-model of sec. 3;
    none: the supervised baseline, without any decoder). A layer whose combinator is
    "none" has no cost, whatever its lambda_l.
    """
    n_l = len(x_l)
    noise_l, noise_u = [n[:n_l] for n in noise], [n[n_l:] for n in noise]
    network = {"layers": layers, "activation": activation}
    corrupted_l = encode(params, x_l, noise_l, noise_std, **network)
    supervised = supervised_cost(corrupted_l["logits"], y_l)

    C = [None] * len(noise)
    weighted_layers = [l for l, weight in enumerate(weights) if weight > 0]
    if weighted_layers:
        corrupted_u = encode(params, x_u, noise_u, noise_std, **network)
        clean_u = encode(params, x_u, **network)
        lowest = min(weighted_layers)
        decoded = decode(params, corrupted_u, lowest, combinator, layers, combinators, weights)
        C = denoising_costs(decoded["z_hat"], clean_u)

    total = supervised
    for l in weighted_layers:
        if C[l] is not None:
            total = total + float(weights[l]) * C[l]
    return {"supervised": supervised, "denoising": C, "total": total}


def unbiased(var, n):
    """Biased variance of n > 1 rows times n / (n - 1) (authors' code)."""
    return var * (int(n) / (int(n) - 1))


def population_moments(params, batches, layers=None, activation="relu"):
    """Fixed statistics for "Final classification", as in the authors' code.

    Plain averages over the minibatches of the mean and of the unbiased variance of each
    layer. During the pass each minibatch is normalised by its own moments. For images, too,
    n is the number of rows. Returns a list over l = 0..L of (mean, var), None at l = 0,
    as `encode` takes it.
    """
    passes = [encode(params, x, layers=layers, activation=activation) for x in batches]
    L = len(passes[0]["z"]) - 1
    moments = [None]
    for l in range(1, L + 1):
        mean = sum(p["mean"][l] for p in passes) / len(passes)
        var = sum(unbiased(p["var"][l], len(p["z"][0])) for p in passes) / len(passes)
        moments.append((mean, var))
    return moments


def running_moments(list_of_batch_moments):
    """Running average of one layer's moments within one epoch (authors' code).

    Takes (mean, var, n) of each minibatch in turn, n being its rows; returns (mean,
    var). The weight of the newest is 1/count up to a count of 10, then 0.1.
    """
    running_mean, running_var, _ = list_of_batch_moments[0]  # replaced at count 1
    for count, (mean, var, n) in enumerate(list_of_batch_moments, start=1):
        weight = 1 / min(count, 10)
        running_mean = (1 - weight) * running_mean + weight * mean
        running_var = (1 - weight) * running_var + weight * unbiased(var, n)
    return running_mean, running_var


def annealing_factor(epoch, epochs, decay_start):
    """Sec. 4: the learning rate falls linearly to zero in a final annealing phase.

    The factor for `epoch` = 1..epochs; decay_start is the fraction of the epochs before
    the fall (1: none). In the authors' code the last epoch is one step above zero.
    """
    if decay_start == 1:
        return 1.0
    return min(1.0, (epochs - epoch + 1) / (epochs - decay_start * epochs))


def _adam(gradients, learning_rate, b1, b2, step):
    """Moment estimates common to both; step(m, v, c1, c2): the direction to descend."""
    m, v = np.zeros_like(gradients[0]), np.zeros_like(gradients[0])
    updates = []
    for t, gradient in enumerate(gradients, start=1):
        m = b1 * m + (1 - b1) * gradient
        v = b2 * v + (1 - b2) * gradient**2
        updates.append(-float(learning_rate) * step(m, v, 1 - b1**t, 1 - b2**t))
    return updates


def adam_original(gradients, learning_rate, b1=0.9, b2=0.999, eps=1e-8):
    """Adam as in the authors' code: eps is added to the uncorrected sqrt(v).

    gradients: one array per step. Returns the updates, to be added to the parameter.
    """
    return _adam(
        gradients, learning_rate, b1, b2, lambda m, v, c1, c2: c2**0.5 / c1 * m / (np.sqrt(v) + eps)
    )


def adam_kingma(gradients, learning_rate, b1=0.9, b2=0.999, eps=1e-8):
    """Adam as in Kingma & Ba, Algorithm 1: eps is added to the corrected sqrt(v)."""
    return _adam(
        gradients, learning_rate, b1, b2, lambda m, v, c1, c2: m / c1 / (np.sqrt(v / c2) + eps)
    )
