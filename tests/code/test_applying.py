"""Applying a code block of an answer to a file: where it goes, and what stays as it is."""

from __future__ import annotations

import re
from textwrap import dedent, indent

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral_tui.code.applying import Applied, apply
from mistral_tui.code.definitions import Outline
from mistral_tui.code.errors import CodeError
from mistral_tui.code.styles import style_of

PYTHON = '''\
"""Shapes."""

import math
from dataclasses import dataclass

LIMIT = 10


@dataclass
class Circle:
    """A circle."""

    radius: float

    def area(self) -> float:
        """Its area."""
        return 3.14 * self.radius ** 2

    def scale(self, by):
        # keep it small
        if by > LIMIT:
            by = LIMIT
        self.radius *= by
        return self


# All of them.
def total(shapes):
    result = 0
    for shape in shapes:
        result += shape.area()
    return result


def main():
    print(total([Circle(1), Circle(2)]))


if __name__ == "__main__":
    main()
'''

RUST = """\
use std::fmt;

/// A point.
#[derive(Debug, Clone)]
pub struct Point<'a> {
    x: f64,
    name: &'a str,
}

impl<'a> Point<'a> {
    pub fn new(x: f64, name: &'a str) -> Self {
        Point { x, name }
    }

    /// How far.
    pub fn norm(&self) -> f64 {
        if self.x == 0.0 {
            return 0.0;
        }
        self.x.abs()
    }
}

impl<'a> fmt::Display for Point<'a> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "({}) {{ '", self.x)
    }
}

fn parse<T>(text: &str) -> Option<T>
where
    T: std::str::FromStr,
{
    text.trim().parse().ok()
}

fn main() {
    let p = Point::new(1.0, "{");
    println!("{}", p.norm());
}
"""

C = """\
#include <stdio.h>

#define MAX 10

struct node *make(int value);

struct node {
    int value;
    struct node *next;
};

typedef struct {
    int a;
} pair;

/* Make a node. */
struct node *make(int value)
{
    struct node *n = malloc(sizeof *n);
    if (!n) {
        return NULL;
    }
    n->value = value;
#ifdef DEBUG
    printf("{%d\\n", value);
#endif
    return n;
}

static int
sum(const struct node *n, int start)
{
    int total = start;
    while (n) {
        total += n->value;
        n = n->next;
    }
    return total;
}

int main(void) {
    printf("%d\\n", sum(make(3), 0));
    return 0;
}
"""

JS = """\
const fs = require("fs");

export const add = (a, b) => a + b;

export default function App({ items = [] }) {
  const [count, setCount] = useState(0);
  useEffect(() => {
    document.title = `Count: ${count} }`;
  }, [count]);
  return <ul>{items}</ul>;
}

class Store {
  #items = [];

  constructor(items) {
    this.items = items;
  }

  get size() {
    return this.items.length;
  }

  async load(path) {
    const text = await fs.promises.readFile(path, "utf8");
    this.items = JSON.parse(text);
  }
}

const debounce = (fn, ms) => {
  let timer;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => fn(...args), ms);
  };
};
"""

GO = """\
package main

import (
\t"fmt"
\t"os"
)

type Square struct {
\tSide float64
}

// Area is the area.
func (s Square) Area() float64 {
\treturn s.Side * s.Side
}

type Circle struct{ R float64 }

func (c *Circle) Area() float64 {
\treturn 3 * c.R * c.R
}

func main() {
\tif len(os.Args) > 1 {
\t\tfmt.Println("args")
\t}
\tfmt.Println(Square{2}.Area())
}
"""

RUBY = """\
require "set"

class Dog
  def initialize(name)
    @name = name
  end

  def bark
    puts "woof"
  end
end
"""

FILES = {"python": PYTHON, "rust": RUST, "c": C, "javascript": JS, "go": GO, "ruby": RUBY}


