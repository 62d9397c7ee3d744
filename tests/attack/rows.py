"""Every row of the list of attacks, and where it is tested, or why there is nothing to test yet.

A test file stands here with words that its tests' or cases' names hold; `tests/house` checks that
each of them does. What stands in this folder is on the living installation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

_ROOT = Path(__file__).parents[2]
_ROWS, _BODIES = "tests/attack/test_rows.py", "tests/attack/test_bodies.py"
_DEFINITIONS, _EDGES = "tests/attack/test_definitions.py", "tests/attack/test_edges.py"
_EXPRESSIONS, _CREDENTIALS = "tests/attack/test_expressions.py", "tests/attack/test_credentials.py"
_SIGN_IN, _TENANTS = "tests/attack/test_sign_in.py", "tests/attack/test_tenants.py"
_SOCKETS, _OUT = "tests/attack/test_sockets.py", "tests/attack/test_requests_out.py"
_EGRESS, _ANSWERS = "tests/attack/test_egress.py", "tests/attack/test_answers.py"
_SERVER, _WATCHING = (
    "tests/integration/fleet/test_web_server.py",
    "tests/integration/fleet/test_sockets.py",
)
_FLOODS, _MATRIX = (
    "tests/integration/fleet/test_socket_floods.py",
    "tests/integration/access/test_two_tenants.py",
)
_TOKENS, _KEYS = (
    "tests/integration/access/test_access_tokens.py",
    "tests/integration/access/test_access_api_keys.py",
)
_SESSIONS, _LIVE = (
    "tests/integration/access/test_access_sessions.py",
    "tests/integration/access/test_access_live.py",
)

Tests = Mapping[str, tuple[str, ...]]


def _body(no: int) -> Tests:
    on_every_path = {_BODIES: (f"B{no} ",)} if no in {*range(1, 11), 13} else {}
    return {_ROWS: (f"B{no}",), **on_every_path}


#: Row -> file -> parts of the names of its tests, or of cases in its tables.
TESTED: Mapping[str, Tests] = MappingProxyType(
    {
        **{f"B{no}": _body(no) for no in range(1, 20)},
        "B20": {_SERVER: ("smuggl", "b20_request_lines")},
        "B21": {"tests/attack/test_slow.py": ("b21_slow", "b21_a_thousand")},
        **{f"D{no}": {_DEFINITIONS: (f"D{no} ",)} for no in (1, 2, 3, 8)},
        "D4": {_DEFINITIONS: ("D4 ", "test_d4")},
        "D5": {_DEFINITIONS: ("test_d5",)},
        "D7": {_DEFINITIONS: ("test_d7",)},
        "D9": {_DEFINITIONS: ("D9 ", "test_d9")},
        "D10": {_DEFINITIONS: ("test_d10",)},
        "D11": {_DEFINITIONS: ("test_d11",), _ROWS: ("D11",)},
        "Q1": {_EDGES: ("test_q1",), _ROWS: ("Q1",)},
        "Q2": {_EDGES: ("test_q2",)},
        "P1": {_EDGES: ("test_p1",), _ROWS: ("P1",)},
        "P2": {_EDGES: ("test_p2",)},
        **{f"S{no}": {_OUT: ("test_s1_to_s8",), _EGRESS: ("test_s1_to_s4",)} for no in range(1, 4)},
        "S4": {_OUT: ("test_s1_to_s8", "s4_this"), _EGRESS: ("test_s1_to_s4", "test_s4")},
        "S5": {_OUT: ("S5", "s5_a_name"), _EGRESS: ("test_s5",)},
        "S6": {_OUT: ("s6_redirects", "s6_loops"), _EGRESS: ("test_s6",)},
        **{f"S{no}": {_OUT: (f"S{no}",), _EGRESS: (f"test_s{no}",)} for no in (7, 8)},
        "S9": {_OUT: ("test_s9",), _ANSWERS: ("test_s9",)},
        "S10": {_OUT: ("s10_a_node", "s10_signing_in"), _EGRESS: ("test_s10",)},
        "X1": {_EXPRESSIONS: ("test_x1",)},
        "X2": {_EXPRESSIONS: ("test_x2",)},
        "X3": {_EXPRESSIONS: ("x3",)},
        "X6": {_EXPRESSIONS: ("test_x6",)},
        "J1": {
            _CREDENTIALS: ("J1 ", "test_j1"),
            _TOKENS: ("no_other_algorithm", "foreign_signature", "no_key_confusion"),
        },
        "J2": {
            _CREDENTIALS: ("J2 ",),
            _TOKENS: ("every_claim_is_there", "of_another_value", "moment_to_come", "ends_in_time"),
        },
        "J3": {
            _CREDENTIALS: ("J3 ", "test_j3"),
            _TOKENS: ("no_other_header", "no_other_kid", "header_twice", "more_than_4_kb"),
        },
        "J4": {_CREDENTIALS: ("J4 ", "test_j4"), _TOKENS: ("one_tenant_that_names_another",)},
        "J5": {
            _CREDENTIALS: (
                "j5_an_end", "signed out", "a role dropped", "disabled", "deleted",
                "another password", "used_again_ends_its_family", "session_planted",
            ),
            _SESSIONS: (
                "used_token_ends_its_whole_session", "another_password", "role_taken_away",
                "deleted_user", "disabled_user", "session_of_its_own",
            ),
            _LIVE: ("an_end_here", "stolen_token"),
        },
        "J6": {
            _CREDENTIALS: ("j6_a_bent_key", "j6_keys", "its prefix", "the other case"),
            _KEYS: ("bent_key_is_none", "another_installations_key", "digest_is_compared"),
            _LIVE: ("revoked_key",),
        },
        "J7": {
            _SIGN_IN: ("j7_an_answer", "j7_a_bent", "j7_a_code", "j7_nobody", "j7_an_address",
                       "j7_an_account"),
            "tests/api/access/test_oauth.py": ("test_j7",),
            "tests/api/access/test_oauth_forged.py": ("test_j7",),
            "tests/integration/access/test_oauth_live.py": ("stolen_answer",),
        },
        "J8": {
            _CREDENTIALS: ("j8_an_account", "j8_an_address"),
            "tests/integration/access/test_access_signing_in.py": ("every_way_to_be_wrong",
                                                             "same_statements"),
            "tests/api/access/test_limits.py": ("test_j8",),
            _LIVE: ("failed_sign_ins",),
        },
        "R1": {
            _TENANTS: ("r1_what", "r1_its_owner", "r1_lists", "r1_one_foreign_id"),
            _MATRIX: ("what_another_tenant_has", "an_id_in_a_body", "a_cursor", "test_sockets"),
        },
        "R2": {_TENANTS: ("r2_a_role", "r2_nobody"),
               "tests/api/access/test_role_matrix.py": ("test_r2",)},
        "R3": {"tests/integration/access/test_row_security.py": ("a_connection_remembers_nobody",)},
        "R4": {"tests/integration/secrets/test_secret_canary.py": ("canary",)},
        "W1": {_SOCKETS: ("test_w1",), _WATCHING: ("test_w1",)},
        "W2": {_SOCKETS: ("w2_no", "w2_an_end"), _WATCHING: ("w2_no_other", "w2_second")},
        "W3": {_SOCKETS: ("test_w3",), _WATCHING: ("test_w3",)},
        "W4": {_SOCKETS: ("test_w4",), _FLOODS: ("test_w4",)},
        "W5": {_SOCKETS: ("w5_each", "w5_no", "w5_a_place"), _WATCHING: ("test_w5",)},
        "L1": {_EDGES: ("test_l1",)},
        "L2": {_EDGES: ("l2",)},
        "L3": {_SIGN_IN: ("test_l3",), _EDGES: ("test_l3",),
               "tests/api/access/test_access_csrf.py": ("test_l3",)},
        "L4": {_EDGES: ("test_l4",)},
        "M1": {"tests/attack/test_messages.py": ("test_m1",)},
        "M2": {"tests/attack/test_channel.py": ("test_m2",)},
        "M3": {"tests/attack/test_start.py": ("test_m3",)},
        "M4": {"tests/attack/test_dependencies.py": ("test_m4",)},
    }
)  # fmt: skip

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


def found(file: str, word: str) -> list[str]:
    """Return the tests of a file, and cases in its tables, whose names hold a word."""
    text = (_ROOT / file).read_text(encoding="utf-8")
    return re.findall(rf'def test_\w*{re.escape(word)}\w*|"{re.escape(word)}[^"]*"', text) or (
        re.findall(rf"def {re.escape(word)}\w*", text)
    )


if __name__ == "__main__":
    # The files outside this folder, for `make attack`.
    print(*sorted({f for row in TESTED.values() for f in row if not f.startswith("tests/attack/")}))
