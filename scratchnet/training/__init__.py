"""Training: the loop, optimisers, schedules, clipping, penalties, BPTT, checkpoints, mixed
precision, distillation."""
