"""What a gateway does when an attempt meets a refusal, a loss, or silence.

All ways lead to :meth:`Recovery.reconsider` (can this attempt still be answered?) and from there
to :meth:`Recovery.retry` (how does the request go on?). Before a request is given to anybody again,
:meth:`Recovery.stopped` asks whether it is what kills devices (see ``core/gateway/suspects.py``).
"""

from __future__ import annotations

from random import Random

from shoal.core.actions import GatewayAction, Reject, Send
from shoal.core.gateway.answers import Answers
from shoal.core.gateway.blame import blame, doubted, givers, needed, source_before, stuck_at
from shoal.core.gateway.flights import ROUND
from shoal.core.gateway.request import Request
from shoal.core.gateway.state import GatewayState
from shoal.core.gateway.suspects import KEEP_S
from shoal.core.messages import Care, Leave, Moved, Refused, Trial, Why
from shoal.core.shared.routes import devices_at

MAX_FAILED_ATTEMPTS = 3
PROMPT_REFUSALS = 3
"""So often a refused request goes elsewhere at once; then it waits a while each time."""
_PAUSE_S = 0.02
_PATIENT_S = 20.0
"""So long nobody else is asked while a request that may kill is run."""


class Recovery:
    """The recovery of one gateway's requests."""

    def __init__(self, state: GatewayState, answers: Answers) -> None:
        self._state = state
        self._answers = answers
        self._dice = Random(state.name)

    # -- what is heard

    def refused(
        self, request: Request, sender: str, refused: Refused, now: float
    ) -> list[GatewayAction]:
        """A device does not go on with the attempt under way."""
        text = f"{sender}: {refused.why}" + (f" ({refused.text})" if refused.text else "")
        request.fault(text)
        if refused.why in (Why.RUN_FAILED, Why.BAD_BODY):
            self._state.devices.failed(sender)
            if not request.failed:
                request.failed = True
                request.failures += 1
            if request.failures >= MAX_FAILED_ATTEMPTS:
                reject = Reject(request.number, "remote", text, refused.why)
                return [reject, *self._state.end(request, now, stop=True)]
        if refused.why is Why.TOO_LARGE:
            request.note_narrow(sender, refused.stage)
            if self._state.chooser.hopeless(request.narrow):
                reject = Reject(request.number, "remote", text, refused.why)
                return [reject, *self._state.end(request, now, stop=True)]
        if refused.why is Why.POLICY_FAILED:
            reject = Reject(request.number, "policy", text, refused.why)
            return [reject, *self._state.end(request, now, stop=True)]
        fault = blame(request, sender, refused)
        request.out.update(fault.out)
        if refused.why is Why.NOT_KEPT:
            request.source = None
        request.blame(fault.shun)
        # Who is full is given no more for a while, and what leads to it neither.
        again = refused.why not in (Why.OVERLOADED, Why.LINK_FULL)
        if fault.over:
            return self.retry(request, refused.stage, now, again)
        return self.reconsider(request, now, again)

    def moved(self, request: Request, sender: str, moved: Moved, now: float) -> list[GatewayAction]:
        """A hop of a free route decided who comes next."""
        plan = request.plan
        if plan is None or not request.reached <= moved.stage < len(plan.stages):
            return []
        members, stages = self._state.members, range(len(plan.stages))
        known = request.route
        told = [
            tuple(name for name in devices_at(moved.route, k) if name in plan.stages[k].parts)
            for k in stages
        ]
        request.route = tuple(devices_at(known, k) or told[k] for k in stages)
        request.reached = moved.stage
        unseen: list[str] = []
        for stage in stages[moved.stage :]:
            names = devices_at(request.route, stage)
            if names and not devices_at(known, stage):
                step = range(stage, stage + 1)
                self._state.devices.give(request.given, plan, request.route, step, request.images)
                request.touched.update(names)
                request.lives |= {name: members.life(name) for name in names}
                unseen += [name for name in names if not members.alive(name)]
        if unseen:
            # The hop sees them, and would choose them again at once if it were not told. One that
            # was told has nobody else: what it keeps is no place to go on from.
            stubborn = (sender,) if any(name in request.blamed for name in unseen) else ()
            request.out.update(unseen)
            request.blame((*unseen, *stubborn))
            for name in unseen:  # it may have died of this
                self._charge(request, name, members.life(name), now)
        return self.reconsider(request, now, refused=bool(unseen))

    def lost(self, name: str, life: str, now: float) -> list[GatewayAction]:
        """A device is gone, silent, or has restarted; ``life`` is the incarnation that is lost."""
        state, actions = self._state, list[GatewayAction]()
        requests = list(state.requests.values())
        alone = [request for request in requests if request.going.pop(name, "") == life != ""]
        late = state.suspects.lost(name, life, now)
        loading = state.loads.at_it(name, life)
        died = {request.number for request in alone}
        for request in alone:
            self._charge(request, name, life, now, alone=not loading)
        for request in requests:
            state.devices.take_back(request.given, name)
            may_have_run = request.lives.pop(name, "") == life != ""
            charged = may_have_run and not alone and not late
            if charged:
                self._charge(request, name, life, now)
            if request.in_flight and name in doubted(request):
                request.fault(f"{name} was lost")
                if not charged and request.number not in died:
                    state.log.remark(request.number, f"{name} is lost")
                request.out.add(name)
                actions += self.reconsider(request, now)
        return actions

    def _charge(
        self, request: Request, name: str, life: str, now: float, alone: bool = False
    ) -> None:
        """A device was lost that may have been running a request; ``alone``: it ran that."""
        state = self._state
        state.log.remark(request.number, f"{name} is lost, and may have died of it")
        state.suspects.charge(state.digests(request), name, life, alone, now)

    def stopped(self, request: Request, now: float) -> list[GatewayAction] | None:
        """The end of a request that is not given to anybody any more; None: it may be."""
        if self._state.may_run(request, now):
            return None
        return [self.condemn(request), *self._state.end(request, now, stop=True)]

    def condemn(self, request: Request) -> Reject:
        """Tell why a request is not run any more."""
        text = (
            f"{self._state.suspects.why(request.digests)}; it is refused for {KEEP_S / 60:.0f} "
            "minutes: see the logs of these workers, and look at this input"
        )
        return Reject(request.number, "poison", text)

    def trial(self, sender: str, trial: Trial, now: float) -> list[GatewayAction]:
        """A worker asks for leave to run a suspect request, or has run it."""
        state, run = self._state, False
        request = state.requests.get(trial.number)
        if request is not None and trial.over:
            request.done_by(sender)
        elif request is not None and trial.attempt == request.attempt and request.in_flight:
            run = state.may_run(request, now) and request.care is not Care.APART
            if run:
                request.touched.add(sender)  # on a free route this may outrun the news of the hop
                request.going[sender] = state.members.life(sender)
        about = trial.gateway, trial.incarnation, trial.number, trial.attempt
        return [Send(sender, Leave(*about, trial.stage, run))]

    def doubt(self, request: Request, now: float) -> list[GatewayAction]:
        """No answer in time, though nobody is known to be lost.

        Whoever else can do it is asked. If nobody can, or if all who are to do it have done other
        work meanwhile, more patience is had: when they are merely busy, to ask others or them
        again would make it worse. Since a message may have been lost, they are asked again in the
        end, in another combination where there is one; what a worker did for the attempt before,
        it does not do again.
        """
        log = self._state.log
        if request.gather is not None and request.gather.bodies:
            missing = ", ".join(sorted(request.gather.awaited))
            log.remark(request.number, f"no longer waits for the slices of {missing}")
            request.gather.awaited.clear()
            return self.reconsider(request, now)
        stopped = self.stopped(request, now)
        if stopped is not None:
            return stopped
        chooser, flights = self._state.chooser, self._state.flights
        began = request.tries[request.attempt].began
        apart = request.care is Care.APART  # which takes its time
        if (request.going or apart) and now < began + _PATIENT_S:  # one that it may kill is enough
            flights.doubts.set(request.number, began + _PATIENT_S)
            return []
        late = [*needed(request), *givers(request)]
        names = ", ".join(late)
        busy = all(self._state.devices.heard_since(name, began) for name in late)
        hedges, picked = flights.hedges(request), None
        if not busy or hedges:
            picked = chooser.pick_other(late, request, now)
        rounds, turn = divmod(request.extensions, ROUND)
        if picked is None and turn < ROUND - 1:
            why = "they do other work" if busy else "nobody else can do it"
            log.remark(request.number, f"no answer from {names} yet: waits on, {why}")
            flights.extend(request, now)
            return []
        text = f"no answer from {names} in time"
        request.fault(text)
        if not hedges:
            devices = self._state.devices
            devices.silences.missed((n for n in late if not devices.heard_since(n, began)), now)
        log.remark(request.number, f"{text}: others are asked (hedge)" if hedges else text)
        if busy and not hedges:
            picked = chooser.pick_other(late, request, now)
        if picked is None and late:
            # As many as can be are done without, each time beginning with another one.
            turn = rounds % len(late) + 1
            request.blame((*late[turn:], *late[:turn]))
        # It may be killing somebody already, slowly.
        if hedges or not busy:
            request.care = max(request.care, Care.ALONE)
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
        self._state.fault(request, f"only {len(gather.bodies)} slices of the answer came")
        last = len(plan.stages) - 1
        request.blame(name for name in devices_at(request.route, last) if name not in gather.bodies)
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
        state = self._state
        request.source = source_before(request, stage, lambda name: name not in request.out)
        state.flights.leave(request)
        state.devices.take_back_all(request.given)
        stopped = self.stopped(request, now)
        if stopped is not None:
            return stopped
        request.refusals += refused
        picked = state.chooser.pick(request, now)
        hopeless = picked is None or picked.grudging or request.refusals > PROMPT_REFUSALS
        if refused and hopeless:
            pause_s = _PAUSE_S * 2 ** min(6, request.refusals) * self._dice.uniform(0.5, 1.5)
            state.queue.pause(request.turn, now + pause_s)
            text = f"waits {pause_s * 1e3:.0f} ms before it is tried again"
            state.log.remark(request.number, text)
            return []
        begun = state.flights.begin(request, picked, now) if picked else None
        if begun is None:
            state.queue.put(request.turn)
            state.log.remark(request.number, "waits for a device")
            return []
        return [*begun]
