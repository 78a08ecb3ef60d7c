"""Training: the loop, optimisers, callbacks, schedules, clipping, penalties, BPTT, checkpoints,
resuming, mixed precision, distillation.

    from scratchnet.training import Adam, Clip, EarlyStopping, fit

    history = fit(model, (x, y), Adam(0.01), epochs=50, rng=rng, validation=(x_val, y_val),
                  callbacks=[Clip(1.0), EarlyStopping(patience=5)])
"""

from scratchnet.training.callbacks import (
    BestWeights,
    Clip,
    EarlyStopping,
    Freeze,
    GradientMonitor,
    ModelCheckpoint,
    ScheduledSampling,
)
from scratchnet.training.checks import TrainingDiverged
from scratchnet.training.config import TrainConfig
from scratchnet.training.loggers import CSVLogger, ProgressBar, TensorBoardLogger
from scratchnet.training.loop import fit, fit_stream, predict
from scratchnet.training.mixed import HalfTrainer
from scratchnet.training.optim import SGD, Adam, AdamW, Optimizer, RMSprop
from scratchnet.training.penalty import L1, L2
from scratchnet.training.resume import TrainingCheckpoint
from scratchnet.training.samples import Batches, Samples
from scratchnet.training.schedule import (
    Constant,
    Cosine,
    Exponential,
    Plateau,
    Schedule,
    StepDecay,
    Warmup,
)
from scratchnet.training.trainer import Callback, History, Trainer

__all__ = [
    "L1",
    "L2",
    "SGD",
    "Adam",
    "AdamW",
    "Batches",
    "BestWeights",
    "CSVLogger",
    "Callback",
    "Clip",
    "Constant",
    "Cosine",
    "EarlyStopping",
    "Exponential",
    "Freeze",
    "GradientMonitor",
    "HalfTrainer",
    "History",
    "ModelCheckpoint",
    "Optimizer",
    "Plateau",
    "ProgressBar",
    "RMSprop",
    "Samples",
    "Schedule",
    "ScheduledSampling",
    "StepDecay",
    "TensorBoardLogger",
    "TrainConfig",
    "Trainer",
    "TrainingCheckpoint",
    "TrainingDiverged",
    "Warmup",
    "fit",
    "fit_stream",
    "predict",
]
