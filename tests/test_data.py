"""The data: what the bundled images are, what happens to damaged files, and seeded toy
sets.
"""

from __future__ import annotations

import gzip
import hashlib
import http.server
import itertools
import lzma
import math
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from course_lib import data
from course_lib.solvers import odeint
from tools.make_bundled_data import first_entries

# --- the bundled images ---------------------------------------------------------------

IMAGE_SETS = {
    "mnist training": (data.mnist, True, [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]),
    "mnist test": (data.mnist, False, [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]),
    "fashion training": (data.fashion_mnist, True, [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]),
    "fashion test": (data.fashion_mnist, False, [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]),
}
CLASS_COUNTS = {
    "mnist training": [1001, 1127, 991, 1032, 980, 863, 1014, 1070, 944, 978],
    "mnist test": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
    "fashion training": [942, 1027, 1016, 1019, 974, 989, 1021, 1022, 990, 1000],
    "fashion test": [1000] * 10,
}


@pytest.fixture(scope="module", params=IMAGE_SETS)
def bundled(request):
    """The name of a bundled set, the set, and its first labels as everybody knows them."""
    load, train, labels = IMAGE_SETS[request.param]
    return request.param, load(train), labels


def test_a_bundled_set_holds_ten_thousand_images_between_white_and_black(bundled):
    _, images, _ = bundled
    assert images.images.shape == (10_000, 1, 28, 28)
    assert images.images.dtype == torch.float32
    assert (images.images.min(), images.images.max()) == (0, 1)
    assert images.labels.shape == (10_000,)
    assert images.labels.dtype == torch.int64


def test_a_bundled_set_has_the_labels_of_the_original(bundled):
    name, images, labels = bundled
    assert images.labels[:10].tolist() == labels
    assert torch.bincount(images.labels).tolist() == CLASS_COUNTS[name]


def test_a_set_says_what_it_is(bundled):
    name, images, _ = bundled
    title = "MNIST" if name.startswith("mnist") else "Fashion-MNIST"
    half = "the first 10,000 training" if "training" in name else "10,000 test"
    assert images.source == f"{title}: {half} images, bundled"


@pytest.mark.parametrize(
    "archive", [data.MNIST, data.FASHION_MNIST], ids=lambda archive: archive.name
)
@pytest.mark.parametrize("name", data.TEST_FILES)
def test_a_bundled_test_file_unpacks_to_the_original_byte_for_byte(archive, name):
    contents, _ = data.read_bundled(archive, name)
    assert hashlib.sha256(contents).hexdigest() == archive.sha256[name]


@pytest.mark.parametrize(
    ("name", "md5"),
    [
        ("t10k-images-idx3-ubyte", "2646ac647ad5339dbf082846283269ea"),
        ("t10k-labels-idx1-ubyte", "27ae3e4e09519cfbb04c329615203637"),
    ],
)
def test_the_digits_have_the_checksums_that_others_publish(name, md5):
    contents, _ = data.read_bundled(data.MNIST, name)
    assert hashlib.md5(contents, usedforsecurity=False).hexdigest() == md5


def test_the_list_of_checksums_matches_the_bundled_files_and_they_are_small():
    lines = [
        line.split() for line in (data.BUNDLED / "SHA256SUMS").read_text().splitlines()
    ]
    files = {path.name: path for path in data.BUNDLED.iterdir() if path.suffix == ".xz"}
    assert {name for _, name in lines} == files.keys()
    assert all(
        hashlib.sha256(files[name].read_bytes()).hexdigest() == sha256
        for sha256, name in lines
    )
    assert sum(path.stat().st_size for path in data.BUNDLED.iterdir()) <= 13e6


# --- a small archive, whole and damaged -----------------------------------------------


@pytest.fixture(scope="module")
def originals() -> dict[str, bytes]:
    """Files like the four original ones, with a handful of images each."""
    counts = dict.fromkeys(data.TRAIN_FILES, 7) | dict.fromkeys(data.TEST_FILES, 5)
    return {
        name: first_entries(data.read_bundled(data.MNIST, name)[0], name, n)
        for name, n in counts.items()
    }


