#include <algorithm>
#include <cstring>

#include "kernels/base/check.h"
#include "tests/fuzz/fuzz_target.h"
#include "worker/checkpoint/safetensors.h"

namespace filigree::fuzz {
namespace {

// A file whose bytes are in memory.
class Bytes : public checkpoint::ReadableFile {
 public:
  explicit Bytes(std::string_view bytes) : bytes_(bytes) {}
  uint64_t size() const override { return bytes_.size(); }
  absl::Status ReadAt(uint64_t offset, void* to, size_t n) const override {
    if (offset > bytes_.size() || n > bytes_.size() - offset) return absl::DataLossError("the file ends before");
    std::memcpy(to, bytes_.data() + offset, n);
    return absl::OkStatus();
  }

 private:
  const std::string_view bytes_;
};

std::string FileWith(const std::string& json, size_t data_bytes) {
  std::string file(8, '\0');
  for (size_t i = 0; i < 8; ++i) file[i] = static_cast<char>(json.size() >> 8 * i);
  return file + json + std::string(data_bytes, 'd');
}

// Tensors follow each other without holes, inside the file, and are as large as their shape says.
void CheckSound(const checkpoint::SafetensorsHeader& header, uint64_t file_size) {
  uint64_t end = 0;
  for (const checkpoint::TensorEntry& tensor : header.tensors) {
    CHECK(end == 0 || tensor.begin == end, "a hole before {}", tensor.name);
    CHECK(tensor.begin <= tensor.end && tensor.end <= file_size, "{} lies outside", tensor.name);
    const auto elements = static_cast<uint64_t>(checkpoint::Elements(tensor.shape));
    CHECK(elements * checkpoint::DTypeSize(tensor.dtype) == tensor.end - tensor.begin, "size of {}", tensor.name);
    CHECK(!tensor.name.empty() && tensor.name.size() <= 256, "a name of {} bytes", tensor.name.size());
    CHECK(header.Find(tensor.name) != nullptr);
    end = tensor.end;
  }
}

}  // namespace

std::vector<std::string> Seeds() {
  return {FileWith("{}", 0), FileWith(R"({"__metadata__":{"k":"v"}})", 0),
          FileWith(R"({"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}})", 24),
          FileWith(R"({"a.b":{"dtype":"U16","shape":[4],"data_offsets":[0,8]},)"
                   R"("c":{"dtype":"BF16","shape":[],"data_offsets":[8,10]},)"
                   R"("empty":{"dtype":"I64","shape":[0,7],"data_offsets":[10,10]}})",
                   10)};
}

void Try(std::string_view input) {
  const auto header = checkpoint::ReadSafetensorsHeader(Bytes(input), "input");
  if (header.ok()) CheckSound(*header, input.size());
}

}  // namespace filigree::fuzz
