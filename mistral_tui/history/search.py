"""Full-text search over messages and titles, by SQLite's FTS5.

The index holds words, not texts, and is kept in step by triggers: a reply enters it when it
is finished. Words are runs of letters and digits, without case and accents, so that `user_id`
and `os.path` are found whole (as phrases) and by each of their parts.
"""

from __future__ import annotations

import re
import secrets
import sqlite3
from dataclasses import dataclass
from typing import Literal

from mistral_tui.sanitize import one_line, sanitize

UNAVAILABLE = (
    "Search needs SQLite's FTS5, which the SQLite of this Python lacks: use another Python."
)
# Of a word that is everywhere only the newest messages are ranked, which takes a few ms.
RANKED = 1000
_MOST_QUERY = 1000
_MOST_TEXT = 200_000  # searched for what to show; a longer message shows its beginning
_SNIPPET = 160
_PAGES = 1000  # of the index, merged in one go: about 0.1 s

_TOKENS = "tokenize = 'unicode61 remove_diacritics 2'"
_TEXT = (
    "(SELECT coalesce(group_concat(json_extract(value, '$.text'), ''), '') FROM "
    "json_each(CASE WHEN json_valid({0}.content) THEN {0}.content ELSE '[]' END) "
    "WHERE json_extract(value, '$.type') = 'text')"
)
_IS_DONE = "{0}.status <> 'streaming'"
_ADD = "INSERT INTO search_{0} (rowid, text) "
_REMOVE = "INSERT INTO search_{0} (search_{0}, rowid, text) "
_OLD_TEXT = _REMOVE.format("text") + f"SELECT 'delete', old.id, {_TEXT.format('old')}"
_NEW_TEXT = _ADD.format("text") + f"SELECT new.id, {_TEXT.format('new')}"
_OLD_TITLE = _REMOVE.format("title") + "SELECT 'delete', old.number, old.title"
_NUMBER = (
    "UPDATE conversations SET number = (SELECT coalesce(max(number), 0) + 1 FROM conversations)"
)

_TRIGGERS = {
    "search_text_added": "AFTER INSERT ON messages "
    f"WHEN {_IS_DONE.format('new')} BEGIN {_NEW_TEXT}; END",
    "search_text_gone": "AFTER DELETE ON messages "
    f"WHEN {_IS_DONE.format('old')} BEGIN {_OLD_TEXT}; END",
    "search_text_changed": "AFTER UPDATE OF content, status ON messages "
    f"WHEN old.content <> new.content OR {_IS_DONE.format('old')} <> {_IS_DONE.format('new')} "
    f"BEGIN {_OLD_TEXT} WHERE {_IS_DONE.format('old')}; "
    f"{_NEW_TEXT} WHERE {_IS_DONE.format('new')}; END",
    "search_title_added": f"AFTER INSERT ON conversations BEGIN {_NUMBER} WHERE id = new.id; "
    f"{_ADD.format('title')} SELECT number, title FROM conversations WHERE id = new.id; END",
    "search_title_gone": f"AFTER DELETE ON conversations BEGIN {_OLD_TITLE}; END",
    "search_title_changed": "AFTER UPDATE OF title ON conversations "
    f"WHEN old.title <> new.title BEGIN {_OLD_TITLE}; "
    f"{_ADD.format('title')} VALUES (new.number, new.title); END",
}


@dataclass(frozen=True, slots=True)
class Hit:
    """A message, or a title (`message_id` None, `role` ""), that has all the words. `spans`
    are the (start, end) of what was found in `snippet`, which is one line, safe to show."""

    conversation_id: str
    title: str
    message_id: int | None
    role: str
    snippet: str
    spans: tuple[tuple[int, int], ...]
    when: float


def prepare(db: sqlite3.Connection) -> bool:
    """Make the index, or catch up where an SQLite without FTS5 has written; False where this
    one has none. Then the triggers, which it could not run, are taken out."""
    able = _is_able(db)
    if _is_in_step(db, able):
        return able
    db.execute("BEGIN IMMEDIATE")
    try:
        if not _is_in_step(db, able):  # else another process has just done it
            for name in _TRIGGERS:
                db.execute(f"DROP TRIGGER IF EXISTS {name}")
            if able:
                _build(db)
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise
    return able


def _is_in_step(db: sqlite3.Connection, able: bool) -> bool:
    count = "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND name GLOB 'search_*'"
    return bool(db.execute(count).fetchone()[0] == (len(_TRIGGERS) if able else 0))


def _is_able(db: sqlite3.Connection) -> bool:
    """Whether FTS5 is there. The table is used, too: it marks the words in the hits' texts."""
    try:
        db.execute(f"CREATE VIRTUAL TABLE temp.search_page USING fts5 (text, {_TOKENS})")
    except sqlite3.OperationalError as error:
        if "no such module" not in str(error):
            raise
        return False
    return True


def _build(db: sqlite3.Connection) -> None:
    for name in ("text", "title"):
        if db.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (f"search_{name}",)).fetchone():
            db.execute(f"INSERT INTO search_{name} (search_{name}) VALUES ('delete-all')")
        else:
            # Prefixes of two and three letters are indexed: they are typed on the way to a word.
            options = f"content = '', prefix = '2 3', {_TOKENS}"
            db.execute(f"CREATE VIRTUAL TABLE search_{name} USING fts5 (text, {options})")
    db.execute("UPDATE conversations SET number = rowid")
    db.execute(_ADD.format("title") + "SELECT number, title FROM conversations")
    done = (
        f"SELECT id, {_TEXT.format('messages')} FROM messages WHERE {_IS_DONE.format('messages')}"
    )
    db.execute(_ADD.format("text") + done)
    for name, body in _TRIGGERS.items():
        db.execute(f"CREATE TRIGGER {name} {body}")