@pytest.fixture
def small(originals, monkeypatch, tmp_path) -> data.Archive:
    """The archive of those files, with an empty cache, no $COURSE_DATA and nothing
    bundled.
    """
    monkeypatch.delenv("COURSE_DATA", raising=False)
    monkeypatch.setattr(data.images, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(data.files, "BUNDLED", tmp_path / "bundled")
    sums = {
        name: hashlib.sha256(contents).hexdigest()
        for name, contents in originals.items()
    }
    return data.Archive(name="small", title="Small", mirrors=(), sha256=sums)


NAME = data.TEST_FILES[1]  # the file to damage
PACK = {".gz": gzip.compress, ".xz": lzma.compress, "": bytes}


def put(path: Path, contents: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(contents)
    return path


def flipped(packed: bytes) -> bytes:
    """One bit wrong in the middle."""
    middle = len(packed) // 2
    return packed[:middle] + bytes([packed[middle] ^ 1]) + packed[middle + 1 :]


DAMAGES = {
    "truncated": lambda contents, pack: pack(contents)[:-5],
    "corrupted": lambda contents, pack: flipped(pack(contents)),
    "another file": lambda contents, pack: pack(contents[:-1] + b"\x07"),
    "empty": lambda _contents, _pack: b"",
    "a page that says sorry": lambda _contents, _pack: b"<html>503</html>",
}
damages = pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("train", [True, False])
def test_the_full_set_is_read_from_the_folder_of_the_reader(
    monkeypatch, tmp_path, originals, small, suffix, train
):
    for name, contents in originals.items():
        put(tmp_path / "own" / "small" / f"{name}{suffix}", PACK[suffix](contents))
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "own"))
    monkeypatch.setattr(data.images, "MNIST", small)
    full, part = (
        data.mnist(train, full=True),
        IMAGE_SETS[f"mnist {'training' if train else 'test'}"][2],
    )
    n = 7 if train else 5
    assert (
        full.source
        == f"Small: {n} {'training' if train else 'test'} images, from $COURSE_DATA"
    )
    assert full.labels.tolist() == part[:n]
    assert full.images.shape == (n, 1, 28, 28)


@damages
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_damaged_file_of_the_reader_is_refused_and_left_to_its_owner(
    monkeypatch, tmp_path, originals, small, suffix, damage
):
    path = put(
        tmp_path / "small" / f"{NAME}{suffix}", damage(originals[NAME], PACK[suffix])
    )
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    with pytest.raises(data.DataError) as refusal:
        data.find_full(small, NAME)
    assert str(path) in str(refusal.value)
    assert path.exists()


@damages
def test_a_damaged_file_in_the_cache_is_refused_and_removed(
    tmp_path, originals, small, damage
):
    path = put(
        tmp_path / "cache" / "small" / f"{NAME}.gz",
        damage(originals[NAME], gzip.compress),
    )
    with pytest.raises(
        data.DataError, match="removed from the cache; run this again to download it"
    ) as refusal:
        data.find_full(small, NAME)
    assert str(path) in str(refusal.value)
    assert not path.exists()


@damages
def test_a_damaged_bundled_file_is_refused(originals, small, damage):
    path = put(
        data.files.BUNDLED / f"small-{NAME}.xz", damage(originals[NAME], lzma.compress)
    )
    good = hashlib.sha256(lzma.compress(originals[NAME])).hexdigest()
    put(data.files.BUNDLED / "SHA256SUMS", f"{good}  {path.name}\n".encode())
    with pytest.raises(data.DataError) as refusal:
        data.read_bundled(small, NAME)
    assert str(path) in str(refusal.value)


def test_a_bundled_file_that_is_missing_is_missed_by_name(small):
    put(data.files.BUNDLED / "SHA256SUMS", b"")
    with pytest.raises(
        data.DataError,
        match=f"small-{NAME}.xz is missing from course_lib/bundled/data; reinstall",
    ):
        data.read_bundled(small, NAME)


