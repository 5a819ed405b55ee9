#!/usr/bin/env bash
# Pillow 13.0.0 and tifffile 2026.3.3 on one scan as a TIFF whose zero is white, once with 8 and once with 16 bits (film
# scanners and X-ray exports write both).
#
# Guess, before running: Pillow turns both over, so that larger is brighter, as it does for the file with 8 bits.
#
# Seen: it turns over the one with 8 bits and leaves the one with 16; tifffile leaves both.
#
#   8 bits: stored [0, 20, 40], Pillow [255, 235, 215], tifffile [0, 20, 40]
#   16 bits: stored [0, 5000, 10000], Pillow [0, 5000, 10000], tifffile [0, 5000, 10000]
#
# For unsplit: its folders of pictures are read with Pillow, so a scan saved twice is its own negative in the other
# depth. Bring such files to one depth, or save them so that zero is black, before an audit mixes or compares them.
set -euo pipefail
source "$(dirname "$0")/common.sh"
installed numpy==2.4.6 pillow==13.0.0 tifffile==2026.3.3
observed <<'PY'
import numpy as np
import tifffile
from PIL import Image
from still import still

read = {}
for stored in (np.array([[0, 20, 40]], np.uint8), np.array([[0, 5000, 10000]], np.uint16)):
    bits = 8 * stored.itemsize
    tifffile.imwrite("scan.tif", stored, photometric="miniswhite")
    with Image.open("scan.tif") as image:
        read[bits] = [array.ravel().tolist() for array in (stored, np.asarray(image), tifffile.imread("scan.tif"))]
    print(f"{bits} bits: stored {read[bits][0]}, Pillow {read[bits][1]}, tifffile {read[bits][2]}")
still(
    read[8][1] == [255, 235, 215]
    and read[16][1] == [0, 5000, 10000]
    and all(stored == plain for stored, _, plain in read.values())
)
PY
