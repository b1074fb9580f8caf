"""The visits of 312 patients to a clinic, at times of their own."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from course_lib.data.files import read_bundled_file

__all__ = [
    "VISITS_SHA256",
    "Visits",
    "visits",
]

VISITS_SHA256 = "2896bf2db2065cdd8b903afc9f5b7ea103f0c1dfab04d3f527a17950626b433c"


@dataclass(frozen=True)
class Visits:
    """What was measured at the visits of patients, each patient on days of their own.

    Attributes
    ----------
    times : Tensor, shape (n, k), years of 365.25 days since a patient's first visit
    values : Tensor, shape (n, k, D)
    seen : Tensor, shape (n, k), bool, False after a patient's last visit, where times
        and values hold zeros
    ends : Tensor, shape (n,), int64, how the record of a patient ends: 0 alive at the
        end of the study, 1 with a new liver, 2 dead
    names, units : tuple of D str
    source : str
    """

    times: Tensor
    values: Tensor
    seen: Tensor
    ends: Tensor
    names: tuple[str, ...]
    units: tuple[str, ...]
    source: str

    def of(self, rows: Tensor) -> Visits:
        """Some of the patients: their indices, or a mask."""
        return replace(
            self,
            times=self.times[rows],
            values=self.values[rows],
            seen=self.seen[rows],
            ends=self.ends[rows],
        )

    def logarithms(self, *names: str) -> Visits:
        """The same visits with the natural logarithm of the columns `names`.

        Raises
        ------
        ValueError
            If there is no column of that name.
        """
        unknown = set(names) - set(self.names)
        if unknown:
            raise ValueError(f"no column {unknown.pop()!r}; columns: {self.names}")
        logged = torch.tensor([name in names for name in self.names])
        values = self.values.log().where(self.seen[..., None], 0.0)
        return replace(
            self,
            values=values.where(logged, self.values),
            names=tuple(f"log {x}" if x in names else x for x in self.names),
            units=tuple(
                f"log({unit})" if name in names else unit
                for name, unit in zip(self.names, self.units)
            ),
        )


def visits() -> Visits:
    """The 1,945 visits of 312 patients with primary biliary cirrhosis, a disease of the
    liver, to the Mayo Clinic: bilirubin, albumin and prothrombin time in the blood.

    They are the patients of a trial from 1974 to 1984, followed for up to 14 years.
    Visits were planned after half a year, a year, and every year from then on; some
    more were made because a patient got worse. Nothing is missing at a visit; what is
    missing are visits after a death or a transplant.

    Raises
    ------
    DataError
        If the bundled file is missing or damaged.

    References
    ----------
    Murtaugh et al. 1994; Fleming and Harrington 1991, appendix D. The data frame
    ``pbcseq`` of the R package survival (T. Therneau), LGPL, version 2 or later.
    """
    text = read_bundled_file("pbcseq.csv.xz").decode()
    patients: dict[str, list[dict[str, str]]] = {}
    for row in csv.DictReader(text.splitlines()):
        patients.setdefault(row["id"], []).append(row)
    n, longest = len(patients), max(map(len, patients.values()))
    times, values = torch.zeros(n, longest), torch.zeros(n, longest, 3)
    seen = torch.zeros(n, longest, dtype=torch.bool)
    columns = ("bili", "albumin", "protime")
    for i, rows in enumerate(patients.values()):
        k = len(rows)
        times[i, :k] = torch.tensor([float(row["day"]) for row in rows])
        values[i, :k] = torch.tensor(
            [[float(row[name]) for name in columns] for row in rows]
        )
        seen[i, :k] = True
    return Visits(
        times=times / 365.25,
        values=values,
        seen=seen,
        ends=torch.tensor([int(rows[0]["status"]) for rows in patients.values()]),
        names=("bilirubin", "albumin", "prothrombin time"),
        units=("mg/dl", "g/dl", "s"),
        source=f"Mayo Clinic, {n} patients, {int(seen.sum()):,} visits, bundled",
    )
