"""The ``sequence`` engine on CuPy arrays: one kernel that stays for all of time, with W_h in the
multiprocessor that needs it.

A file here has the name of its cell; read ``rnn.py`` first. ``product.py`` has the recurrent
product and its tricks, ``resources.py`` the rule for what a kernel takes of a multiprocessor,
``runs.py`` the way from arrays to a launch.
"""
