"""The ``sequence`` engine on CuPy arrays: one kernel for all of time, W_h in the multiprocessor.

Each file has the name of its cell; read ``rnn.py`` first. ``product.py`` has the recurrent product,
``resources.py`` the rule for what a kernel takes of a multiprocessor, ``runs.py`` the step from
arrays to a launch.
"""
