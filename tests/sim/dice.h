#ifndef FILIGREE_TESTS_SIM_DICE_H_
#define FILIGREE_TESTS_SIM_DICE_H_

#include <cstdint>

namespace filigree::sim {

// Chance, from a seed and nothing else (splitmix64).
class Dice {
 public:
  explicit Dice(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 0x1234567) {}

  uint64_t Next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  int64_t Between(int64_t low, int64_t high) {  // both may come
    return low + static_cast<int64_t>(Next() % static_cast<uint64_t>(high - low + 1));
  }
  bool Chance(double probability) { return static_cast<double>(Next() >> 11) * 0x1p-53 < probability; }

 private:
  uint64_t state_;
};

}  // namespace filigree::sim

#endif  // FILIGREE_TESTS_SIM_DICE_H_
