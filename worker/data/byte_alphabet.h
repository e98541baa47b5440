#ifndef FILIGREE_WORKER_DATA_BYTE_ALPHABET_H_
#define FILIGREE_WORKER_DATA_BYTE_ALPHABET_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

// GPT-2's printable alphabet of bytes: how tokens, which are bytes, are written in JSON. The bytes that Latin-1 prints
// ('!' to '~', U+00A1 to U+00AC, U+00AE to U+00FF) stand for themselves and come first; the other 68, in ascending
// order, are written as U+0100, U+0101, ... The position of a byte in this order is its id.

namespace filigree::data {

// Id -> byte, and byte -> id.
const std::array<uint8_t, 256>& BytesInIdOrder();
const std::array<uint8_t, 256>& IdsOfBytes();

// Bytes -> printable UTF-8.
std::string ToPrintable(std::string_view bytes);

// The reverse; nothing where `printable` has a character that is not in the alphabet.
std::optional<std::string> FromPrintable(std::string_view printable);

}  // namespace filigree::data

#endif  // FILIGREE_WORKER_DATA_BYTE_ALPHABET_H_
