"""Keys are a function of ids, differ where the ids do, and are keys that every store accepts."""

from uuid import UUID

from shared.storage import keys
from shared.storage.rules import check_key

UPLOAD, OTHER_UPLOAD, RUN, OTHER_RUN = (UUID(int=n) for n in range(1, 5))


def test_the_same_ids_give_the_same_key_for_ever() -> None:
    result = keys.result_id(RUN, 1)

    assert result == UUID("a2970e78-0fe1-5edd-ab05-c1239538502d")
    assert keys.original_key(UPLOAD) == f"originals/{UPLOAD}"
    assert keys.generated_key(UPLOAD, RUN, 2) == f"generated/{UPLOAD}/{RUN}/2"
    assert keys.result_key(UPLOAD, result) == f"results/{UPLOAD}/{result}"
    assert keys.preview_key(UPLOAD, result) == f"previews/{UPLOAD}/{result}.jpg"


def test_no_two_things_share_a_key_and_none_is_the_folder_of_another() -> None:
    results = [keys.result_id(run, generation) for run in (RUN, OTHER_RUN) for generation in (1, 2)]
    made = [
        key
        for upload in (UPLOAD, OTHER_UPLOAD)
        for key in (
            keys.original_key(upload),
            *(keys.generated_key(upload, run, generation) for run in (RUN, OTHER_RUN) for generation in (1, 2, 11)),
            *(keys.result_key(upload, result) for result in results),
            *(keys.preview_key(upload, result) for result in results),
        )
    ]

    assert len(set(made)) == len(made)
    assert not [(a, b) for a in made for b in made if b.startswith(f"{a}/")]
    assert [check_key(key) for key in made] == made