def swapped(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, old
    return text.replace(old, new)


# (language, block, how, what it replaces, by what)
CASES: dict[str, tuple[str, str, str, str, str]] = {
    "a method, without its indentation": (
        "python",
        "def area(self) -> float:\n    return math.pi * self.radius ** 2\n",
        "replaces the function area",
        '        """Its area."""\n        return 3.14 * self.radius ** 2\n',
        "        return math.pi * self.radius ** 2\n",
    ),
    "a function with an import and another one": (
        "python",
        "import math\nimport sys\n\ndef total(shapes):\n    return sum(s.area() for s in shapes)"
        "\n\n\ndef largest(shapes):\n    return max(shapes)\n",
        "replaces the function total, adds largest and an import",
        PYTHON[PYTHON.index("\nLIMIT") : PYTHON.index("\n\ndef main")],
        "import sys\n" + PYTHON[PYTHON.index("\nLIMIT") : PYTHON.index("    result = 0")]
        + "    return sum(s.area() for s in shapes)\n\n\ndef largest(shapes):\n"
        "    return max(shapes)\n",
    ),
    "a class that leaves methods out": (
        "python",
        "class Circle:\n    # ... existing code ...\n\n    def scale(self, by):\n"
        "        self.radius *= by\n\n    def double(self):\n        return self.scale(2)\n",
        "replaces the class Circle",
        "        # keep it small\n        if by > LIMIT:\n            by = LIMIT\n"
        "        self.radius *= by\n        return self\n",
        "        self.radius *= by\n\n    def double(self):\n        return self.scale(2)\n",
    ),
    "lines before what is left out": (
        "python",
        "def total(shapes):\n    if not shapes:\n        return 0\n    # ... rest unchanged ...\n",
        "replaces the function total",
        "    result = 0\n",
        "    if not shapes:\n        return 0\n    result = 0\n",
    ),
    "a changed line after what is left out": (
        "python",
        "def total(shapes):\n    result = 0\n    # ...\n    return result / len(shapes)\n",
        "replaces the function total",
        "    return result\n",
        "    return result / len(shapes)\n",
    ),
    "a constant": ("python", "LIMIT = 20", "replaces the line of LIMIT", "= 10\n", "= 20\n"),
    "the main part": (
        "python",
        'if __name__ == "__main__":\n    raise SystemExit(main())',
        "replaces the main part",
        '__":\n    main()\n',
        '__":\n    raise SystemExit(main())\n',
    ),
    "statements": (
        "python",
        "for shape in shapes:\n    result += 2 * shape.area()",
        "replaces lines 30–31",
        "        result += shape.area()\n",
        "        result += 2 * shape.area()\n",
    ),
    "a nested function in an impl": (
        "rust",
        "pub fn norm(&self) -> f64 {\n    self.x.abs()\n}",
        "replaces the function norm",
        "        if self.x == 0.0 {\n            return 0.0;\n        }\n",
        "",
    ),
    "a new function in an impl": (
        "rust",
        "impl<'a> Point<'a> {\n    // ... existing code ...\n\n    pub fn twice(&self) -> f64 {\n"
        "        self.x * 2.0\n    }\n}",
        "replaces the impl Point",
        "        self.x.abs()\n    }\n",
        "        self.x.abs()\n    }\n\n    pub fn twice(&self) -> f64 {\n"
        "        self.x * 2.0\n    }\n",
    ),
    "attributes, where a comment stays": (
        "rust",
        "#[derive(Debug)]\npub struct Point<'a> {\n    x: f64,\n    name: &'a str,\n}",
        "replaces the struct Point",
        "#[derive(Debug, Clone)]\n",
        "#[derive(Debug)]\n",
    ),
    "a where clause": (
        "rust",
        "fn parse<T>(text: &str) -> Option<T>\nwhere\n    T: std::str::FromStr,\n{\n"
        "    text.parse().ok()\n}",
        "replaces the function parse",
        "text.trim().parse()",
        "text.parse()",
    ),
    "a definition, not its declaration": (
        "c",
        "struct node *make(int value)\n{\n    return NULL;\n}",
        "replaces the function make",
        C[C.index("    struct node *n = malloc") : C.index("}\n\nstatic int")],
        "    return NULL;\n",
    ),
    "a type that stands on a line of its own": (
        "c",
        "static int sum(const struct node *n, int start)\n{\n    return start;\n}",
        "replaces the function sum",
        C[C.index("static int\n") : C.index("}\n\nint main")],
        "static int sum(const struct node *n, int start)\n{\n    return start;\n",
    ),
    "a typedef": (
        "c",
        "typedef struct {\n    int a;\n    int b;\n} pair;",
        "replaces the type pair",
        "    int a;\n",
        "    int a;\n    int b;\n",
    ),
    "a struct": (
        "c",
        "struct node {\n    long value;\n    struct node *next;\n};",
        "replaces the struct node",
        "    int value;\n",
        "    long value;\n",
    ),
    "a macro": ("c", "#define MAX 20", "replaces the line of MAX", "MAX 10", "MAX 20"),
    "an include": (
        "c",
        '#include <stdlib.h>\n\nint main(void) {\n    // ...\n    puts("bye");\n    return 0;\n}',
        "replaces the function main, adds an import",
        C[C.index("\n#define MAX") : C.index("    return 0;")],
        "#include <stdlib.h>\n" + C[C.index("\n#define MAX") : C.index("    return 0;")]
        + '    puts("bye");\n',
    ),
    "an async method": (
        "javascript",
        "async load(path) {\n  this.items = [];\n}",
        "replaces the function load",
        '    const text = await fs.promises.readFile(path, "utf8");\n'
        "    this.items = JSON.parse(text);\n",
        "    this.items = [];\n",
    ),
    "an arrow function that leaves lines out": (
        "javascript",
        "const debounce = (fn, ms = 100) => {\n  let timer = null;\n  // ... existing code ...\n};",
        "replaces the function debounce",
        "ms) => {\n  let timer;\n",
        "ms = 100) => {\n  let timer = null;\n",
    ),
    "a method between others that are left out": (
        "javascript",
        "class Store {\n  // ... other members\n\n  clear() {\n    this.items = [];\n  }\n\n"
        "  // ...\n}",
        "replaces the class Store",
        "    this.items = JSON.parse(text);\n  }\n",
        "    this.items = JSON.parse(text);\n  }\n\n  clear() {\n    this.items = [];\n  }\n",
    ),
    "a component": (
        "jsx",
        "export default function App({ items = [] }) {\n  // ... existing code ...\n"
        "  return <ol>{items}</ol>;\n}",
        "replaces the function App",
        "<ul>{items}</ul>",
        "<ol>{items}</ol>",
    ),
    "a method by its receiver": (
        "go",
        'package main\n\nimport (\n\t"math"\n)\n\n'
        "func (c *Circle) Area() float64 {\n\treturn math.Pi * c.R * c.R\n}",
        "replaces the function Circle.Area, adds an import",
        GO[GO.index("\n)") : GO.index(" * c.R * c.R")],
        '\n\t"math"' + GO[GO.index("\n)") : GO.index("3 * c.R")] + "math.Pi",
    ),
    "statements between lines that are left out": (
        "go",
        "func main() {\n\t// ... existing code ...\n\tfmt.Println(Square{3}.Area())\n}",
        "replaces the function main",
        "Square{2}",
        "Square{3}",
    ),
    "a method that ends with a word": (
        "ruby",
        'def bark\n  puts "WOOF"\nend',
        "replaces the function bark",
        '"woof"',
        '"WOOF"',
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_block_finds_its_place(name: str) -> None:
    language, block, how, old, new = CASES[name]
    text = FILES["javascript" if language == "jsx" else language]
    expected = Applied(swapped(text, old, new), how)
    assert apply(text, block, language) == expected
    assert apply(text, "\n\n" + block + "\n\n", "").text == expected.text  # nothing said
    crlf = apply(text.replace("\n", "\r\n"), block, language)
    assert crlf.text == expected.text.replace("\n", "\r\n")
    assert apply(text.rstrip("\n"), block, language).text == expected.text.rstrip("\n")


# ── what was asked about ────────────────────────────────────────────────────────────


def test_the_lines_that_were_asked_about_are_replaced() -> None:
    block = "for one in shapes:\n    result += one.area()\nreturn result"
    applied = apply(PYTHON, block, "python", (30, 32))
    assert applied.how == "replaces lines 30–32"
    assert "    for one in shapes:\n        result += one.area()\n    return res" in applied.text
    renamed = apply(PYTHON, PYTHON[PYTHON.index("def total") :].partition("\n\n")[0].replace(
        "total", "area_of_all"), "python", (28, 33))  # fmt: skip
    assert renamed.how == "replaces lines 28–32; removes total"
    assert renamed.text == PYTHON.replace("def total", "def area_of_all")


def test_a_name_that_is_there_twice_is_that_of_the_lines_asked_about() -> None:
    text = "class A:\n    def run(self):\n        return 1\n\n\nclass B:\n    def run(self):\n" \
           "        return 1\n"  # fmt: skip
    block = "def run(self):\n    return 22"
    assert apply(text, block, "python", (6, 8)).text == text[:-2] + "22\n"
    assert apply(text, block, "python", (7, 7)).text == text[:-2] + "22\n"
    with pytest.raises(CodeError, match=r"2 places named run \(lines 2, 7\); t takes the block"):
        apply(text, block, "python")


def test_a_whole_function_goes_beyond_the_lines_asked_about() -> None:
    block = "def total(shapes):\n    return sum(shape.area() for shape in shapes)"
    applied = apply(PYTHON, block, "python", (30, 31))
    assert applied.how == "replaces the function total"
    assert "result" not in applied.text


# ── the whole file ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("language", FILES)
def test_a_new_version_of_the_file_is_the_file(language: str) -> None:
    text = FILES[language]
    assert apply(text, text, language).text == text
    new = re.sub(r"\b(return|puts)\b", r"\1  ", text)
    assert apply(text, new, language) == Applied(new, "the whole file")


def test_one_function_of_several_is_not_the_file() -> None:
    text = "import os\n\n\ndef f():\n    a()\n    b()\n    c()\n\n\ndef g():\n    pass\n"
    applied = apply(text, "import os\n\n\ndef f():\n    a()\n    b()\n    d()\n", "python")
    assert applied == Applied(text.replace("c()", "d()"), "replaces the function f")


def test_what_has_no_definitions_goes_by_likeness() -> None:
    text = '{\n  "name": "x",\n  "version": "1.0",\n  "private": true\n}\n'
    new = text.replace("1.0", "1.1")
    assert apply(text, new, "json") == Applied(new, "the whole file")
    css = ".a {\n  color: red;\n}\n\n.box {\n  color: blue;\n}\n\n.c {\n  top: 0;\n}\n"
    applied = apply(css, ".box {\n  color: green;\n  left: 0;\n}", "css")
    assert applied == Applied(css.replace("blue;", "green;\n  left: 0;"), "replaces lines 5–7")


@pytest.mark.parametrize("text", ["", "\n", "  \n\n"])
def test_an_empty_file_becomes_the_block(text: str) -> None:
    assert apply(text, "\nx = 1\n\n", "python") == Applied("x = 1\n", "the whole file")


# ── patches ─────────────────────────────────────────────────────────────────────────

PATCH = """\
diff --git a/x.py b/x.py
index 123..456 100644
--- a/x.py
+++ b/x.py
@@ -1,3 +1,4 @@ def main():
 def main():
+    print("go")
     print(total([Circle(1), Circle(2)]))

@@ -3,4 +4,3 @@
 import math
-from dataclasses import dataclass

-LIMIT = 10
+LIMIT = 20
"""
PATCHED = PYTHON.replace("def main():\n", 'def main():\n    print("go")\n').replace(
    "from dataclasses import dataclass\n\nLIMIT = 10", "\nLIMIT = 20"
)


@pytest.mark.parametrize("language", ["diff", "patch", "python", ""])
def test_a_patch_fits_where_its_lines_are(language: str) -> None:
    assert apply(PYTHON, PATCH, language) == Applied(PATCHED, "a patch")
    without = "\n".join(line for line in PATCH.splitlines()[4:])
    assert apply(PYTHON, without, language).text == PATCHED


def test_trailing_spaces_are_the_file_s() -> None:
    text = "a  \nb\nc \n"
    assert apply(text, "@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n", "diff").text == "a  \nB\nc \n"


def test_of_equal_places_the_nearest_is_meant() -> None:
    text = "x\ny\n" * 20
    applied = apply(text, "@@ -29,2 +29,2 @@\n x\n-y\n+z\n", "diff").text
    assert applied.split("\n").index("z") == 29
    with pytest.raises(CodeError, match="Part 1 of the patch fits in 20 places"):
        apply(text, " x\n-y\n+z\n", "diff")


def test_lines_that_only_come_go_behind_the_line_that_is_named() -> None:
    assert apply("a\nb\n", "@@ -1,0 +2 @@\n+new\n", "diff").text == "a\nnew\nb\n"
    assert apply("", "--- /dev/null\n+++ b/x\n@@ -0,0 +1,2 @@\n+a\n+b\n", "").text == "a\nb\n"


def test_a_last_line_break_comes_and_goes() -> None:
    mark = "\\ No newline at end of file\n"
    assert apply("a\nb", f"@@ -1,2 +1,2 @@\n a\n-b\n{mark}+c\n", "diff").text == "a\nc\n"
    assert apply("a\nb\n", f"@@ -1,2 +1,2 @@\n a\n-b\n+c\n{mark}", "diff").text == "a\nc"


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        ("@@ -1 +1 @@\n-gone()\n+here()\n", "Part 1 of the patch does not fit: .* “gone\\(\\)”"),
        (PATCH.replace("LIMIT = 10", "LIMIT = 11"), "Part 2 .* “LIMIT = 11”"),
        ("--- a\n+++ a\n@@ -1 +1 @@\n-x\n+y\n--- b\n+++ b\n@@ -1 +1 @@\n-x\n+y\n", "several files"),
        ("@@ -1 +1 @@\n-LIMIT = 10\n+a\n@@ -1 +1 @@\n-LIMIT = 10\n+b\n", "Part 2 .* another one"),
    ],
)
def test_a_part_that_does_not_fit_is_named(patch: str, words: str) -> None:
    with pytest.raises(CodeError, match=words) as caught:
        apply(PYTHON, patch, "diff")
    assert str(caught.value).endswith("; t takes the block at the cursor instead.")


# ── what has no place ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ("   \n", "The block is empty"),
        ("def unknown():\n    result = 0\n    return result", "The file has no unknown that"),
        ("foo = 3\nbar = 4", "Nothing in the block tells where"),
        ("result = 0\nfoo()\n", "Of the block only “result = 0” is in the file"),
        ("def main():\n    # ... setup ...\n    finish()\n", "leaves lines out around “finish"),
        (
            "class Circle:\n    # ...\n    def run(self):\n        # ...\n        x()\n",
            "leaves lines out of “def run",
        ),
        ("x\x1b[31m = 1\nresult = 0\x1b]52;c;AA\x07\n", "Nothing"),
    ],
)
def test_what_has_no_place_is_a_sentence_that_says_what_to_do(block: str, words: str) -> None:
    with pytest.raises(CodeError, match=words) as caught:
        apply(PYTHON, block, "python")
    said = str(caught.value)
    assert said.isprintable()
    assert said.endswith("; t takes the block at the cursor instead.")


