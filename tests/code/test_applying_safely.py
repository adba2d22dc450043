"""Applying a code block never loses code in silence: what an answer does not repeat stays, what
goes is named, and what is not clear is refused."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress

import pytest

from mistral_tui.code.applying import Applied, apply
from mistral_tui.code.definitions import Outline
from mistral_tui.code.errors import CodeError
from mistral_tui.code.removal import keys
from mistral_tui.code.styles import style_of

README = """\
# Title

Intro text.

## Install

Run this one:

    pip install x

And then restart the shell please.

## Usage

Call it.
"""

SQL = """\
CREATE TABLE users (
  id INTEGER PRIMARY KEY,
  name TEXT
);

CREATE TABLE items (
  id INTEGER PRIMARY KEY,
  title TEXT
);
"""

PACKAGE = """\
{
  "name": "x",
  "version": "1.0.0",
  "scripts": {
    "test": "jest",
    "build": "tsc"
  },
  "dependencies": {
    "a": "^1.0.0"
  }
}
"""

JOBS = """\
name: CI
on: [push]

jobs:
  test:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - run: pip install .
      - name: Test
        run: pytest
  lint:
    runs-on: ubuntu-latest
    steps:
      - name: Lint
        run: ruff check
"""

SERVICE = '''\
import os
import sys

NAMES = ["a", "b"]


class Service:
    size = 1

    def __init__(self):
        self.a = os.name

    def start(self):
        return 1

    def stop(self):
        return 2

    def status(self):
        return 3


def main():
    """Run it."""
    print(Service().start())
'''

PROPERTY = """\
class A:
    @property
    def x(self):
        return self._x

    @x.setter
    def x(self, value):
        self._x = value

    def y(self):
        return 1
"""

IMPLS = """\
struct P { x: i32 }

impl P {
    fn a(&self) -> i32 { 1 }
}

impl P {
    fn b(&self) -> i32 { 2 }
}
"""

STORE = """\
class Store {
  one() {
    return 1;
  }

  print() {
    console.log(1);
  }

  delete(id) {
    this.x = id;
  }

  async match (id) {
    return id;
  }
}
"""

API = """\
const api = {
  get(id) {
    return fetch(id);
  },
  list() {
    return fetch("/x");
  },
  remove(id) {
    return fetch(id, { method: "DELETE" });
  },
};

export default api;
"""

RUN = """\
def run(items):
    a = one(items)
    b = two(items)
    c = three(items)
    d = four(items)
    e = five(items)
    return a + b + c + d + e
"""

SCRIPT = "import requests\n\n" + "".join(
    f"step_{n} = requests.get('http://x/{n}')\n" for n in range(50)
) + "\nprint(step_3)\n"  # fmt: skip

WAIT = """\
def wait(server):
    # Do nothing....
    for n in range(10):
        if server.ready:
            return True
    return False


def more():
    return 1
"""

ASKED = """\
import sys

LIMIT = 10


# Important comment
@decorate(limit=LIMIT)
def main(path):
    box = read(path)
    print(box.area)
    for i in range(3):
        print(i, box)
    return box


