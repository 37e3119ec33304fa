"""What a gateway does when an attempt meets a refusal, a loss, or silence.

All ways lead to :meth:`Recovery.reconsider` (can this attempt still be answered?) and from there
to :meth:`Recovery.retry` (how does the request go on?).
"""

from __future__ import annotations

from random import Random

from shoal.core.actions import GatewayAction, Reject
from shoal.core.answers import Answers
from shoal.core.blame import blame, doubted, givers, source_before, stuck_at
from shoal.core.desk import Desk
from shoal.core.flights import ROUND
from shoal.core.messages import Moved, Refused, Why
from shoal.core.request import Request
from shoal.core.routes import runs

MAX_FAILED_ATTEMPTS = 3
PROMPT_REFUSALS = 3
"""So often a refused request goes elsewhere at once; then it waits a while each time."""
_PAUSE_S = 0.02


class Recovery:
    """The recovery of one gateway's requests."""

    def __init__(self, desk: Desk, answers: Answers) -> None:
        self._desk = desk
        self._answers = answers
        self._dice = Random(desk.name)

    # -- what is heard

    def refused(
        self, request: Request, sender: str, refused: Refused, now: float
    ) -> list[GatewayAction]:
        """A device does not go on with the attempt under way."""
        text = f"{sender}: {refused.why}" + (f" ({refused.text})" if refused.text else "")
        request.fault(text)
        if refused.why in (Why.RUN_FAILED, Why.BAD_BODY):
            self._desk.devices.failed(sender)
            if not request.failed:
                request.failed = True
                request.failures += 1
            if request.failures >= MAX_FAILED_ATTEMPTS:
                reject = Reject(request.number, "remote", text, refused.why)
                return [reject, *self._desk.end(request, now, stop=True)]
        if refused.why is Why.TOO_LARGE:
            request.note_narrow(sender, refused.stage)
            if self._desk.chooser.hopeless(request.narrow):
                reject = Reject(request.number, "remote", text, refused.why)
                return [reject, *self._desk.end(request, now, stop=True)]
        if refused.why is Why.POLICY_FAILED:
            reject = Reject(request.number, "policy", text, refused.why)
            return [reject, *self._desk.end(request, now, stop=True)]
        fault = blame(request, sender, refused)
        request.out.update(fault.out)
        if refused.why is Why.NOT_KEPT:
            request.source = None
        request.blame(fault.shun)
        again = refused.why is not Why.OVERLOADED  # who is full is given no more for a while
        if fault.over:
            return self.retry(request, refused.stage, now, again)
        return self.reconsider(request, now, again)

    def moved(self, request: Request, sender: str, moved: Moved, now: float) -> list[GatewayAction]:
        """A hop of a free route decided who comes next."""
        plan = request.plan
        if plan is None or not request.reached <= moved.stage < len(plan.stages):
            return []
        members, stages = self._desk.members, range(len(plan.stages))
        known = request.route
        told = [
            tuple(name for name in runs(moved.route, k) if name in plan.stages[k].parts)
            for k in stages
        ]
        request.route = tuple(runs(known, k) or told[k] for k in stages)
        request.reached = moved.stage
        unseen: list[str] = []
        for stage in stages[moved.stage :]:
            names = runs(request.route, stage)
            if names and not runs(known, stage):
                step = range(stage, stage + 1)
                self._desk.devices.give(request.given, plan, request.route, step, request.images)
                request.touched.update(names)
                unseen += [name for name in names if not members.alive(name)]
        if unseen:
            # The hop sees them, and would choose them again at once if it were not told. One that
            # was told has nobody else: what it keeps is no place to go on from.
            stubborn = (sender,) if any(name in request.blamed for name in unseen) else ()
            request.out.update(unseen)
            request.blame((*unseen, *stubborn))
        return self.reconsider(request, now, refused=bool(unseen))

    def lost(self, name: str, now: float) -> list[GatewayAction]:
        """A device is gone, silent, or has restarted."""
        actions: list[GatewayAction] = []
        for request in list(self._desk.requests.values()):
            self._desk.devices.take_back(request.given, name)
            if request.in_flight and name in doubted(request):
                request.fault(f"{name} was lost")
                request.out.add(name)
                actions += self.reconsider(request, now)
        return actions

    def doubt(self, request: Request, now: float) -> list[GatewayAction]:
        """No answer in time, though nobody is known to be lost.

        Whoever else can do it is asked. If nobody can, or if all who are to do it have done other
        work meanwhile, more patience is had: when they are merely busy, to ask others or them
        again would make it worse. Since a message may have been lost, they are asked again in the
        end, in another combination where there is one; what a worker did for the attempt before,
        it does not do again.
        """
        if request.gather is not None and request.gather.bodies:
            request.gather.awaited.clear()
            return self.reconsider(request, now)
        chooser, flights = self._desk.chooser, self._desk.flights
        suspects = [*doubted(request), *givers(request)]
        began = request.tries[request.attempt].began
        busy = all(self._desk.devices.heard_since(name, began) for name in suspects)
        picked = None
        if not busy or flights.hedges(request):
            picked = chooser.pick_without((*suspects, *request.blamed), request, now)
        rounds, turn = divmod(request.extensions, ROUND)
        if picked is None and turn < ROUND - 1:
            flights.extend(request, now)
            return []
        request.fault(f"no answer from {', '.join(suspects)} in time")
        picked = picked or chooser.pick_without((*suspects, *request.blamed), request, now)
        if picked is None and suspects:
            # As many as can be are done without, each time beginning with another one.
            turn = rounds % len(suspects) + 1
            request.blame((*suspects[turn:], *suspects[:turn]))
        picked = picked or chooser.pick(request, now)
        begun = flights.begin(request, picked, now) if picked else None
        if begun is None:
            flights.extend(request, now)
            return []
        request.extensions += 1
        return [*begun]

    # -- what follows

    def reconsider(
        self, request: Request, now: float, refused: bool = False
    ) -> list[GatewayAction]:
        """Go on with the attempt under way as far as that is possible without the devices that
        are out of it; deliver when all has come that can; else begin another attempt."""
        plan, gather = request.plan, request.gather
        if plan is None:
            return []
        stage = stuck_at(request)
        if stage is not None:
            return self.retry(request, stage, now, refused)
        if gather is None:
            return []
        gather.awaited -= request.out
        if not gather.bodies or not gather.complete:
            return []
        if gather.enough:
            return self._answers.join(request, now)
        request.fault(f"only {len(gather.bodies)} slices of the answer came")
        last = len(plan.stages) - 1
        request.blame(name for name in runs(request.route, last) if name not in gather.bodies)
        return self.retry(request, last, now, refused=True)

    def retry(
        self,
        request: Request,
        stage: int,
        now: float,
        refused: bool = False,
    ) -> list[GatewayAction]:
        """The attempt under way came no further than ``stage``: begin another, from the nearest
        tensors that were kept. At once, but for refusals that come too often or leave no choice:
        to try again what was just refused would only keep everybody busy, and all of them at the
        same moment (hence the dice) would be refused again."""
        desk = self._desk
        request.source = source_before(request, stage, lambda name: name not in request.out)
        desk.flights.leave(request)
        desk.devices.take_back_all(request.given)
        request.refusals += refused
        picked = desk.chooser.pick(request, now)
        hopeless = picked is None or picked.grudging or request.refusals > PROMPT_REFUSALS
        if refused and hopeless:
            pause_s = _PAUSE_S * 2 ** min(6, request.refusals) * self._dice.uniform(0.5, 1.5)
            desk.queue.pause(request.number, now + pause_s)
            return []
        begun = desk.flights.begin(request, picked, now) if picked else None
        if begun is None:
            desk.queue.put_first(request.number)
            return []
        return [*begun]
