#ifndef FILIGREE_TESTS_WORKER_RUN_SMALL_CORPUS_H_
#define FILIGREE_TESTS_WORKER_RUN_SMALL_CORPUS_H_

#include <filesystem>
#include <fstream>
#include <string>

#include "absl/status/status.h"
#include "fmt/format.h"
#include "tests/support/tiles.h"
#include "worker/data/prepare.h"

// Some hundred lines that look like a program, prepared: FOLDER/data, with a vocabulary of 270.

namespace filigree::testing_support {

inline absl::Status PrepareSmallCorpus(const std::string& folder) {
  Rng rng(5);
  std::filesystem::create_directories(folder + "/text");
  for (int file = 0; file < 12; ++file) {
    std::ofstream out(fmt::format("{}/text/{}.py", folder, file));
    for (int line = 0; line < 150; ++line) {
      out << fmt::format("value_{} = other_{} + {}\n", rng.Below(30), rng.Below(30), rng.Below(1000));
    }
  }
  data::PrepareOptions options;
  options.inputs = {folder + "/text"};
  options.out = folder + "/data";
  options.vocab = 270;
  options.val_fraction = 0.3;
  options.threads = 1;
  return data::Prepare(options, {}).status();
}

}  // namespace filigree::testing_support

#endif  // FILIGREE_TESTS_WORKER_RUN_SMALL_CORPUS_H_
