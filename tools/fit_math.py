#!/usr/bin/env python3
"""Fits the polynomials of kernels/cpu/math_poly.h and prints them: minimax of the relative error, float32.

Needs numpy and mpmath. Lawson's iteration: least squares whose weights grow where the error is large.
"""
import mpmath as mp
import numpy as np

mp.mp.dps = 40


def minimax(f, low, high, degree, weight, nodes=600, rounds=60):
    angle = (np.arange(nodes) + 0.5) * np.pi / nodes
    x = (low + high) / 2 + (high - low) / 2 * np.cos(angle)
    basis = np.polynomial.chebyshev.chebvander((2 * x - low - high) / (high - low), degree)
    value = np.array([float(f(mp.mpf(v))) for v in x])
    size = np.array([float(weight(mp.mpf(v))) for v in x])
    lawson = np.ones(nodes)
    for _ in range(rounds):
        scale = np.sqrt(lawson) * size
        fit, *_ = np.linalg.lstsq(basis * scale[:, None], value * scale, rcond=None)
        error = np.abs((basis @ fit - value) * size)
        lawson *= error + 1e-30
        lawson /= lawson.sum()
    series = np.polynomial.chebyshev.Chebyshev(fit, [low, high])
    return series.convert(kind=np.polynomial.Polynomial).coef, error.max()


def show(name, fit):
    coefficients, error = fit
    print(f"{name}: error {error:.1e}")
    for i, c in enumerate(coefficients):
        mantissa, exponent = float(np.float32(c)).hex().split("p")
        print(f"#define {name}_{i} {mantissa[:-7]}p{exponent}f")


def tanh_ratio(u):
    root = mp.sqrt(u)
    return (mp.tanh(root) / root - 1) / u


def erfc_scaled(t):
    z = 2 * (1 + t) / (1 - t)
    return (1 + 2 * z) * mp.exp(z * z) * mp.erfc(z)


show("EXP", minimax(lambda r: (mp.exp(r) - 1 - r) / r**2, -0.3466, 0.3466, 4, lambda r: r * r))
show("EXP2", minimax(lambda r: (mp.mpf(2) ** r - 1) / r, -0.5, 0.5, 4, lambda r: abs(r) / mp.mpf(2) ** r))
show("TANH", minimax(tanh_ratio, 1e-6, 0.36, 5, lambda u: u))
show("ERFC", minimax(erfc_scaled, -1.0, (10.5 - 2) / (10.5 + 2), 11, lambda t: 1 / erfc_scaled(t)))