def test_most_of_a_class_that_is_missing_was_left_out() -> None:
    block = (
        "class Store {\n  close() {\n    this.items = null;\n  }\n\n"
        "  get size() {\n    return 0;\n  }\n}"
    )
    applied = apply(JS, block, "javascript")
    assert applied.how == "replaces the class Store"
    assert applied.text == swapped(
        swapped(JS, "this.items.length", "0"),
        "  get size() {\n",
        "  close() {\n    this.items = null;\n  }\n\n  get size() {\n",
    )
    fewer = "class Circle:\n    radius: float\n\n    def area(self):\n        return 1\n"
    applied = apply(PYTHON, fewer, "python")  # one of two
    assert applied.text == swapped(
        PYTHON,
        'area(self) -> float:\n        """Its area."""\n        return 3.14 * self.radius ** 2\n',
        "area(self):\n        return 1\n",
    )


def test_three_dots_that_are_the_body_are_code() -> None:
    block = "def total(shapes):\n    ...\n"
    applied = apply(PYTHON, block, "python")
    assert "def total(shapes):\n    ...\n\n\ndef main" in applied.text


# ── properties ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("language", FILES)
def test_a_copy_of_any_definition_changes_nothing(language: str) -> None:
    text = FILES[language]
    lines = text.removesuffix("\n").split("\n")
    outline = Outline(lines, style_of(language))
    count = 0
    for places in outline.places.values():
        for place in places:
            one = outline.definition(place)
            assert one is not None
            if one.end - one.start == 1 and place != places[-1]:
                continue  # a declaration only
            for begin in {one.first, one.start}:
                block = "\n".join(lines[begin : one.end])
                for shape in (block, dedent(block), indent(block, "    ")):
                    assert apply(text, shape, language).text == text, block
                count += 1
    assert count >= 3