def test_a_bundled_file_without_a_checksum_is_refused(originals, small):
    put(data.files.BUNDLED / f"small-{NAME}.xz", lzma.compress(originals[NAME]))
    put(data.files.BUNDLED / "SHA256SUMS", b"")
    with pytest.raises(data.DataError, match=f"small-{NAME}.xz"):
        data.read_bundled(small, NAME)


@pytest.mark.parametrize(
    ("contents", "complaint"),
    [
        (b"", "not an IDX file"),
        (b"\x00\x00\x09\x01" + bytes(8), "not an IDX file of unsigned bytes"),
        (
            b"\x00\x00\x08\x01\x00\x00\x00\x03\x01\x02",
            "announces shape (3,) and holds 2 values",
        ),
        (b"\x00\x00\x08\x02\x00\x00\x00\x02", "is cut short"),
    ],
    ids=["empty", "another type", "too short", "no shape"],
)
def test_a_file_in_another_format_is_refused(contents, complaint):
    with pytest.raises(data.DataError) as refusal:
        data.parse_idx(contents, "digits")
    assert complaint in str(refusal.value)
    assert "digits" in str(refusal.value)


def test_an_idx_file_is_read_in_the_order_of_its_axes():
    contents = (
        b"\x00\x00\x08\x02"
        + b"\x00\x00\x00\x02"
        + b"\x00\x00\x00\x03"
        + bytes(range(6))
    )
    assert data.parse_idx(contents, "six").tolist() == [[0, 1, 2], [3, 4, 5]]


# --- downloads ------------------------------------------------------------------------


class Mirror(http.server.BaseHTTPRequestHandler):
    """Serves what `files` holds under a path, and nothing else."""

    def do_GET(self):
        self.server.asked.append(self.path)
        contents = self.server.files.get(self.path)
        self.send_response(404 if contents is None else 200)
        self.send_header("Content-Length", str(len(contents or b"")))
        self.end_headers()
        self.wfile.write(contents or b"")

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def host(monkeypatch):
    """A web server on this machine: `files` by path, the paths `asked` for, its
    `address`.
    """
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mirror) as server:
        server.files, server.asked, server.address = (
            {},
            [],
            f"http://127.0.0.1:{server.server_port}",
        )
        thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.01}
        )
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def mirrored(host, small) -> data.Archive:
    """The small archive with two mirrors on that server."""
    return replace(small, mirrors=(f"{host.address}/first/", f"{host.address}/second/"))


def test_a_download_is_checked_kept_and_not_repeated(
    host, mirrored, originals, tmp_path
):
    host.files[f"/first/{NAME}.gz"] = gzip.compress(originals[NAME])
    assert data.find_full(mirrored, NAME) == (originals[NAME], "downloaded")
    assert data.find_full(mirrored, NAME) == (
        originals[NAME],
        "from the download cache",
    )
    assert host.asked == [f"/first/{NAME}.gz"]
    assert files_in(tmp_path / "cache") == [f"{NAME}.gz"]


@pytest.mark.parametrize("damage", [None, *DAMAGES.values()], ids=["missing", *DAMAGES])
def test_where_the_first_mirror_fails_the_second_is_used(
    host, mirrored, originals, tmp_path, damage
):
    if damage is not None:
        host.files[f"/first/{NAME}.gz"] = damage(originals[NAME], gzip.compress)
    host.files[f"/second/{NAME}.gz"] = gzip.compress(originals[NAME])
    assert data.find_full(mirrored, NAME) == (originals[NAME], "downloaded")
    assert host.asked == [f"/first/{NAME}.gz", f"/second/{NAME}.gz"]
    assert files_in(tmp_path / "cache") == [f"{NAME}.gz"]


def test_a_mirror_that_does_not_answer_is_passed_over(host, mirrored, originals):
    with http.server.HTTPServer(("127.0.0.1", 0), Mirror) as closed:
        dead = f"http://127.0.0.1:{closed.server_port}/"
    host.files[f"/second/{NAME}.gz"] = gzip.compress(originals[NAME])
    archive = replace(mirrored, mirrors=(dead, mirrored.mirrors[1]))
    assert data.find_full(archive, NAME) == (originals[NAME], "downloaded")


