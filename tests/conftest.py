"""Here so that this folder is on the import path, for helpers.py; and so that numpy's threads leave the cores alone."""

import os

# The fake engine's products are small; on a busy machine the threads of the BLAS wait for each other for seconds.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
