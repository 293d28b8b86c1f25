"""Environment files: what is set anew, and what an operator wrote."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fledx.settings.envfile import differing, merged, values_in

NAMES = st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True)
VALUES = st.text(
    st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_categories=("Cc", "Zl", "Zp")), max_size=12
)
LINES = st.lists(st.one_of(st.just("# a note"), st.just(""), st.tuples(NAMES, VALUES).map(lambda p: f'{p[0]}="x"')))


def test_a_line_by_hand_and_its_place_stay() -> None:
    before = "# mine\nRUST_LOG=debug\n\nFLEDX_CP_SERVER_PORT=8080\nHTTP_PROXY='http://proxy:3128'\n"
    after = merged(before, {"FLEDX_CP_SERVER_PORT": "9090", "FLEDX_CP_DATA_DIR": "/var/lib/fledx/cp"})
    assert after == (
        "# mine\nRUST_LOG=debug\n\nFLEDX_CP_SERVER_PORT=\"9090\"\nHTTP_PROXY='http://proxy:3128'\n"
        'FLEDX_CP_DATA_DIR="/var/lib/fledx/cp"\n'
    )


def test_a_line_that_says_the_same_in_other_quotes_stays_as_it_is() -> None:
    assert merged("A=1\nB='2'\n", {"A": "1", "B": "2"}) == "A=1\nB='2'\n"


def test_none_takes_a_variable_out_and_a_repeated_one_is_set_once() -> None:
    assert merged("A=1\nB=2\nA=3\n", {"A": None, "B": "4"}) == 'B="4"\n'
    assert merged("A=1\nA=3\n", {"A": "5"}) == 'A="5"\n'


def test_the_names_of_what_differs_are_told() -> None:
    assert differing("A=1\nB=2\nC=3\n", "A='1'\nB=4\nD=5\n") == ["B", "C", "D"]


@given(st.dictionaries(NAMES, VALUES, max_size=5), LINES)
def test_what_was_merged_is_read_back_and_merging_again_changes_nothing(
    values: dict[str, str], lines: list[str]
) -> None:
    text = "".join(f"{line}\n" for line in lines)
    once = merged(text, values)
    assert {name: found for name, found in values_in(once).items() if name in values} == values
    assert merged(once, values) == once
    untouched = [line for line in lines if line.partition("=")[0] not in values]
    assert [line for line in once.splitlines() if line in untouched] == untouched