@pytest.mark.parametrize("damage", [None, *DAMAGES.values()], ids=["missing", *DAMAGES])
def test_where_every_mirror_fails_the_error_names_them_and_nothing_is_kept(
    host, mirrored, originals, tmp_path, damage
):
    if damage is not None:
        for mirror in ("first", "second"):
            host.files[f"/{mirror}/{NAME}.gz"] = damage(originals[NAME], gzip.compress)
    with pytest.raises(
        data.DataError, match=f"Small: {NAME}.gz could not be downloaded"
    ) as refusal:
        data.find_full(mirrored, NAME)
    assert all(mirror in str(refusal.value) for mirror in mirrored.mirrors)
    assert "$COURSE_DATA/small/" in str(refusal.value)
    assert files_in(tmp_path / "cache") == []


def test_the_full_set_comes_from_the_network_where_the_reader_has_none(
    host, mirrored, originals, monkeypatch
):
    for name, contents in originals.items():
        host.files[f"/first/{name}.gz"] = gzip.compress(contents)
    monkeypatch.setattr(data.images, "FASHION_MNIST", mirrored)
    full = data.fashion_mnist(train=True, full=True)
    assert full.source == "Small: 7 training images, downloaded"
    assert full.labels.tolist() == [5, 0, 4, 1, 9, 2, 1]


# --- toy sets -------------------------------------------------------------------------

SEEDED = {
    "circles": lambda seed: data.concentric_circles(50, seed=seed)[0],
    "moons": lambda seed: data.two_moons(50, seed=seed)[0],
    "spiral": lambda seed: data.linear_spiral(50, seed=seed)[2],
    "two-armed spirals": lambda seed: data.two_armed_spirals(5, seed=seed).values,
    "diverse spirals": lambda seed: data.diverse_spirals(5, seed=seed).values,
}


@pytest.mark.parametrize("draw", SEEDED.values(), ids=SEEDED)
def test_a_seed_fixes_the_data_and_the_global_generator_has_no_part_in_it(draw):
    before = torch.get_rng_state()
    first, again, other = draw(0), draw(0), draw(1)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def within_five_standard_errors(noise: torch.Tensor, deviation: float) -> bool:
    """Whether `noise` has mean 0 and that standard deviation, as well as its size lets
    one tell.
    """
    n = noise.numel()
    mean_fits = abs(noise.mean().item()) <= 5 * deviation / math.sqrt(n)
    return mean_fits and abs(
        noise.std().item() - deviation
    ) <= 5 * deviation / math.sqrt(2 * n)


@pytest.mark.parametrize("noise", [0.05, 0.3])
def test_the_noise_has_the_size_asked_for(noise):
    spirals = data.two_armed_spirals(200, noise=noise)
    seen = spirals.clean[torch.arange(200)[:, None], spirals.index]
    _, clean, noisy, _ = data.linear_spiral(5000, noise=noise)
    circles, moons = (
        [make(5000, noise=size)[0] for size in (noise, 0)]
        for make in (data.concentric_circles, data.two_moons)
    )
    for residual in (
        spirals.values - seen,
        noisy - clean,
        circles[0] - circles[1],
        moons[0] - moons[1],
    ):
        assert within_five_standard_errors(residual, noise)


def test_the_cubic_is_a_cubic():
    x, y = data.cubic(5)
    assert x[:, 0].tolist() == [-2.0, -1.0, 0.0, 1.0, 2.0]
    assert torch.allclose(y[:, 0], torch.tensor([-8.2, -1.1, 0.0, 1.1, 8.2]), rtol=1e-6)


def test_the_disc_is_filled_evenly_and_the_ring_surrounds_it():
    points, labels = data.concentric_circles(10_000, noise=0)
    radius = points.norm(dim=1)
    disc, ring = radius[labels == 0], radius[labels == 1]
    assert len(disc) == len(ring) == 5000
    assert disc.max() <= 1 + 1e-6
    assert 2 - 1e-6 <= ring.min() <= ring.max() <= 2.5 + 1e-6
    # An even disc has mean radius 2/3 with variance 1/2 - 4/9.
    assert abs(disc.mean().item() - 2 / 3) <= 5 * math.sqrt((1 / 2 - 4 / 9) / 5000)


