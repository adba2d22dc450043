# ruff: noqa: E501 (each is one line)
"""Text that a terminal chat must survive: what is shown is text, and the screen stands.

`MARK` stands within what would be an escape sequence: it may be seen as text, or not at all.
"""

from __future__ import annotations

MARK = "PAYLOAD"
_ESC, _CSI, _OSC, _DCS, _ST = "\x1b", "\x9b", "\x9d", "\x90", "\x9c"

CORPUS: dict[str, str] = {
    # Escape sequences, in 7 and 8 bits.
    "colours and moves": f"a{_ESC}[31mred{_ESC}[0m {_ESC}[2J{_ESC}[H{_ESC}[10;10H{_ESC}[5A end",
    "8 bit csi": f"a{_CSI}31mred{_CSI}2J{_CSI}H end",
    "clipboard": f"{_ESC}]52;c;{MARK}\x07 {_ESC}]52;c;{MARK}{_ESC}\\ {_OSC}52;c;{MARK}{_ST} end",
    "title and link": f"{_ESC}]0;{MARK}\x07{_ESC}]2;{MARK}\x07{_ESC}]8;;http://{MARK}\x07x{_ESC}]8;;\x07",
    "device control": f"{_ESC}P{MARK}{_ESC}\\ {_DCS}{MARK}{_ST} {_ESC}_{MARK}{_ESC}\\ {_ESC}^{MARK}{_ESC}\\ {_ESC}X{MARK}{_ESC}\\",
    "tmux and kitty": f"{_ESC}Ptmux;{_ESC}{_ESC}]52;c;{MARK}\x07{_ESC}\\ {_ESC}_Gf=24;{MARK}{_ESC}\\",
    "modes and queries": f"{_ESC}[?1049l{_ESC}[?25h{_ESC}[?1000l{_ESC}[c{_ESC}[6n{_ESC}[5n{_ESC}[21t{_ESC}[>q",
    "reset and charset": f"{_ESC}c{_ESC}(0{_ESC}#8{_ESC}=M{_ESC}7{_ESC}8 end",
    "unterminated": f"one {_ESC}]52;c;{MARK} two {_ESC}[ three {_ESC}",
    "nested": f"{_ESC}[{_ESC}[31m{_ESC}]{_ESC}]52;c;{MARK}\x07{_ESC}[3{_ESC}[1m1m end",
    "long csi": f"{_ESC}[" + "1;" * 5_000 + "m end",
    # Control characters.
    "overwriting": "safe text\rEVIL\x08\x08\x08back\x0cform\x0bvert\x07bell\x00nul\x7fdel\x0e\x0f",
    "all of c0 and c1": "".join(map(chr, [*range(32), *range(127, 160)])) + " end",
    "tabs": "a\tb\t\tc\n\td\n```\n\tcode\t|\n```",
    "line ends": "one\r\ntwo\rthree\x85four\u2028five\u2029six",
    # Deceptive characters.
    "bidi": "user \u202eevil\u202c \u2066a\u2069 \u200f\u061c\u200e end",
    "invisible": "a\u200bb\u200cc\u200dd\u2060e\ufefff\u00adg\U000e0041\U000e007fh\u180ei\u3164j",
    "noncharacters": "\ufffe\uffff\ufdd0 \ue000\U000f0000 end",
    "surrogates": "a\ud800b\udc00c end",
    # Markup of ours and others.
    "rich markup": "[bold]x[/] [/INST] [red on blue] [link=http://x]y[/link] [] [/] [@click=app.quit]q[/]",
    "textual markup": "[@click=app.bell]x[/] $primary {braces} {0} %s [$text 50%]y[/] \\[z]",
    "control tokens": "<s>[INST] hi [/INST]</s> [TOOL_CALLS] [THINK]x[/THINK] <|im_end|>",
    "html": "<script>alert(1)</script> <b>x</b> <!-- c --> <img src=x onerror=y> <br> &lt;",
    "entities": "&#27;[31m &#x1b;]52;c;PAYLOAD&#7; &#x9b;2J &#13; &#8; &#x202e;x &#0; &Tab; &NewLine;",
    "links": f"[a](http://x/{_ESC}]52;c;{MARK}) [b](<http://y z\x1b[2J>) <http://q\x07w> ![i](\x9b1m)",
    "references": "[a][b] [c]\n\n[b]: http://x\n[c]: javascript:x",
    # Broken and huge Markdown.
    "open fence": "```python\ndef f():\n    return 1",
    "fence in a list": "- a\n  ```\n  code\n- b\n```\nopen\n- c\n  ~~~",
    "backticks": "`" * 3_000 + "\n\n" + "``` ` `` ```` x" * 50,
    "brackets": "[" * 3_000 + "x" + "](" * 500,
    "emphasis": "*_" * 2_000 + "x" + "**__" * 500,
    "quotes": ">" * 400 + " deep\n" + "> " * 300 + "deeper",
    "lists": "\n".join("  " * n + f"- level {n}" for n in range(120)),
    "numbers": "999999999. a\n1000000000. b\n\n0. c\n-1. d",
    "ragged table": "| a | b |\n|---|---|\n| 1 |\n| 1 | 2 | 3 |\n|\n||||\n| `x|y` | \\| |",
    "wide table": "|" + "a|" * 120 + "\n|" + "-|" * 120 + "\n|" + "b|" * 120,
    "pipes": "|" * 2_000 + "\n|" + "-" * 500,
    "setext": "a\n===\nb\n---\n===\n---\n\n" + "=" * 500 + "\n" + "-" * 500,
    "rules": "***\n---\n___\n* * *",
    "hostile language": f"```{_ESC}[31m../../x{MARK}\ncode\n```\n```[bold]x\ny\n```",
    # Wide and strange scripts.
    "no space ascii": "x" * 20_000,
    "no space cjk": "漢字" * 5_000,
    "one grapheme": "a" + "\u0301" * 5_000 + " end",
    "zalgo": "".join(c + "\u0300\u0316\u0334\u035c" * 6 for c in "he comes"),
    "emoji": "👩‍👩‍👧‍👦 👍🏽 🏳️‍🌈 🇫🇷🇩🇪 ❤️ ☺️ 1️⃣ 👨🏿‍🚀 🧑‍🤝‍🧑 ⌚ 🀄 ✂︎ ✂️ \u200d\ufe0f end",
    "cjk": "中文，日本語「テスト」、한국어。" * 20,
    "hangul jamo": "\u1112\u1161\u11ab\u1100\u1173\u11af " * 10,
    "rtl": "مرحبا بالعالم שלום עולם " * 10,
    "indic and thai": "नमस्ते क्षत्रिय ภาษาไทยน้ำ தமிழ் ខ្មែរ " * 10,
    "mixed table": "| 中文 | é | 👍🏽 |\n|---|:-:|--:|\n| 漢 | e\u0301 | 🇫🇷 |\n| ｆｕｌｌ | ﷽ | ☺️ |",
    "wide code": "```\n漢字\tx\n👩‍👩‍👧‍👦|\n" + "字" * 300 + "\n```",
}  # fmt: skip
