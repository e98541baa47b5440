#include <algorithm>
#include <span>
#include <vector>

#include "kernels/base/buffer.h"
#include "kernels/base/check.h"
#include "kernels/gradcodec/bf16.h"
#include "worker/exchange/alternatives.h"
#include "worker/exchange/slices.h"

namespace filigree::exchange {
namespace {

constexpr int64_t kTask = 1 << 16;  // values a thread encodes or decodes at once

comm::Array HalvesOf(std::span<uint16_t> halves) {
  return {halves.data(), std::ssize(halves), comm::ElementType::kBf16};
}

class Rounded : public GradientSum {
 public:
  Rounded(comm::Communicator& data, kernels::ThreadPool& pool) : data_(data), pool_(pool) {}

  absl::Status Sum(std::span<float> gradient, std::span<float> residual) override;

 private:
  absl::Status SendToOwners(std::span<float> gradient, std::span<float> residual);
  void AddReceived(std::span<float> own);
  // f(begin, size) over [begin, end), shared among the pool.
  template <typename F>
  void InTasks(int64_t begin, int64_t end, F f) {
    pool_.Run((end - begin + kTask - 1) / kTask, [&](int64_t task, int) {
      const int64_t from = begin + task * kTask;
      f(from, std::min(kTask, end - from));
    });
  }

  comm::Communicator& data_;
  kernels::ThreadPool& pool_;
  kernels::Buffer<uint16_t> halves_;    // of the whole gradient
  kernels::Buffer<uint16_t> received_;  // the other ranks' of the own slice, one after another
};

absl::Status Rounded::Sum(std::span<float> gradient, std::span<float> residual) {
  const int64_t n = std::ssize(gradient);
  CHECK(std::ssize(residual) == n, "a gradient of {} elements and a residual of {}", n, residual.size());
  const int P = data_.size(), rank = data_.rank();
  const int64_t begin = SliceBegin(n, rank, P), end = SliceBegin(n, rank + 1, P);
  if (halves_.size() < gradient.size()) halves_ = kernels::Buffer<uint16_t>(gradient.size());
  if (absl::Status status = SendToOwners(gradient, residual); !status.ok()) return status;
  AddReceived(gradient.subspan(begin, end - begin));
  InTasks(begin, end, [&](int64_t at, int64_t size) {
    kernels::EncodeBf16WithFeedback(size, gradient.data() + at, residual.data() + at, halves_.data() + at);
  });
  const std::vector<int64_t> counts = SliceSizes(n, P);
  const std::span<uint16_t> all(halves_.data(), static_cast<size_t>(n));
  const absl::Status status = data_.AllGather(HalvesOf(all.subspan(begin, end - begin)), counts, HalvesOf(all));
  if (!status.ok()) return status;
  InTasks(0, n,
          [&](int64_t at, int64_t size) { kernels::DecodeBf16(size, halves_.data() + at, gradient.data() + at); });
  return absl::OkStatus();
}

// The slices of others leave rounded; the own one stays as it is.
absl::Status Rounded::SendToOwners(std::span<float> gradient, std::span<float> residual) {
  const int64_t n = std::ssize(gradient);
  const int P = data_.size(), rank = data_.rank();
  const int64_t begin = SliceBegin(n, rank, P), end = SliceBegin(n, rank + 1, P), own = end - begin;
  const auto encode = [&](int64_t at, int64_t size) {
    // Closed up where the own slice would be, since nothing is sent to oneself.
    uint16_t* const out = halves_.data() + (at < begin ? at : at - own);
    kernels::EncodeBf16WithFeedback(size, gradient.data() + at, residual.data() + at, out);
  };
  InTasks(0, begin, encode);
  InTasks(end, n, encode);
  std::vector<int64_t> sends = SliceSizes(n, P), receives(P, own);
  sends[rank] = receives[rank] = 0;
  const auto wanted = static_cast<size_t>(own * (P - 1));
  if (received_.size() < wanted) received_ = kernels::Buffer<uint16_t>(wanted);
  return data_.AllToAll(HalvesOf({halves_.data(), static_cast<size_t>(n - own)}), sends,
                        HalvesOf({received_.data(), wanted}), receives);
}

// The own values first, then those of the others in the order of ranks.
void Rounded::AddReceived(std::span<float> own) {
  const int64_t size = std::ssize(own);
  InTasks(0, size, [&](int64_t at, int64_t count) {
    for (int other = 0; other < data_.size() - 1; ++other) {
      kernels::AddBf16(count, received_.data() + other * size + at, own.data() + at);
    }
  });
}

}  // namespace

std::unique_ptr<GradientSum> RoundedSum(comm::Communicator& data, kernels::ThreadPool& pool) {
  return std::make_unique<Rounded>(data, pool);
}

}  // namespace filigree::exchange
