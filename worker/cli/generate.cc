#include "worker/train/generate.h"

#include <cstdio>
#include <iostream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "fmt/format.h"
#include "kernels/base/thread_pool.h"
#include "worker/cli/command.h"
#include "worker/cli/model_tokenizer.h"
#include "worker/cli/print.h"
#include "worker/cli/real_in.h"
#include "worker/machine/processor.h"
#include "worker/run/stop.h"
#include "worker/train/stored_state.h"

namespace filigree::cli {
namespace {

struct GenerateOptions {
  std::string model, data, prompt;
  bool prompt_from_stdin = false, only_new = false;
  train::SampleOptions sample;
  int64_t samples = 1;
  int threads = 0;
};

// Token by token, for whoever watches. False: nobody reads any more.
bool Write(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  return std::fflush(stdout) == 0;
}

absl::Status RunGenerate(GenerateOptions options) {
  train::CatchStopSignals();
  kernels::ThreadPool pool(options.threads > 0 ? options.threads : machine::DescribeProcessor().cores);
  std::vector<std::string> warnings;
  const absl::StatusOr<std::unique_ptr<train::LoadedModel>> loaded = train::LoadModel(options.model, pool, &warnings);
  for (const std::string& warning : warnings) Say("warning: {}", warning);
  if (!loaded.ok()) return loaded.status();
  const train::LoadedModel& model = **loaded;
  const absl::StatusOr<data::Tokenizer> tokenizer = TokenizerOf(model, options.data);
  if (!tokenizer.ok()) return tokenizer.status();
  if (options.prompt_from_stdin) {
    options.prompt.assign(std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>());
  }
  const std::vector<uint16_t> ids = tokenizer->Encode(options.prompt);
  for (int64_t i = 0; i < options.samples && !train::StopRequested(); ++i) {
    if (!options.only_new) Write(options.prompt);
    train::Generate(*model.network, model.spec, {ids.begin(), ids.end()}, options.sample,
                    [&](int token) { return Write(tokenizer->TokenBytes(token)) && !train::StopRequested(); });
    if (!Write("\n")) break;
    options.sample.seed += 1;
  }
  return absl::OkStatus();
}

}  // namespace

void AddGenerateCommand(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("generate", "Text from a model, streamed as it is made");
  auto options = std::make_shared<GenerateOptions>();
  command->add_option("model", options->model, "Run folder, checkpoint or import")->required();
  CLI::Option* prompt = command->add_option("--prompt", options->prompt, "Text to continue; default: a new document");
  command->add_flag("--stdin", options->prompt_from_stdin, "Read the prompt from standard input")->excludes(prompt);
  command->add_option("--tokens", options->sample.tokens, "At most this many new tokens")
      ->check(CLI::Range(1, 1'000'000'000));
  command->add_option("--temperature", options->sample.temperature, "0: the most likely token each time")
      ->check(RealIn(0, 100));
  command->add_option("--top-p", options->sample.top_p, "Draw from the most likely tokens of this probability")
      ->check(RealIn(1e-6, 1));
  command->add_option("--seed", options->sample.seed, "The same seed gives the same text")
      ->check(CLI::Range(int64_t{0}, INT64_MAX));
  command->add_option("--samples", options->samples, "This many texts, with seeds counting up")
      ->check(CLI::Range(1, 1'000'000));
  command->add_flag("--only-new", options->only_new, "Leave the prompt out of what is printed");
  command->add_option("--data", options->data, "Folder of the tokenizer; default: the checkpoint's own");
  command->add_option("--threads", options->threads, "0: all cores; changes no text")->check(CLI::Range(0, 1024));
  command->callback([options, &exit_code] { exit_code = Finish(RunGenerate(*options)); });
}

}  // namespace filigree::cli
