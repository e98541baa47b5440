#ifndef FILIGREE_WORKER_EXCHANGE_BYTE_SECTIONS_H_
#define FILIGREE_WORKER_EXCHANGE_BYTE_SECTIONS_H_

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/comm/communicator.h"

// Several runs of bytes in one message: the length of each, 8 bytes, then all of them.

namespace filigree::exchange {

// A message with room for sections of these lengths; `sections` are where they go.
struct SectionedMessage {
  explicit SectionedMessage(std::span<const int64_t> lengths);

  std::string bytes;
  std::vector<std::span<uint8_t>> sections;
};

// The sections of a message that should have `count`. InvalidArgument names `rank`, its sender.
absl::StatusOr<std::vector<std::span<const uint8_t>>> SectionsOf(const std::string& message, size_t count, int rank);

// messages[r] goes to rank r; returns what each rank sent here. Two rounds: lengths, then bytes. Collective.
absl::StatusOr<std::vector<std::string>> ExchangeStrings(comm::Communicator& ranks,
                                                         const std::vector<std::string>& messages);

}  // namespace filigree::exchange

#endif  // FILIGREE_WORKER_EXCHANGE_BYTE_SECTIONS_H_
