"""An array that lives elsewhere: what a CuPy array allows and refuses, on a machine without a GPU.

It computes with NumPy inside, and is strict where CuPy is: it takes part in NumPy's functions only through the two dispatch
protocols, an operation that mixes it with a NumPy array is an error, and so is turning it into one without saying so.  It is no
stand-in for CuPy's results; what it proves is that no code path leaves the device or mixes the two kinds.

``TRANSFERS`` records each explicit crossing: "to device" (np.asarray(host, like=device)), "to host" (.get()), and "scalar" (float,
int, bool of one element, which waits for the device).
"""

from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

TRANSFERS: list[str] = []

# Functions that make an array from host data when ``like`` names a device array; all others must not see a host array.
CREATION = {"asarray", "array", "arange", "zeros", "ones", "empty", "full", "eye", "identity"}


class ImplicitTransfer(TypeError):
    """A device array was used where only a host array can be, or together with one."""


def on_device(host: Any) -> "DeviceArray":
    """A copy of a host array, on the device."""
    return DeviceArray(np.array(host))


class DeviceArray(NDArrayOperatorsMixin):
    """A NumPy array behind a wall."""

    __slots__ = ("_host",)
    __array_priority__ = 100

    def __init__(self, host: np.ndarray) -> None:
        self._host = host

    # ---- the two protocols ---------------------------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        out = kwargs.pop("out", None)
        kwargs = unwrap(kwargs, ufunc.__name__)
        if out is not None:
            kwargs["out"] = unwrap(out, ufunc.__name__)
        result = getattr(ufunc, method)(*(unwrap(i, ufunc.__name__) for i in inputs), **kwargs)
        return out[0] if out is not None and len(out) == 1 else wrap(result)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        name = func.__name__
        if name in CREATION:
            kwargs = {key: value for key, value in kwargs.items() if key != "like"}
            if name in ("asarray", "array") and isinstance(args[0], DeviceArray):
                return wrap(func(args[0]._host, *args[1:], **kwargs))
            if name in ("asarray", "array"):
                TRANSFERS.append("to device")
            return DeviceArray(func(*args, **kwargs))
        result = func(*unwrap(args, name), **unwrap(kwargs, name))
        return None if result is None else wrap(result)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise ImplicitTransfer("implicit conversion of a device array to a NumPy array: use .get()")

    # ---- what an ndarray has -------------------------------------------------------------------------------------

    shape = property(lambda self: self._host.shape)
    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    nbytes = property(lambda self: self._host.nbytes)
    flags = property(lambda self: self._host.flags)
    T = property(lambda self: wrap(self._host.T))

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key: Any) -> Any:
        return wrap(self._host[unwrap(key, "indexing")])

    def __setitem__(self, key: Any, value: Any) -> None:
        self._host[unwrap(key, "indexing")] = unwrap(value, "assignment")

    def _scalar(self, kind: Any) -> Any:
        TRANSFERS.append("scalar")
        return kind(self._host)

    def __float__(self) -> float:
        return self._scalar(float)

    def __int__(self) -> int:
        return self._scalar(int)

    def __bool__(self) -> bool:
        return self._scalar(bool)

    def __index__(self) -> int:
        raise ImplicitTransfer("a device array used as an index of a host object")

    def item(self, *index: int) -> Any:
        TRANSFERS.append("scalar")
        return self._host.item(*index)

    def get(self) -> np.ndarray:
        """A copy on the host, asked for by name."""
        TRANSFERS.append("to host")
        return self._host.copy()

    def __repr__(self) -> str:
        return f"DeviceArray(shape={self.shape}, dtype={self.dtype})"


def _method(name: str) -> Any:
    def call(self: DeviceArray, *args: Any, **kwargs: Any) -> Any:
        return wrap(getattr(self._host, name)(*unwrap(args, name), **unwrap(kwargs, name)))

    return call


for _name in (
    "reshape",
    "sum",
    "mean",
    "max",
    "min",
    "any",
    "all",
    "copy",
    "astype",
    "swapaxes",
    "transpose",
    "ravel",
    "argmax",
    "argsort",
    "cumsum",
    "squeeze",
    "fill",
    "prod",
    "take",
    "repeat",
    "clip",
    "round",
    "dot",
    "var",
    "std",
    "nonzero",
):
    setattr(DeviceArray, _name, _method(_name))


def unwrap(value: Any, name: str) -> Any:
    """The arrays inside, and an error for a host array among them; plain numbers and 0-d host scalars may pass."""
    if isinstance(value, DeviceArray):
        return value._host
    if isinstance(value, np.ndarray):
        raise ImplicitTransfer(f"{name} mixes a device array with a NumPy array of shape {value.shape}")
    if isinstance(value, (tuple, list)) and type(value) in (tuple, list):
        return type(value)(unwrap(v, name) for v in value)
    if isinstance(value, dict):
        return {key: unwrap(v, name) for key, v in value.items()}
    return value


def wrap(value: Any) -> Any:
    """Results are on the device, also those of one element, as CuPy's are."""
    if isinstance(value, (np.ndarray, np.generic)):
        return DeviceArray(np.asarray(value))
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(wrap(v) for v in value))
    if isinstance(value, (tuple, list)):
        return type(value)(wrap(v) for v in value)
    return value
