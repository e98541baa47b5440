#include "worker/data/byte_alphabet.h"

#include "worker/data/utf8.h"

namespace filigree::data {
namespace {

constexpr int kPrinting = 188;  // bytes that stand for themselves

constexpr bool StandsForItself(int byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

std::array<uint8_t, 256> MakeBytes() {
  std::array<uint8_t, 256> bytes{};
  int printing = 0, other = kPrinting;
  for (int byte = 0; byte < 256; ++byte)
    bytes[StandsForItself(byte) ? printing++ : other++] = static_cast<uint8_t>(byte);
  return bytes;
}

std::array<uint8_t, 256> MakeIds() {
  std::array<uint8_t, 256> ids{};
  for (int id = 0; id < 256; ++id) ids[BytesInIdOrder()[id]] = static_cast<uint8_t>(id);
  return ids;
}

}  // namespace

const std::array<uint8_t, 256>& BytesInIdOrder() {
  static const std::array<uint8_t, 256> bytes = MakeBytes();
  return bytes;
}

const std::array<uint8_t, 256>& IdsOfBytes() {
  static const std::array<uint8_t, 256> ids = MakeIds();
  return ids;
}

std::string ToPrintable(std::string_view bytes) {
  std::string printable;
  for (const char c : bytes) {
    const auto byte = static_cast<uint8_t>(c);
    const int id = IdsOfBytes()[byte];
    AppendUtf8(id < kPrinting ? byte : static_cast<uint32_t>(0x100 + id - kPrinting), printable);
  }
  return printable;
}

std::optional<std::string> FromPrintable(std::string_view printable) {
  std::string bytes;
  for (size_t at = 0; at < printable.size();) {
    const CodePoint c = DecodeUtf8(printable, at);
    if (c.value < 256 && StandsForItself(static_cast<int>(c.value))) {
      bytes += static_cast<char>(c.value);
    } else if (c.value >= 0x100 && c.value < 0x100 + 256 - kPrinting) {
      bytes += static_cast<char>(BytesInIdOrder()[c.value - 0x100 + kPrinting]);
    } else {
      return std::nullopt;
    }
    at += static_cast<size_t>(c.bytes);
  }
  return bytes;
}

}  // namespace filigree::data
