#include "worker/exchange/top_entries.h"

#include "kernels/base/check.h"
#include "kernels/gradcodec/bf16.h"
#include "kernels/gradcodec/coded_entries.h"
#include "kernels/gradcodec/feedback_topk.h"

namespace filigree::exchange {
namespace {

template <typename Value>
std::string EncodedAs(std::span<const uint32_t> positions, std::span<const Value> values, int64_t bound) {
  std::string bytes(static_cast<size_t>(kernels::CodedEntriesBytes<Value>(positions, bound)), '\0');
  kernels::EncodeEntries<Value>(positions, values, bound, {reinterpret_cast<uint8_t*>(bytes.data()), bytes.size()});
  return bytes;
}

template <typename Value>
absl::Status DecodeAs(const std::string& bytes, int64_t bound, Entries& entries, std::vector<Value>& values) {
  const std::span in(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  const absl::StatusOr<int64_t> count = kernels::EntryCount<Value>(in, bound);
  if (!count.ok()) return count.status();
  entries.positions.resize(*count);
  values.resize(*count);
  return kernels::DecodeEntries<Value>(in, bound, entries.positions, values);
}

}  // namespace

std::string Encoded(const Entries& entries, size_t first, size_t last, int64_t origin, int64_t bound, WireValue wire) {
  std::vector<uint32_t> positions(entries.positions.begin() + static_cast<int64_t>(first),
                                  entries.positions.begin() + static_cast<int64_t>(last));
  for (uint32_t& position : positions) position -= static_cast<uint32_t>(origin);
  const std::span<const float> values(entries.values.data() + first, last - first);
  if (wire == WireValue::kFloat32) return EncodedAs<float>(positions, values, bound);
  std::vector<uint16_t> halves(values.size());
  kernels::EncodeBf16(std::ssize(values), values.data(), halves.data());
  return EncodedAs<uint16_t>(positions, halves, bound);
}

absl::StatusOr<Entries> Decoded(const std::string& bytes, int64_t origin, int64_t bound, WireValue wire) {
  Entries entries;
  absl::Status status;
  if (wire == WireValue::kFloat32) {
    status = DecodeAs<float>(bytes, bound, entries, entries.values);
  } else {
    std::vector<uint16_t> halves;
    status = DecodeAs<uint16_t>(bytes, bound, entries, halves);
    entries.values.resize(halves.size());
    kernels::DecodeBf16(std::ssize(halves), halves.data(), entries.values.data());
  }
  if (!status.ok()) return status;
  for (uint32_t& position : entries.positions) position += static_cast<uint32_t>(origin);
  return entries;
}

HeldBack::HeldBack(int64_t n, int64_t k, WireValue wire, kernels::ThreadPool& pool)
    : n_(n), k_(k), wire_(wire), pool_(pool), kept_(static_cast<size_t>((n + 63) / 64)) {
  CHECK(0 <= k && k <= n && n < int64_t{1} << 32, "{} entries of {}", k, n);
}

Entries HeldBack::Take(std::span<const float> gradient, std::span<float> residual) {
  CHECK(std::ssize(gradient) == n_ && std::ssize(residual) == n_,
        "a gradient of {} elements and a residual of {}, expected {}", gradient.size(), residual.size(), n_);
  residual_ = residual;
  Entries entries = {std::vector<uint32_t>(k_), std::vector<float>(k_)};
  if (wire_ == WireValue::kFloat32) {
    kernels::TopWithFeedback(n_, gradient.data(), k_, residual_.data(), &threshold_, pool_, kept_.data(),
                             entries.positions.data(), entries.values.data());
    return entries;
  }
  std::vector<uint16_t> halves(k_);
  kernels::TopWithFeedback(n_, gradient.data(), k_, residual_.data(), &threshold_, pool_, kept_.data(),
                           entries.positions.data(), halves.data());
  kernels::DecodeBf16(k_, halves.data(), entries.values.data());
  return entries;
}

float HeldBack::Round(uint32_t position, float value) {
  if (wire_ == WireValue::kFloat32) return value;
  float rest = 0;
  uint16_t half;
  kernels::ref::EncodeBf16WithFeedback(1, &value, &rest, &half);
  residual_[position] += rest;
  float rounded;
  kernels::ref::DecodeBf16(1, &half, &rounded);
  return rounded;
}

}  // namespace filigree::exchange
