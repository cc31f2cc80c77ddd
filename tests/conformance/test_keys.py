"""Keys are a function of ids, differ where the ids do, and are keys that every store accepts."""

import inspect
from uuid import UUID, uuid4

import pytest

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


def test_every_key_of_an_upload_lies_under_one_of_its_prefixes_and_under_no_other_uploads() -> None:
    run, result = RUN, keys.result_id(RUN, 1)
    made = {
        "original_key": keys.original_key(UPLOAD),
        "incoming_key": keys.incoming_key(UPLOAD),
        "checked_key": keys.checked_key(UPLOAD, OTHER_RUN),
        "generated_key": keys.generated_key(UPLOAD, run, 3),
        "result_key": keys.result_key(UPLOAD, result),
        "preview_key": keys.preview_key(UPLOAD, result),
    }
    makers = {name for name, _ in inspect.getmembers(keys, inspect.isfunction) if name.endswith("_key")}

    assert made.keys() == makers
    for key in made.values():
        assert any(key == prefix or key.startswith(f"{prefix}/") for prefix in keys.prefixes_of(UPLOAD)), key
        assert not any(key.startswith(prefix) for prefix in keys.prefixes_of(OTHER_UPLOAD)), key


def test_every_key_is_its_uploads_own_and_no_others() -> None:
    result = keys.result_id(RUN, 1)
    own = [
        keys.original_key(UPLOAD),
        keys.incoming_key(UPLOAD),
        keys.checked_key(UPLOAD, uuid4()),
        keys.generated_key(UPLOAD, RUN, 1),
        keys.result_key(UPLOAD, result),
        keys.preview_key(UPLOAD, result),
    ]

    assert [keys.is_own(UPLOAD, key) for key in own] == [True] * len(own)
    assert [keys.is_own(OTHER_UPLOAD, key) for key in own] == [False] * len(own)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "originals",
        "originals/",
        f"originals/{OTHER_UPLOAD}",
        f"originals/{UPLOAD}{UPLOAD}",
        f"originals/{UPLOAD}/../{OTHER_UPLOAD}",
        f"originals/{UPLOAD}//{OTHER_UPLOAD}",
        f"originals/{UPLOAD}/",
        f"/originals/{UPLOAD}",
        f"secrets/{UPLOAD}",
        f"originals/{str(UPLOAD).upper()[:-1]}X",
    ],
)
def test_what_only_looks_like_an_uploads_key_is_not_its_own(key: str) -> None:
    assert keys.is_own(UPLOAD, key) is False
