#!/usr/bin/env bash
# highdicom 0.28.2, SimpleITK 2.5.7 and pydicom 3.0.2 on one radiograph whose PhotometricInterpretation is MONOCHROME1,
# as digital X-ray and mammography store them (the lowest value is the brightest).
#
# Guess, before running: all three give the stored values, as pydicom's pixel_array does; slopes are another matter.
#
# Seen: highdicom and SimpleITK turn the picture over, pydicom leaves it. What they turn it about is the range of the
# stored bits (4095 here), not the picture's own values, so no black of the picture becomes 0 by it.
#
#   stored:    [100, 200, 300, 400, 500, 3000]
#   pydicom:   [100, 200, 300, 400, 500, 3000]
#   SimpleITK: [3995, 3895, 3795, 3695, 3595, 1095]
#   highdicom: [3995, 3895, 3795, 3695, 3595, 1095]
#
# For unsplit: the truth must be read with the reader that the client trained with. Read with another it is the negative
# of what the attack recovers, and a perfect reconstruction scores worse than the best guess.
set -euo pipefail
source "$(dirname "$0")/common.sh"
installed numpy==2.4.6 pydicom==3.0.2 highdicom==0.28.2 simpleitk==2.5.7
observed <<'PY'
import highdicom
import numpy as np
import pydicom
import SimpleITK
from still import still

uid = pydicom.uid.generate_uid
stored = np.array([[100, 200, 300], [400, 500, 3000]], np.uint16)
image = pydicom.Dataset()
image.SOPClassUID, image.SOPInstanceUID = pydicom.uid.DigitalXRayImageStorageForPresentation, uid()
image.StudyInstanceUID, image.SeriesInstanceUID, image.Modality = uid(), uid(), "DX"
image.PatientID = image.PatientName = "phantom"
image.Rows, image.Columns, image.SamplesPerPixel, image.PhotometricInterpretation = 2, 3, 1, "MONOCHROME1"
image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
image.PixelData = stored.tobytes()
image.file_meta = pydicom.dataset.FileMetaDataset()
image.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
image.save_as("x.dcm", enforce_file_format=True)

seen = {
    "stored": stored,
    "pydicom": pydicom.dcmread("x.dcm").pixel_array,
    "SimpleITK": SimpleITK.GetArrayFromImage(SimpleITK.ReadImage("x.dcm")),
    "highdicom": highdicom.imread("x.dcm").get_frame(1),
}
for name, values in seen.items():
    print(f"{name + ':':10} {[int(value) for value in values.ravel()]}")
turned = (4095 - stored.astype(int)).ravel().tolist()
still(
    seen["pydicom"].ravel().tolist() == stored.ravel().tolist()
    and seen["SimpleITK"].ravel().tolist() == turned
    and seen["highdicom"].ravel().tolist() == turned
)
PY
