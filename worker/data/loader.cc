#include "worker/data/loader.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "kernels/base/check.h"
#include "kernels/base/random.h"

namespace filigree::data {
namespace {

constexpr int kRounds = 6;

}  // namespace

Permutation::Permutation(int64_t n, uint64_t seed, uint64_t epoch)
    : n_(static_cast<uint64_t>(n)),
      seed_(seed),
      stream_(kernels::StreamOf("order of the data") + epoch),
      half_bits_(std::max(1, (static_cast<int>(std::bit_width(n_ - 1)) + 1) / 2)) {
  CHECK(n >= 1);
}

uint64_t Permutation::Round(uint64_t x) const {
  const kernels::CounterRng rng(seed_, stream_);
  const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
  uint64_t left = x >> half_bits_, right = x & mask;
  for (uint64_t round = 0; round < kRounds; ++round) {
    const uint64_t mixed = left ^ (rng.Bits(right * kRounds + round) & mask);
    left = right;
    right = mixed;
  }
  return left << half_bits_ | right;
}

int64_t Permutation::operator()(int64_t i) const {
  // The network permutes a power of four that may exceed n; following the cycle of i back into [0, n) keeps it a
  // permutation there.
  uint64_t x = static_cast<uint64_t>(i);
  do {
    x = Round(x);
  } while (x >= n_);
  return static_cast<int64_t>(x);
}

absl::Status Loader::Check(const TokenStream& stream, int n_ctx) {
  if (n_ctx >= 2 && stream.size() >= n_ctx) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format(
      "the data has {} tokens, but one sequence takes model.n_ctx = {} (at least 2): prepare more text, or set "
      "model.n_ctx to {} or less",
      stream.size(), n_ctx, stream.size()));
}

Loader::Loader(const TokenStream& stream, int n_ctx, uint64_t seed)
    : stream_(&stream), n_ctx_(n_ctx), seed_(seed), windows_(stream.size() / n_ctx) {
  CHECK(windows_ >= 1, "a stream of {} tokens has no window of {}", stream.size(), n_ctx);
}

int64_t Loader::Window(int64_t index) const {
  CHECK(index >= 0);
  return Permutation(windows_, seed_, static_cast<uint64_t>(index / windows_))(index % windows_);
}

void Loader::Sequence(int64_t index, int32_t* tokens) const { stream_->Copy(Window(index) * n_ctx_, n_ctx_, tokens); }

std::vector<int64_t> ValidationSequences(const TokenStream& stream, int n_ctx, int64_t count) {
  const int64_t windows = stream.size() / n_ctx;
  count = std::clamp<int64_t>(count, 0, windows);
  std::vector<int64_t> begins(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) begins[i] = i * windows / count * n_ctx;
  return begins;
}

}  // namespace filigree::data
