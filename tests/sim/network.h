#ifndef FILIGREE_TESTS_SIM_NETWORK_H_
#define FILIGREE_TESTS_SIM_NETWORK_H_

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <utility>

#include "tests/sim/dice.h"

// Time and messages of a simulated cluster. Everything happens in one thread, at one moment after the other; two things
// at one moment happen in the order they were asked for.

namespace filigree::sim {

using Work = std::function<void()>;

class Loop {
 public:
  int64_t now_us() const { return now_us_; }
  void After(int64_t us, Work work) { queue_.emplace(std::pair{now_us_ + us, ++count_}, std::move(work)); }
  bool Step();  // does the next thing; false: there is none

 private:
  int64_t now_us_ = 0;
  uint64_t count_ = 0;
  std::map<std::pair<int64_t, uint64_t>, Work> queue_;
};

// Messages between nodes get lost, come twice, late and in another order, and do not come at all where a link is cut;
// links are cut in one direction at a time.
class Network {
 public:
  Network(Loop& loop, uint64_t seed) : loop_(loop), dice_(seed) {}

  void Send(int from, int to, const Work& deliver);
  void Cut(int from, int to) { cut_.insert({from, to}); }
  void Mend(int from, int to) { cut_.erase({from, to}); }
  void MendAll() { cut_.clear(); }

  double loss = 0, twice = 0, late = 0;  // probabilities

 private:
  Loop& loop_;
  Dice dice_;
  std::set<std::pair<int, int>> cut_;
};

}  // namespace filigree::sim

#endif  // FILIGREE_TESTS_SIM_NETWORK_H_