def test_the_moons_are_two_half_circles_that_reach_into_each_other():
    points, labels = data.two_moons(1000, noise=0)
    upper, lower = points[labels == 0], points[labels == 1] - torch.tensor([1.0, 0.5])
    assert len(upper) == len(lower) == 500
    assert (upper[:, 1] >= -1e-6).all()
    assert (lower[:, 1] <= 1e-6).all()
    for half in (upper, lower):
        assert torch.allclose(half.norm(dim=1), torch.ones(500), rtol=0, atol=1e-6)


def test_the_linear_spiral_is_exact_to_single_precision():
    t, clean, _, A = data.linear_spiral()
    turned = 0.6 + 0.3j, (-0.1 + 1j) * t.double()
    z = turned[0] * torch.exp(turned[1])
    exact = torch.stack((z.real, z.imag), dim=1)
    assert torch.equal(A, torch.tensor([[-0.1, -1.0], [1.0, -0.1]]))
    assert ((clean - exact).norm(dim=1) / exact.norm(dim=1)).max() < 2e-7


def test_the_linear_spiral_solves_its_equation():
    t, clean, noisy, A = data.linear_spiral()
    assert (t[0], t[-1]) == (0, pytest.approx(31.45))
    assert clean.shape == noisy.shape == (200, 2)
    solved = odeint(
        lambda t, y: A.double() @ y,
        torch.tensor([0.6, 0.3]).double(),
        t.double(),
        rtol=1e-9,
        atol=1e-9,
    )
    # In single precision t carries an error of 1 part in 2²⁴, hence an angle of up to
    # 31.45 one of 2e-6; the exponential is computed with some ten operations for each
    # of up to five squarings.
    assert (clean - solved).abs().max() <= 50 * 31.45 * torch.finfo(
        torch.float32
    ).eps * 0.7


# --- two-armed spirals ----------------------------------------------------------------


@pytest.fixture(scope="module")
def spirals() -> data.Spirals:
    return data.two_armed_spirals(
        300, observations=30, noise=0.1, span=200, after=100, seed=3
    )


def test_every_series_is_observed_at_increasing_times_of_its_own(spirals):
    assert spirals.index.shape == (300, 30)
    assert (spirals.index.diff(dim=1) > 0).all()
    assert (spirals.index.min(), spirals.index.max()) == (0, 199)
    assert torch.equal(spirals.times(), spirals.t[spirals.index])
    assert len({tuple(row) for row in spirals.index.tolist()}) == 300
    assert (spirals.span, spirals.t.shape, spirals.clean.shape) == (
        200,
        (300,),
        (300, 300, 2),
    )


def test_the_clock_of_a_window_starts_at_zero_and_ticks_evenly(spirals):
    assert spirals.t[0] == 0
    tick = torch.tensor(6 * math.pi / 999)
    # Differences of times up to 6π, which single precision knows to 2⁻²⁰.
    assert torch.allclose(spirals.t.diff(), tick, rtol=0, atol=2**-19)


def test_about_half_of_the_spirals_turn_clockwise_and_they_are_those_that_say_so(
    spirals,
):
    centre = torch.where(
        spirals.clockwise[:, None], torch.tensor([-5.0, 0.0]), torch.tensor([5.0, 0.0])
    )
    arm = spirals.clean - centre[:, None]
    x, y = arm.unbind(dim=2)
    turn = x[:, :-1] * y[:, 1:] - y[:, :-1] * x[:, 1:]  # > 0: counter-clockwise
    assert ((turn <= 0).all(dim=1) == spirals.clockwise).all()
    assert ((turn >= 0).all(dim=1) == ~spirals.clockwise).all()
    share = spirals.clockwise.float().mean().item()
    assert abs(share - 0.5) <= 5 * 0.5 / math.sqrt(300)  # five standard errors


