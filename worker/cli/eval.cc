#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "fmt/format.h"
#include "kernels/base/thread_pool.h"
#include "worker/cli/command.h"
#include "worker/cli/print.h"
#include "worker/data/corpus.h"
#include "worker/data/loader.h"
#include "worker/machine/processor.h"
#include "worker/train/evaluate.h"
#include "worker/train/stored_state.h"

namespace filigree::cli {
namespace {

struct EvalOptions {
  std::string model, data, split = "validation";
  int64_t sequences = 0;
  int threads = 0;
  bool json = false;
};

void PrintEvaluation(const EvalOptions& options, const train::LoadedModel& model, const data::Corpus& corpus,
                     const train::Evaluation& result) {
  const bool validation = options.split == "validation";
  const double bytes = validation ? corpus.validation_bytes_per_token() : corpus.train_bytes_per_token();
  const double bits = data::BitsPerByte(result.loss, bytes);
  const data::Baselines& baselines = corpus.manifest().baselines;
  if (options.json) {
    nlohmann::ordered_json out = {{"checkpoint", model.path}, {"step", model.step},    {"split", options.split},
                                  {"loss", result.loss},      {"bits_per_byte", bits}, {"tokens", result.tokens}};
    if (validation) {
      out["baselines"] = {
          {"uniform", baselines.uniform_nats}, {"unigram", baselines.unigram_nats}, {"bigram", baselines.bigram_nats}};
    }
    Print("{}\n", OneLine(out));
    return;
  }
  Print("{}, step {}\n{} loss {:.4f} nats a token, {:.4f} bits a byte, over {} tokens\n", model.path, model.step,
        options.split, result.loss, bits, result.tokens);
  if (validation) {
    Print("baselines: uniform {:.4f}, unigram {:.4f}, Kneser-Ney bigram {:.4f}\n", baselines.uniform_nats,
          baselines.unigram_nats, baselines.bigram_nats);
  }
}

absl::Status RunEval(const EvalOptions& options) {
  kernels::ThreadPool pool(options.threads > 0 ? options.threads : machine::DescribeProcessor().cores);
  std::vector<std::string> warnings;
  const absl::StatusOr<std::unique_ptr<train::LoadedModel>> loaded = train::LoadModel(options.model, pool, &warnings);
  for (const std::string& warning : warnings) Say("warning: {}", warning);
  if (!loaded.ok()) return loaded.status();
  const train::LoadedModel& model = **loaded;
  const std::string dir = options.data.empty() ? model.settings.data.dir : options.data;
  if (dir.empty()) {
    return absl::InvalidArgumentError(
        fmt::format("{} names no corpus; give one that `filigree prepare` wrote with --data DIR", model.path));
  }
  const absl::StatusOr<std::unique_ptr<data::Corpus>> corpus = data::Corpus::Open(dir);
  if (!corpus.ok()) return corpus.status();
  if (model.tokenizer.has_value() && model.tokenizer->digest() != (*corpus)->tokenizer().digest()) {
    return absl::FailedPreconditionError(
        fmt::format("{} was trained with another tokenizer than {} has; evaluate on a corpus prepared with its own",
                    model.path, dir));
  }
  if ((*corpus)->manifest().vocab > model.spec.vocab) {
    return absl::FailedPreconditionError(fmt::format("{} has {} tokens, the model {} only {}", dir,
                                                     (*corpus)->manifest().vocab, model.path, model.spec.vocab));
  }
  const data::TokenStream& stream = options.split == "train" ? (*corpus)->train() : (*corpus)->validation();
  if (absl::Status status = data::Loader::Check(stream, model.spec.n_ctx); !status.ok()) return status;
  PrintEvaluation(options, model, **corpus,
                  train::Evaluate(*model.network, stream, model.spec.n_ctx, options.sequences));
  return absl::OkStatus();
}

}  // namespace

void AddEvalCommand(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("eval", "Loss of a model on a prepared corpus");
  auto options = std::make_shared<EvalOptions>();
  command->add_option("model", options->model, "Run folder, checkpoint or import")->required();
  command->add_option("--data", options->data, "Prepared corpus; default: the one of the run");
  command->add_option("--split", options->split, "validation or train")->check(CLI::IsMember({"validation", "train"}));
  command->add_option("--sequences", options->sequences, "Windows spread evenly over the split; 0: all of it")
      ->check(CLI::Range(int64_t{0}, int64_t{1'000'000'000}));
  command->add_option("--threads", options->threads, "0: all cores")->check(CLI::Range(0, 1024));
  command->add_flag("--json", options->json, "One JSON object");
  command->callback([options, &exit_code] { exit_code = Finish(RunEval(*options)); });
}

}  // namespace filigree::cli