NAMES = st.sampled_from(["f", "run", "area", "x1"])
BODIES = st.lists(
    st.sampled_from(["a()", "if a:\n    b = {'k': \"}\"}", "# (",
                     "x = '''\n{\n'''", "return [\n]"]),
    min_size=1, max_size=4,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(NAMES, BODIES), min_size=1, max_size=5, unique_by=lambda d: d[0]))
def test_a_copy_within_a_made_up_file_changes_nothing(made: list[tuple[str, list[str]]]) -> None:
    blocks = []
    for name, body in made:
        lines = "\n".join([*body, "return None"])
        blocks.append(f"def {name}(a):\n" + indent(lines, "    ", lambda line: "'" not in line))
    text = "import os\n\n\n" + "\n\n\n".join(blocks) + "\n\nos.exit()\n"
    for block in blocks:
        assert apply(text, block, "python").text == text


PIECES = st.lists(
    st.sampled_from(["def f(x):", "    # ...", "    return x", "}", "{", "fn a() {", "@@ -1 +1 @@",
                     "-a", "+b", "", "\t…", '"""', "/*", "*/", "import os", "class A:", "'",
                     "x\x1b",
                     "impl A for B {", "int main(void)", "...", "A = 1", "--- a", "+++ b", "end"]),
    max_size=9,
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(PIECES, PIECES, st.sampled_from(["python", "rust", "c", "", "diff"]),
       st.none() | st.tuples(st.integers(-2, 12), st.integers(-2, 12)))  # fmt: skip
def test_whatever_comes_there_is_a_text_or_a_sentence(
    old: list[str], new: list[str], language: str, near: tuple[int, int] | None
) -> None:
    try:
        said = apply("\n".join(old), "\n".join(new), language, near).how
    except CodeError as error:
        said = str(error)
    assert said
    assert said.isprintable()
