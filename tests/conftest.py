"""What holds for every test."""

import os

# The fake engine's products are small; on a busy machine the threads of numpy's BLAS wait for each other for seconds.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
