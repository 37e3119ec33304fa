"""While one device that can serve is there, everybody is served, whatever the others do."""

from collections.abc import Callable

import hypothesis.strategies as st
from hypothesis import example, given, settings
from tests.core.toys import Story, check, every, homely, leaving, one, pipeline, plan, playbook

from shoal.core.actions import Deliver
from shoal.core.messages import Answered, CoreMessage, Task
from shoal.plan.plan import Playbook
from shoal.sim.world import World

ALONE = plan("alone", one(0, 12, "s"))
BOOKS = {
    "pipeline": playbook(
        pipeline("abs", "a", "b", "s"), pipeline("as", "a", "s"), pipeline("bs", "b", "s"), ALONE
    ),
    "resumable": playbook(
        plan("abs", one(0, 4, "a"), one(4, 8, "b"), one(8, 12, "s")),
        plan("as", one(0, 4, "a"), one(4, 12, "s")),
        ALONE,
    ),
    "shards": playbook(
        plan("abcs", every(0, 6, "abcs", deadline_ms=50, least=2), one(6, 12, "abcs")),
        ALONE,
        policy="tolerant",
    ),
    "sums": playbook(
        plan(
            "abcs",
            homely(every(0, 4, "abcs", op="sum", deadline_ms=50)),
            homely(every(4, 8, "abcs", op="sum", deadline_ms=50)),
            one(8, 12, "abcs"),
        ),
        ALONE,
        policy="tolerant",
    ),
    "free": playbook(
        plan("free", leaving(one(0, 4, "abs")), one(4, 8, "bcs"), one(8, 12, "cas")), policy="free"
    ),
}

FAULTS: dict[str, Callable[[World, str, str], None]] = {
    "kill": lambda world, a, b: world.kill(a) if world.nodes[a].alive else None,
    "restart": lambda world, a, b: world.restart(a),
    "freeze": lambda world, a, b: world.freeze(a),
    "thaw": lambda world, a, b: world.thaw(a),
    "cut": lambda world, a, b: world.cut(a, b) if a != b else None,
    "cut one way": lambda world, a, b: world.cut(a, b, both=False) if a != b else None,
    "heal": lambda world, a, b: world.heal(a, b) if a != b else None,
    "slow": lambda world, a, b: world.slow(a, 50),
}

mortal = st.sampled_from("abc")
faults = st.lists(
    st.tuples(
        st.floats(0, 0.5),
        st.sampled_from(sorted(FAULTS)),
        mortal,
        st.sampled_from("abcsg"),
    ),
    max_size=25,
)


@given(
    name=st.sampled_from(sorted(BOOKS)),
    faults=faults,
    lost=st.sets(st.integers(0, 200), max_size=12),
)
@example(
    name="free",  # s sees b, and chooses it; g does not see b
    faults=[
        (0.4756632962208803, "freeze", "a", "g"),
        (0.5, "heal", "a", "s"),
        (0.20564716193970428, "slow", "c", "c"),
        (0.47420854884537833, "cut one way", "b", "c"),
        (0.014100227436840921, "heal", "c", "a"),
        (0.3403787700092313, "cut", "a", "c"),
        (0.06162579461903141, "cut one way", "b", "g"),
        (0.1557982496019719, "cut one way", "b", "c"),
        (0.3, "cut", "c", "b"),
        (0.0002, "restart", "c", "g"),
        (4.1354843772852727e-231, "restart", "c", "a"),
    ],
    lost={192, 68, 133, 7, 155, 81, 51, 180, 53, 52, 25, 123},
)
@example(
    name="pipeline", faults=[(0.0, "cut", "a", "s"), (0.0, "cut", "b", "s")], lost=set()
)  # neither a nor b reaches s, and all of them are blamed
@example(
    name="free",  # of those who could go on, b, which has got furthest, sees only a; g does not
    faults=[(0.0, "cut", "a", "g"), (0.0, "cut", "b", "c"), (0.0, "cut", "b", "s")],
    lost=set(),
)
@example(
    name="pipeline",  # what is lost is lost of one request; in the end only s is to be had
    faults=[
        (0.0, "cut", "a", "a"),
        (0.5, "freeze", "b", "a"),
        *[(0.0, "cut", "a", "a")] * 2,
        (0.5, "cut", "a", "a"),
        *[(0.0, "cut", "a", "a")] * 3,
        (0.0, "restart", "a", "a"),
        (0.0, "slow", "a", "a"),
    ],
    lost={1, 14, 49, 82, 83, 25},
)
@example(
    name="shards",  # b joins and has too few slices; that c and s do not see it comes just later
    faults=[(0.0, "cut", "b", "c"), (0.0, "cut", "b", "s"), (0.0, "cut one way", "a", "b")],
    lost=set(),
)
@settings(max_examples=150, deadline=None)
def test_a_survivor_serves_all(
    name: str, faults: list[tuple[float, str, str, str]], lost: set[int]
) -> None:
    book: Playbook = BOOKS[name]
    story = Story("abcs", book)
    carried = 0

    def tamper(giver: str, taker: str, message: CoreMessage) -> tuple[float, ...]:
        nonlocal carried
        carried += isinstance(message, Task | Answered)
        return () if carried in lost and isinstance(message, Task | Answered) else (0.0,)

    story.world.tamper = tamper
    for pause, kind, a, b in faults:
        story.ask(2, budget_ms=300_000)
        story.world.run(pause)
        FAULTS[kind](story.world, a, b)
    story.ask(2, budget_ms=300_000)
    story.end(limit_s=310)
    for k, reply in enumerate(story.replies()):
        assert isinstance(reply.what, Deliver), reply.what
        check(reply.what, f"x{k}", [book])
