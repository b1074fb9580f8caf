"""The visits of patients: whole, as measured, in order, and refused if damaged."""

from __future__ import annotations

import dataclasses
import hashlib

import pytest
import torch

from course_lib import data
from course_lib.latent import readings

FILE = "pbcseq.csv.xz"


@pytest.fixture(scope="module")
def visits() -> data.Visits:
    return data.visits()


def test_there_are_1945_visits_of_312_patients(visits):
    counts = visits.seen.sum(dim=1)
    assert (len(counts), counts.sum()) == (312, 1945)
    assert (counts.min(), counts.max()) == (1, 16)
    assert visits.times.shape == visits.seen.shape == (312, 16)
    assert visits.values.shape == (312, 16, 3)
    assert visits.source == "Mayo Clinic, 312 patients, 1,945 visits, bundled"


def test_visits_come_first_in_a_row_and_padding_holds_zeros(visits):
    assert not (visits.seen.int().diff(dim=1) > 0).any()
    assert not visits.times[~visits.seen].any()
    assert not visits.values[~visits.seen].any()


def test_each_patient_starts_at_time_zero_and_each_visit_is_later_than_the_last(visits):
    assert not visits.times[:, 0].any()
    gaps = visits.times.diff(dim=1)[visits.seen[:, 1:]]
    assert gaps.min() * 365.25 == pytest.approx(48, abs=1e-3)
    assert visits.times.max() * 365.25 == pytest.approx(5152, abs=1e-2)


def test_the_first_two_patients_have_their_known_visits(visits):
    days = visits.times * 365.25
    assert days[0, :3].tolist() == pytest.approx([0, 192, 0], abs=1e-3)
    assert visits.values[0, :2].flatten().tolist() == pytest.approx(
        [14.5, 2.6, 12.2, 21.3, 2.94, 11.2]
    )
    assert visits.values[1, 0].tolist() == pytest.approx([1.1, 4.14, 10.6])
    assert visits.ends[:2].tolist() == [2, 0]


def test_the_units_are_those_of_a_blood_test(visits):
    """Bilirubin up to 1.2 mg/dl is healthy, albumin is 3.5 to 5 g/dl, clots take 11 s."""
    assert visits.units == ("mg/dl", "g/dl", "s")
    at = visits.values[visits.seen]
    low, middle, high = at.amin(0), at.median(dim=0).values, at.amax(0)
    assert (low > torch.tensor([0.0, 1.0, 8.0])).all()
    assert (high < torch.tensor([50.0, 9.0, 40.0])).all()
    assert middle.tolist() == pytest.approx([1.4, 3.44, 10.8])


def test_of_the_records_140_end_with_a_death_and_29_with_a_transplant(visits):
    assert visits.ends.bincount().tolist() == [143, 29, 140]


def test_logarithms_are_taken_of_the_columns_named_and_of_no_padding(visits):
    logged = visits.logarithms("bilirubin")
    assert logged.names == ("log bilirubin", "albumin", "prothrombin time")
    assert logged.units == ("log(mg/dl)", "g/dl", "s")
    assert torch.equal(logged.values[..., 1:], visits.values[..., 1:])
    back = logged.values[..., 0].exp()[visits.seen]
    assert torch.allclose(back, visits.values[..., 0][visits.seen])
    assert not logged.values[~visits.seen].any()
    with pytest.raises(ValueError, match="no column 'sugar'; columns: "):
        visits.logarithms("sugar")


def test_what_is_skewed_is_less_so_in_logarithms(visits):
    def skew(at: torch.Tensor) -> torch.Tensor:
        at = at.double()
        return ((at - at.mean(0)) / at.std(0)).pow(3).mean(0)

    both = visits.logarithms("bilirubin", "prothrombin time").values[visits.seen]
    raw, logged = skew(visits.values[visits.seen]), skew(both)
    assert logged[0] < raw[0] / 3 and logged[2] < raw[2] / 2 and abs(raw[1]) < 0.1


def test_the_visits_are_readings_as_the_latent_models_take_them(visits):
    found = readings(visits.values, visits.times, visits.seen)
    for mine, theirs in zip((visits.values, visits.times, visits.seen), found):
        assert torch.equal(mine, theirs)


def test_the_file_unpacks_to_the_original_byte_for_byte():
    contents = data.read_bundled_file(FILE)
    assert hashlib.sha256(contents).hexdigest() == data.VISITS_SHA256


def test_the_licence_of_the_visits_travels_beside_them():
    licence = (data.BUNDLED / "pbcseq-LICENSE").read_text(encoding="utf-8")
    assert licence.lstrip().startswith("GNU LESSER GENERAL PUBLIC LICENSE")
    assert "END OF TERMS AND CONDITIONS" in licence


def test_the_record_is_frozen(visits):
    with pytest.raises(dataclasses.FrozenInstanceError):
        visits.source = "elsewhere"


def test_a_damaged_file_is_refused(monkeypatch, tmp_path):
    packed = (data.BUNDLED / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(packed[:-5])
    (tmp_path / "SHA256SUMS").write_bytes((data.BUNDLED / "SHA256SUMS").read_bytes())
    monkeypatch.setattr(data.files, "BUNDLED", tmp_path)
    with pytest.raises(data.DataError, match=FILE):
        data.visits()
