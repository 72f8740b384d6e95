"""The given part of module 02: the error function, which NumPy does not have.

With t = 2 / (2 + |x|), which runs from 1 down to 0, log(erfc(|x|) / t) + x² is so smooth that a
polynomial in 2t - 1 fits it for every x: 13 terms for float32, 28 for float64. Against 30-digit
arithmetic on [-9, 9] the largest error is 2.8e-7 in float32 and 3.5e-16 in float64, two or three
units in the last place of erfc's largest values. The relative error stays below 7.6e-6 and 1.4e-14
down to where erfc is 1e-36.
"""

import math

import numpy as np

# Polynomials in 2t - 1, highest power first: Chebyshev fits of 13 and 28 terms.
ERFC_FLOAT32 = (1.33715035e-05, -8.72838102e-05, -3.21137723e-05, 5.73766372e-04)
ERFC_FLOAT32 += (-1.82782142e-04, -2.28876524e-03, 1.77066612e-03, 8.80882537e-03, -9.87453492e-03)
ERFC_FLOAT32 += (-4.68936406e-02, 4.73434175e-02, 6.72643155e-01, -6.71794085e-01)
ERFC_FLOAT64 = (-1.8902306008944537e-09, 4.06088214696972e-09, 1.117235226362376e-08)
ERFC_FLOAT64 += (-3.917182051027182e-08, 1.4448658046252822e-09, 1.5334345920908171e-07)
ERFC_FLOAT64 += (-2.495832761719667e-07, -1.6849800720653287e-07, 1.2500276612569751e-06)
ERFC_FLOAT64 += (-1.2723119048688704e-06, -2.9479868769982595e-06, 8.562623420121287e-06)
ERFC_FLOAT64 += (1.37726641344644e-07, -3.0187884551394246e-05, 3.1745179749437396e-05)
ERFC_FLOAT64 += (7.140101412757029e-05, -1.743029472030762e-04, -9.373503117098169e-05)
ERFC_FLOAT64 += (6.73678795580235e-04, -1.4624686337800342e-04, -2.345812500482853e-03)
ERFC_FLOAT64 += (1.758933557799016e-03, 8.824938557060623e-03, -9.872689366389957e-03)
ERFC_FLOAT64 += (-4.6895610231175305e-02, 4.734330684190443e-02, 6.726432239776567e-01)
ERFC_FLOAT64 += (-6.717940840566923e-01,)
ERFC_BLOCK = 16384  # elements at a time: the temporaries of a block stay in cache


def erfc(x: np.ndarray) -> np.ndarray:
    """Return the complementary error function, 2/√π times the integral of exp(-s²) from x to ∞.

    Source: the form is that of Press et al. 2007, Numerical Recipes, section 6.2.2.
    """
    x = np.asarray(x)
    coefficients = ERFC_FLOAT64 if x.dtype == np.float64 else ERFC_FLOAT32
    flat = np.ravel(x)
    out = np.empty_like(flat)
    for start in range(0, flat.size, ERFC_BLOCK):
        block = flat[start : start + ERFC_BLOCK]
        distance = np.abs(block)
        t = 2 / (2 + distance)
        place = 2 * t - 1
        power = np.full_like(place, coefficients[0])
        for coefficient in coefficients[1:]:
            power *= place
            power += coefficient
        power -= distance * distance
        sign = np.copysign(1, block)  # erfc(-x) = 2 - erfc(x)
        out[start : start + ERFC_BLOCK] = sign * t * np.exp(power) + (1 - sign)
    return out.reshape(x.shape)


def normal_cdf(x: np.ndarray) -> np.ndarray:
    """Return Φ(x), the probability that a standard normal variable is at most x."""
    return 0.5 * erfc(x * -math.sqrt(0.5))
