#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/mutator.h"

// Runs a fuzz target without libFuzzer: its seeds, then mutations of them for so many seconds. The n-th input of a seed
// is always the same, how many there are is up to the machine. An input that ends the process is written to a file.

extern "C" {
// There under AddressSanitizer, which ends the process in its own way.
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));
}

namespace {

const std::string* current = nullptr;
std::string crash_file;

// Only what a signal handler may do.
void KeepInput() {
  if (current == nullptr) return;
  const int fd = ::open(crash_file.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (fd < 0) return;
  for (size_t done = 0; done < current->size();) {
    const ssize_t n = ::write(fd, current->data() + done, current->size() - done);
    if (n <= 0) break;
    done += static_cast<size_t>(n);
  }
  ::close(fd);
  for (const std::string_view text : {std::string_view("the input that did it: "), std::string_view(crash_file),
                                      std::string_view("\nagain: the same program with that file\n")})
    [[maybe_unused]] const ssize_t n = ::write(STDERR_FILENO, text.data(), text.size());
}

void OnSignal(int signal) {
  KeepInput();
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

void CatchDeath() {
  if (__sanitizer_set_death_callback != nullptr) __sanitizer_set_death_callback(KeepInput);
  for (const int signal : {SIGABRT, SIGFPE, SIGBUS}) std::signal(signal, OnSignal);
  if (__sanitizer_set_death_callback == nullptr) std::signal(SIGSEGV, OnSignal);
}

void TryOne(const std::string& input) {
  current = &input;
  filigree::fuzz::Try(input);
  current = nullptr;
}

int64_t TrySeeds(const std::vector<std::string>& seeds) {
  for (const std::string& seed : seeds) TryOne(seed);
  return static_cast<int64_t>(seeds.size());
}

int64_t TryMutations(const std::vector<std::string>& seeds, uint64_t seed, int64_t seconds) {
  filigree::fuzz::Mutator mutator(seeds, seed);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  int64_t inputs = 0;
  for (; std::chrono::steady_clock::now() < end; ++inputs) TryOne(mutator.Next());
  return inputs;
}

bool TryFiles(const std::vector<std::string>& files) {
  for (const std::string& path : files) {
    std::ifstream file(path, std::ios::binary);
    if (!file) {
      std::fprintf(stderr, "%s: cannot be read\n", path.c_str());
      return false;
    }
    TryOne({std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()});
    std::printf("%s: lived\n", path.c_str());
  }
  return true;
}

bool WriteCorpus(const std::vector<std::string>& seeds, const std::string& folder) {
  std::filesystem::create_directories(folder);
  for (size_t i = 0; i < seeds.size(); ++i) {
    std::ofstream file(folder + "/seed" + std::to_string(i), std::ios::binary | std::ios::trunc);
    file.write(seeds[i].data(), static_cast<std::streamsize>(seeds[i].size()));
    if (!file.flush()) return false;
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Fuzzes one parser.");
  int64_t seconds = 5;
  uint64_t seed = 1;
  std::string corpus;
  std::vector<std::string> files;
  app.add_option("--seconds", seconds, "how long")->check(CLI::Range(0, 86400));
  app.add_option("--seed", seed, "of the mutations");
  app.add_option("--write-corpus", corpus, "only write the seeds into this folder, for libFuzzer");
  app.add_option("files", files, "only try these inputs");
  CLI11_PARSE(app, argc, argv);
  crash_file = "crash-" + std::filesystem::path(argv[0]).filename().string();
  const std::vector<std::string> seeds = filigree::fuzz::Seeds();
  if (!corpus.empty()) return WriteCorpus(seeds, corpus) ? 0 : 1;
  CatchDeath();
  if (!files.empty()) return TryFiles(files) ? 0 : 1;
  const int64_t good = TrySeeds(seeds);
  const int64_t bad = TryMutations(seeds, seed, seconds);
  std::printf("%ld seeds and %ld mutations of them with seed %lu in %ld s: no finding\n", static_cast<long>(good),
              static_cast<long>(bad), static_cast<unsigned long>(seed), static_cast<long>(seconds));
  return 0;
}
