import numpy as np

from rec_rl.data.hashing import content_hash


def test_content_hash_sees_values_order_shape_and_dtype():
    array = np.array([[1, 2], [3, 4]])
    others = [array[::-1], array.reshape(4), array.astype(np.float64), np.array([[1, 2], [3, 5]])]
    hashes = {content_hash(other) for other in [array, *others]}
    assert len(hashes) == 5


def test_content_hash_does_not_see_layout_or_byte_order():
    array = np.array([[1.5, 2.0], [3.0, 4.0]], dtype=np.float32)
    assert content_hash(array) == content_hash(np.asfortranarray(array))
    assert content_hash(array) == content_hash(array.astype(">f4"))


def test_content_hash_does_not_join_neighbours():
    a, b, c = np.arange(2), np.arange(3), np.array([0, 1, 0, 1, 2])
    assert content_hash(a, b) != content_hash(c)
    assert content_hash(a, b) != content_hash(b, a)


def test_content_hash_stays_the_same_between_versions():
    # SHA-256 of "<i8", "(3,)" and the little-endian integers 0, 1, 2
    expected = "129d7c8430eea69d8dc239e7cde4a4574ff8ecb9256150f828ec1d68afb5cddc"
    assert content_hash(np.arange(3)) == expected