def test_the_arms_are_the_ones_described(spirals):
    """Counter-clockwise r = 0.3 angle, clockwise r = 15 / angle: so r / 0.3 and 15 / r
    change by the angle turned.
    """
    for clockwise, centre, turns in ((True, -5.0, -1), (False, 5.0, 1)):
        curves = spirals.clean[spirals.clockwise == clockwise].double().numpy()
        arm = curves - [centre, 0.0]
        radius = np.linalg.norm(arm, axis=-1)
        swept = np.unwrap(np.arctan2(arm[..., 1], arm[..., 0]), axis=1)
        swept = swept - swept[:, :1]
        assert np.allclose(swept, turns * spirals.t.numpy(), atol=1e-3)
        grown = np.diff(15 / radius if clockwise else radius / 0.3, axis=1)
        assert np.allclose(grown, turns * 6 * np.pi / 999, rtol=0, atol=1e-4)


def test_there_are_as_many_different_windows_as_starts_on_two_arms():
    many = data.two_armed_spirals(3000, span=600, after=350, seed=0)
    assert len(torch.unique(many.clean, dim=0)) == 2 * (1001 - 600 - 350)


def test_shifted_windows_lie_midway_between_those_of_the_grid(spirals):
    """And are none of them: a point of an arm tells the angle, and the angle the start."""
    between = data.two_armed_spirals(
        300, observations=30, noise=0.1, span=200, after=100, shift=0.5, seed=3
    )
    assert torch.equal(between.clockwise, spirals.clockwise)
    assert torch.equal(between.t, spirals.t)
    assert torch.equal(between.index, spirals.index)
    before, behind = spirals.clean[:, :-1], spirals.clean[:, 1:]
    midway = (before + behind) / 2
    step = (behind - before).norm(dim=-1)
    apart = (between.clean[:, :-1] - midway).norm(dim=-1)
    # A curve and its chord part by less than h² max|x''| / 8, with |x''| < 50 here.
    assert (apart < 50 * (6 * math.pi / 999) ** 2 / 8 + 1e-5).all()
    assert (apart < 0.1 * step).all()


@pytest.mark.parametrize("observations", [0, 21])
def test_no_more_can_be_observed_than_there_is(observations):
    with pytest.raises(
        ValueError,
        match=rf"observations must lie between 1 and 20, .* got {observations}",
    ):
        data.two_armed_spirals(3, observations=observations, span=20)
    assert data.two_armed_spirals(3, observations=20, span=20).index[
        0
    ].tolist() == list(range(20))


def test_thinned_readings_keep_their_order_and_their_times():
    times = torch.arange(40.0).view(2, 20)
    values = torch.stack((times, -times), dim=-1)
    few, kept = data.thin(times, values, 5, seed=1)
    assert few.shape == (2, 5)
    assert (few.diff(dim=1) > 0).all()
    assert torch.equal(kept, torch.stack((few, -few), dim=-1))
    assert not torch.equal(few[0] + 20, few[1])
    assert torch.equal(data.thin(times, values, 5, seed=1)[0], few)
    assert torch.equal(data.thin(times, values, 20)[0], times)
    with pytest.raises(ValueError, match="k must lie between 1 and 20, got 21"):
        data.thin(times, values, 21)


# --- windows --------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)], ids=str)
def test_windows_are_stretches_of_the_series_with_time_first(shape):
    t = torch.linspace(0, 4.9, 50)
    count = torch.arange(50.0)
    series = torch.stack((count, -count), dim=-1).expand(*shape, 50, 2)
    times, y = data.windows(t, series, 5, every=4, count=7, generator=data.generator(0))
    assert torch.equal(times, t[:17:4])
    assert y.shape == (5, *shape, 7, 2)
    assert torch.equal(y.diff(dim=0)[..., 0], torch.full((4, *shape, 7), 4.0))
    assert torch.equal(y[..., 0], -y[..., 1])
    first = y[0, ..., 0].reshape(-1, 7)
    assert (first == first[0]).all()  # all series are read at the same places
    assert len(first[0].unique()) > 1


