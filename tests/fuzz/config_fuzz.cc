#include <fstream>
#include <iterator>

#include "kernels/base/check.h"
#include "tests/fuzz/fuzz_target.h"
#include "worker/config/load.h"

namespace filigree::fuzz {

std::vector<std::string> Seeds() {
  std::vector<std::string> seeds = {"", "[run]\nsteps = 10\nname = \"a\"\n",
                                    "--model.d_model=256\n[sparsity]\ndensity = \"1/64\"\n",
                                    "--run.samples=a,b\n# nothing else\n"};
  seeds.push_back(config::ToToml(*config::Parse("", "defaults")));
  for (const char* name : {"quickstart", "authors", "flagship", "csp-yolo2"}) {
    std::ifstream file(std::string(FILIGREE_CONFIGS) + "/" + name + ".toml");
    if (file) seeds.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return seeds;
}

// The first line is an override, the rest is the file.
void Try(std::string_view input) {
  for (const bool with_override : {false, true}) {
    const size_t line = with_override ? input.find('\n') : std::string_view::npos;
    const std::string_view text = line == std::string_view::npos ? input : input.substr(line + 1);
    std::vector<std::string> overrides;
    if (line != std::string_view::npos) overrides.emplace_back(input.substr(0, line));
    const auto settings = config::Parse(text, "input", overrides);
    if (!settings.ok()) continue;
    CHECK(config::Validate(*settings).ok());
    const std::string written = config::ToToml(*settings);
    const auto again = config::Parse(written, "again");
    CHECK(again.ok(), "{}", std::string(again.status().message()));
    CHECK(config::ToToml(*again) == written, "{} is read as other settings", written);
  }
}

}  // namespace filigree::fuzz
