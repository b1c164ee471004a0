"""Nearest points of a hyperplane within the box, in float64 and found another way."""

import numpy as np
import scipy.optimize


def nearest_step(norm, point, normal, value):
    """`min norm(step)`, `value + normal . step = 0`, `point + step` in [0, 1]; `[d]`.

    In L-infinity and L2 the optimum is `clip(point + t direction)`, the condition of
    Karush, Kuhn and Tucker, and t a root; in L1 a linear program. The box must reach
    the plane.
    """
    point, normal = np.asarray(point, np.float64), np.asarray(normal, np.float64)
    if norm == 1:
        return linear_program(norm, point, normal, value)
    direction = -np.sign(value) * (normal if norm == 2 else np.sign(normal))

    def step(t):
        return np.clip(point + t * direction, 0, 1) - point

    def ahead(t):
        return float(value + normal @ step(t))

    far = 1.0
    while np.sign(ahead(far)) == np.sign(value) and far < 1e12:
        far *= 2.0
    return step(scipy.optimize.brentq(ahead, 0.0, far, xtol=1e-14))


def linear_program(norm, point, normal, value):
    """The same in L1 or L-infinity by HiGHS: any of the shortest steps, `[d]`."""
    size = len(point)
    equal = np.concatenate([normal, -normal, [0.0]])[None]
    # Ups and downs, and in L-infinity the largest of them.
    limits = np.concatenate([np.eye(2 * size), -np.ones((2 * size, 1))], axis=1)
    weights = np.ones(2 * size + 1) if norm == 1 else np.zeros(2 * size + 1)
    weights[-1] = 0.0 if norm == 1 else 1.0
    bounds = [(0, up) for up in 1 - point] + [(0, down) for down in point]
    result = scipy.optimize.linprog(
        weights,
        A_eq=equal,
        b_eq=[-value],
        A_ub=None if norm == 1 else limits,
        b_ub=None if norm == 1 else np.zeros(2 * size),
        bounds=[*bounds, (0, None)],
        options={"primal_feasibility_tolerance": 1e-10},
    )
    assert result.status == 0, result.message
    return result.x[:size] - result.x[size : 2 * size]


def length(norm, step):
    """Norm of one step."""
    return np.linalg.norm(step, ord=np.inf if norm == "inf" else norm)