def forget(db: sqlite3.Connection, name: Literal["text", "title"], *, first: bool) -> bool:
    """Remove the words of what was deleted, which the index only marks as such at first: one
    step, so that others can write in between; whether there is more to do."""
    before = db.total_changes
    merge = f"INSERT INTO search_{name} (search_{name}, rank) VALUES ('merge', ?)"
    db.execute(merge, (-_PAGES if first else _PAGES,))
    return db.total_changes - before > 1


# ── asking ──────────────────────────────────────────────────────────────────────────

# A single letter begins half of all words: it stands for itself.
_BEGINNING = re.compile(r"[^\W_]{2}$|[^\x00-\x7f]$")
_PIECES = re.compile(r'"([^"]*)("|$)|([^\s"]+)')


def to_match(query: str) -> str:
    """What the user typed in FTS5's words, each quoted; "" if there is nothing to look for.
    All words must be there, "quoted ones" side by side; the last may be unfinished."""
    query = "".join(char if char.isprintable() else " " for char in query[:_MOST_QUERY])
    words = []
    for match in _PIECES.finditer(query):
        phrase, _, word = match.groups()
        if any(map(str.isalnum, text := phrase or word or "")):
            unfinished = word is not None and match.end() == len(query)
            words.append(f'"{text}"' + " *" * bool(unfinished and _BEGINNING.search(text)))
    return " ".join(words)


_HITS = """
WITH texts (id, score) AS (
    SELECT rowid, bm25(search_text) FROM search_text WHERE search_text MATCH ?1
    ORDER BY rowid DESC LIMIT ?2
), titles (number, score) AS (
    SELECT rowid, bm25(search_title) FROM search_title WHERE search_title MATCH ?1
    ORDER BY rowid DESC LIMIT ?2
), hits (score, at, conversation_id, title, message_id, role) AS (
    SELECT score, m.created_at, c.id, c.title, m.id, m.role
    FROM texts JOIN messages m USING (id) JOIN conversations c ON c.id = m.conversation_id
    WHERE m.deleted_at IS NULL AND c.deleted_at IS NULL
    UNION ALL SELECT score, c.updated_at, c.id, c.title, NULL, ''
    FROM titles JOIN conversations c USING (number) WHERE c.deleted_at IS NULL
)
SELECT conversation_id, title, message_id, role, at FROM hits
ORDER BY round(score, 1), at DESC, message_id DESC LIMIT ?3 OFFSET ?4
"""


def find(db: sqlite3.Connection, query: str, limit: int, offset: int) -> list[Hit]:
    """The best hits first, the newer ones where they are equally good."""
    match = to_match(query)
    if not match:
        return []
    rows = db.execute(_HITS, (match, RANKED, max(0, limit), max(0, offset))).fetchall()
    texts = [title if key is None else _text(db, key) for _, title, key, _, _ in rows]
    return [
        Hit(conversation_id, title, key, role, *snippet, when)
        for (conversation_id, title, key, role, when), snippet in zip(
            rows, _snippets(db, match, texts), strict=True
        )
    ]


def _text(db: sqlite3.Connection, message_id: int) -> str:
    query = f"SELECT substr({_TEXT.format('messages')}, 1, ?) FROM messages WHERE id = ?"
    row = db.execute(query, (_MOST_TEXT, message_id)).fetchone()
    return str(row[0]) if row else ""


def _snippets(
    db: sqlite3.Connection, match: str, texts: list[str]
) -> list[tuple[str, tuple[tuple[int, int], ...]]]:
    """The part of each text where the words are."""
    # A mark that no text can contain, since it is drawn now.
    mark = f"\x02{secrets.token_hex(8)}"
    db.execute("DELETE FROM temp.search_page")
    db.executemany("INSERT INTO temp.search_page (rowid, text) VALUES (?, ?)", enumerate(texts))
    highlight = (
        "SELECT rowid, highlight(search_page, 0, ?, ?) FROM temp.search_page WHERE text MATCH ?"
    )
    marked = dict(db.execute(highlight, (mark, mark, match)))
    db.execute("DELETE FROM temp.search_page")
    return [_cut(marked.get(n, text).split(mark)) for n, text in enumerate(texts)]


def _cut(pieces: list[str]) -> tuple[str, tuple[tuple[int, int], ...]]:
    """One line around the first of the found pieces, which are every second one."""
    if len(pieces) == 1:  # found beyond what was looked through
        return one_line(pieces[0], _SNIPPET), ()
    before = pieces[0][-4 * _SNIPPET :]
    lead = _flat(before).lstrip()
    if len(lead) > _SNIPPET // 3 or len(before) < len(pieces[0]):
        lead = "…" + lead[-(_SNIPPET // 3) :]
    snippet, spans = lead, []
    for found, piece in enumerate(pieces[1:]):
        room = _SNIPPET - len(snippet)
        if room <= 0:
            break
        text = _flat(piece[: 4 * room])
        if found % 2 == 0 and text:
            spans.append((len(snippet), len(snippet) + min(room, len(text))))
        snippet += text
    if len(snippet) > _SNIPPET:
        snippet = snippet[: _SNIPPET - 1] + "…"
    return snippet.rstrip(), tuple((a, min(b, len(snippet.rstrip()))) for a, b in spans)


def _flat(text: str) -> str:
    return re.sub(r"\s+", " ", sanitize(text))
