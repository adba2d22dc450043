"""Where the block of a middle ends, told by indentation: in every language."""

from __future__ import annotations

import pytest

from inference.api import Ends
from inference.middle import MiddleEnds


def shown(prefix: str, text: str, step: int) -> str:
    """What is shown of a text that comes in pieces of `step` characters."""
    middle = MiddleEnds(Ends(block=True), prefix, "")
    out = "".join(middle.feed(text[at : at + step]) for at in range(0, len(text), step))
    return out + middle.flush()


@pytest.mark.parametrize(
    ("prefix", "text", "middle"),
    [
        ("def f():\n    ", "a\n    b\n        c\n\ndef g():\n    d\n", "a\n    b\n        c"),
        ("def f():", "\n    a\n    b\n\n\ndef g():\n    c\n", "\n    a\n    b"),
        ("def f():", "\n    a\n\n# next\nx = 1\n", "\n    a"),
        ("if a:", "\n    b\nelif c:\n    d\nelse:\n    e\nf()\n",
         "\n    b\nelif c:\n    d\nelse:\n    e"),
        ("if a:", "\n    b\nelsewhere()\n", "\n    b"),
        ("void f() {", "\n  a;\n}\n\nvoid g() {\n  b;\n}\n", "\n  a;\n}"),
        ("void f()", "\n{\n  a;\n}\n\nvoid g()\n{\n", "\n{\n  a;\n}"),
        ("for x in y; do", "\n\ta\n\tb\ndone\nc\n", "\n\ta\n\tb\ndone"),
        ("call(", "\n    a,\n    b,\n)\nc\n", "\n    a,\n    b,\n)"),
        # Nothing was opened: what follows at the same column is meant.
        ("x = ", "1\ny = 2\nz = 3\n", "1\ny = 2\nz = 3\n"),
        ("    x = ", "1\n    y = 2\nz = 3\n", "1\n    y = 2"),
        # Tabs.
        ("\t", "a\n\tb\n        c\n    d\n", "a\n\tb\n        c"),
        # At the beginning of a line the middle says itself how deep it is.
        ("", "a = 1\nb = 2\n\n\ndef c():\n    d\n\n\ne\n", None),
        ("def f():\n", "    a\n    b\n\nc\n", "    a\n    b"),
        ("    ", "a\n", "a\n"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("step", [1, 1000])
def test_a_middle_ends_where_its_block_ends(
    prefix: str, text: str, middle: str | None, step: int
) -> None:
    assert shown(prefix, text, step) == (text if middle is None else middle)


ELSE = "\n    {\n        a();\n    }\n    else\n    {\n        b();\n    }"
GOES_ON = {
    "c, Allman": ("    if (x)", ELSE),
    "c#, Allman": ("    try",
        "\n    {\n        a();\n    }\n    catch (E e)\n    {\n        b();\n    }"),
    "c, GNU": ("  if (x)", "\n    {\n      a ();\n    }\n  else\n    {\n      b ();\n    }"),
    "c, a long head": ("static int foo(int a,", "\n               int b)\n{\n    return a;\n}"),
    "c, in a long head": ("static int foo(int a,\n               int",
        " b)\n{\n    return a;\n}"),
    "c, K&R": ("int f(", "\n    int a,\n    int b)\n{\n    return a;\n}"),
    "c, do": ("do {", "\n    b;\n}\nwhile (x);"),
    "c, do, Allman": ("do", "\n{\n    b;\n}\nwhile (x);"),
    "c, #ifdef": ("    int x = 0;\n    ", "a();\n#ifdef DEBUG\n    log(x);\n#endif\n    b();"),
    "c, #define": ("    int x = 0;\n    ", "a();\n#define X 1\n    log(x);"),
    "c, a label": ("    err = f();\n    ",
        "if (err)\n        goto out;\n    b();\nout:\n    free(p);"),
    "go, a label": ("func f() {\n\t\t", "a()\n\touter:\n\t\tb()"),
    "c++, labels": ("class A {", "\n    int x;\n\npublic:\n    A();\nprivate:\n    int y;\n};"),
    "c++, a label": ("class A {\n    int x;\n    ", "int y;\n\nprotected:\n    int z;"),
    "java, a switch": ("    switch (x) {",
        "\n    case 1:\n        a();\n    default:\n        b();\n    }"),
    "js, an open bracket": ("foo(", "\n  a,\nb,\nc)"),
    "html": ("<div>", "\n  <p>x</p>\n</div>"),
    "jsx": ("    <Foo", "\n      a={1}\n    />"),
    "jsx, children": ("    <Foo", "\n      a={1}\n    >\n      x\n    </Foo>"),
    "jinja": ("{% if x %}", "\n  y\n{% else %}\n  z\n{%- endif %}"),
    "handlebars": ("{{#if x}}", "\n  y\n{{else}}\n  z\n{{/if}}"),
    "erb": ("<% if x %>", "\n  y\n<% else %>\n  z\n<% end %>"),
    "lua, repeat": ("repeat", "\n  x = x + 1\nuntil x > 3"),
    "lua, in a table": ("a = function()", "\n  b()\nend,"),
    "ruby": ("a do", "\n  b\nend.map"),
    "ruby, rescue": ("begin", "\n  a\nrescue E => e\n  b\nensure\n  c\nend"),
    "sql": ("CASE", "\n    WHEN a THEN b\n    ELSE c\nEND AS x"),
    "vb": ("If a Then", "\n    b\nElse\n    c\nEnd If"),
    "cmake": ("if(A)", "\n  b()\nelse()\n  c()\nendif()"),
    "php": ("if ($a):", "\n  b();\nelse:\n  c();\nendif;"),
    "shell": ("if a; then", "\n  b\nelif c; then\n  d\nfi"),
    "shell, EOF": ("f() {\n    ", "cat <<EOF\nhello\nEOF\n    echo done"),
    "shell, case": ("case $a in", "\n--b)\n    c\n    ;;\n--d)\n    e\n    ;;\nesac"),
    "ruby, <<~": ("  def a\n    ", "x = <<~SQL\nSELECT\n    SQL\n    b"),
    "python, a comment": ("    a = 1\n    ", "b = 2\n# TODO\n    c = 3"),
    "python, before else": ("if a:", "\n    b\n# otherwise\n\n# and\nelse:\n    c"),
    "python, first": ("if a:", "\n# that is\n    b\nelse:\n    c"),
    "python, a text": ("    sql = ", '"""\nSELECT *\nFROM x\n"""\n    b()'),
    "python, '''": ("    sql = f'''", "a\nb\n'''\n    b()"),
    "python, match": ("match a:", "\n    case 1:\n        b\n    case _:\n        c"),
    "go, a raw text": ("\tq := ", "`\nSELECT *\n`\n\treturn q"),
    "js, a template": ("  const s = ", "`\nhello \\` {\n`;\n  return s;"),
    "yaml": ("steps:", "\n- name: x\n  run: y\n- name: z"),
}  # fmt: skip


@pytest.mark.parametrize(("prefix", "text"), GOES_ON.values(), ids=GOES_ON)
@pytest.mark.parametrize("step", [1, 1000])
def test_a_block_goes_on(prefix: str, text: str, step: int) -> None:
    assert shown(prefix, text, step) == text
    assert shown(prefix, text + "\n", step).rstrip() == text


@pytest.mark.parametrize(
    ("prefix", "text", "middle"),
    [
        ("    if (x)", ELSE + "\n    more();\n", ELSE),
        ("    if (x)", ELSE + "\n    {\n        other();\n", ELSE),
        ("for x in y:", "\n    a()\nend = time.time()\n", "\n    a()"),
        ("for x in y:", "\n    a()\nend.append(1)\n", "\n    a()"),
        ("for x in y:", "\n    a()\ndefault = 3\n", "\n    a()"),
        ("for x in y {", "\n    a()\n}\ndone()\n", "\n    a()\n}"),
        ("for (;;)", "\n    a();\nwhile (b);\n", "\n    a();"),
        ("    sql = ", '"""\nSELECT\n"""\n    b()\nc()\n', '"""\nSELECT\n"""\n    b()'),
        ('    """A\n    ', 'text.\n\nMore.\n    """\n    b()\n\ndef c():\n',
         'text.\n\nMore.\n    """\n    b()'),
        ("    ", "cat <<EOF\nhello\nEOF\n}\n", "cat <<EOF\nhello\nEOF"),
        ("    ", "x = '('\ny = 1\n", "x = '('"),
        ("    ", "f(a)  # don't (\ny = 1\n", "f(a)  # don't ("),
        ("    ", "f(a);  // don't (\ny = 1\n", "f(a);  // don't ("),
        ("    ", "x = f(a // b)\ny = 1\n", "x = f(a // b)"),
        ("    ", "let x: &'a (A) = '(';\ny = 1\n", "let x: &'a (A) = '(';"),
        ("void f() {", "\n  a;\n}\n\n/**\n * B.\n */\nvoid g() {\n", "\n  a;\n}"),
        ("fn f() {", "\n    a;\n}\n\n#[test]\nfn g() {\n", "\n    a;\n}"),
        ("def f():", "\n    a\n\n@b\ndef g():\n", "\n    a"),
        ("def f():\n    ", "a\nelse:\n    b\n", "a"),
        ("a;\ncase 1:\n    ", "a;\ndefault:\n    b;\n", "a;"),
        ("    a;\n    ", "b;\n{\n", "b;"),
        ("<ul>", "\n  <li>\n</ul>\n<ul>\n", "\n  <li>\n</ul>"),
        ("{% if x %}", "\n  y\n{% endif %}\n{% if y %}\n", "\n  y\n{% endif %}"),
        ("a {", "\n  b: c;\n}\n\n#d {\n  e: f;\n", "\n  b: c;\n}"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("step", [1, 1000])
def test_what_looks_like_more_of_a_block_is_none(
    prefix: str, text: str, middle: str, step: int
) -> None:
    assert shown(prefix, text, step) == middle
