#include <algorithm>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "fmt/format.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/safetensors.h"
#include "worker/checkpoint/texts.h"
#include "worker/cli/command.h"
#include "worker/cli/print.h"
#include "worker/machine/processor.h"

// filigree inspect PATH: what a checkpoint, an import or a safetensors file holds.

namespace filigree::cli {
namespace {

using nlohmann::ordered_json;

struct InspectOptions {
  std::string path;
  int threads = 0;
  bool json = false;
};

double Density(int64_t nonzeros, int64_t elements) {
  return elements == 0 ? 0 : static_cast<double>(nonzeros) / static_cast<double>(elements);
}

// One line a tensor, columns as wide as they need to be.
void PrintTable(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths(rows[0].size(), 0);
  for (const auto& row : rows) {
    for (size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], row[c].size());
  }
  for (const auto& row : rows) {
    std::string line;
    for (size_t c = 0; c < row.size(); ++c) line += fmt::format("{:<{}}  ", row[c], widths[c]);
    line.erase(line.find_last_not_of(' ') + 1);
    Print("{}\n", line);
  }
}

struct Totals {
  int64_t elements = 0, nonzeros = 0;
};

ordered_json CheckpointJson(const checkpoint::Checkpoint& checkpoint, const checkpoint::StateSummary& summary,
                            Totals& totals) {
  ordered_json tensors = ordered_json::array();
  for (size_t i = 0; i < summary.tensors.size(); ++i) {
    const checkpoint::StoredTensor& stored = checkpoint.tensors()[i];
    const checkpoint::TensorSummary& counted = summary.tensors[i];
    const int64_t elements = checkpoint::Elements(stored.shape);
    totals.elements += elements;
    totals.nonzeros += counted.nonzeros;
    tensors.push_back({{"name", stored.name},
                       {"shape", stored.shape},
                       {"nonzeros", counted.nonzeros},
                       {"density", Density(counted.nonzeros, elements)},
                       {"kept", stored.kept},
                       {"storage", stored.sparse ? "sparse" : "dense"},
                       {"mask", stored.has_mask},
                       {"moments", stored.has_moments},
                       {"candidates", stored.candidates},
                       {"sha256", counted.sha256}});
  }
  ordered_json out = {{"path", checkpoint.path()},
                      {"step", checkpoint.step()},
                      {"position", checkpoint.position()},
                      {"seed", checkpoint.seed()},
                      {"state_sha256", summary.state_sha256},
                      {"elements", totals.elements},
                      {"nonzeros", totals.nonzeros}};
  namespace texts = checkpoint::texts;
  for (const char* key :
       {texts::kRunName, texts::kVocab, texts::kTokenizerSha256, texts::kCorpusDigest, texts::kSource}) {
    const auto found = checkpoint.texts().find(key);
    if (found != checkpoint.texts().end()) out[key] = found->second;
  }
  out["tensors"] = std::move(tensors);
  return out;
}

void PrintCheckpoint(const ordered_json& out) {
  Print("{}\nstep {}, position {} sequences, seed {}\nstate_sha256 {}\n", out["path"].get<std::string>(),
        out["step"].get<int64_t>(), out["position"].get<int64_t>(), out["seed"].get<uint64_t>(),
        out["state_sha256"].get<std::string>());
  for (const char* key : {"run_name", "vocab", "tokenizer_sha256", "corpus_digest", "source"}) {
    if (out.contains(key)) Print("{} {}\n", key, out[key].get<std::string>());
  }
  const auto elements = out["elements"].get<int64_t>(), nonzeros = out["nonzeros"].get<int64_t>();
  Print("{} tensors, {} weights, {} nonzero (density {:.6f})\n\n", out["tensors"].size(), elements, nonzeros,
        Density(nonzeros, elements));
  std::vector<std::vector<std::string>> rows = {
      {"tensor", "shape", "nonzeros", "density", "kept", "candidates", "storage", "moments", "sha256"}};
  for (const ordered_json& t : out["tensors"]) {
    rows.push_back({t["name"].get<std::string>(), t["shape"].dump(), t["nonzeros"].dump(),
                    fmt::format("{:.6f}", t["density"].get<double>()), t["mask"].get<bool>() ? t["kept"].dump() : "all",
                    t["candidates"].get<int64_t>() > 0 ? t["candidates"].dump() : "all",
                    t["storage"].get<std::string>(), t["moments"].get<bool>() ? "yes" : "no",
                    t["sha256"].get<std::string>().substr(0, 16)});
  }
  PrintTable(rows);
}

absl::Status InspectCheckpoint(const InspectOptions& options) {
  std::vector<std::string> warnings;
  const auto loaded = checkpoint::LoadAny(checkpoint::RealFileSystem(), options.path, &warnings);
  for (const std::string& warning : warnings) Say("warning: {}", warning);
  if (!loaded.ok()) return loaded.status();
  const int threads = options.threads > 0 ? options.threads : machine::DescribeProcessor().cores;
  const auto summary = checkpoint::Summarise(*loaded, threads);
  if (!summary.ok()) return summary.status();
  Totals totals;
  const ordered_json out = CheckpointJson(*loaded, *summary, totals);
  if (options.json) {
    Print("{}\n", OneLine(out));
  } else {
    PrintCheckpoint(out);
  }
  return absl::OkStatus();
}

// Nonzero elements; -1 where a dtype has no such reading here.
int64_t CountNonzeros(const checkpoint::TensorView& tensor) {
  if (const auto floats = checkpoint::ToFloats(tensor); floats.ok()) {
    return std::count_if(floats->begin(), floats->end(), [](float x) { return x != 0; });
  }
  if (const auto ints = checkpoint::ToInts(tensor); ints.ok()) {
    return std::count_if(ints->begin(), ints->end(), [](int64_t x) { return x != 0; });
  }
  return -1;
}

absl::Status InspectSafetensors(const InspectOptions& options) {
  const auto file = checkpoint::SafetensorsFile::Open(options.path);
  if (!file.ok()) return file.status();
  ordered_json tensors = ordered_json::array();
  std::vector<std::vector<std::string>> rows = {{"tensor", "dtype", "shape", "nonzeros", "density"}};
  for (const checkpoint::TensorView& tensor : file->tensors()) {
    const int64_t nonzeros = CountNonzeros(tensor);
    const double density = Density(nonzeros, checkpoint::Elements(tensor.shape));
    tensors.push_back({{"name", tensor.name},
                       {"dtype", checkpoint::DTypeName(tensor.dtype)},
                       {"shape", tensor.shape},
                       {"nonzeros", nonzeros},
                       {"density", density}});
    rows.push_back({tensor.name, checkpoint::DTypeName(tensor.dtype), checkpoint::ShapeText(tensor.shape),
                    std::to_string(nonzeros), fmt::format("{:.6f}", density)});
  }
  if (options.json) {
    const ordered_json out = {{"path", options.path}, {"metadata", file->metadata()}, {"tensors", tensors}};
    Print("{}\n", OneLine(out));
    return absl::OkStatus();
  }
  Print("{}\n", options.path);
  for (const auto& [key, value] : file->metadata()) Print("{}: {}\n", key, value);
  PrintTable(rows);
  return absl::OkStatus();
}

absl::Status RunInspect(const InspectOptions& options) {
  std::error_code error;
  if (std::filesystem::is_regular_file(options.path, error)) return InspectSafetensors(options);
  return InspectCheckpoint(options);
}

}  // namespace

void AddInspectCommand(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("inspect", "Tensors, shapes, nonzeros, step and digests of a checkpoint");
  auto options = std::make_shared<InspectOptions>();
  command
      ->add_option("path", options->path,
                   "Run folder (its newest good checkpoint), checkpoint, import, or a safetensors file")
      ->required();
  command->add_option("--threads", options->threads, "0: all cores")->check(CLI::Range(0, 1024));
  command->add_flag("--json", options->json, "One JSON object; it has step and state_sha256");
  command->callback([options, &exit_code] { exit_code = Finish(RunInspect(*options)); });
}

}  // namespace filigree::cli
