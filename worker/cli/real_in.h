#ifndef FILIGREE_WORKER_CLI_REAL_IN_H_
#define FILIGREE_WORKER_CLI_REAL_IN_H_

#include <CLI/CLI.hpp>
#include <cmath>
#include <string>

#include "fmt/format.h"

namespace filigree::cli {

// A flag's number from `low` to `high`. (CLI::Range takes nan, which is neither below nor above anything.)
inline CLI::Validator RealIn(double low, double high) {
  return {[low, high](const std::string& text) {
            double x = std::nan("");
            const bool number = CLI::detail::lexical_cast(text, x);
            return number && x >= low && x <= high ? std::string()
                                                   : fmt::format("{} is no number from {} to {}", text, low, high);
          },
          fmt::format("NUMBER from {} to {}", low, high)};
}

}  // namespace filigree::cli

#endif  // FILIGREE_WORKER_CLI_REAL_IN_H_
