#!/usr/bin/env bash
# highdicom 0.28.2 and SimpleITK 2.5.7 on one axial CT series, four slices, feet to head.
#
# Guess, before running: both sort the slices by position and give them in the same order, ascending along the normal.
#
# Seen: SimpleITK's first slice is highdicom's last. highdicom keeps its three axes (slice, row, column) right-handed,
# which for axial slices means head to feet; the order of the files that it is given does not matter.
#
#   SimpleITK: [-1024.0, -924.0, -824.0, -724.0]
#   highdicom: [-724.0, -824.0, -924.0, -1024.0]
#
# For unsplit: volumes have the same shape and the same values either way, so nothing complains. Where the client reads
# with one and the truth is read with the other, the truth is mirrored along the slices, and clients that read
# differently train one bottom on mirrored anatomy. Flip the first axis of one of them.
set -euo pipefail
source "$(dirname "$0")/common.sh"
installed numpy==2.4.6 pydicom==3.0.2 highdicom==0.28.2 simpleitk==2.5.7
observed <<'PY'
import highdicom
import numpy as np
import pydicom
import SimpleITK
from still import still

series, study, frame = (pydicom.uid.generate_uid() for _ in range(3))
files = []
for number in range(4):
    slice_ = pydicom.Dataset()
    slice_.SOPClassUID, slice_.SOPInstanceUID = pydicom.uid.CTImageStorage, pydicom.uid.generate_uid()
    slice_.SeriesInstanceUID, slice_.StudyInstanceUID, slice_.FrameOfReferenceUID = series, study, frame
    slice_.Modality, slice_.InstanceNumber = "CT", number + 1
    slice_.PatientID = slice_.PatientName = "phantom"
    slice_.Rows, slice_.Columns, slice_.SamplesPerPixel, slice_.PhotometricInterpretation = 2, 3, 1, "MONOCHROME2"
    slice_.BitsAllocated, slice_.BitsStored, slice_.HighBit, slice_.PixelRepresentation = 16, 12, 11, 0
    slice_.ImageOrientationPatient, slice_.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 5 * number]
    slice_.PixelSpacing, slice_.SliceThickness = [1, 1], 5
    slice_.RescaleSlope, slice_.RescaleIntercept, slice_.RescaleType = 1, -1024, "HU"
    slice_.PixelData = np.full((2, 3), 100 * number, np.uint16).tobytes()
    slice_.file_meta = pydicom.dataset.FileMetaDataset()
    slice_.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    slice_.save_as(f"{number}.dcm", enforce_file_format=True)
    files.append(f"{number}.dcm")

reader = SimpleITK.ImageSeriesReader()
reader.SetFileNames(reader.GetGDCMSeriesFileNames("."))
one = SimpleITK.GetArrayFromImage(reader.Execute())[:, 0, 0].astype(float).tolist()
orders = [[0, 1, 2, 3], [3, 1, 0, 2]]
volumes = [highdicom.get_volume_from_series([pydicom.dcmread(files[n]) for n in order]) for order in orders]
other = [volume.array[:, 0, 0].tolist() for volume in volumes]
print("SimpleITK:", one)
print("highdicom:", other[0])
still(one == [-1024, -924, -824, -724] and other == [one[::-1]] * 2)
PY
