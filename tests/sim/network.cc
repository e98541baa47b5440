#include "tests/sim/network.h"

namespace filigree::sim {

bool Loop::Step() {
  if (queue_.empty()) return false;
  const auto first = queue_.begin();
  now_us_ = first->first.first;
  const Work work = std::move(first->second);
  queue_.erase(first);
  work();
  return true;
}

void Network::Send(int from, int to, const Work& deliver) {
  const int copies = dice_.Chance(twice) ? 2 : 1;
  for (int copy = 0; copy < copies; ++copy) {
    const int64_t delay_us = dice_.Chance(late) ? dice_.Between(100'000, 6'000'000) : dice_.Between(200, 20'000);
    if (dice_.Chance(loss)) continue;
    // A cut link loses what is sent into it and what is on its way.
    if (cut_.count({from, to}) > 0) continue;
    loop_.After(delay_us, [this, from, to, deliver] {
      if (cut_.count({from, to}) == 0) deliver();
    });
  }
}

}  // namespace filigree::sim
