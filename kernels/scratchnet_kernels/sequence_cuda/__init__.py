"""The ``sequence`` engine on CuPy arrays: one kernel for all of time, W_h in multiprocessors.

Each file has the name of its cell; read ``rnn.py`` first. ``product.py`` has the recurrent product
and ``product_tf32.py`` that of tensor cores (engine ``sequence_tf32``), ``weights.py`` what both have
in common, ``cluster.py`` what several multiprocessors exchange, ``resources.py`` the rule for what a kernel
takes of them, ``engine.py`` the step from arrays to a launch.
"""
