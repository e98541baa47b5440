#ifndef FILIGREE_WORKER_CONFIG_RULES_H_
#define FILIGREE_WORKER_CONFIG_RULES_H_

#include <string>
#include <vector>

#include "worker/config/settings.h"

// The rules that join several keys. Each says why a combination is impossible and what would work.

namespace filigree::config {

struct Problem {
  std::vector<std::string> keys;  // that could be changed, the likeliest first; empty: nothing is wrong
  std::string text;
};

// Whether the broken rule exists, and which it is: the first, in a fixed order. Ranges of single keys (CheckRange) must
// hold before. Takes settings resolved or not.
Problem FirstBrokenRule(const Settings& settings);

}  // namespace filigree::config

#endif  // FILIGREE_WORKER_CONFIG_RULES_H_
