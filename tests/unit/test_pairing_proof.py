"""The two codes of a pairing, against AES-CMAC put together by hand as RFC 4493 tells it."""

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from gateway.bus.exchange import proof

KEY = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")  # the key of RFC 4493's examples
SERIAL, CHALLENGE, TXN_ID = 0x00A3_0000_1234_5678, 0xCAFE_F00D, 0x2A


def block(data: bytes) -> bytes:
    encryptor = Cipher(algorithms.AES(KEY), modes.ECB()).encryptor()
    return encryptor.update(data)


def double(value: bytes) -> bytes:
    number = int.from_bytes(value, "big") << 1
    return ((number ^ 0x87 if number >> 128 else number) & (1 << 128) - 1).to_bytes(16, "big")


def cmac_of_one_short_block(message: bytes) -> bytes:
    subkey2 = double(double(block(bytes(16))))
    padded = message + b"\x80" + bytes(15 - len(message))
    return block(bytes(a ^ b for a, b in zip(padded, subkey2, strict=True)))


def test_the_reference_agrees_with_the_example_of_the_rfc() -> None:
    assert cmac_of_one_short_block(b"").hex() == "bb1d6929e95937287fa37d129b756746"


def test_the_device_proves_itself_over_challenge_serial_gateway_and_transaction() -> None:
    message = bytes.fromhex("0df0feca" + "785634120000a300" + "fb" + "2a")
    expected = int.from_bytes(cmac_of_one_short_block(message)[:4], "little")
    assert proof.device_mac(KEY, SERIAL, CHALLENGE, TXN_ID) == expected


def test_the_gateway_proves_itself_over_serial_challenge_transaction_and_gateway() -> None:
    message = bytes.fromhex("785634120000a300" + "0df0feca" + "2a" + "fb")
    expected = int.from_bytes(cmac_of_one_short_block(message)[:4], "little")
    assert proof.gateway_mac(KEY, SERIAL, CHALLENGE, TXN_ID) == expected