main(sys.argv[1])
"""

Near = tuple[int, int] | None

# name: (text, block, language, near, what it replaces and by what …)
PLACED: dict[str, tuple[str, str, str, Near, list[tuple[str, str]]]] = {
    "a section of a README": (
        README, "## Install\n\nRun this one:\n\n    pip install x[all]\n\nAnd then restart the "
        "shell please.", "markdown", None, [("install x", "install x[all]")],
    ),
    "one table of two": (
        SQL, "CREATE TABLE items (\n  id INTEGER PRIMARY KEY,\n  title TEXT NOT NULL\n);", "sql",
        None, [("title TEXT", "title TEXT NOT NULL")],
    ),
    "a key of a JSON file keeps its comma": (
        PACKAGE, '"scripts": {\n  "test": "jest",\n  "build": "tsc -w"\n}', "json", None,
        [('"tsc"', '"tsc -w"')],
    ),
    "a constant": (SERVICE, 'NAMES = ["c"]', "python", None, [('["a", "b"]', '["c"]')]),
    "imports and one method of a class": (
        SERVICE, "import os\nimport sys\n\n\nclass Service:\n    def start(self):\n"
        "        return 11", "python", None, [("return 1\n", "return 11\n")],
    ),
    "a class with fewer methods, beside all else": (
        SERVICE, "import os\n\n\nclass Service:\n    def stop(self):\n        return 22\n\n\n"
        'def main():\n    """Run it."""\n    print(Service().stop())', "python", None,
        [("return 2\n", "return 22\n"), ("Service().start", "Service().stop")],
    ),
    "a changed attribute and one method": (
        SERVICE, "class Service:\n    size = 2\n\n    def start(self):\n        return self.size",
        "python", None, [("size = 1", "size = 2"), ("return 1\n", "return self.size\n")],
    ),
    "three methods of four": (
        SERVICE, "class Service:\n    size = 1\n\n    def __init__(self):\n"
        "        self.a = os.name\n\n    def start(self):\n        return 11\n\n"
        "    def stop(self):\n        return 22\n", "python", None,
        [("return 1\n", "return 11\n"), ("return 2\n", "return 22\n")],
    ),
    "a setter in its class": (
        PROPERTY, "class A:\n    @x.setter\n    def x(self, value):\n"
        "        self._x = int(value)", "python", None, [("= value", "= int(value)")],
    ),
    "a setter alone": (
        PROPERTY, "@x.setter\ndef x(self, value):\n    self._x = int(value)", "python", None,
        [("= value", "= int(value)")],
    ),
    "a setter without its decorator": (
        PROPERTY, "def x(self, value):\n    self._x = int(value)", "python", None,
        [("= value", "= int(value)")],
    ),
    "one impl of two": (
        IMPLS, "struct P { x: i32 }\n\nimpl P {\n    fn a(&self) -> i32 { 3 }\n}", "rust", None,
        [("{ 1 }", "{ 3 }")],
    ),
    "a member of an object": (
        API, "const api = {\n  list(page) {\n    return fetch(page);\n  },\n};", "js", None,
        [('list() {\n    return fetch("/x");', "list(page) {\n    return fetch(page);")],
    ),
    "a method named like a statement": (
        STORE, "delete(id) {\n  if (!id) throw 1;\n  this.remove(id);\n}", "js", None,
        [("    this.x = id;", "    if (!id) throw 1;\n    this.remove(id);")],
    ),
    "one named match, with words before it": (
        STORE, "async match (id) {\n  return this.x;\n}", "js", None,
        [("return id;", "return this.x;")],
    ),
    "one named like a statement, in its class": (
        STORE, "class Store {\n  // ...\n  print() {\n    console.log(2);\n  }\n  // ...\n}",
        "js", None, [("log(1)", "log(2)")],
    ),
    "a gap, and none behind what is early": (
        RUN, "def run(items):\n    # ... existing code ...\n    b = two(items)\n    check(b)",
        "python", None, [("    b = two(items)\n", "    b = two(items)\n    check(b)\n")],
    ),
    "a class with a gap, and none behind": (
        SERVICE, "class Service:\n    # ... existing code ...\n\n    def start(self):\n"
        "        return 11", "python", None, [("return 1\n", "return 11\n")],
    ),
    "a gap whose comment is further to the left": (
        SERVICE, "class Service:\n# ... existing code ...\n    def stop(self):\n"
        "        return 22\n# ... rest of the class ...", "python", None,
        [("return 2\n", "return 22\n")],
    ),
    "dots that the file has itself": (
        WAIT, "def wait(server):\n    # Do nothing....\n    for n in range(20):\n"
        "        if server.ready:\n            return True\n    return False", "python", None,
        [("range(10)", "range(20)")],
    ),
    "dots of a sentence": (
        WAIT, "def wait(server):\n    # Wait until it is there...\n    for n in range(10):\n"
        "        if server.ready:\n            return True\n    return False", "python", None,
        [("# Do nothing....", "# Wait until it is there...")],
    ),
    "dots between words of code": (
        RUN, "def run(items):\n    # ... unchanged ...\n    e = six(items)\n"
        "    return a + b + c + d + e", "python", None, [("five(", "six(")],
    ),
    "a new method beside what is no method": (
        "class A:\n    def run(self):\n        return 1\n\n    x = 3\n",
        "class A:\n    # ...\n\n    def pause(self):\n        return 5\n\n    # ...", "python",
        None, [("return 1\n\n", "return 1\n\n    def pause(self):\n        return 5\n\n")],
    ),
    "the lines asked about with a decorator": (
        ASKED, "def main(path):\n    box = read(path)\n    print(box.area)\n"
        "    for i in range(4):\n        print(i, box)\n    return box", "python", (6, 17),
        [("range(3)", "range(4)")],
    ),
    "a new name for what was asked about": (
        ASKED, "def start(path):\n    box = read(path)\n    print(box.area)\n"
        "    for i in range(3):\n        print(i, box)\n    return box", "python", (6, 13),
        [("def main", "def start")],
    ),
    "line numbers out of date": (
        ASKED, "for i in range(4):\n    print(i, box.name)\nreturn box", "python", (10, 12),
        [("range(3)", "range(4)"), ("(i, box)", "(i, box.name)")],
    ),
    "fewer lines than were asked about": (
        ASKED, "    for i in range(4):\n        print(i, box)\n    return box", "python", (8, 17),
        [("range(3)", "range(4)")],
    ),
    "a path above the code": (
        "import os\n\n\n# Adds.\ndef add(a, b):\n    return a + b\n",
        "# file: src/calc.py\ndef add(a, b):\n    return a - b", "python", None,
        [("a + b", "a - b")],
    ),
    "a path in the comment of another language": (
        "import os\n\n\ndef add(a, b):\n    return a + b\n",
        "// calc.py\n\ndef add(a, b):\n    return a - b", "python", None, [("a + b", "a - b")],
    ),
    "an import behind the docstring": (
        '"""Docs\nof it."""\n\ndef add(a):\n    return a\n',
        "import math\n\ndef add(a):\n    return math.fsum(a)", "python", None,
        [('."""\n\n', '."""\n\nimport math\n\n'), ("return a", "return math.fsum(a)")],
    ),
    "an import behind the coding line": (
        "#!/usr/bin/env python3\n# -*- coding: utf-8 -*-\n\nX = 1\n\n\ndef add(a):\n    return a\n",
        "import math\n\ndef add(a):\n    return math.fsum(a)", "python", None,
        [("-*-\n\n", "-*-\n\nimport math\n\n"), ("return a", "return math.fsum(a)")],
    ),
    "an import of the future": (
        "import os\n\nX = 1\n\n\ndef f():\n    return 1\n",
        "from __future__ import annotations\n\n\ndef f():\n    return 2", "python", None,
        [("import os", "from __future__ import annotations\nimport os"), ("n 1", "n 2")],
    ),
    "an import with more names": (
        'import { a } from "./m";\n\nconst x = 1;\n\nfunction f() {\n  return a;\n}\n',
        'import { a, b } from "./m";\n\nfunction f() {\n  return b;\n}\n', "js", None,
        [("{ a }", "{ a, b }"), ("return a", "return b")],
    ),
    "an import in PHP": (
        "<?php\n\nnamespace App;\n\nclass A {\n    public function run() {\n        return 1;\n"
        "    }\n}\n",
        "<?php\n\nuse App\\Log;\n\npublic function run() {\n    return 2;\n}", "php", None,
        [("App;\n\n", "App;\n\nuse App\\Log;\n\n"), ("n 1", "n 2")],
    ),
    "an import behind 'use strict'": (
        "'use strict';\n\nlet n = 1;\n\nfunction add(a) {\n  return a;\n}\n",
        'import x from "y";\n\nfunction add(a) {\n  return x(a);\n}', "js", None,
        [("strict';\n\n", "strict';\n\nimport x from \"y\";\n\n"), ("return a", "return x(a)")],
    ),
    "an import in Rust": (
        "#![allow(dead_code)]\n//! Docs\n\nstatic X: i32 = 1;\n\nfn add(a: i32) -> i32 {\n"
        "    a + 1\n}\n",
        "use std::fmt;\n\nfn add(a: i32) -> i32 {\n    a - 1\n}", "rust", None,
        [("Docs\n\n", "Docs\n\nuse std::fmt;\n\n"), ("a + 1", "a - 1")],
    ),
    "a file whose licence is not repeated": (
        "/* Copyright\n * me\n */\nint add(int a) {\n    return a;\n}\n",
        "int add(int a) {\n    return a + 1;\n}", "c", None, [("return a", "return a + 1")],
    ),
    "a part of a patch that says where it is": (
        RUN + "\n\n" + RUN.replace("run", "go"),
        "@@ -1,3 +1,3 @@ def go(items):\n     a = one(items)\n-    b = two(items)\n"
        "+    b = 2\n     c = three(items)\n", "diff", None,
        [("def go(items):\n    a = one(items)\n    b = two(items)",
          "def go(items):\n    a = one(items)\n    b = 2")],
    ),
    "a line that goes, and begins like a header": (
        "-- header\nselect 1;\n", "@@ -1,2 +1,2 @@\n--- header\n+++ header2\n select 1;\n",
        "diff", None, [("-- header", "++ header2")],
    ),
}  # fmt: skip


def lost(text: str, applied: Applied, language: str) -> Counter[str]:
    """The definitions that are gone, by name."""
    style = style_of(language, text)
    gone = keys(Outline(text.split("\n"), style)) - keys(Outline(applied.text.split("\n"), style))
    return Counter({key.name: count for key, count in gone.items()})


@pytest.mark.parametrize("name", PLACED)
def test_only_what_the_block_says_changes(name: str) -> None:
    text, block, language, near, changes = PLACED[name]
    expected = text
    for old, new in changes:
        assert expected.count(old) == 1, old
        expected = expected.replace(old, new)
    applied = apply(text, block, language, near)
    assert applied.text == expected
    assert all(gone in applied.how for gone in lost(text, applied, language))
    if language != "diff":
        assert apply(expected, block, language, near).text == expected  # once is enough
    windows = apply(text.replace("\n", "\r\n"), block, language, near)
    assert windows.text == expected.replace("\n", "\r\n")


REFUSED: dict[str, tuple[str, str, str, Near, str]] = {
    "two known lines, and all between them": (
        SCRIPT, 'import requests\n\ndata = requests.get("y")\nprint(step_3)', "python", None,
        "nothing in place of 49 lines",
    ),
    "a YAML job with another one before it": (
        JOBS, "jobs:\n  lint:\n    runs-on: ubuntu-22.04\n    steps:\n      - name: Lint\n"
        "        run: ruff check --fix", "yaml", None, "nothing in place of 7 lines",
    ),
    "a YAML job that comes between another and its lines": (
        JOBS, "jobs:\n  # ... existing jobs ...\n  docs:\n    runs-on: ubuntu-latest", "yaml",
        None, "around “docs:”",
    ),
    "a part of a JSON file in braces of its own": (
        PACKAGE, '{\n  "scripts": {\n    "test": "vitest"\n  }\n}', "json", None, "only",
    ),
    "one line of a text": (
        "Dear Bob,\n\nI hope you are well.\n\nRegards,\nAlice\n", "I hope you are fine.", "", None,
        "Nothing in the block",
    ),
    "a line at another depth": (
        "def run(items):\n    for item in items:\n        if item.bad:\n"
        '            log("bad item")\n            continue\n        use(item)\n    save(items)\n',
        'def run(items):\n    # ... existing code ...\n    if count > 3:\n        log("bad item")',
        "python", None, "around “if count",
    ),
    "most of a table": (
        'TABLE = {\n    "a": 1,\n    "b": 2,\n    "c": 3,\n    "d": 4,\n}\n\n\ndef f():\n'
        "    return TABLE\n", 'TABLE = {\n    "b": 3,\n}', "python", None,
        "nothing in place of 3 lines",
    ),
    "a function that was cut off": (
        RUN + "\n\nX = 1\n", "def run(items):\n    a = one(items)\n    b = 2\n"
        "    c = three(items)", "python", None, "The block stops within “def run",
    ),
    "one in braces that was cut off": (
        STORE, "delete(id) {\n  if (id) {\n    this.y = id;", "js", None, "would not close",
    ),
    "a long function, and one line of a new one": (
        "def run():\n" + "".join(f"    step({n})\n" for n in range(60)) + "\n\nX = 1\n",
        "def run():\n    go()", "python", None, "too little in place of the 61 lines",
    ),
    "a new function that leaves lines out": (
        RUN, "def run(items):\n    # ...\n    return a + b + c + d + e\n\n\ndef other():\n"
        "    # ... existing code ...\n    return 1", "python", None, "leaves lines out of “def oth",
    ),
    "a method that is within a condition": (
        'class A:\n    x = 1\n\n    if os.name == "nt":\n        def close(self):\n'
        "            one()\n    else:\n        def close(self):\n            two()\n\n"
        "    def more(self):\n        pass\n",
        "class A:\n    def close(self):\n        three()", "python", None, "within something else",
    ),
    "two with the same name": (
        IMPLS.replace("fn b", "fn a"), "fn a(&self) -> i32 { 3 }", "rust", None,
        "2 places named a",
    ),
    "nothing like what was asked about": (
        ASKED, "return [name for name in box]", "python", (9, 12), "Nothing in the block",
    ),
    "a patch that fits twice": (
        "a = 1\nb = 2\n" * 3, "@@ -9,2 +9,2 @@\n a = 1\n-b = 2\n+b = 3\n", "diff", None,
        "fits in 3 places",
    ),
    "a patch of a new file": (
        RUN, "--- /dev/null\n+++ b/f.py\n@@ -0,0 +1 @@\n+x = 1\n", "diff", None,
        "makes a new file",
    ),
    "a diff that is none": (RUN, "a = one(items)\nb = two(items)", "diff", None, "nothing"),
    "a file that is too large": (
        "x = 1\n" * 600_000, "y = 2\nz = 3", "python", None, "too large to be taken apart",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_clear_is_refused(name: str) -> None:
    text, block, language, near, words = REFUSED[name]
    with pytest.raises(CodeError, match=words) as caught:
        apply(text, block, language, near)
    assert str(caught.value).isprintable()
    assert str(caught.value).endswith("; t takes the block at the cursor instead.")


NAMED: dict[str, tuple[str, str, str, str]] = {
    "a member of a class that is else repeated": (
        SERVICE.replace("    def status", "    def more(self):\n        pass\n\n    def status"),
        "class Service:\n    size = 1\n\n    def __init__(self):\n        self.a = os.name\n\n"
        "    def start(self):\n        return 1\n\n    def more(self):\n        pass\n\n"
        "    def status(self):\n        return 3\n", "python",
        "replaces the class Service; removes stop",
    ),
    "a field": (
        "struct P {\n    x: i32,\n    y: i32,\n    z: i32,\n}\n\nfn f() {}\n",
        "struct P {\n    x: i32,\n    z: i32,\n}", "rust",
        "replaces the struct P; removes 1 line",
    ),
    "a function within another": (
        "def f():\n    def g():\n        return 1\n\n    return g()\n\n\nX = 1\n",
        "def f():\n    return 1", "python", "replaces the function f; removes g",
    ),
    "lines of a text": (
        "one line\ntwo lines\nthree lines\nfour lines\nfive lines\nsix lines\n",
        "one line\ntwo lines\nthree lines\nfive lines\nsix lines", "",
        "the whole file; removes 1 line",
    ),
    "a line between two others": (
        "# a\n\nfoo = one()\nbar = two()\nbaz = three()\n\nif foo:\n    print(bar)\n",
        "foo = one()\nbaz = three()", "python", "replaces lines 3–5; removes 1 line",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMED)
def test_what_goes_is_named(name: str) -> None:
    text, block, language, how = NAMED[name]
    applied = apply(text, block, language)
    assert applied.how == how
    assert applied.text != text
    assert apply(applied.text, block, language).text == applied.text


@pytest.mark.parametrize(
    ("text", "block", "near", "how"),
    [
        (README, README[README.index("## Install") : README.index("## Usage")], None,
         "lines 5–11"),
        (SERVICE, "def stop(self):\n    return 2\n", None, "lines 16–17"),
        (SERVICE, "        return 3", None, "line 20"),
        (SERVICE, SERVICE, None, "lines 1–25"),
        (SERVICE, "import sys\n\n\n", None, "line 2"),
        (SERVICE, "    def stop(self):\n        return 2\n", (16, 17), "lines 16–17"),
    ],
)  # fmt: skip
def test_what_the_file_has_already_changes_nothing(
    text: str, block: str, near: Near, how: str
) -> None:
    assert apply(text, block, "", near) == Applied(text, how)


def test_what_the_file_has_elsewhere_is_not_what_was_asked_for() -> None:
    text = "class A:\n    def run(self):\n        return 1\n\n\nclass B:\n    def run(self):\n" \
           "        return 2\n"  # fmt: skip
    block = "def run(self):\n    return 1\n"
    assert apply(text, block, "python", (7, 8)).text == text.replace("return 2", "return 1")
    assert apply(text, block, "python").text == text


@pytest.mark.parametrize(
    ("text", "block", "language"),
    [
        ("void f() {\n" * 20_000, "void f() {\n  return;\n}", "c"),
        ("x = '" + "\\a" * 1_000_000 + "'\n", "x = 'b'", "python"),
        ("f(" * 200_000 + "\n", "void g() {\n}", "js"),
        ("a" * 990 + "=(\n" * 900_000, "foo(1)", "c"),
        (("a" * 990 + "=(\n") * 2_000, "foo(1)", "c"),
        ("".join(f"def f{n}():\n    return {n}\n\n\n" for n in range(4_000)),
         "".join(f"def f{n}():\n    return {n + 1}\n\n\n" for n in range(4_000)), "python"),
        ("x = 1\n" * 100_000, "x = 1\n" * 100_001, "python"),
        ("def f(\n" * 20_000, "def f(\n    a\n):\n    pass", "python"),
    ],
)  # fmt: skip
def test_a_hostile_file_takes_no_time_to_speak_of(text: str, block: str, language: str) -> None:
    begun = time.process_time()
    with suppress(CodeError):
        apply(text, block, language)
    assert time.process_time() - begun < 60  # it was minutes, and gigabytes
