#include "worker/exchange/rounded_sum.h"

#include <algorithm>

#include "kernels/adam/adam.h"
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
  const auto mine = [this](const Piece& piece) { return Own(piece); };
  ForEach(mine, [&](const Piece& piece) {
    const Values& values = arrays[piece.array];
    float* const sum = values.gradient.data() + piece.begin;
    for (int other = 0; other < data_.size() - 1; ++other) {
      kernels::AddBf16(piece.size, received_.data() + other * own + piece.offset, sum);
    }
    if (values.owner < 0) return;  // what goes to all takes the residual with it when it is rounded
    float* const held = values.residual.data() + piece.begin;
    kernels::AddInPlace(held, piece.size, sum);
    std::fill_n(held, piece.size, 0.0f);
  });
  return GatherSums(arrays);
}

void RoundedSum::Cut(std::span<const Values> arrays) {
  std::vector<std::pair<int64_t, int>> cut;
  cut.reserve(arrays.size());
  int64_t all = 0;
  for (const Values& values : arrays) {
    CHECK(values.gradient.size() == values.residual.size(), "a gradient of {} elements and a residual of {}",
          values.gradient.size(), values.residual.size());
    cut.emplace_back(std::ssize(values.gradient), values.owner);
    all += std::ssize(values.gradient);
  }
  if (cut == cut_) return;
  const int P = data_.size();
  pieces_.clear();
  counts_.assign(P, 0);
  for (int owner = 0; owner < P; ++owner) {
    for (size_t array = 0; array < cut.size(); ++array) {
      const auto& [size, of] = cut[array];
      if (of < 0) CutArray(array, owner, SliceBegin(size, owner, P), SliceBegin(size, owner + 1, P));
    }
  }
  gathered_ = counts_;
  for (size_t array = 0; array < cut.size(); ++array) {
    const auto& [size, owner] = cut[array];
    if (owner >= 0) CutArray(array, owner, 0, size);
  }
  cut_ = std::move(cut);
  const auto received = static_cast<size_t>(counts_[data_.rank()] * (P - 1));
  if (halves_.size() < static_cast<size_t>(all)) halves_ = kernels::Buffer<uint16_t>(static_cast<size_t>(all));
  if (received_.size() < received) received_ = kernels::Buffer<uint16_t>(received);
}

void RoundedSum::CutArray(size_t array, int owner, int64_t begin, int64_t end) {
  for (int64_t at = begin; at < end; at += kTask) {
    const int64_t size = std::min(kTask, end - at);
    pieces_.push_back({owner, array, at, size, counts_[owner]});
    counts_[owner] += size;
  }
}

template <typename Wanted, typename F>
void RoundedSum::ForEach(Wanted wanted, F f) {
  pool_.Run(std::ssize(pieces_), [&](int64_t i, int) {
    if (wanted(pieces_[i])) f(pieces_[i]);
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
  ForEach([this](const Piece& piece) { return !Own(piece); },
          [&](const Piece& piece) {
            const Values& values = arrays[piece.array];
            kernels::EncodeBf16WithFeedback(piece.size, values.gradient.data() + piece.begin,
                                            values.residual.data() + piece.begin,
                                            halves_.data() + begins[piece.owner] + piece.offset);
          });
  return data_.AllToAll(HalvesOf(halves_.data(), sent), sends, HalvesOf(received_.data(), counts_[rank] * (P - 1)),
                        receives);
}

absl::Status RoundedSum::GatherSums(std::span<const Values> arrays) {
  const int P = data_.size(), rank = data_.rank();
  std::vector<int64_t> begins(P + 1);
  for (int r = 0; r < P; ++r) begins[r + 1] = begins[r] + gathered_[r];
  if (begins[P] == 0) return absl::OkStatus();
  const auto halves = [&](const Piece& piece) { return halves_.data() + begins[piece.owner] + piece.offset; };
  ForEach([this](const Piece& piece) { return Own(piece) && GoesToAll(piece); },
          [&](const Piece& piece) {
            const Values& values = arrays[piece.array];
            kernels::EncodeBf16WithFeedback(piece.size, values.gradient.data() + piece.begin,
                                            values.residual.data() + piece.begin, halves(piece));
          });
  absl::Status status = data_.AllGather(HalvesOf(halves_.data() + begins[rank], gathered_[rank]), gathered_,
                                        HalvesOf(halves_.data(), begins[P]));
  if (!status.ok()) return status;
  ForEach([this](const Piece& piece) { return GoesToAll(piece); },
          [&](const Piece& piece) {
            kernels::DecodeBf16(piece.size, halves(piece), arrays[piece.array].gradient.data() + piece.begin);
          });
  return absl::OkStatus();
}

}  // namespace filigree::exchange
