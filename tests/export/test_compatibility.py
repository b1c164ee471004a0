"""Versions of a served name: what clients of the newest would notice is refused."""

import pytest

from export import export_saved_model
from export.compatibility import changes, versions
from tests.export.test_saved_model import flat, pooled


def test_the_newest_version_that_holds_a_model_counts(tmp_path):
    """Not an empty folder, a stray file, a broken model; 007 is a 7."""
    target = tmp_path / "net"
    export_saved_model(flat(), target, list("abcd")).rename(target / "007")
    (target / "8").mkdir()
    (target / "9").write_text("stray")
    (target / "10").mkdir()
    (target / "10" / "saved_model.pb").write_bytes(b"\xff\xff broken")
    with pytest.raises(FileExistsError, match="otherwise. Received: .*without labels"):
        export_saved_model(flat(), target)
    assert export_saved_model(flat(), target, overwrite=True) == target / "11"


def test_a_version_that_appears_meanwhile_counts(tmp_path):
    """It is looked at again at the last moment."""
    target = tmp_path / "net"

    def meanwhile(_):
        if not versions(target):
            export_saved_model(flat(), target, list("abcd"))

    with pytest.raises(FileExistsError, match="without labels"):
        export_saved_model(flat(), target, extras=[meanwhile])
    assert versions(target) == [1]


@pytest.mark.parametrize(
    ("before", "after", "noticed"),
    [
        # An input may take more, an output may say more of itself; not the reverse.
        ([None, 8], [None, None], ["outputs"]),
        ([None, None], [None, 8], ["inputs"]),
        (None, [None, 8], ["inputs"]),
        ([None, 8], None, ["outputs"]),
        ([None, 8], [None, 8], []),
        ([None, 8], [None, 8, 1], ["inputs", "outputs"]),
    ],
)
def test_what_a_client_would_notice(before, after, noticed):
    def signature(shape):
        tensor = {"x": {"dtype": "float32", "shape": shape}}
        return {"serve": {"inputs": tensor, "outputs": tensor}}

    differences = changes(signature(before), signature(after))
    assert [sentence.split()[0] for sentence in differences] == noticed
    assert changes(signature(before), {}) == ["no signature serve"]
    more = signature(before)
    more["serve"]["inputs"] = {**more["serve"]["inputs"], "y": {"dtype": "int32"}}
    assert changes(signature(before), more) == ["one more input of serve, y"]


def test_clients_keep_what_they_ask_for(tmp_path):
    """A version without a signature, an output or a shape of the newest has to be asked
    for; one that only adds has not. What exists stays as it is.
    """
    target, names = tmp_path / "net", ("serving_default", "explain")
    export_saved_model(flat(), target)
    export_saved_model(flat(), target, list("abcd"), signatures=names)
    for model, lacking in (
        (flat(), "no signature explain"),
        (flat(), r"outputs of serving_default without labels string \[\?\]"),
        (
            pooled(),
            r"inputs of serving_default with float32 \[\?,4,4,1\] for images float32 "
            r"\[\?,2,2,1\]",
        ),
    ):
        with pytest.raises(FileExistsError, match=f"^`overwrite` must be .*{lacking}"):
            export_saved_model(model, target)
    assert versions(target) == [1, 2]
    assert export_saved_model(flat(), target, overwrite=True) == target / "3"
    assert versions(target) == [1, 2, 3]
    # The newest counts, not the ones before.
    assert export_saved_model(flat(), target) == target / "4"
