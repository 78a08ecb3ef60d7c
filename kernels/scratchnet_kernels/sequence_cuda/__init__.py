"""The ``sequence`` engine on CuPy arrays: one kernel for all of time, W_h in multiprocessors.

Each file has the name of its cell; read ``rnn.py`` first. ``product.py`` has the recurrent product,
``product_tf32.py`` that of engine ``sequence_tf32``, on tensor cores (``tensor_core.py``), and
``weights.py`` what the kernels know of both. ``cluster.py`` has what several multiprocessors
exchange, ``resources.py`` and ``resources_tf32.py`` the rules for what a kernel takes of them,
``engine.py`` the step from arrays to a launch.
"""
