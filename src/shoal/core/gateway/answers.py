"""From what workers answer to what the client gets."""

from __future__ import annotations

from shoal.core.actions import Deliver, GatewayAction, Given
from shoal.core.events import Body
from shoal.core.gateway.request import Request, Try
from shoal.core.gateway.state import GatewayState
from shoal.core.messages import Answered
from shoal.plan.plan import Plan, Spread


class Answers:
    """Takes answers in, and gives each request the first that is whole."""

    def __init__(self, state: GatewayState) -> None:
        self._state = state

    def take(
        self, request: Request, answer: Answered, body: Body, now: float
    ) -> list[GatewayAction] | None:
        """An answer to any attempt at a request. None when it is a slice of one: it is put to the
        others. What no attempt can be answered by is ignored."""
        tried = request.tries.get(answer.attempt)
        if tried is None or tried.plan.name != answer.plan:
            return []
        stages = tried.plan.stages
        if not 0 <= answer.stage < len(stages):
            return []
        stage, last = stages[answer.stage], answer.stage == len(stages) - 1
        leaves = answer.left_early and stage.exit is not None
        arrives = not answer.left_early and last and stage.spread is Spread.ONE
        if leaves or arrives:
            return self._deliver(request, tried, Given({answer.giver: body}), answer, now)
        current = request.in_flight and answer.attempt == request.attempt
        if not current or not last or request.gather is None:
            return []
        gather = request.gather
        if not gather.bodies and gather.join is not None:
            flights = self._state.flights
            wait_s = flights.under_way(request) * gather.join.deadline_ms / 1e3
            flights.doubts.set(request.number, now + wait_s)
        gather.give(answer.giver, body, answer.absent, answer.trace)
        return None

    def join(self, request: Request, now: float) -> list[GatewayAction]:
        """Give the client what its request's gather holds."""
        tried, gather = request.tries[request.attempt], request.gather
        if gather is None:
            return []
        answer = Answered(
            gateway=self._state.name,
            incarnation=self._state.flights.incarnation,
            number=request.number,
            attempt=request.attempt,
            plan=tried.plan.name,
            stage=len(tried.plan.stages) - 1,
            giver="",
            absent=gather.missing(tried.plan.stages[-1].parts),
            trace=tuple(gather.traces),
        )
        return self._deliver(request, tried, gather.given(), answer, now)

    def _deliver(
        self, request: Request, tried: Try, given: Given, answer: Answered, now: float
    ) -> list[GatewayAction]:
        state = self._state
        took_s = now - tried.began
        state.flights.answered(tried.playbook, tried.plan.name, request.images, took_s)
        resumed = tried.start > 0  # so the trace begins with steps of the plan before
        state.devices.observe(None if resumed else tried.plan, answer.trace, now)
        # Who refused was heard.
        late = [n for n in answer.absent if n in request.given and n not in request.out]
        state.devices.silences.missed(late, now)
        state.devices.silences.came(step.device for step in answer.trace if step.device not in late)
        book = state.playbooks.get(tried.playbook)
        deliver = Deliver(
            number=request.number,
            given=given,
            plan=tried.plan.name,
            attempts=request.attempt,
            left_early=answer.left_early,
            confidence=answer.confidence,
            absent=tuple(sorted(answer.absent)),
            trace=answer.trace,
            accuracy=_kept(tried.plan, answer),
            usual_accuracy=book.playbook.plans[0].forecast.accuracy if book else 1.0,
            unmet=tried.unmet,
        )
        stop = request.attempt > 1 or bool(answer.absent)
        return [deliver, *state.end(request, now, stop, answered=True)]


def _kept(plan: Plan, answer: Answered) -> float | None:
    """What an answer keeps of the accuracy for sure; None where nobody measured that: slices are
    missing, or it left where the plan would have gone on, by a threshold that its policy lowered
    for it."""
    leave = plan.stages[answer.stage].exit if answer.left_early else None
    if leave is not None and (answer.confidence or 0.0) < leave.threshold:
        return None
    return plan.forecast.accuracy_without(answer.absent)
