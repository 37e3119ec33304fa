"""Names that Shoal invents, beside whatever a file calls its tensors."""

from hypothesis import given
from hypothesis import strategies as st

from shoal.model.graph import Names

like = st.sampled_from(["a", "a_0", "a_1", "b", ""])


@given(st.sets(like), st.lists(like))
def test_fresh_names_are_new_and_different(taken, wanted):
    names = Names(taken)
    made = [names.fresh(each) for each in wanted]
    assert len(set(made)) == len(made)
    assert taken.isdisjoint(made)
    assert all(new.startswith(each) for new, each in zip(made, wanted, strict=True))


def test_a_name_is_not_given_twice_whoever_had_it():
    names = Names(["w", "w_0"])
    assert [names.fresh("w"), names.fresh("w"), names.fresh("w_1")] == ["w_1", "w_2", "w_1_0"]
