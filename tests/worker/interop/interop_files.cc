#include <fmt/format.h>

#include <cstdio>
#include <cstring>

#include "tests/worker/interop/small_model.h"
#include "worker/interop/export.h"
#include "worker/interop/import.h"

// The C++ half of compare_python.py:
//   interop_files write DIR   a model with everything: DIR/openai, DIR/hf, and its weights as plain
//   DIR/expected.safetensors interop_files read DIR    imports DIR/torch, which Python wrote, and writes its weights to
//   DIR/imported.safetensors

namespace filigree::interop {
namespace {

constexpr uint64_t kSeed = 31;

bool Report(const absl::Status& status) {
  if (!status.ok()) fmt::print(stderr, "{}\n", status.ToString());
  return status.ok();
}

bool Write(const std::string& dir) {
  config::ModelSettings settings = SmallSettings();
  settings.sink = true;
  settings.d_pos_emb = 3;
  const SmallModel model = MakeSmallModel(settings, kSeed);
  const checkpoint::Checkpoint saved = SaveSmallModel(model, dir + "/saved");
  if (!Report(ExportCheckpoint(saved, Format::kOpenAi, dir + "/openai").status())) return false;
  if (!Report(ExportCheckpoint(saved, Format::kHuggingFace, dir + "/hf").status())) return false;
  std::vector<checkpoint::TensorData> tensors;
  for (const auto& [name, w] : model.weights) {
    tensors.push_back({name, checkpoint::DType::kF32, model.shapes.at(name), w.data()});
  }
  return Report(checkpoint::WriteSafetensors(dir + "/expected.safetensors", tensors));
}

bool Read(const std::string& dir) {
  if (!Report(ImportModel(dir + "/torch", dir + "/imported").status())) return false;
  auto loaded = checkpoint::Checkpoint::Load(checkpoint::RealFileSystem(), dir + "/imported");
  if (!Report(loaded.status())) return false;
  std::map<std::string, std::vector<float>> weights;
  std::vector<checkpoint::TensorData> tensors;
  for (const checkpoint::StoredTensor& tensor : loaded->tensors()) {
    std::vector<float>& w = weights[tensor.name];
    w.resize(checkpoint::Elements(tensor.shape));
    if (!Report(loaded->CopyInto(tensor.name, tensor.shape, w.data(), nullptr, nullptr, nullptr))) return false;
    tensors.push_back({tensor.name, checkpoint::DType::kF32, tensor.shape, w.data()});
  }
  return Report(checkpoint::WriteSafetensors(dir + "/imported.safetensors", tensors));
}

}  // namespace
}  // namespace filigree::interop

int main(int argc, char** argv) {
  if (argc == 3 && std::strcmp(argv[1], "write") == 0) return filigree::interop::Write(argv[2]) ? 0 : 1;
  if (argc == 3 && std::strcmp(argv[1], "read") == 0) return filigree::interop::Read(argv[2]) ? 0 : 1;
  std::fprintf(stderr, "usage: interop_files write|read DIR\n");
  return 2;
}
