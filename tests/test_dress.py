"""The style of a built book: one sheet for a page, with what its pages show."""

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.ttLib import TTFont
from pages import HTML

from tools.dress import (
    ADDRESS,
    CHARACTER,
    FONTS,
    NAME,
    SHEET,
    characters,
    dress,
    dressed,
    lighter,
)

THEME = "_static/styles/theme.css"

ICONS = (
    '.fa-list-squares:before,.fa-list:before{content:"\\f03a"}'
    '.fa-j:before{content:"J"}.fa-bed:before{content:"\\f236"}:root{--pst-icon:"\uf0eb"}'
    "@font-face{src:url(../vendor/fontawesome/webfonts/fa-solid-900.woff2) "
    'format("woff2"),url(../vendor/fontawesome/webfonts/fa-solid-900.ttf) '
    'format("truetype")}'
)


def test_the_rule_of_an_icon_stays_where_a_page_names_one_of_its_names():
    style = lighter(ICONS, {"fa-list"})
    assert style.startswith('.fa-list:before{content:"\uf03a"}:root{')
    assert "fa-bed" not in style
    assert characters([style]) == {0xF03A, 0xF0EB}


CLASSES = """\
p, .seen:hover > a, .seen .unseen, .other { color: red }
.unseen::before, p.unseen b { color: blue }
@media (width > 10px) { .unseen { top: 0 } .seen { top: 1px } }
@media print { .unseen { top: 0 } }
p:not(.unseen) [class~=".unseen"] { color: green }
.bs-tooltip-top { top: 2px }
.w-1\\/2 { width: 50% }
@keyframes unseen { to { top: 3px } }
"""


def test_a_rule_stays_if_a_page_may_have_all_the_classes_that_it_asks_for():
    style = "".join(lighter(CLASSES, {"seen", "bs-"}).split())
    assert style == (
        "p,.seen:hover>a{color:red}"
        "@media(width>10px){.seen{top:1px}}"
        'p:not(.unseen)[class~=".unseen"]{color:green}'
        ".bs-tooltip-top{top:2px}"
        ".w-1\\/2{width:50%}"
        "@keyframesunseen{to{top:3px}}"
    )


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
    (tmp_path / THEME).parent.mkdir(parents=True)
    (tmp_path / THEME).write_text(ICONS, encoding="utf-8")
    (tmp_path / FONTS).mkdir(parents=True)
    font_of([0xF03A, 0xF0EB, 0xF236]).save(tmp_path / FONTS / "fa-solid-900.ttf")
    (tmp_path / FONTS / "fa-solid-900.woff2").touch()
    (tmp_path / "page.html").write_text('<i class="fa-solid fa-list"></i>')
    dress(tmp_path)
    (font,) = (tmp_path / FONTS).iterdir()
    assert set(TTFont(font).getBestCmap()) == {0xF03A, 0xF0EB}
    style = (tmp_path / THEME).read_text(encoding="utf-8")
    assert f'{font.name}) format("woff")' in style
    assert ".ttf" not in style


def style_of(page: str) -> str:
    """Return what the one style sheet of a built page says."""
    (link,) = SHEET.findall((HTML / page).read_text(encoding="utf-8"))
    return (HTML / ADDRESS.search(link)[1]).read_text(encoding="utf-8")


@pytest.mark.skipif(not HTML.is_dir(), reason="there is no built book")
def test_every_icon_of_the_built_book_has_its_shape():
    style = style_of("intro.html")
    shown = {code or ord(itself) for code, itself in CHARACTER.findall(style)}
    assert shown
    fonts = [TTFont(path).getBestCmap() for path in (HTML / FONTS).glob("*.woff")]
    drawn = {code for font in fonts for code in font}
    assert characters([style]) <= drawn
    page = (HTML / "intro.html").read_text(encoding="utf-8")
    names = {name for name in NAME.findall(page) if name.startswith("fa-")}
    sizes = {"fa-solid", "fa-lg"}
    assert all(f".{name}:before" in style for name in names - sizes)


def test_the_style_sheets_of_a_page_become_one_that_finds_its_files(tmp_path):
    static = tmp_path / "_static"
    (static / "styles").mkdir(parents=True)
    (tmp_path / "chapters").mkdir()
    (static / "base.css").write_text("i { background: url(file.png) }")
    (static / "styles" / "theme.css").write_text(
        '@charset "UTF-8";@import "../base.css";\n'
        "@font-face { src: url(../fonts/a.woff) }"
        'b { background: url("data:image/svg+xml,%3csvg(0)") }'
    )
    (static / "own.css").write_text("p { color: red }")
    page = (
        '<link href="../_static/styles/theme.css?digest=1" rel="stylesheet" />\n'
        '<link rel="stylesheet" type="text/css" href="../_static/own.css?v=2" />\n<script>'
    )
    made = dressed(page, tmp_path / "chapters" / "a.html", static)
    (sheet,) = static.glob("book-*.css")
    assert made.split() == [
        *("<link", 'rel="stylesheet"', f'href="../_static/{sheet.name}"', "/>"),
        "<script>",
    ]
    assert sheet.read_text().split("\n") == [
        "i { background: url(file.png) }",
        "@font-face { src: url(fonts/a.woff) }"
        'b { background: url("data:image/svg+xml,%3csvg(0)") }',
        "p { color: red }",
    ]
    assert dressed(made, tmp_path / "chapters" / "a.html", static) == made
