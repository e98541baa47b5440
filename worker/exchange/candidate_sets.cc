#include "worker/exchange/candidate_sets.h"

#include <fmt/format.h>

#include <string>
#include <utility>
#include <vector>

#include "kernels/base/check.h"
#include "kernels/gradcodec/index_list.h"
#include "worker/exchange/byte_sections.h"

namespace filigree::exchange {
namespace {

int64_t NumelOf(const OwnedSet& set) { return int64_t{set.rows} * set.cols; }

std::vector<uint32_t> PositionsOf(const kernels::PatternView& pattern) {
  std::vector<uint32_t> positions(pattern.nnz());
  for (int r = 0; r < pattern.rows; ++r) {
    const auto first = static_cast<uint32_t>(int64_t{r} * pattern.cols);
    for (uint32_t e = pattern.row_offsets[r]; e < pattern.row_offsets[r + 1]; ++e) {
      positions[e] = first + pattern.col_indices[e];
    }
  }
  return positions;
}

kernels::Pattern PatternOf(const OwnedSet& set, const std::vector<uint32_t>& positions) {
  kernels::Pattern pattern(set.rows, set.cols, std::ssize(positions));
  for (size_t e = 0; e < positions.size(); ++e) {
    const auto row = static_cast<int>(positions[e] / static_cast<uint32_t>(set.cols));
    pattern.col_indices()[e] = static_cast<uint16_t>(positions[e] % static_cast<uint32_t>(set.cols));
    ++pattern.row_offsets()[row + 1];
  }
  for (int r = 0; r < set.rows; ++r) pattern.row_offsets()[r + 1] += pattern.row_offsets()[r];
  return pattern;
}

absl::Status Read(std::span<const uint8_t> bytes, const OwnedSet& set) {
  const absl::StatusOr<int64_t> count = kernels::IndexCount(bytes, NumelOf(set));
  if (!count.ok()) return count.status();
  if (*count != set.entries) {
    return absl::InvalidArgumentError(fmt::format("{} positions, expected {}", *count, set.entries));
  }
  std::vector<uint32_t> positions(*count);
  if (absl::Status status = kernels::DecodeIndices(bytes, NumelOf(set), positions); !status.ok()) return status;
  *set.pattern = PatternOf(set, positions);
  return absl::OkStatus();
}

// The sections of a rank's message are its sets, in order.
std::string MessageOf(int rank, std::span<const OwnedSet> sets, kernels::ThreadPool& pool) {
  std::vector<int64_t> mine;
  mine.reserve(sets.size());
  for (int64_t i = 0; i < std::ssize(sets); ++i) {
    if (sets[i].owner == rank) mine.push_back(i);
  }
  std::vector<std::vector<uint32_t>> positions(mine.size());
  std::vector<int64_t> lengths(mine.size());
  pool.Run(std::ssize(mine), [&](int64_t i, int) {
    const OwnedSet& set = sets[mine[i]];
    CHECK(set.pattern->nnz() == set.entries, "a set of {} entries has {}", set.entries, set.pattern->nnz());
    positions[i] = PositionsOf(set.pattern->view());
    lengths[i] = kernels::EncodedIndexBytes(positions[i], NumelOf(set));
  });
  SectionedMessage message(lengths);
  pool.Run(std::ssize(mine),
           [&](int64_t i, int) { kernels::EncodeIndices(positions[i], NumelOf(sets[mine[i]]), message.sections[i]); });
  return std::move(message.bytes);
}

}  // namespace

absl::Status GatherCandidateSets(comm::Communicator& ranks, std::span<const OwnedSet> sets, kernels::ThreadPool& pool) {
  const auto received = ranks.AllGatherStrings(MessageOf(ranks.rank(), sets, pool));
  if (!received.ok()) return received.status();
  std::vector<std::span<const uint8_t>> bytes(sets.size());
  for (int r = 0; r < ranks.size(); ++r) {
    std::vector<size_t> owned;
    owned.reserve(sets.size());
    for (size_t i = 0; i < sets.size(); ++i) {
      if (sets[i].owner == r) owned.push_back(i);
    }
    const auto sections = SectionsOf((*received)[r], owned.size(), r);
    if (!sections.ok()) return sections.status();
    for (size_t i = 0; i < owned.size(); ++i) bytes[owned[i]] = (*sections)[i];
  }
  std::vector<absl::Status> statuses(sets.size());
  pool.Run(std::ssize(sets), [&](int64_t i, int) {
    if (sets[i].owner != ranks.rank()) statuses[i] = Read(bytes[i], sets[i]);
  });
  for (size_t i = 0; i < statuses.size(); ++i) {
    if (statuses[i].ok()) continue;
    return absl::InvalidArgumentError(
        fmt::format("candidates of matrix {} from rank {}: {}", i, sets[i].owner, std::string(statuses[i].message())));
  }
  return absl::OkStatus();
}

}  // namespace filigree::exchange
