#include "worker/exchange/buckets.h"

#include <utility>

namespace filigree::exchange {

std::vector<Bucket> BucketsOf(const std::vector<std::vector<int>>& stages, const model::Layout& layout, int alone,
                              int64_t least_values) {
  std::vector<Bucket> buckets;
  Bucket open;
  int64_t values = 0;
  const auto close = [&] {
    buckets.push_back(std::exchange(open, {}));
    values = 0;
  };
  for (int stage = 0; stage < std::ssize(stages); ++stage) {
    open.stage = stage;
    for (const int tensor : stages[stage]) {
      if (tensor == alone) {
        buckets.push_back({stage, true, {tensor}});
        continue;
      }
      open.tensors.push_back(tensor);
      values += layout.stored(tensor);
    }
    if (!open.tensors.empty() && least_values > 0 && values >= least_values) close();
  }
  if (!open.tensors.empty()) close();
  return buckets;
}

}  // namespace filigree::exchange
