"""Tool calls that are stopped, that fail, that race with other windows and conversations."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from calling import (
    ASK,
    CAN,
    CITY,
    CLOCK,
    PARIS,
    ROME,
    WEATHER,
    calls,
    window,
)
from fake_engine import Load, Reply, eventually
from mistral_tui import call_states
from mistral_tui.history.schema import StoreError
from mistral_tui.tools.definition import Definition, Outcome
from mistral_tui.tools.errors import ToolError
from mistral_tui.widgets.call_entry import CallEntry


async def test_a_running_call_is_stopped_and_the_model_waits() -> None:
    async with window(calls(PARIS), Reply(("Back", "."))) as opened:
        opened.box.gate = asyncio.Event()
        await opened.session.say("Paris?")
        task = asyncio.create_task(opened.session.run_call(opened.waiting.calls[0]))
        await eventually(lambda: opened.box.ran)
        assert opened.session.answering
        opened.session.cancel()
        await task
        assert opened.box.killed == 1
        assert not opened.session.answering
        assert opened.said[-1] == ("tool", "The user stopped this call.")
        assert len(opened.engine.asked) == 1
        await opened.session.go_on()
        assert opened.said[-1] == ("assistant", "Back.")


async def test_what_a_tool_needs_can_be_stopped_on_its_way() -> None:
    async with window(Reply()) as opened:
        opened.box.slow = asyncio.Event()
        task = asyncio.create_task(opened.session.say("Hello"))
        await eventually(lambda: "Starting a server …" in opened.notes)
        opened.session.cancel()
        await task
        assert opened.engine.asked == []
        assert [role for role, _ in opened.said] == ["user"]  # as when the model was stopped
        assert not opened.session.answering
        opened.box.slow.set()
        await opened.session.regenerate()
        assert opened.said[-1][0] == "assistant"


async def test_another_conversation_waits_for_the_end_of_a_running_call() -> None:
    async with window(calls(PARIS)) as opened:
        opened.box.gate = asyncio.Event()
        await opened.session.say("Paris?")
        task = asyncio.create_task(opened.session.run_call(opened.waiting.calls[0]))
        await eventually(lambda: opened.box.ran)
        await opened.session.new()
        await task
        assert opened.session.messages == []
        assert opened.box.killed == 1


async def test_a_tool_that_fails_is_a_result() -> None:
    async with window(calls(PARIS), Reply(("Sorry",))) as opened:
        opened.box.outcome = Outcome("ValueError: no such city", error=True)
        await opened.session.say("Paris?")
        await opened.session.run_call(opened.waiting.calls[0])
        told = opened.engine.asked[1].messages[2].text
        assert json.loads(told) == {"error": "ValueError: no such city"}


async def test_the_rounds_have_an_end() -> None:
    replies = [calls(PARIS) for _ in range(20)]
    async with window(*replies) as opened:
        await opened.session.say("Paris?")
        await opened.session.run_call(opened.waiting.calls[0], "always")
        assert len(opened.box.ran) == 10
        assert any("10 times" in note for note in opened.notes)
        assert not opened.session.answering
        await opened.session.go_on()
        assert len(opened.box.ran) == 20


async def test_a_cut_call_is_marked_and_never_run() -> None:
    async with window(calls(PARIS, ROME, breaks=True, reason="length")) as opened:
        await opened.session.say("Paris and Rome?")
        assert not opened.session.deciding  # of a reply that was cut off nothing is run
        kinds = [part.type for part in opened.session.messages[-1].parts]
        assert kinds == ["text", "call", "broken"]
        (state,) = call_states.states(opened.session.messages)
        assert state.state == "unrun"


async def test_a_full_disk_keeps_what_a_tool_said_and_does_not_run_it_twice() -> None:
    async with window(calls(PARIS), Reply()) as opened:
        await opened.session.say("Paris?")
        (one,) = opened.waiting.calls

        async def full(*args: object, **options: object) -> None:
            raise StoreError("The disk is full.")

        add, opened.store.add_message = opened.store.add_message, full  # type: ignore[method-assign,assignment]
        for _ in range(2):
            await opened.session.run_call(one)
            assert "The disk is full." in opened.notes
            assert opened.session.deciding
        opened.store.add_message = add  # type: ignore[method-assign]
        assert await opened.session.run_call(opened.waiting.calls[0])
        assert opened.said[2] == ("tool", "22 degrees")
        assert opened.said[-1][0] == "assistant"
        assert len(opened.box.ran) == 1


async def test_a_decision_and_another_conversation_at_once() -> None:
    """The tool may run, and then its result is where its call is."""
    async with window(Reply(("B",)), calls(PARIS)) as opened:
        session = opened.session
        await session.say("B")
        other = session.conversation
        assert other is not None
        await session.new()
        await session.say("A")
        first = session.conversation
        assert first is not None
        (one,) = opened.waiting.calls
        await asyncio.gather(session.open(other.id), session.run_call(one))
        await eventually(lambda: not session.answering)
        await session.open(other.id)
        await session.say("Still here?")
        assert session.messages[-1].role == "assistant"
        _, messages = await opened.store.load_conversation(first.id)
        results = [m for m in messages if m.role == "tool"]
        assert len(results) == len(opened.box.ran)
        assert all(m.conversation_id == first.id for m in results)


async def test_a_stop_while_a_message_is_saved_counts() -> None:
    async with window(Reply(("Never",))) as opened:
        opened.box.slow = asyncio.Event()
        task = asyncio.create_task(opened.session.say("Hello"))
        await asyncio.sleep(0)
        opened.session.cancel()
        await asyncio.wait_for(task, 5)
        assert opened.engine.asked == []
        assert [role for role, _ in opened.said] == ["user"]


async def test_a_stop_while_the_prompt_is_counted_counts() -> None:
    async with window(calls(PARIS), Reply(("Never",))) as opened:
        session = opened.session
        await session.say("Paris?")
        count = session._too_much

        async def stopped() -> Any:
            session.cancel()
            return await count()

        session._too_much = stopped  # type: ignore[method-assign]
        await session.run_call(opened.waiting.calls[0])
        assert len(opened.engine.asked) == 1
        assert opened.said[-1][0] == "tool"


async def test_a_call_that_another_window_has_run_is_not_denied(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    async with window(calls(PARIS), Reply(("Warm",)), path=path) as first:
        await first.session.say("Paris?")
        async with window(Reply(), path=path) as second:
            await second.session.open_latest()
            (one,) = second.waiting.calls
            await first.session.run_call(first.waiting.calls[0])
            assert not await second.session.deny_call(one, "no")
            assert second.said[2] == ("tool", "22 degrees")


async def test_the_line_does_not_come_back_for_a_call_that_runs() -> None:
    async with window(calls(PARIS), Reply()) as opened:
        session = opened.session
        await session.say("Paris?")
        (one,) = opened.waiting.calls
        opened.box.gate = asyncio.Event()
        check, slow = session._problem, asyncio.Event()

        async def slowly(*args: Any) -> str:
            await slow.wait()
            return await check(*args)

        session._problem = slowly  # type: ignore[method-assign]
        session._tools_changed()
        task = asyncio.create_task(session.run_call(one))
        await eventually(lambda: opened.box.ran)
        slow.set()
        await asyncio.sleep(0.05)
        assert opened.waiting.calls == ()
        opened.box.gate.set()
        await task


async def test_tools_that_cannot_be_looked_at_do_not_stop_an_answer() -> None:
    async with window(Reply(("Hi",))) as opened:

        async def broken(*args: object) -> list[str]:
            raise RuntimeError("of a file")

        opened.box.ready = broken  # type: ignore[method-assign,assignment]
        await opened.session.say("Hello")
        assert opened.said[-1] == ("assistant", "Hi")
        assert any("of a file" in note for note in opened.notes)


async def test_true_in_the_place_of_one_is_a_change() -> None:
    told = ("clock", '{"a": 1}')
    async with window(calls(told), Reply()) as opened:
        await opened.session.say("Go")
        await opened.session.run_call(opened.waiting.calls[0], arguments='{"a": true}')
        assert opened.session.messages[2].meta["asked"] == '{"a": true}'


def test_no_character_of_the_arguments_is_hidden() -> None:
    hidden = '{"city": "x\x9b../../..y", "b": "a\u200bb\U000e0041c"}'
    entry = CallEntry("call-1-0", "weather", hidden)
    for part in ("\\u009b../../..y", "a\\u200bb"):
        assert part in entry.text
    entry.show("waiting", asked=hidden)
    assert "\\u009b" in entry.text


async def test_a_lost_engine_answers_the_result_after_its_restart() -> None:
    async with window(calls(PARIS), Reply(("Warm",))) as opened:
        await opened.session.say("Paris?")
        opened.engine.die()
        opened.session.check_engine()
        await opened.session.run_call(opened.waiting.calls[0])
        assert opened.said[-1][0] == "tool"
        assert opened.session.waiting
        opened.engine.loads = [Load(card=CAN)]
        await opened.session.load()
        assert opened.said[-1] == ("assistant", "Warm")


async def test_a_stop_while_the_result_is_read_stops_all_of_it() -> None:
    held = Reply(("Warm",), gate=asyncio.Event())
    async with window(calls(PARIS), held, Reply(("Never",))) as opened:
        await opened.session.say("Paris?")
        task = asyncio.create_task(opened.session.run_call(opened.waiting.calls[0]))
        await eventually(lambda: len(opened.engine.asked) == 2)
        opened.session.cancel()
        await task
        assert len(opened.engine.asked) == 2
        assert opened.said[-1][0] == "tool"


async def test_an_engine_that_fails_after_a_result_is_asked_once() -> None:
    fails = Reply((), fails=("internal", "It broke."))
    async with window(calls(PARIS), fails, Reply(("Later",))) as opened:
        await opened.session.say("Paris?")
        await opened.session.run_call(opened.waiting.calls[0])
        assert len(opened.engine.asked) == 2
        assert opened.notes.count("It broke.") == 1
        await opened.session.go_on()
        assert opened.said[-1] == ("assistant", "Later")


@pytest.mark.parametrize("step", ["_checked", "_still_waits", "_keep"])
async def test_a_stop_between_the_steps_counts(step: str) -> None:
    async with window(calls(PARIS), Reply(("Never",))) as opened:
        session = opened.session
        await session.say("Paris?")
        (one,) = opened.waiting.calls
        original = getattr(session, step)

        async def stopped(*args: Any) -> Any:
            done = await original(*args)
            session.cancel()
            return done

        setattr(session, step, stopped)
        await session.run_call(one)
        assert len(opened.engine.asked) == 1
        assert not session.answering


async def test_the_tool_that_runs_is_the_one_that_was_asked_about() -> None:
    async with window(calls(PARIS)) as opened:
        await opened.session.say("Paris?")
        (one,) = opened.waiting.calls
        other = Definition("weather", "Another one.", CITY, "builtin", "built in", "x:evil")
        opened.box._given = (other, CLOCK, ASK)
        with pytest.raises(ToolError, match="has changed"):
            await opened.session.run_call(one, "always")
        assert opened.box.ran == []
        assert opened.session.permissions.always == {}
        assert opened.waiting.calls[0].identity == other.identity


async def test_cleared_arguments_are_none_not_the_model_s() -> None:
    told = ("clock", '{"rm": "-rf"}')
    async with window(calls(told), Reply()) as opened:
        await opened.session.say("Go")
        await opened.session.run_call(opened.waiting.calls[0], arguments="  ")
        assert opened.box.ran == [("clock", {})]


async def test_arguments_that_only_look_otherwise_are_the_model_s() -> None:
    async with window(calls(PARIS), Reply()) as opened:
        await opened.session.say("Paris?")
        await opened.session.run_call(opened.waiting.calls[0], arguments='{\n  "city": "Paris"\n}')
        assert "asked" not in opened.session.messages[2].meta


async def test_no_key_approves_what_is_being_denied() -> None:
    async with window(calls(PARIS, ROME), Reply()) as opened:
        await opened.session.say("Paris?")
        one = opened.waiting.calls[0]
        saying = asyncio.create_task(opened.session.say("Never mind."))
        await asyncio.sleep(0)
        await opened.session.run_call(one)
        await saying
        assert opened.box.ran == []
        assert [role for role, _ in opened.said].count("tool") == 2


async def test_a_permission_that_another_window_took_back_asks(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    async with window(calls(PARIS), Reply(), calls(ROME), path=path) as opened:
        await opened.session.say("Paris?")
        await opened.session.run_call(opened.waiting.calls[0], "always")
        async with window(path=path) as other:
            assert await other.session.revoke(WEATHER)
        await opened.session.say("Rome?")
        assert opened.session.deciding
        assert len(opened.box.ran) == 1


async def test_two_windows_run_a_call_once(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    async with window(calls(PARIS), Reply(("Warm",)), path=path) as first:
        await first.session.say("Paris?")
        async with window(Reply(), path=path) as second:
            await second.session.open_latest()
            (one,) = second.waiting.calls
            await first.session.run_call(first.waiting.calls[0])
            await second.session.run_call(one)
            assert second.box.ran == []
            assert second.said[-1] == ("assistant", "Warm")
            assert any("another window" in note for note in second.notes)


async def test_only_the_call_that_is_asked_about_is_checked() -> None:
    many = [("weather", '{"city": 1}')] * 50
    async with window(calls(*many)) as opened:
        checked = 0
        check = opened.box.check

        def counted(tool: Definition, arguments: str) -> dict[str, Any]:
            nonlocal checked
            checked += 1
            return check(tool, arguments)

        opened.box.check = counted  # type: ignore[method-assign]
        await opened.session.say("All of them")
        assert len(opened.waiting.calls) == 50
        assert checked == 1
        assert [bool(one.problem) for one in opened.waiting.calls[:3]] == [True, False, False]


async def test_a_tool_that_is_enabled_later_can_be_run() -> None:
    async with window(calls(PARIS), Reply(), tools=("clock",)) as opened:
        await opened.session.say("Paris?")
        assert "no tool weather" in opened.waiting.calls[0].problem
        own = opened.session.tuning.own
        await opened.session.change_settings(own.with_value("tools", ("weather",)))
        await eventually(lambda: not opened.waiting.calls[0].problem)
        await opened.session.run_call(opened.waiting.calls[0])
        assert opened.box.ran


async def test_an_answer_that_was_cut_keeps_no_calls_when_it_is_edited() -> None:
    async with window(calls(PARIS, words=("Well",), reason="length")) as opened:
        await opened.session.say("Paris?")
        await opened.session.edit(opened.session.messages[1].id, "Better")
        assert opened.session.messages[1].calls == ()
        assert not opened.session.deciding


async def test_a_tool_that_raises_is_a_result() -> None:
    async with window(calls(PARIS), Reply()) as opened:
        await opened.session.say("Paris?")

        async def broken(*args: object, **options: object) -> Outcome:
            raise RuntimeError("of ours")

        opened.box.run = broken  # type: ignore[method-assign,assignment]
        await opened.session.run_call(opened.waiting.calls[0])
        assert opened.said[2] == ("tool", "RuntimeError: of ours")
        assert opened.said[-1][0] == "assistant"


async def test_restarting_the_engine_stops_a_running_call() -> None:
    async with window(calls(PARIS)) as opened:
        opened.box.gate = asyncio.Event()
        await opened.session.say("Paris?")
        task = asyncio.create_task(opened.session.run_call(opened.waiting.calls[0]))
        await eventually(lambda: opened.box.ran)
        opened.engine.loads = [Load(card=CAN)]
        await asyncio.wait_for(opened.session.load(anew=True), 5)
        await task
        assert opened.box.killed == 1
