"""Writes the tables of gelu-inl.h: python3 gelu_tables.py | clang-format > gelu_tables.h (in this folder; seconds).

T(z) = z Phi(-z) and S(z) = Phi(-z) - z phi(z) in 32 pieces, each a polynomial of r = z - centre with coefficients that
are floats. The kernel adds the first two terms of T as sums of two floats, so errors of c0 and c1 would be errors of
the result: the centre is chosen, among the floats near the middle of its piece, where both happen to be floats almost
exactly (Gal's accurate tables). Each coefficient is rounded in turn and the later ones fitted again, to make up for it.
"""
import math
import struct

PIECES = 32
# The piece of z is round(z (SLOPE + BEND z)): narrow where e^(-z^2 / 2) falls fast. SLOPE puts the minimum of GELU on the
# edge of pieces 2 and 3: were it inside, c1 would be next to nothing and c1 + r c2 lose more than its rounding.
MINIMUM, BEND, END = 0.751791524693564, 0.364, 6.0
SLOPE = (2.5 - BEND * MINIMUM**2) / MINIMUM
DERIVATIVE_STEP = 0.1953125  # pieces of S are of one width; the last is zero
CANDIDATES, FINALISTS = 40000, 40


def single(x):
    return struct.unpack("f", struct.pack("f", x))[0]


def cdf(z):  # Phi(-z)
    return 0.5 * math.erfc(z / math.sqrt(2))


def density(z):
    return math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)


def tail(z):
    return z * cdf(z)


def slope(z):  # T' = S, as T(-x) = x + T(x)
    return cdf(z) - z * density(z)


def bend(z):
    return density(z) * (z * z - 2)


def least_squares(rows, right):
    """Householder, as the basis is of powers."""
    rows, right, n = [list(r) for r in rows], list(right), len(rows[0])
    for k in range(n):
        norm = math.copysign(math.sqrt(sum(r[k] ** 2 for r in rows[k:])), rows[k][k])
        v = [r[k] for r in rows[k:]]
        v[0] += norm
        scale = 2 / sum(a * a for a in v)
        for j in range(k, n):
            dot = scale * sum(a * r[j] for a, r in zip(v, rows[k:]))
            for a, r in zip(v, rows[k:]):
                r[j] -= dot * a
        dot = scale * sum(a * b for a, b in zip(v, right[k:]))
        for i, a in enumerate(v):
            right[k + i] -= dot * a
    x = [0.0] * n
    for k in reversed(range(n)):
        x[k] = (right[k] - sum(rows[k][j] * x[j] for j in range(k + 1, n))) / rows[k][k]
    return x


def fit(f, weight, centre, low, high, degree, fixed):
    """Float coefficients of f(centre + r), and the greatest weighted error."""
    n = 4 * (degree + 1)
    nodes = [(low + high) / 2 + (high - low) / 2 * math.cos(math.pi * (i + 0.5) / n) for i in range(n)]
    h = max(high - centre, centre - low)
    u = [(z - centre) / h for z in nodes]
    w = [weight(z) for z in nodes]
    coefficients = [c * h**k for k, c in enumerate(fixed)]
    for k in range(len(fixed), degree + 1):
        rest = [wi * (f(z) - sum(c * ui**j for j, c in enumerate(coefficients))) for z, ui, wi in zip(nodes, u, w)]
        best = least_squares([[wi * ui**j for j in range(k, degree + 1)] for ui, wi in zip(u, w)], rest)
        coefficients.append(single(best[0] / h**k) * h**k)
    coefficients = [c / h**k for k, c in enumerate(coefficients)]
    worst = 0
    for i in range(201):
        z = low + (high - low) * i / 200
        if z > 0:
            value = sum(c * (z - centre)**j for j, c in enumerate(coefficients))
            worst = max(worst, weight(z) * abs(value - f(z)))
    return worst, coefficients


def value_piece(k, degree=7):
    def edge(i):
        return (math.sqrt(SLOPE * SLOPE + 4 * BEND * i) - SLOPE) / (2 * BEND)

    def fitted(centre, low, high, fixed):
        return (*fit(tail, lambda z: 1 / tail(z), centre, low, high, degree, fixed), centre)

    def lost(m):
        errors = [abs(c - single(c)) for c in (tail(m), slope(m), bend(m) / 2)]
        return (errors[0] + h * errors[1] + h * h / 4 * errors[2]) / tail(m)

    if k == 0:
        return fitted(0.0, 0.0, edge(0.5), [0.0, 0.5])
    low, high = edge(k - 0.5), edge(k + 0.5)
    middle, h = (low + high) / 2, (high - low) / 2
    centres = {single(middle + 0.04 * h * (2 * i / CANDIDATES - 1)) for i in range(CANDIDATES + 1)}
    best = sorted((lost(m), m) for m in centres)[:FINALISTS]
    return min(fitted(m, low, high, [single(tail(m)), single(slope(m))]) for _, m in best)


def slope_piece(k, degree=4):
    if k == PIECES - 1:
        return 0.0, [0.0] * (degree + 1)
    centre = k * DERIVATIVE_STEP
    return fit(slope, lambda z: 1.0, centre, centre - DERIVATIVE_STEP / 2, centre + DERIVATIVE_STEP / 2, degree,
               [single(slope(centre))])


def literal(c):
    digits = f"{c:.9g}"
    return digits + ("f" if "." in digits or "e" in digits else ".0f")


def table(name, comment, rows):
    print(f"// {comment}\nalignas(64) inline constexpr float {name}[][{PIECES}] = {{")
    for row in rows:
        print("{" + ", ".join(literal(c) for c in row) + "},")
    print("};\n")


def rows(name, comment, pieces):
    print(f"// {comment}\nalignas(64) inline constexpr float {name}[][{len(pieces[0])}] = {{")
    for piece in pieces:
        print("{" + ", ".join(literal(c) for c in piece) + "},")
    print("};\n")


def main():
    assert END * (SLOPE + BEND * END) < PIECES - 0.5
    values = [value_piece(k) for k in range(PIECES)]
    slopes = [slope_piece(k) for k in range(PIECES)]
    worst, worst_slope = max(v[0] for v in values), max(s[0] for s in slopes)
    guard = "FILIGREE_KERNELS_ACTIVATION_GELU_TABLES_H_"
    print(f"#ifndef {guard}\n#define {guard}\n")
    print("// Written by gelu_tables.py, which says what stands here. Not to be edited.\n")
    print("namespace filigree::kernels {\n")
    print(f"inline constexpr float kValueSlope = {SLOPE:.9g}f, kValueBend = {BEND}f, kValueEnd = {END}f;")
    print(f"inline constexpr float kDerivativeStep = {DERIVATIVE_STEP}f;\n")
    table("kValueTable", f"Centres, then c0 ... c7 of T: relative error {worst:.1e}.",
          [[v[2] for v in values]] + [[v[1][j] for v in values] for j in range(8)])
    table("kDerivativeTable", f"c0 ... c4 of S: error {worst_slope:.1e}.", [[s[1][j] for s in slopes] for j in range(5)])
    rows("kValueRows", "The same, piece by piece: c0 ... c7 of T.", [v[1] for v in values])
    rows("kDerivativeRows", "c0 ... c3 of S.", [s[1][:4] for s in slopes])
    print(f"}}  // namespace filigree::kernels\n\n#endif  // {guard}")


main()
