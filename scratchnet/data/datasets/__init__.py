"""Three real series that come with the library, with known baselines: ``load("sunspots")``.

    sunspots    yearly sunspot number, 1700 to 2008                                309 rows
    co2         weekly CO2 at Mauna Loa, 1958-03-29 to 2001-12-29                 2284 rows, 59 gaps
    elnino      monthly sea surface temperature, Nino 1+2, 1950-01 to 2010-12      732 rows

The files are CSVs with a header line; README.md in this folder has source and licence of each.
"""

from dataclasses import replace
from importlib import resources
from typing import NamedTuple

from scratchnet.data.series import Series, load_csv
from scratchnet.errors import InvalidValueError


class Facts(NamedTuple):
    """What a CSV does not say about itself."""

    unit: str
    source: str
    licence: str


_FACTS = {
    "sunspots": Facts(
        "yearly mean",
        "National Geophysical Data Center, http://www.ngdc.noaa.gov/stp/solar/solarda3.html, by way"
        " of statsmodels",
        "public domain; statsmodels: 'This data is public domain.'",
    ),
    "co2": Facts(
        "ppmv",
        "C.D. Keeling and T.P. Whorf 2004, Scripps Institution of Oceanography; Carbon Dioxide"
        " Information Analysis Center,"
        " http://cdiac.ornl.gov/trends/co2/sio-keel-flask/sio-keel-flaskmlo_c.html, by way of"
        " statsmodels",
        "public domain; statsmodels: 'This is public domain.'",
    ),
    "elnino": Facts(
        "degrees Celsius",
        "National Oceanic and Atmospheric Administration's National Weather Service, ERSST.V3B,"
        " Nino 1+2, http://www.cpc.ncep.noaa.gov/data/indices/, by way of statsmodels",
        "public domain; statsmodels: 'This data is in the public domain.'",
    ),
}

NAMES = tuple(_FACTS)


def load(name: str) -> Series:
    """Read one of ``NAMES`` as a Series: values (T, 1) float64, times ISO dates as text.

    The 59 weeks without a CO2 value are empty in the CSV and filled by linear interpolation, which
    the series' ``note`` says. The other two series have no gaps. Raises ValueError, listing the
    names, for another name.

    >>> series = load("sunspots")
    >>> series.values.shape, str(series.times[0])
    ((309, 1), '1700')
    """
    if name not in _FACTS:
        raise InvalidValueError(f"there is no dataset {name!r}: expected one of {', '.join(NAMES)}")
    with resources.as_file(resources.files(__name__) / f"{name}.csv") as path:
        series = load_csv(path, time="date", missing="fill")
    return replace(series, **_FACTS[name]._asdict())
