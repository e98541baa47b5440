#include "worker/exchange/byte_sections.h"

#include <fmt/format.h>

#include <numeric>

namespace filigree::exchange {

SectionedMessage::SectionedMessage(std::span<const int64_t> lengths) {
  const int64_t payload = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  bytes.resize(lengths.size_bytes() + static_cast<size_t>(payload));
  auto* at = reinterpret_cast<uint8_t*>(bytes.data());
  if (!lengths.empty()) std::memcpy(at, lengths.data(), lengths.size_bytes());
  at += lengths.size_bytes();
  sections.reserve(lengths.size());
  for (const int64_t length : lengths) {
    sections.push_back({at, static_cast<size_t>(length)});
    at += length;
  }
}

absl::StatusOr<std::vector<std::span<const uint8_t>>> SectionsOf(const std::string& message, size_t count, int rank) {
  const auto refuse = [&] {
    return absl::InvalidArgumentError(
        fmt::format("a message of {} bytes from rank {} does not hold the {} sections expected: the ranks do not "
                    "exchange the same tensors",
                    message.size(), rank, count));
  };
  if (message.size() / sizeof(uint64_t) < count) return refuse();
  std::vector<std::span<const uint8_t>> sections;
  sections.reserve(count);
  const auto* bytes = reinterpret_cast<const uint8_t*>(message.data());
  size_t at = count * sizeof(uint64_t);
  for (size_t i = 0; i < count; ++i) {
    uint64_t length;
    std::memcpy(&length, bytes + i * sizeof(length), sizeof(length));
    if (length > message.size() - at) return refuse();
    sections.push_back({bytes + at, length});
    at += length;
  }
  if (at != message.size()) return refuse();
  return sections;
}

absl::StatusOr<std::vector<std::string>> ExchangeStrings(comm::Communicator& ranks,
                                                         const std::vector<std::string>& messages) {
  const size_t size = messages.size();
  std::vector<int64_t> send(size), receive(size);
  const std::vector<int64_t> one(size, 1);
  std::string out;
  for (size_t r = 0; r < size; ++r) {
    send[r] = std::ssize(messages[r]);
    out += messages[r];
  }
  absl::Status status =
      ranks.AllToAll(comm::ArrayOf(std::span<const int64_t>(send)), one, comm::ArrayOf(std::span(receive)), one);
  if (!status.ok()) return status;
  for (size_t r = 0; r < size; ++r) {
    if (receive[r] < 0) return absl::InvalidArgumentError(fmt::format("rank {} sends {} bytes", r, receive[r]));
  }
  std::string in(static_cast<size_t>(std::accumulate(receive.begin(), receive.end(), int64_t{0})), '\0');
  status = ranks.AllToAll(comm::ArrayOf(std::span<const char>(out)), send, comm::ArrayOf(std::span(in)), receive);
  if (!status.ok()) return status;
  std::vector<std::string> received(size);
  size_t at = 0;
  for (size_t r = 0; r < size; ++r) {
    received[r] = in.substr(at, static_cast<size_t>(receive[r]));
    at += static_cast<size_t>(receive[r]);
  }
  return received;
}

}  // namespace filigree::exchange
