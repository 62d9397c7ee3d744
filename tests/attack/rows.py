"""Every row of the list of attacks, and where it is tested, or why there is nothing to test yet.

A test file stands here with a word that its tests' names hold; `tests/house` checks that they do.
"""

from __future__ import annotations

import re
from pathlib import Path
from types import MappingProxyType

_ROOT = Path(__file__).parents[2]
_ROWS, _SLOW = "tests/attack/test_rows.py", "tests/attack/test_slow.py"
_SERVER = "tests/integration/test_web_server.py"
_TOKENS, _SOCKETS = "tests/unit/test_access_tokens.py", "tests/integration/test_sockets.py"
_DEFINITIONS = "tests/attack/test_definitions.py"
_EDGES, _EXPRESSIONS = "tests/attack/test_edges.py", "tests/attack/test_expressions.py"
_EGRESS, _ANSWERS = "tests/attack/test_egress.py", "tests/attack/test_answers.py"

#: Row -> (file, a part of the names of its tests). Rows of requests are the `B...` of ROWS there.
TESTED = MappingProxyType(
    {
        **{f"B{no}": (_ROWS, f"B{no}") for no in range(1, 20)},
        "B20": (_SERVER, "smuggl"),
        "B21": (_SLOW, "test_b21"),
        "D1": (_DEFINITIONS, "D1 "),
        "D2": (_DEFINITIONS, "D2 "),
        "D3": (_DEFINITIONS, "D3 "),
        "D4": (_DEFINITIONS, "test_d4"),
        "D5": (_DEFINITIONS, "test_d5"),
        "D7": (_DEFINITIONS, "test_d7"),
        "D8": (_DEFINITIONS, "D8 "),
        "D9": (_DEFINITIONS, "test_d9"),
        "D10": (_DEFINITIONS, "test_d10"),
        "D11": (_DEFINITIONS, "test_d11"),
        "Q1": (_EDGES, "test_q1"),
        "Q2": (_EDGES, "test_q2"),
        "P1": (_EDGES, "test_p1"),
        "P2": (_EDGES, "test_p2"),
        "S1": (_EGRESS, "test_s1_to_s4"),
        "S2": (_EGRESS, "test_s1_to_s4"),
        "S3": (_EGRESS, "test_s1_to_s4"),
        "S4": (_EGRESS, "test_s4"),
        "S5": (_EGRESS, "test_s5"),
        "S6": (_EGRESS, "test_s6"),
        "S7": (_EGRESS, "test_s7"),
        "S8": (_EGRESS, "test_s8"),
        "S9": (_ANSWERS, "test_s9"),
        "S10": (_EGRESS, "test_s10"),
        "X1": (_EXPRESSIONS, "test_x1"),
        "X2": (_EXPRESSIONS, "test_x2"),
        "X3": (_EXPRESSIONS, "x3"),
        "X6": (_EXPRESSIONS, "test_x6"),
        "J1": (_TOKENS, "no_other_algorithm"),
        "J2": (_TOKENS, "every_claim_is_there"),
        "J3": (_TOKENS, "no_other_header"),
        "J4": (_TOKENS, "one_tenant_that_names_another"),
        "J5": ("tests/unit/test_access_sessions.py", "used_token_ends_its_whole_session"),
        "J6": ("tests/unit/test_access_api_keys.py", "bent_key_is_none"),
        "J7": ("tests/api/test_oauth.py", "test_j7"),
        "J8": ("tests/unit/test_access_signing_in.py", "every_way_to_be_wrong"),
        "R1": ("tests/integration/test_two_tenants.py", "what_another_tenant_has"),
        "R2": ("tests/api/test_role_matrix.py", "test_r2"),
        "R3": ("tests/integration/test_row_security.py", "a_connection_remembers_nobody"),
        "R4": ("tests/integration/test_secret_canary.py", "canary"),
        "W1": (_SOCKETS, "test_w1"),
        "W2": (_SOCKETS, "test_w2"),
        "W3": (_SOCKETS, "test_w3"),
        "W4": ("tests/integration/test_socket_floods.py", "test_w4"),
        "W5": (_SOCKETS, "test_w5"),
        "L1": (_EDGES, "test_l1"),
        "L2": (_EDGES, "l2"),
        "L3": ("tests/api/test_access_csrf.py", "test_l3"),
        "L4": (_EDGES, "test_l4"),
        "M1": ("tests/attack/test_messages.py", "test_m1"),
        "M2": ("tests/attack/test_channel.py", "test_m2"),
        "M3": ("tests/attack/test_start.py", "test_m3"),
        "M4": ("tests/attack/test_dependencies.py", "test_m4"),
    }
)

#: Rows that do not apply yet, and why.
NOT_YET = MappingProxyType(
    {
        "D6": "no node starts another workflow, and no hook starts one: nothing recurs",
        "D12": "nothing imports XML or archives",
        "X4": "python nodes call functions of the deployment; code of users does not run",
        "X5": "python nodes call functions of the deployment; code of users does not run",
        "X7": "there is no llm node",
        "X8": "there is no llm node",
        "C1": "there are no schedules",
        "H1": "there are no hooks",
        "H2": "there are no hooks",
    }
)

#: Every row there is.
ALL = (
    *(f"B{no}" for no in range(1, 22)), *(f"D{no}" for no in range(1, 13)), "Q1", "Q2", "P1", "P2",
    *(f"S{no}" for no in range(1, 11)), *(f"X{no}" for no in range(1, 9)),
    *(f"J{no}" for no in range(1, 9)), *(f"R{no}" for no in range(1, 5)),
    *(f"W{no}" for no in range(1, 6)), "H1", "H2", "C1", *(f"L{no}" for no in range(1, 5)),
    *(f"M{no}" for no in range(1, 5)),
)  # fmt: skip


def found(row: str) -> list[str]:
    """Return the tests of a row, and cases in tables that have its name, as they are written."""
    file, word = TESTED[row]
    text = (_ROOT / file).read_text(encoding="utf-8")
    return re.findall(rf'def test_\w*{re.escape(word)}\w*|"{re.escape(word)}[^"]*"', text) or (
        re.findall(rf"def {re.escape(word)}\w*", text)
    )


if __name__ == "__main__":
    # The files outside this folder, for `make attack`.
    print(*sorted({file for file, _ in TESTED.values() if not file.startswith("tests/attack/")}))
