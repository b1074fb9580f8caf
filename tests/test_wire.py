"""What travels to the browser comes back as it was."""

import base64
import io

import pytest
import torch
from figures import network
from PIL import Image
from torch import nn

from course_lib.widgets.wire import (
    ACTIVATIONS,
    decode,
    encode,
    png,
    quantise,
    restore,
    restore_rows,
    round_rows,
    shape_of,
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int16, torch.int8])
def test_numbers_come_back_in_their_order(dtype):
    parts = [torch.arange(6).reshape(2, 3), torch.tensor([-7])]
    back = decode(encode(parts, dtype), dtype)
    assert back.dtype == dtype
    assert back.tolist() == [0, 1, 2, 3, 4, 5, -7]


def test_numbers_travel_in_little_endian_as_browsers_have_them():
    assert base64.b64decode(encode([torch.tensor([1.0])])) == b"\x00\x00\x80\x3f"


@pytest.mark.parametrize("text", ["!!!!", "abc", "AAAA", ""])
def test_a_text_that_holds_no_numbers_is_refused(text):
    with pytest.raises(ValueError, match=r"base64|padding|buffer"):
        decode(text)


def test_whole_numbers_of_a_unit_are_off_by_half_a_unit_at_most():
    x = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    text, unit = quantise(x)
    back = restore([text, unit])
    assert unit == pytest.approx(x.abs().max().item() / 127)
    assert back.dtype == torch.float64
    assert (back - x.flatten()).abs().max() <= 0.5 * unit * (1 + 1e-6)
    assert back.abs().max().item() == pytest.approx(x.abs().max().item())


def test_matrices_are_off_by_half_a_unit_of_their_row_and_vectors_by_half_precision():
    make = torch.Generator().manual_seed(0)
    sizes = torch.tensor([1e-4, 1.0, 100.0])[:, None, None]
    sent = sizes * torch.randn(3, 5, 2, generator=make), torch.randn(4, generator=make)
    back = torch.zeros(3, 5, 2), torch.zeros(4)
    restore_rows(round_rows(sent), back)
    units = sent[0].flatten(1).abs().amax(1) / 127
    gaps = (back[0] - sent[0]).flatten(1).abs().amax(1)
    assert (gaps <= 0.52 * units).all()
    torch.testing.assert_close(back[1], sent[1], rtol=2**-11, atol=0)


def test_a_row_of_zeros_and_no_tensors_at_all_come_back_as_they_were():
    back = torch.ones(2, 3)
    restore_rows(round_rows([torch.zeros(2, 3)]), [back])
    assert not back.any()
    assert round_rows([]) == ("", "")


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_shape_of_a_network_is_what_its_field_can_be_built_from(name):
    f = network(2, ACTIVATIONS[name], time=True, hidden=(5, 7))
    assert shape_of(f) == ((3, 5, 7, 2), name, True)


def test_a_network_that_the_browser_does_not_know_has_no_shape():
    with pytest.raises(TypeError, match="MLPDynamics, got Linear"):
        shape_of(nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"nn\.ReLU, got GELU"):
        shape_of(network(2, nn.GELU))


def test_a_picture_shows_ink_dark_on_white():
    image = torch.zeros(28, 28)
    image[3, 5] = 1.0
    address = png(image)
    head, text = address.split(",")
    assert head == "data:image/png;base64"
    picture = Image.open(io.BytesIO(base64.b64decode(text)))
    assert picture.size == (28, 28)
    assert [picture.getpixel(at) for at in ((5, 3), (3, 5))] == [0, 255]
