#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "worker/checkpoint/safetensors.h"

namespace filigree::checkpoint {
namespace {

using nlohmann::json;

struct DTypeRow {
  DType dtype;
  const char* name;
  uint64_t size;
};
constexpr std::array<DTypeRow, 13> kDTypes = {{{DType::kBool, "BOOL", 1},
                                               {DType::kU8, "U8", 1},
                                               {DType::kI8, "I8", 1},
                                               {DType::kU16, "U16", 2},
                                               {DType::kI16, "I16", 2},
                                               {DType::kF16, "F16", 2},
                                               {DType::kBF16, "BF16", 2},
                                               {DType::kU32, "U32", 4},
                                               {DType::kI32, "I32", 4},
                                               {DType::kF32, "F32", 4},
                                               {DType::kU64, "U64", 8},
                                               {DType::kI64, "I64", 8},
                                               {DType::kF64, "F64", 8}}};
constexpr size_t kMaxName = 256, kMaxRank = 16;

const DTypeRow& Row(DType dtype) {
  return *std::find_if(kDTypes.begin(), kDTypes.end(), [&](const DTypeRow& row) { return row.dtype == dtype; });
}

absl::Status Broken(const std::string& path, const std::string& what) {
  return absl::DataLossError(fmt::format("{}: {}; not a sound safetensors file", path, what));
}

// The header as JSON: an object without repeated keys, not nested deeper than {name: {key: [...]}}.
absl::StatusOr<json> ParseFlat(const std::string& text, const std::string& path) {
  bool deep = false;
  std::string repeated;
  std::array<std::set<std::string>, 3> keys;
  const auto watch = [&](int depth, json::parse_event_t event, json& value) {
    if (depth > 3 || deep) return !(deep = true);
    if (event == json::parse_event_t::object_start && depth < 2) keys[depth + 1].clear();
    if (event == json::parse_event_t::key && depth < 3) {
      const auto& key = value.get_ref<const std::string&>();
      if (!keys[depth].insert(key).second) repeated = key;
    }
    return true;
  };
  json header = json::parse(text, watch, /*allow_exceptions=*/false);
  if (deep) return Broken(path, "its header is nested too deep");
  if (header.is_discarded() || !header.is_object()) return Broken(path, "its header is not a JSON object");
  if (!repeated.empty()) return Broken(path, fmt::format("its header has the key '{:.{}}' twice", repeated, kMaxName));
  return header;
}

// Shape and extent of one tensor, offsets still relative to the data part; the reason where they are unsound.
std::string ParseEntry(const json& value, TensorEntry& entry) {
  if (!value.is_object() || value.size() != 3 || !value.contains("dtype") || !value.contains("shape") ||
      !value.contains("data_offsets")) {
    return "has other keys than dtype, shape and data_offsets";
  }
  const json& dtype = value["dtype"];
  const auto* row = std::find_if(kDTypes.begin(), kDTypes.end(),
                                 [&](const DTypeRow& r) { return dtype.is_string() && dtype == r.name; });
  if (row == kDTypes.end()) return "has an unknown dtype";
  entry.dtype = row->dtype;
  const json &shape = value["shape"], &offsets = value["data_offsets"];
  if (!shape.is_array() || shape.size() > kMaxRank) return "has no shape of at most 16 dimensions";
  uint64_t bytes = row->size;
  for (const json& dim : shape) {
    if (!dim.is_number_unsigned() || dim.get<uint64_t>() > INT64_MAX) return "has a dimension that is no size";
    if (__builtin_mul_overflow(bytes, dim.get<uint64_t>(), &bytes)) return "has a shape too large for 64 bits";
    entry.shape.push_back(dim.get<int64_t>());
  }
  if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
      !offsets[1].is_number_unsigned()) {
    return "has data_offsets that are not two numbers";
  }
  entry.begin = offsets[0].get<uint64_t>();
  entry.end = offsets[1].get<uint64_t>();
  if (entry.end < entry.begin || entry.end - entry.begin != bytes) {
    return fmt::format("has {} bytes by its shape, but data_offsets [{}, {}]", bytes, entry.begin, entry.end);
  }
  return "";
}

// Tensors must cover [0, data_bytes) in order; then offsets become positions in the file.
absl::Status PlaceInFile(std::vector<TensorEntry>& tensors, uint64_t data_begin, uint64_t data_bytes,
                         const std::string& path) {
  std::sort(tensors.begin(), tensors.end(), [](const TensorEntry& a, const TensorEntry& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  uint64_t at = 0;
  for (TensorEntry& entry : tensors) {
    if (entry.begin != at || entry.end > data_bytes) {
      return Broken(path,
                    fmt::format("tensor '{}' lies at bytes [{}, {}) of {} bytes of data, the next was expected at {}",
                                entry.name, entry.begin, entry.end, data_bytes, at));
    }
    at = entry.end;
    entry.begin += data_begin;
    entry.end += data_begin;
  }
  if (at != data_bytes) return Broken(path, fmt::format("{} bytes follow the last tensor", data_bytes - at));
  return absl::OkStatus();
}

}  // namespace

const char* DTypeName(DType dtype) { return Row(dtype).name; }
uint64_t DTypeSize(DType dtype) { return Row(dtype).size; }

int64_t Elements(const Shape& shape) {
  int64_t elements = 1;
  for (const int64_t dim : shape) elements *= dim;
  return elements;
}

std::string ShapeText(const Shape& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

bool SoundTensorName(const std::string& name) {
  return !name.empty() && name.size() <= kMaxName &&
         std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c <= '~'; });
}

const TensorEntry* SafetensorsHeader::Find(const std::string& name) const {
  const auto found =
      std::find_if(tensors.begin(), tensors.end(), [&](const TensorEntry& entry) { return entry.name == name; });
  return found == tensors.end() ? nullptr : &*found;
}

absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(const std::string& text, uint64_t data_begin,
                                                         uint64_t file_size, const std::string& path) {
  if (data_begin > file_size) return Broken(path, "its header ends behind its end");
  auto parsed = ParseFlat(text, path);
  if (!parsed.ok()) return parsed.status();
  SafetensorsHeader header;
  for (const auto& [name, value] : parsed->items()) {
    if (name == "__metadata__") {
      if (!value.is_object()) return Broken(path, "__metadata__ is not an object");
      for (const auto& [key, line] : value.items()) {
        if (!line.is_string()) return Broken(path, "__metadata__ holds something that is not text");
        header.metadata[key] = line.get<std::string>();
      }
      continue;
    }
    if (!SoundTensorName(name)) return Broken(path, "a tensor's name is not 1 to 256 printable ASCII characters");
    TensorEntry entry;
    entry.name = name;
    const std::string reason = ParseEntry(value, entry);
    if (!reason.empty()) return Broken(path, fmt::format("tensor '{}' {}", name, reason));
    header.tensors.push_back(std::move(entry));
  }
  absl::Status placed = PlaceInFile(header.tensors, data_begin, file_size - data_begin, path);
  if (!placed.ok()) return placed;
  return header;
}

absl::StatusOr<SafetensorsHeader> ReadSafetensorsHeader(const ReadableFile& file, const std::string& path) {
  uint64_t length = 0;
  if (file.size() < sizeof(length)) return Broken(path, fmt::format("it has {} bytes", file.size()));
  absl::Status status = file.ReadAt(0, &length, sizeof(length));
  if (!status.ok()) return status;
  if (length > kMaxHeaderBytes || length > file.size() - sizeof(length)) {
    return Broken(path, fmt::format("it announces a header of {} bytes (file {}, at most {} are read)", length,
                                    file.size(), kMaxHeaderBytes));
  }
  std::string text(length, '\0');
  status = file.ReadAt(sizeof(length), text.data(), length);
  if (!status.ok()) return status;
  return ParseSafetensorsHeader(text, sizeof(length) + length, file.size(), path);
}

}  // namespace filigree::checkpoint
