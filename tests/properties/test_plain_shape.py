"""What is read at once is what marshmallow reads, and nothing that it refuses."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from marshmallow import ValidationError, fields

from orchestrator.services.definitions.plain_shape import Items, ShapeSchema
from orchestrator.services.definitions.schemas import EdgeSchema, NodeSchema

odd = st.sampled_from([None, True, 0, 11, 10**400, float("nan"), 0.5, "a\0", "", {1: 2}, ["a"]])


def some(**known: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with some of these fields, now and then with a value of another kind or one more."""
    optional = {name: st.one_of(value, value, value, odd) for name, value in known.items()}
    return st.fixed_dictionaries(
        {}, optional={**optional, "selected": odd, "style": odd, "strange": odd}
    )


words = st.sampled_from(["a", "b", "default", "all_success", "fixed", "x" * 300])
retry = some(max_attempts=st.integers(1, 5), delay_s=st.floats(0, 9), backoff=words,
             jitter=st.booleans(), on_lost=words, unless=st.lists(words, max_size=3))  # fmt: skip
data = some(label=words, config=st.dictionaries(words, odd), retry=retry,
            timeout_s=st.floats(0, 9), trigger_rule=words, queue=words,
            priority=st.integers(0, 9))  # fmt: skip
position = some(x=st.floats(-9, 9), y=st.integers(-9, 9))
nodes = some(id=words, type=words, position=position, data=data)
edges = some(id=words, source=words, target=words, type=words, sourceHandle=words)


def agree(schema: type[ShapeSchema], item: Any) -> None:
    """Read an item both ways and compare what comes of it."""
    outcomes = []
    for field in (fields.List(fields.Nested(schema)), Items(schema)):
        try:
            outcomes.append((field.deserialize([item]), None))
        except ValidationError as error:
            outcomes.append((None, error.messages_dict))
    assert repr(sorted_all(outcomes[0])) == repr(sorted_all(outcomes[1]))


def sorted_all(value: Any) -> Any:
    """Order fields, which one reader takes as declared and the other as they come."""
    if isinstance(value, dict):
        return sorted(((str(key), sorted_all(inner)) for key, inner in value.items()), key=str)
    if isinstance(value, list | tuple):
        return [sorted_all(inner) for inner in value]
    return value


@given(st.one_of(nodes, odd))
def test_nodes_are_read_as_marshmallow_reads_them(node: Any) -> None:
    agree(NodeSchema, node)


@given(st.one_of(edges, odd))
def test_edges_are_read_as_marshmallow_reads_them(edge: Any) -> None:
    agree(EdgeSchema, edge)