def test_windows_want_one_even_clock():
    series = torch.zeros(4, 1)
    with pytest.raises(ValueError, match=r"evenly spaced.*gaps from 1 to 4"):
        data.windows(torch.tensor([0.0, 1.0, 5.0, 6.0]), series, 2)
    with pytest.raises(ValueError, match="got 4 readings and 5 times"):
        data.windows(torch.arange(5.0), series, 2)


def test_windows_begin_wherever_a_whole_one_fits():
    t, series = torch.arange(10.0), torch.arange(10.0)[:, None]
    _, y = data.windows(t, series, 4, every=2, count=500, generator=data.generator(0))
    assert y[0].unique().tolist() == [0, 1, 2, 3]
    assert y[-1].max() == 9
    _, whole = data.windows(t, series, 10, count=3)
    assert torch.equal(whole, series[:, None].expand(10, 3, 1))


def test_windows_come_from_the_generator_they_are_given():
    t, series = torch.arange(100.0), torch.arange(100.0)[:, None]

    def drawn(seed):
        g = data.generator(seed)
        return [data.windows(t, series, 3, generator=g)[1] for _ in range(2)]

    (one, two), (again, _), (other, _) = drawn(0), drawn(0), drawn(1)
    assert torch.equal(one, again)
    assert not torch.equal(one, two)
    assert not torch.equal(one, other)


@pytest.mark.parametrize(("points", "every"), [(11, 1), (5, 3), (0, 1)])
def test_a_window_must_fit_into_the_series(points, every):
    t = torch.arange(10.0)
    with pytest.raises(
        ValueError, match=f"a window of {points} readings, {every} apart"
    ):
        data.windows(t, t[:, None], points, every=every)


# --- diverse spirals ------------------------------------------------------------------


def test_curves_that_are_read_anew_stay_and_are_read_in_the_stretch_asked_for(spirals):
    again = spirals.read_anew(7, noise=0.0, share=0.25, seed=3)
    assert again.clean is spirals.clean
    assert again.index.shape == (len(spirals.clean), 7)
    assert again.index.max() < spirals.span / 4
    exact = spirals.clean.gather(1, again.index[..., None].expand(-1, -1, 2))
    torch.testing.assert_close(again.values, exact)
    with pytest.raises(ValueError, match="between 1 and"):
        spirals.read_anew(round(spirals.span / 4) + 1, noise=0.0, share=0.25)
    for share in (-0.5, 0.0, 1.4):  # what lies behind the span is not observed
        with pytest.raises(ValueError, match="share must be above 0 and at most 1"):
            spirals.read_anew(7, noise=0.0, share=share)


def systems_of(spirals: data.Spirals) -> torch.Tensor:
    """The matrices W, found again from three neighbouring points of each curve."""
    curves = spirals.clean.double()
    step = torch.linalg.solve(curves[:, :2], curves[:, 1:3]).mT  # x_{i+1} = step x_i
    values, vectors = torch.linalg.eig(step)
    logs = torch.diag_embed(values.log() / spirals.t[1])
    return (vectors @ logs @ torch.linalg.inv(vectors)).real


def test_the_diverse_spirals_solve_linear_systems_of_the_sizes_described():
    spirals = data.diverse_spirals(500, seed=4)
    W = systems_of(spirals)
    known = torch.linalg.cond(spirals.clean[:, :2].double()) < 50  # W found to 3 digits
    assert known.float().mean() > 0.5
    W, clockwise = W[known], spirals.clockwise[known]
    assert (W.diagonal(dim1=1, dim2=2) < -0.05 + 1e-3).all()
    assert torch.equal(W[:, 0, 1] > 0, clockwise)
    assert torch.equal(W[:, 1, 0] < 0, clockwise)
    # Half-normal entries: mean √(2/π), standard deviation √(1 - 2/π).
    entries = torch.cat((W[:, 0, 1].abs(), W[:, 1, 0].abs()))
    error = math.sqrt((1 - 2 / math.pi) / len(entries))
    assert abs(entries.mean().item() - math.sqrt(2 / math.pi)) < 5 * error


