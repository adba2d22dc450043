"""Tool calls on disk: after a restart, as versions, replayed, exported and imported."""

from __future__ import annotations

from pathlib import Path

from calling import (
    ASK,
    PARIS,
    ROME,
    WEATHER,
    calls,
    window,
)
from fake_engine import Reply
from inference.calls import ToolCall
from mistral_tui import call_states
from mistral_tui.history import export, importing
from mistral_tui.history.parts import Part, call_part
from mistral_tui.history.schema import Message
from mistral_tui.history.store import Store
from mistral_tui.tools.consent import Permissions
from mistral_tui.tools.definition import Outcome
from mistral_tui.widgets.call_entry import CallEntry


async def test_what_waits_waits_again_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    async with window(calls(PARIS, words=("Let me see",)), path=path) as opened:
        await opened.session.say("Paris?")
    async with window(Reply(("Warm",)), path=path) as opened:
        await opened.session.open_latest()
        (one,) = opened.waiting.calls
        assert (one.call.name, one.call.arguments) == PARIS
        assert opened.box.ran == []
        await opened.session.run_call(one)
        assert opened.said[1][1] == "Let me see"
        assert opened.said[-1] == ("assistant", "Warm")


async def test_opening_a_conversation_runs_nothing_even_what_is_always_allowed(
    tmp_path: Path,
) -> None:
    path = tmp_path / "c.db"
    async with window(calls(PARIS), path=path) as opened:
        await opened.session.say("Paris?")
        opened.session.permissions.allow_always(WEATHER)
        await opened.session.run_call(opened.waiting.calls[0], "always")
    async with window(path=path) as opened:
        opened.session.permissions.allow_always(WEATHER)
        await opened.session.open_latest()
        await opened.session.delete(opened.session.messages[2].id)  # the result is gone
        assert opened.box.ran == []
        assert opened.session.deciding


async def test_an_edited_result_is_another_version_and_is_answered_anew() -> None:
    async with window(calls(PARIS), Reply(("Warm",)), Reply(("Cold",))) as opened:
        await opened.session.say("Paris?")
        await opened.session.run_call(opened.waiting.calls[0])
        result = opened.session.messages[2]
        await opened.session.edit(result.id, "-5 degrees")
        assert opened.said[2:] == [("tool", "-5 degrees"), ("assistant", "Cold")]
        assert opened.session.siblings[opened.session.messages[2].id].count == 2
        assert opened.session.messages[2].meta["by"] == "hand"


async def test_an_answer_with_tools_is_replayed_with_them() -> None:
    async with window(calls(PARIS), Reply(("Warm",)), Reply(("Warm",))) as opened:
        await opened.session.say("Paris?")
        await opened.session.run_call(opened.waiting.calls[0])
        await opened.session.change_settings(
            opened.session.tuning.own.with_value("tools", ())  # none any more
        )
        await opened.session.replay()
        assert "same" in opened.notes[-1]
        first, second, third = opened.engine.asked
        assert third.tools == second.tools == first.tools != ()
        assert third.messages == second.messages


async def test_export_and_import_keep_calls_results_and_consent(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    async with window(calls(PARIS), Reply(("Warm",)), path=path) as opened:
        await opened.session.say("Paris?")
        await opened.session.run_call(opened.waiting.calls[0], arguments='{"city": "Lyon"}')
        before = opened.session.messages
    with_store = Store(path)
    export.export_file(with_store, tmp_path / "c.json", "json")
    export.export_file(with_store, tmp_path / "c.md", "md")
    with_store.close()
    text = (tmp_path / "c.md").read_text()
    assert "weather" in text
    assert '"Paris"' in text
    assert '"Lyon"' in text
    assert "22 degrees" in text
    assert "allowed once" in text
    other = Store(tmp_path / "other.db")
    importing.import_file(other, tmp_path / "c.json")
    (key,) = other.all_ids()
    _, after = other.load_conversation(key)
    other.close()
    assert [(m.role, m.parts, m.meta) for m in after] == [(m.role, m.parts, m.meta) for m in before]


async def test_an_empty_result_is_exported_and_imported(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    async with window(calls(PARIS), Reply(), path=path) as opened:
        opened.box.outcome = Outcome("")
        await opened.session.say("Paris?")
        await opened.session.run_call(opened.waiting.calls[0])
    store, other = Store(path), Store(tmp_path / "other.db")
    export.export_file(store, tmp_path / "c.json", "json")
    importing.import_file(other, tmp_path / "c.json")
    (key,) = other.all_ids()
    _, after = other.load_conversation(key)
    assert [m.role for m in after] == ["user", "assistant", "tool", "assistant"]
    store.close()
    other.close()


async def test_an_import_does_not_come_under_a_permission(tmp_path: Path) -> None:
    """A file with the id of a conversation that is gone, in which a tool was allowed."""
    path = tmp_path / "c.db"
    async with window(calls(PARIS), Reply(), path=path) as opened:
        await opened.session.say("Paris?")
        await opened.session.run_call(opened.waiting.calls[0], "conversation")
    store = Store(path)
    export.export_file(store, tmp_path / "c.json", "json")
    (old,) = store.all_ids()
    store.delete_conversation(old)
    importing.import_file(store, tmp_path / "c.json")
    (new,) = store.all_ids()
    assert new != old
    store.close()


def test_what_a_damaged_file_says_of_a_call_is_bearable() -> None:
    call = ToolCall("weather", "[" * 100_000, "call00000")
    parts = (Part("text", ""), call_part(call))
    asked = Message(1, "c", None, "assistant", parts, "complete", 0.0)
    for seconds in (10**400, float("nan"), True, "3", -1, None):
        meta = {"call": "call00000", "name": 3, "by": [], "seconds": seconds}
        result = Message(2, "c", 1, "tool", (Part("text", "x"),), "complete", 0.0, meta=meta)
        (state,) = call_states.states([asked, result])
        assert state.state == "done"
    entry = CallEntry("call-1-0", call.name, call.arguments)
    assert len(entry.text) < 5_000_000


async def test_no_permission_comes_with_an_imported_conversation(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    async with window(calls(PARIS), calls(ROME), Reply(), path=path) as opened:
        await opened.session.say("Paris?")
        await opened.session.run_call(opened.waiting.calls[0], "conversation")
    store = Store(path)
    export.export_file(store, tmp_path / "c.json", "json")
    store.close()
    exported = (tmp_path / "c.json").read_text()
    assert WEATHER.identity not in exported


def test_permissions_that_are_damaged_are_none() -> None:
    for text in ("", "nonsense", "[]", '{"always": 3, "here": {"a": 1}}', "[" * 100_000):
        made = Permissions.load(text)
        assert made.given(WEATHER, "a") == ""


async def test_only_the_user_answers_a_manual_tool() -> None:
    made = Permissions()
    made.allow_always(ASK)
    assert made.given(ASK, "any") == ""
