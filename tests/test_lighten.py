"""A built book without what none of its pages shows: icons, words of one colour."""

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.ttLib import TTFont
from pages import HTML

from tools.lighten import (
    CHARACTER,
    COLOURS,
    FONTS,
    LISTED_CODE,
    NAME,
    STYLE,
    WORD,
    characters,
    lighten,
    lighter,
    plain,
    unwrapped,
)

SHEET = (
    '.fa-list-squares:before,.fa-list:before{content:"\\f03a"}'
    '.fa-j:before{content:"J"}.fa-bed:before{content:"\\f236"}:root{--pst-icon:"\uf0eb"}'
    "@font-face{src:url(../vendor/fontawesome/webfonts/fa-solid-900.woff2) "
    'format("woff2"),url(../vendor/fontawesome/webfonts/fa-solid-900.ttf) '
    'format("truetype")}'
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


def test_the_rule_of_an_icon_stays_where_a_page_names_one_of_its_names():
    style = lighter(SHEET, {"fa-list"})
    assert '.fa-list-squares:before,.fa-list:before{content:"\\f03a"}' in style
    assert "fa-bed" not in style
    assert characters([style]) == {0xF03A, 0xF0EB}


def font_of(codes: list[int]) -> FontBuilder:
    """Make a font whose characters are all one empty shape."""
    names = [".notdef", *(f"g{code}" for code in codes)]
    made = FontBuilder(1000, isTTF=True)
    made.setupGlyphOrder(names)
    made.setupCharacterMap(dict(zip(codes, names[1:])))
    made.setupGlyf({name: TTGlyphPen(None).glyph() for name in names})
    made.setupHorizontalMetrics(dict.fromkeys(names, (500, 0)))
    made.setupHorizontalHeader()
    made.setupNameTable({})
    made.setupOS2()
    made.setupPost()
    return made


def test_a_book_keeps_the_characters_that_its_pages_and_its_styles_show(tmp_path):
    (tmp_path / STYLE).parent.mkdir(parents=True)
    (tmp_path / STYLE).write_text(SHEET, encoding="utf-8")
    (tmp_path / COLOURS).write_text(THEMES, encoding="utf-8")
    (tmp_path / FONTS).mkdir(parents=True)
    font_of([0xF03A, 0xF0EB, 0xF236]).save(tmp_path / FONTS / "fa-solid-900.ttf")
    (tmp_path / FONTS / "fa-solid-900.woff2").touch()
    (tmp_path / "page.html").write_text('<i class="fa-solid fa-list"></i>')
    lighten(tmp_path)
    (font,) = (tmp_path / FONTS).iterdir()
    assert set(TTFont(font).getBestCmap()) == {0xF03A, 0xF0EB}
    style = (tmp_path / STYLE).read_text(encoding="utf-8")
    assert f'{font.name}) format("woff")' in style
    assert ".ttf" not in style


@pytest.mark.skipif(not HTML.is_dir(), reason="there is no built book")
def test_every_icon_of_the_built_book_has_its_shape():
    style = (HTML / STYLE).read_text(encoding="utf-8")
    shown = {code or ord(itself) for code, itself in CHARACTER.findall(style)}
    assert shown
    fonts = [TTFont(path).getBestCmap() for path in (HTML / FONTS).glob("*.woff")]
    drawn = {code for font in fonts for code in font}
    assert characters([style]) <= drawn
    names = set(NAME.findall((HTML / "intro.html").read_text(encoding="utf-8")))
    sizes = {"fa-solid", "fa-lg"}
    assert all(f".{name}:before" in style for name in names - sizes)


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