def test_a_diverse_spiral_is_the_exponential_of_its_matrix():
    spirals = data.diverse_spirals(300, seed=4)
    W, curves = systems_of(spirals), spirals.clean.double()
    known = torch.linalg.cond(curves[:, :2]) < 20
    flow = torch.linalg.matrix_exp(W[known] * spirals.t[50].double())
    there = (flow @ curves[known, 0, :, None])[..., 0]
    assert torch.allclose(there, curves[known, 50], rtol=0, atol=1e-3)


def test_diverse_spirals_are_read_in_their_first_half():
    spirals = data.diverse_spirals(40, observations=100, seed=1)
    assert (spirals.t[-1].item(), len(spirals.t)) == (pytest.approx(31.45), 200)
    assert (spirals.index == torch.arange(100)).all()
    assert within_five_standard_errors(spirals.values - spirals.clean[:, :100], 0.02)
    with pytest.raises(ValueError, match=r"between 1 and 100, .* got 101"):
        data.diverse_spirals(3, observations=101)


# --- sentences ------------------------------------------------------------------------


def test_sentences_are_different_grammatical_and_the_same_for_the_same_seed():
    some, pattern = data.sentences(500, seed=3), data.grammar()
    assert len(set(some)) == 500
    assert all(pattern.fullmatch(sentence) for sentence in some)
    assert some == data.sentences(500, seed=3)
    assert set(some) != set(data.sentences(500, seed=4))


def test_sentences_come_in_every_number_and_tense_with_and_without_a_clause():
    some = data.sentences(500)
    for several, past in itertools.product((0, 1), repeat=2):
        starts = tuple(f"{word} " for word in set(data.DETERMINERS[several]) - {"the"})
        ends = tuple(f" {word}" for word in data.WHEN[past])
        kind = [s for s in some if s.startswith(starts) and s.endswith(ends)]
        assert any(" that " in s for s in kind)
        assert any(" that " not in s for s in kind)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("a bird sleeps now", "a birds sleeps now"),
        ("these birds sleep now", "these birds sleeps now"),
        ("the birds sleep today", "the birds sleeps today"),
        ("every bird slept then", "every bird sleeps then"),
        ("a bird that sees two cats runs now", "a bird that sees two cats run now"),
        ("two birds that saw a cat ran then", "two birds that see a cat ran then"),
        ("this king paints a boy now", "this king paints now"),
        ("this king waits now", "this king waits a boy now"),
    ],
)
def test_the_grammar_asks_for_agreement_and_objects(right, wrong):
    assert data.grammar().fullmatch(right)
    assert not data.grammar().fullmatch(wrong)


def test_sentences_are_as_long_at_the_end_of_the_list_as_at_its_start():
    words = torch.tensor([len(s.split()) for s in data.sentences(4000)]).double()
    first, last = words[:2000], words[2000:]
    error = math.sqrt((first.var() + last.var()).item() / 2000)
    assert abs((first.mean() - last.mean()).item()) <= 5 * error


def test_the_grammar_accepts_of_all_short_texts_those_that_agree():
    words = ("a", "two", "the", "cat", "cats", "runs", "run", "ran", "now", "then")
    found = {
        text
        for text in map(" ".join, itertools.product(words, repeat=4))
        if data.grammar().fullmatch(text)
    }
    one = itertools.product(("a cat", "the cat"), ("runs now", "ran then"))
    several = itertools.product(("two cats", "the cats"), ("run now", "ran then"))
    assert found == set(map(" ".join, (*one, *several)))


def test_a_tilde_in_course_data_is_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COURSE_DATA", "~/data")
    file = tmp_path / "data" / "mnist" / "train-labels-idx1-ubyte"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"not the file")
    with pytest.raises(data.DataError, match=r"data/mnist/train-labels.* is not the"):
        data.find_full(data.MNIST, file.name)


def test_a_course_data_that_is_no_folder_is_not_passed_over(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(
        data.DataError, match=r"COURSE_DATA names .*nowhere, which is no"
    ):
        data.find_full(data.MNIST, "train-labels-idx1-ubyte")
