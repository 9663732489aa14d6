"""How far two computations in float32 of one number may lie apart, from the rounding: on every processor."""


def float32(roundings, size=1.0):
    """`roundings` operations stand between the numbers given and the result, each of which rounds by 2^-24 of what it
    makes, at most `size` (Higham 2002, "Accuracy and Stability of Numerical Algorithms", sections 2.2 and 3.1). A sum of n
    terms is n of them in whatever order; exp, log and tanh are counted as four. Where the terms have one sign the bound is
    a relative one.
    """
    return roundings * 2.0**-24 * size
