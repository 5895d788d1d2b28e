"""The conversation about the conflicts of a merge. It knows a screen that says and asks, and no terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Final, Protocol

from msgspec import Struct

from git_theta.cli.prompt import explain, words
from git_theta.cli.prompt.commands import (
    DEFAULTS,
    SHORT_CUTS,
    Again,
    Command,
    Explain,
    Take,
    Verb,
    complete,
    parse,
    values,
)
from git_theta.cli.prompt.text import Text, lines, wrapped
from git_theta.errors import MergeError, ThetaError, UsageError
from git_theta.flows.drafts import Draft
from git_theta.git.sides import Sides
from git_theta.merges import MergeMethod
from git_theta.merges.decisions import Conflict, Decision
from git_theta.merges.fitting import ROWS, VERSIONS, fitting, inputs, misfit, usable
from git_theta.merges.parameters import Parameter, Value, check_names, resolve
from git_theta.merges.session import Reach, Scope, Session, fold
from git_theta.registry import Family

Complete = Callable[[str], Sequence[str]]
"""From a line up to the cursor to what its last word may become."""

Given = dict[str, Value | tuple[Value, ...]]

_PROMPT: Final = "merge> "
_BACK: Final = ("u", "undo")
_WITHOUT_EFFECT: Final = ("int8_mask",)
_PATTERNS: Final = 200


class Screen(Protocol):
    """What text is shown on, and read from."""

    @property
    def width(self) -> int:
        """Columns, as they are now."""

    def say(self, text: Text) -> None:
        """Show text."""

    def ask(self, question: str, complete: Complete) -> str:
        """A line that the user types, without its end.

        Raises:
            Left: the user wants to leave, or is gone.
        """


class Left(Exception):  # noqa: N818 - no error, but an answer
    """The user has left the prompt."""


class Dialogue(Struct, frozen=True, dict=True):
    """Asks about conflicts until all are settled, or the user leaves.

    Attributes:
        screen: where.
        path: of the checkpoint, as it is shown.
        sides: who ours and theirs are.
        methods: that merge values.
        estimate: tells at once how far a group moved.
        measure: reads values to tell it exactly.
        draft: keeps what is decided, in case that the user leaves or the merge fails.
        has_ancestor: whether the sides come from a common ancestor.
    """

    screen: Screen
    path: str
    sides: Sides
    methods: Family[MergeMethod]
    estimate: words.Estimate
    measure: explain.Measure
    draft: Draft | None = None
    has_ancestor: bool = True

    def settle(self, conflicts: Sequence[Conflict]) -> Mapping[str, Decision]:
        """The decisions by name: all of them, or none if the user leaves (see `merges.decisions.Settle`)."""
        known = usable(self.methods)
        session = Session.begin(conflicts, lambda conflict: self._fitting(conflict, known))
        try:
            self.screen.say(words.opening(self.path, len(conflicts), self.sides, self._width))
            session, told, is_agreed = self._restored(session), None, False
            while not is_agreed:
                if session != told:
                    self._tell(session)
                told = session
                session, is_agreed = self._step(session)
        except (Left, KeyboardInterrupt):
            self._part(session)
            return {}
        return session.decisions

    def _part(self, session: Session) -> None:
        kept = " What is settled so far is kept for the next time." if self.draft and session.steps else ""
        with suppress(Left):
            self._say(f"Left as a conflict: nothing is merged.{kept}")

    def _restored(self, session: Session) -> Session:
        restored = session if self.draft is None else self.draft.restored(session)
        if restored.steps:
            counts = f"{len(restored.decisions)} of {len(session.conflicts)}"
            self._say(f"Settled already, the last time: {counts}. l lists them, u takes the last step back.")
        return restored

    def _fitting(self, conflict: Conflict, known: Mapping[str, MergeMethod]) -> tuple[str, ...]:
        return tuple(name for name in fitting(conflict, known) if self.has_ancestor or name != "ancestor")

    def _step(self, session: Session) -> tuple[Session, bool]:
        """The session after one more line, and whether all is settled and the user wants it so."""
        typed = self._typed(session)
        try:
            command = parse(typed, self._fits(session), self._known)
            if command is Verb.NOTHING and session.current is None:
                return session, True
            return self._kept(self._done(command, session), session), False
        except ThetaError as error:
            self.screen.say(lines(*wrapped(str(error), self._width, indent="", style="error")))
            return session, False

    def _kept(self, session: Session, before: Session) -> Session:
        if self.draft is not None and session != before:
            self.draft.keep(session)
        return session

    @property
    def _width(self) -> int:
        return self.screen.width

    def _tell(self, session: Session) -> None:
        if session.current is None:
            self.screen.say(words.finished(session, self._width))
        else:
            self.screen.say(words.shown(session, self.sides, self.estimate, self._width))

    def _say(self, text: str) -> None:
        self.screen.say(lines(*wrapped(text, self._width, indent="")))

    def _typed(self, session: Session) -> str:
        fits = self._fits(session)
        tables = {} if session.current is None else {name: self._parameters(name) for name in fits}
        patterns = _patterns(session)
        return self.screen.ask(_PROMPT, lambda text: complete(text, fits, tables, patterns))

    def _fits(self, session: Session) -> tuple[str, ...]:
        return session.useful or self._known

    @cached_property
    def _known(self) -> tuple[str, ...]:
        """All names; to find the plug-ins takes a while."""
        return (*self.methods.names(), ROWS)

    def _done(self, command: Command, session: Session) -> Session:
        match command:
            case Take():
                return self._take(command, session)
            case Again(scope=scope):
                return self._again(scope, session)
            case Verb.UNDO:
                return self._undo(session)
            case Verb.QUIT:
                raise Left
            case _:
                self.screen.say(self._answered(command, session))
                return session

    def _answered(self, command: Command, session: Session) -> Text:
        """The answer to what changes nothing."""
        match command:
            case Explain(method=method):
                return explain.method_text(method, self._parameters(method), self._width)
            case Verb.LIST:
                return words.decided(session, self._width)
            case Verb.HELP:
                opening = words.opening(self.path, len(session.conflicts), self.sides, self._width)
                return (*opening, *explain.help_text(self._width))
            case Verb.METHODS:
                return explain.method_list(session.fits[_current(session).name], self._width)
            case Verb.STATISTICS:
                return explain.statistics(_current(session), self.measure, self._width)
            case _:
                return ()

    def _take(self, command: Take, session: Session) -> Session:
        if command.scope.reach is not Reach.PATTERN:
            _current(session)
        reached = session.reached(command.scope)
        fitting = [conflict for conflict in reached if command.method in session.fits[conflict.name]]
        if not fitting:
            raise UsageError(self._misfit(command, reached))
        decision = self._decision(command, fitting[0])
        return session if decision is None else self._apply(decision, command.scope, session)

    def _again(self, scope: Scope, session: Session) -> Session:
        if session.last is None:
            raise UsageError("nothing is settled yet that could be repeated: say how first, as in 'average *'")
        if scope.reach is not Reach.PATTERN:
            _current(session)
        return self._apply(session.last, scope, session)

    def _apply(self, decision: Decision, scope: Scope, session: Session) -> Session:
        taken, passed = session.split(decision, scope)
        if not taken:
            raise UsageError(self._misfit(Take(decision.method, scope=scope), session.reached(scope)))
        self.screen.say(words.settled(decision, taken, passed, self._width))
        return session.decide(decision, scope)

    def _undo(self, session: Session) -> Session:
        if not session.steps:
            raise UsageError("there is nothing to take back")
        last = session.steps[-1]
        self.screen.say(words.undone(last.decision, last.names, self._width))
        return session.undo()

    def _decision(self, command: Take, conflict: Conflict) -> Decision | None:
        """The decision with its parameters, asked for if none are given; None if the user goes back."""
        table = self._parameters(command.method)
        typed = dict(command.given)
        required = [item.name for item in table if item.required]
        check_names(command.method, table, [*typed, *required])
        given: Given = {item.name: item.parse(typed[item.name]) for item in table if item.name in typed}
        quick = command.is_complete or command.method in SHORT_CUTS.values()
        asked = [item for item in table if item.name not in given and (item.required or not quick)]
        count = len(inputs(conflict))
        if asked and not self._ask(asked, given, count):
            return None
        resolve(command.method, table, given, count)
        defaults = {item.name: item.default for item in table}
        return Decision(command.method, tuple(sorted(pair for pair in given.items() if pair[1] != defaults[pair[0]])))

    def _ask(self, asked: Sequence[Parameter], given: Given, count: int) -> bool:
        """Ask for parameters one by one, and add what is answered; False if the user goes back."""
        self._say("Enter takes the default, . the defaults of all that follow, u goes back.")
        for number, parameter in enumerate(asked):
            if parameter.name in _WITHOUT_EFFECT:
                continue
            self.screen.say(explain.question(parameter, count, self._width))
            answer = self._answer(parameter, given, count)
            if answer in _BACK:
                return False
            if answer == DEFAULTS and not any(later.required for later in asked[number:]):
                break
        return True

    def _answer(self, parameter: Parameter, given: Given, count: int) -> str:
        """Ask until the answer is a value, which is added, or one of the words that are none."""
        default = explain.default_text(parameter)
        while True:
            asked = f"  {parameter.name}{f' [{default}]' if default else ''}> "
            typed = self.screen.ask(asked, lambda text: _starting(values(parameter), text)).strip()
            if typed in _BACK or (typed in ("", DEFAULTS) and not parameter.required):
                return typed
            try:
                value = parameter.parse(typed)
                resolve(parameter.name, [parameter], {parameter.name: value}, count)
            except MergeError as error:
                self.screen.say(lines(*wrapped(str(error), self._width, style="error")))
            else:
                given[parameter.name] = value
                return typed

    def _parameters(self, method: str) -> tuple[Parameter, ...]:
        return () if method in (*VERSIONS, ROWS) else self.methods.get(method).parameters

    def _misfit(self, command: Take, reached: Sequence[Conflict]) -> str:
        """Why nothing that is reached can be settled so."""
        if not reached:
            return f"no conflict matches {command.scope.pattern!r}"
        known = None if command.method in (*VERSIONS, ROWS) else self.methods.get(command.method)
        return misfit(command.method, known, reached[0]) or f"{command.method} does not fit {reached[0].name}"


def _current(session: Session) -> Conflict:
    if session.current is None:
        raise UsageError("all is settled: Enter merges so, undo takes the last step back, 'ours NAME' settles one anew")
    return session.current


def _patterns(session: Session) -> list[str]:
    """What may be completed as a pattern: kinds with several conflicts, then names."""
    names = [conflict.name for conflict in session.remaining or session.conflicts][:_PATTERNS]
    found = dict.fromkeys(fold(name) for name in names if fold(name) != name)
    return [word for word in (*found, *names) if word.isprintable() and " " not in word]


def _starting(choices: Sequence[str], text: str) -> list[str]:
    return [choice for choice in choices if choice.startswith(text)]
