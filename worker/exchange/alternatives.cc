#include "worker/exchange/alternatives.h"

#include <algorithm>
#include <string>
#include <vector>

#include "worker/exchange/top_entries.h"

namespace filigree::exchange {
namespace {

class Dense : public GradientSum {
 public:
  explicit Dense(comm::Communicator& data) : data_(data) {}
  absl::Status Sum(std::span<float> gradient, std::span<float> /*residual*/) override {
    return data_.AllReduce(comm::ArrayOf(gradient), comm::ReduceOp::kSum);
  }

 private:
  comm::Communicator& data_;
};

class TopK : public GradientSum {
 public:
  TopK(comm::Communicator& data, int64_t n, int64_t k, WireValue wire, kernels::ThreadPool& pool)
      : data_(data), n_(n), wire_(wire), held_(n, k, wire, pool) {}

  absl::Status Sum(std::span<float> gradient, std::span<float> residual) override {
    const Entries mine = held_.Take(gradient, residual);
    const auto received = data_.AllGatherStrings(Encoded(mine, 0, mine.size(), 0, n_, wire_));
    if (!received.ok()) return received.status();
    std::fill(gradient.begin(), gradient.end(), 0.0f);
    for (const std::string& bytes : *received) {
      const absl::StatusOr<Entries> entries = Decoded(bytes, 0, n_, wire_);
      if (!entries.ok()) return entries.status();
      for (size_t i = 0; i < entries->size(); ++i) gradient[entries->positions[i]] += entries->values[i];
    }
    return absl::OkStatus();
  }

 private:
  comm::Communicator& data_;
  const int64_t n_;
  const WireValue wire_;
  HeldBack held_;
};

}  // namespace

std::unique_ptr<GradientSum> DenseSum(comm::Communicator& data) { return std::make_unique<Dense>(data); }

std::unique_ptr<GradientSum> TopKSum(comm::Communicator& data, int64_t n, int64_t k, WireValue wire,
                                     kernels::ThreadPool& pool) {
  return std::make_unique<TopK>(data, n, k, wire, pool);
}

}  // namespace filigree::exchange
