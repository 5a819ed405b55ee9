#!/usr/bin/env bash
# mpyc 0.11: private inference by secret sharing, in its fixed-point type.
#
# Guess, before running: the product of the same two secrets is the same number every time, rounded to the nearest of
# the type's steps (2^-16 here).
#
# Seen: it is one of the two nearest steps, drawn anew for each product; 0.5 times 3 steps is 1 or 2 steps, and the mean
# of many is the exact 1.5. What is less than half a step is 0 as soon as it is shared.
#
#   0.5 x 3 steps, 200 times: {1.0, 2.0} steps, mean 1.5 (near)
#   7e-06 as it is shared: 0.0
#
# For unsplit: features and gradients that were computed this way are not repeatable: neither are equality nor hashes of
# arrays recorded twice. The noise is no defence, since whoever may ask twice averages it away, and cut gradients of a
# mean over many samples (1e-6 and less) arrive as zeros: label inference then sees fewer of them than were sent.
set -euo pipefail
source "$(dirname "$0")/common.sh"
installed mpyc==0.11
observed <<'PY'
from mpyc.runtime import mpc
from still import still

fixed = mpc.SecFxp(32, 16)


async def products():
    await mpc.start()
    opened = await mpc.output([fixed(0.5) * fixed(3 * 2**-16) for _ in range(200)])
    small = await mpc.output(fixed(7e-6))
    await mpc.shutdown()
    return [float(value) * 2**16 for value in opened], float(small)


steps, small = mpc.run(products())
mean = sum(steps) / len(steps)
print(f"0.5 x 3 steps, 200 times: {set(steps)} steps, mean {mean}")
print("7e-06 as it is shared:", small)
still(set(steps) == {1.0, 2.0} and abs(mean - 1.5) < 0.25 and small == 0)
PY
