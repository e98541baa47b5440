#include "worker/exchange/rounded_sum.h"

#include <algorithm>

#include "kernels/base/check.h"
#include "kernels/gradcodec/bf16.h"
#include "worker/exchange/slices.h"

namespace filigree::exchange {
namespace {

constexpr int64_t kTask = 1 << 16;  // values a thread encodes or decodes at once

comm::Array HalvesOf(uint16_t* halves, int64_t count) { return {halves, count, comm::ElementType::kBf16}; }

}  // namespace

absl::Status RoundedSum::Sum(std::span<const Values> arrays) {
  Cut(arrays);
  if (absl::Status status = SendToOwners(arrays); !status.ok()) return status;
  const int64_t own = counts_[data_.rank()];
  ForEach(/*own=*/true, /*others=*/false, [&](const Piece& piece, int64_t at, int64_t size, int64_t offset) {
    for (int other = 0; other < data_.size() - 1; ++other) {
      kernels::AddBf16(size, received_.data() + other * own + offset, arrays[piece.array].gradient.data() + at);
    }
  });
  return GatherSums(arrays);
}

void RoundedSum::Cut(std::span<const Values> arrays) {
  std::vector<int64_t> sizes;
  sizes.reserve(arrays.size());
  int64_t all = 0;
  for (const Values& values : arrays) {
    CHECK(values.gradient.size() == values.residual.size(), "a gradient of {} elements and a residual of {}",
          values.gradient.size(), values.residual.size());
    sizes.push_back(std::ssize(values.gradient));
    all += sizes.back();
  }
  if (sizes == sizes_) return;
  const int P = data_.size();
  pieces_.clear();
  counts_.assign(P, 0);
  for (int owner = 0; owner < P; ++owner) {
    for (size_t array = 0; array < sizes.size(); ++array) {
      const int64_t begin = SliceBegin(sizes[array], owner, P), end = SliceBegin(sizes[array], owner + 1, P);
      for (int64_t at = begin; at < end; at += kTask) {
        const int64_t size = std::min(kTask, end - at);
        pieces_.push_back({owner, array, at, size, counts_[owner]});
        counts_[owner] += size;
      }
    }
  }
  sizes_ = std::move(sizes);
  const auto received = static_cast<size_t>(counts_[data_.rank()] * (P - 1));
  if (halves_.size() < static_cast<size_t>(all)) halves_ = kernels::Buffer<uint16_t>(static_cast<size_t>(all));
  if (received_.size() < received) received_ = kernels::Buffer<uint16_t>(received);
}

template <typename F>
void RoundedSum::ForEach(bool own, bool others, F f) {
  pool_.Run(std::ssize(pieces_), [&](int64_t i, int) {
    const Piece& piece = pieces_[i];
    if (piece.owner == data_.rank() ? own : others) f(piece, piece.begin, piece.size, piece.offset);
  });
}

// What others own leaves rounded, closed up where the own values would be, since nothing is sent to oneself.
absl::Status RoundedSum::SendToOwners(std::span<const Values> arrays) {
  const int P = data_.size(), rank = data_.rank();
  std::vector<int64_t> sends = counts_, receives(P, counts_[rank]), begins(P);
  sends[rank] = receives[rank] = 0;
  int64_t sent = 0;
  for (int r = 0; r < P; ++r) {
    begins[r] = sent;
    sent += sends[r];
  }
  ForEach(/*own=*/false, /*others=*/true, [&](const Piece& piece, int64_t at, int64_t size, int64_t offset) {
    const Values& values = arrays[piece.array];
    kernels::EncodeBf16WithFeedback(size, values.gradient.data() + at, values.residual.data() + at,
                                    halves_.data() + begins[piece.owner] + offset);
  });
  return data_.AllToAll(HalvesOf(halves_.data(), sent), sends, HalvesOf(received_.data(), counts_[rank] * (P - 1)),
                        receives);
}

absl::Status RoundedSum::GatherSums(std::span<const Values> arrays) {
  const int P = data_.size(), rank = data_.rank();
  std::vector<int64_t> begins(P + 1);
  for (int r = 0; r < P; ++r) begins[r + 1] = begins[r] + counts_[r];
  uint16_t* const mine = halves_.data() + begins[rank];
  ForEach(/*own=*/true, /*others=*/false, [&](const Piece& piece, int64_t at, int64_t size, int64_t offset) {
    const Values& values = arrays[piece.array];
    kernels::EncodeBf16WithFeedback(size, values.gradient.data() + at, values.residual.data() + at, mine + offset);
  });
  const absl::Status status =
      data_.AllGather(HalvesOf(mine, counts_[rank]), counts_, HalvesOf(halves_.data(), begins[P]));
  if (!status.ok()) return status;
  ForEach(/*own=*/true, /*others=*/true, [&](const Piece& piece, int64_t at, int64_t size, int64_t offset) {
    kernels::DecodeBf16(size, halves_.data() + begins[piece.owner] + offset, arrays[piece.array].gradient.data() + at);
  });
  return absl::OkStatus();
}

}  // namespace filigree::exchange
