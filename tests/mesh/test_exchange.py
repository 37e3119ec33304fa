"""Two nodes, a wire that cannot be trusted and sightings that come and go on each side alone."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.mesh.credit import MAX_ASK_S
from shoal.mesh.exchange import MAX_LIVES, MAX_PAST, MAX_PEERS, Discard, Exchange
from shoal.mesh.frames import Ack, Data, Pairing, decode, encode
from shoal.mesh.link import PeerDown, PeerUp, Received


class Node:
    """An exchange, and what its node was told, in stretches from PeerUp to PeerDown."""

    def __init__(self, name: str, life: int) -> None:
        self.name = name
        self.life = f"{life:016x}"
        self.exchange = Exchange(name, self.life)
        self.room = True
        self.up: str | None = None
        self.sent: list[list[int]] = []  # by stretch
        self.got: list[list[int]] = []

    def look(self) -> None:
        """Take all events that are offered, and hold them to their grammar."""
        while (event := self.exchange.next_event()) is not None:
            taken = True
            match event:
                case PeerUp(incarnation=incarnation):
                    assert self.up is None
                    self.up = incarnation
                    self.sent.append([])
                    self.got.append([])
                case PeerDown(incarnation=incarnation):
                    assert self.up == incarnation
                    self.up = None
                case Received(head=head):
                    assert self.up is not None
                    taken = self.room
                    if taken:
                        self.got[-1].append(int(head))
            self.exchange.offered(event, taken)


class Story:
    """Nodes a and b. Every message is a number of its own."""

    def __init__(self) -> None:
        self.lives = itertools.count(1)
        self.numbers = itertools.count(1)
        self.now = 0.0
        self.flying: list[tuple[str, str, bytes, bytes]] = []
        self.nodes = {name: Node(name, next(self.lives)) for name in "ab"}
        self.gone: list[Node] = []
        self.everything_visible()

    def other(self, name: str) -> Node:
        return self.nodes["b" if name == "a" else "a"]

    def collect(self) -> None:
        for node in self.nodes.values():
            for frame in node.exchange.outgoing():
                if not isinstance(frame, Discard):
                    body = getattr(frame, "body", None) or b""
                    self.flying.append((node.name, frame.to, frame.attachment, body))
            node.look()

    def send(self, name: str) -> None:
        node = self.nodes[name]
        node.look()
        number = next(self.numbers)
        to = self.other(name).name
        if node.exchange.send(to, str(number).encode(), b"body", 4, self.now):
            node.sent[-1].append(number)

    def arrive(self, frame: tuple[str, str, bytes, bytes]) -> None:
        sender, to, attachment, body = frame
        self.nodes[to].exchange.arrived(sender, attachment, len(body), lambda: body, self.now)

    def see(self, name: str, visible: bool) -> None:
        other = self.other(name)
        change = Exchange.appeared if visible else Exchange.vanished
        change(self.nodes[name].exchange, other.name, other.life)

    def restart(self, name: str, seen_at_once: bool) -> None:
        """Its last life stays visible for a while unless ``seen_at_once``."""
        old, other = self.nodes[name], self.other(name)
        self.gone.append(old)
        self.nodes[name] = Node(name, next(self.lives))
        if seen_at_once:
            other.exchange.vanished(name, old.life)
            other.exchange.appeared(name, self.nodes[name].life)

    def everything_visible(self) -> None:
        for name in "ab":
            for old in self.gone:
                if old.name != name:
                    self.nodes[name].exchange.vanished(old.name, old.life)
            self.see(name, True)

    def finish(self) -> None:
        self.everything_visible()
        for _ in range(1000):
            self.collect()
            while self.flying:
                self.arrive(self.flying.pop(0))
                self.collect()
            for node in self.nodes.values():
                node.room = True
                node.exchange.offer_again()
                node.look()
                for _ in range(8):
                    node.exchange.settle(self.other(node.name).name, self.now)
            self.collect()
            if self.flying:
                continue
            if not any(node.exchange.busy for node in self.nodes.values()):
                return
            self.now += MAX_ASK_S
            for node in self.nodes.values():
                node.exchange.tick(self.now)
        raise AssertionError("it does not come to rest")

    def check(self) -> None:
        """Each stretch of one side holds the beginning of one stretch of the other side."""
        everybody = [*self.gone, *self.nodes.values()]
        sent = {
            number: stretch for node in everybody for stretch in node.sent for number in stretch
        }
        seen: set[int] = set()
        for stretch in (stretch for node in everybody for stretch in node.got if stretch):
            assert stretch == sent[stretch[0]][: len(stretch)]
            assert not seen & set(stretch)
            seen |= set(stretch)


names = st.sampled_from("ab")
doings = st.lists(
    st.one_of(
        st.tuples(st.just("send"), names),
        st.tuples(st.just("send"), names),
        st.tuples(st.sampled_from(["arrive", "arrive", "lose", "copy"]), st.integers(0, 9)),
        st.tuples(st.just("see"), names, st.booleans()),
        st.tuples(st.just("restart"), names, st.booleans()),
        st.tuples(st.just("settle"), names),
        st.tuples(st.just("room"), names, st.booleans()),
        st.tuples(st.just("tick"), names),
    ),
    min_size=40,
    max_size=150,
)


@settings(max_examples=150)
@given(doings)
def test_both_sides_agree_on_every_unbroken_stretch(doings):
    story = Story()
    story.collect()
    for what, *how in doings:
        match what:
            case "send":
                story.send(*how)
            case "arrive" | "lose" | "copy":
                if story.flying:
                    frame = story.flying[how[0] % len(story.flying)]
                    if what != "copy":
                        story.flying.remove(frame)
                    if what != "lose":
                        story.arrive(frame)
            case "see":
                story.see(*how)
            case "restart":
                story.restart(*how)
            case "settle":
                name = how[0]
                story.nodes[name].exchange.settle(story.other(name).name, story.now)
            case "room":
                story.nodes[how[0]].room = how[1]
            case "tick":
                story.now += 1.0
                story.nodes[how[0]].exchange.tick(story.now)
        story.collect()
        story.check()
    story.finish()
    story.check()
    for node in story.nodes.values():  # and nothing of the last stretch is missing
        assert node.up == story.other(node.name).life
        assert node.sent[-1] == story.other(node.name).got[-1]


def quiet(story: Story) -> Story:
    story.finish()
    return story


def test_a_break_that_one_side_saw_is_told_to_the_other():
    story = quiet(Story())
    story.see("a", False)
    story.see("a", True)
    story.collect()
    assert len(story.nodes["a"].got) == 2
    assert len(story.nodes["b"].got) == 1  # b saw nothing
    story.send("a")
    story.finish()
    assert len(story.nodes["b"].got) == 2
    assert story.nodes["b"].got[1] == story.nodes["a"].sent[1]


def test_the_side_that_saw_no_break_is_told_when_it_speaks():
    story = quiet(Story())
    story.see("a", False)
    story.see("a", True)
    story.send("b")
    story.finish()
    assert len(story.nodes["b"].got) == 2
    assert story.nodes["a"].got == [[], []]  # what was sent before the break is not delivered


def test_a_message_for_an_earlier_life_is_never_delivered():
    story = quiet(Story())
    story.send("a")
    story.collect()
    stale = list(story.flying)
    story.flying.clear()
    story.restart("b", seen_at_once=True)
    story.everything_visible()
    for frame in stale:
        story.arrive(frame)
    story.finish()
    assert story.nodes["b"].got == [[]]
    assert story.nodes["b"].exchange.stats().dropped == 1


def test_the_newest_life_counts_and_an_older_one_coming_back_is_ignored():
    exchange = Exchange("a", "0" * 16)
    old, new = "0" * 15 + "1", "0" * 15 + "2"
    exchange.appeared("b", old)
    exchange.appeared("b", new)
    exchange.vanished("b", old)
    exchange.appeared("b", old)
    events = []
    while (event := exchange.next_event()) is not None:
        exchange.offered(event, True)
        events.append(event)
    assert events == [PeerUp("b", old), PeerDown("b", old), PeerUp("b", new)]
    assert exchange.peers() == {"b": new}


def test_what_came_before_a_death_is_delivered_before_the_news_of_it():
    story = quiet(Story())
    story.send("a")
    story.collect()
    while story.flying:
        story.arrive(story.flying.pop())
    story.see("b", False)
    story.collect()
    assert story.nodes["b"].got == story.nodes["a"].sent


def test_a_node_without_room_holds_up_no_other():
    exchange = Exchange("me", "0" * 16)
    for at, name in enumerate(["full", "free"]):
        life = f"{at + 1:016x}"
        exchange.appeared(name, life)
        exchange.offered(exchange.next_event(), True)
        for seq in (1, 2):
            frame = encode(Data(Pairing(life, "0" * 16, 0), seq, name.encode(), None))
            exchange.arrived(name, frame, 0, bytes, 0.0)
    taken = []
    while (event := exchange.next_event()) is not None:
        taken += [event.head] if event.sender == "free" else []
        exchange.offered(event, event.sender == "free")
    assert taken == [b"free", b"free"]
    assert exchange.refused
    exchange.offer_again()
    assert exchange.next_event().head == b"full"


def test_a_message_that_never_gets_through_ends_the_session_on_both_sides():
    story = quiet(Story())
    story.send("a")
    for _ in range(100):
        story.collect()
        while story.flying:
            frame = story.flying.pop(0)
            if not isinstance(decode(frame[2], len(frame[3])), Data):
                story.arrive(frame)
                story.collect()
        story.now += MAX_ASK_S
        story.nodes["a"].exchange.tick(story.now)
    assert len(story.nodes["a"].got) == 2
    story.send("a")
    story.finish()
    assert story.nodes["b"].got == [[], story.nodes["a"].sent[1]]


def test_names_and_lives_without_end_are_not_kept():
    exchange = Exchange("me", "0" * 16)
    for number in range(MAX_PEERS + 10):
        exchange.appeared(f"n{number}", "1" * 16)
    assert len(exchange.peers()) == MAX_PEERS
    exchange.vanished("n0", "1" * 16)
    exchange.appeared("late", "1" * 16)
    assert "late" in exchange.peers()
    for life in range(100):
        exchange.appeared("late", f"{life:016x}")
    assert exchange.stats().dropped == 10 + 100 - (MAX_LIVES - 1)


def test_of_names_that_come_and_go_only_the_last_sessions_are_remembered():
    exchange = Exchange("me", "0" * 16)
    for number in range(3 * MAX_PAST):
        exchange.appeared(f"n{number}", "1" * 16)
        exchange.vanished(f"n{number}", "1" * 16)
    assert exchange._peers == {}
    assert len(exchange._past) == MAX_PAST
    last = f"n{3 * MAX_PAST - 1}"
    assert exchange._past[last] == {"1" * 16: 1}
    exchange.appeared(last, "1" * 16)
    assert exchange._peers[last].session == 1, "what was sent before is not taken for new"
    exchange.blinded()
    assert exchange._peers == {}
    assert exchange._past[last] == {"1" * 16: 2}


def test_garbage_is_counted_and_nothing_is_read():
    def never() -> bytes:
        raise AssertionError("read")

    exchange = Exchange("me", "0" * 16, max_body=1000)
    exchange.appeared("b", "1" * 16)
    pairing = Pairing("1" * 16, "0" * 16, 0)
    for attachment, size in [
        (b"", 0),
        (b"x" * 56, 5),
        (encode(Data(pairing, 1, b"", 2000)), 2000),
        (encode(Data(pairing, 1, b"", 10)), 11),
        (encode(Data(pairing, 2, b"", 10)), 10),  # not the next one
        (encode(Data(Pairing("1" * 16, "0" * 16, 1 << 63), 1, b"", 10)), 10),
        (encode(Data(Pairing("2" * 16, "0" * 16, 0), 1, b"", 10)), 10),
    ]:
        exchange.arrived("b", attachment, size, never, 0.0)
    exchange.arrived("stranger", encode(Data(pairing, 1, b"", 10)), 10, never, 0.0)
    exchange.arrived("b", encode(Ack(pairing, 99, 99, 99, 0.0)), 0, never, 0.0)
    assert exchange.stats().dropped == 8
    assert exchange.stats().received == 0


def test_what_was_said_before_the_other_side_could_see_is_sent_again_without_waiting():
    a, b = Node("a", 1), Node("b", 2)
    a.exchange.appeared("b", b.life)
    a.exchange.send("b", b"1", None, None, 0.0)
    for frame in a.exchange.outgoing():
        b.exchange.arrived("a", frame.attachment, 0, bytes, 0.0)  # it sees nobody yet: dropped
    b.exchange.appeared("a", a.life)
    for _ in range(3):  # what it knows, a question, an answer, the message
        for node, other in ((b, a), (a, b)):
            for frame in node.exchange.outgoing():
                other.exchange.arrived(node.name, frame.attachment, 0, bytes, 0.0)
    b.look()
    assert b.got == [[1]]
