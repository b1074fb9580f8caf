"""A built book without words of one colour and colours of grey pictures."""

import io
from base64 import b64decode, b64encode

import pytest
from pages import HTML
from PIL import Image

from tools.lighten import (
    COLOURS,
    LISTED_CODE,
    PICTURE,
    WORD,
    plain,
    unwrapped,
    with_greys,
)

THEMES = """\
html[data-theme="light"] .highlight { background: #fefefe; color: #080808 }
html[data-theme="light"] .highlight .k { color: #6730C5 } /* Keyword */
html[data-theme="light"] .highlight .n { color: #080808 } /* Name */
html[data-theme="light"] .highlight .p { color: #080808 } /* Punctuation */
html[data-theme="dark"] .highlight { background: #2b2b2b; color: #F8F8F2 }
html[data-theme="dark"] .highlight .k { color: #DCC6E0 } /* Keyword */
html[data-theme="dark"] .highlight .n { color: #F8F8F2 } /* Name */
html[data-theme="dark"] .highlight .p { color: #FFD900 } /* Punctuation */
"""


def test_words_that_have_the_colour_of_their_listing_in_every_theme_are_no_elements():
    words = plain(THEMES)
    assert words == {"n"}
    page = (
        '<span class="n">h</span><div class="highlight"><pre><span></span>'
        '<span class="k">if</span> {}<span class="p">:</span>\n</pre></div>'
    )
    before = page.format('<span class="n">h</span>')
    assert unwrapped(before, words) == page.format("h")


def page_with(image: Image.Image) -> str:
    """Make a page that shows a picture, its text broken into lines as in a drawing."""
    file = io.BytesIO()
    image.save(file, "PNG")
    text = b64encode(file.getvalue()).decode()
    return f'<image xlink:href="data:image/png;base64,{text[:9]}\n{text[9:]}\n"/>'


def shown_by(page: str) -> Image.Image:
    """Return the picture of a page."""
    return Image.open(io.BytesIO(b64decode(PICTURE.search(page)[0])))


def test_a_picture_of_greys_carries_one_number_a_pixel_and_shows_the_same():
    ramp = Image.linear_gradient("L").convert("RGBA")
    page = page_with(ramp)
    light = with_greys(page)
    found = shown_by(light)
    assert found.mode == "L"
    assert found.convert("RGBA").tobytes() == ramp.tobytes()
    assert len(light) < len(page)
    assert light.endswith('"/>')
    assert with_greys(light) == light


@pytest.mark.parametrize("pixel", [(200, 200, 201, 255), (200, 200, 200, 254)])
def test_a_picture_with_one_pixel_of_colour_or_seen_through_stays_as_it_is(pixel):
    ramp = Image.linear_gradient("L").convert("RGBA")
    ramp.putpixel((3, 5), pixel)
    found = shown_by(with_greys(page_with(ramp)))
    assert found.mode == "RGBA"
    assert found.tobytes() == ramp.tobytes()


@pytest.mark.skipif(not HTML.is_dir(), reason="there is no built book")
def test_the_listings_of_the_built_book_have_no_element_without_a_colour_of_its_own():
    words = plain((HTML / COLOURS).read_text(encoding="utf-8"))
    assert {"n", "p"} <= words
    page = next(HTML.glob("chapters/01_*.html")).read_text(encoding="utf-8")
    kept = {
        word[0]
        for listing in LISTED_CODE.findall(page)
        for word in WORD.findall(listing)
    }
    assert {"k", "o", "c1"} <= kept
    assert not kept & words
